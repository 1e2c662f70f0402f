"""A trained coach as a checkpoint that engines load: adapter merged, pose rows baked in, the rest beside it.

::

    EXPORT/config.json                 mm_coach (video, served by vLLM with this package) or plain llama
    EXPORT/model*.safetensors          Llama, its vocabulary extended by the pose tokens, under Llama's own names
    EXPORT/tokenizer.json, ...         the chat template takes content parts; pose tokens are ordinary text
    EXPORT/video/                      mappers, and the video encoder where one was given
    EXPORT/pose_tokenizer/             decodes pose tokens
    EXPORT/coach_config.json           what clips look like and what the coach was built on
    EXPORT/export.json                 source, versions, and the proof: largest difference of log-probabilities
    EXPORT/README.md                   model card
    EXPORT/complete.json               hashes of all that loaders read, written last

Input and output rows of pose tokens differ, so the exported model is untied whatever the base was.
"""

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import save_torch_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.checkpoint.run_record import run_record
from mm_adapter.checkpoint.seal import seal, unseal
from mm_adapter.export.model_card import model_card
from mm_adapter.export.prove import prove
from mm_adapter.export.read import ARCHITECTURE, NUM_PLACEHOLDERS, RECORD, VIDEO_PROCESSOR
from mm_adapter.export.tokenizer import prove_prompts, write_tokenizer
from mm_adapter.features.encoder import VideoEncoder
from mm_adapter.features.extract import as_trained_on, output_read
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.language_model import LLAMA, public_name, refuse_other_architecture
from mm_data.ground.files import write_atomically
from mm_tokenizers import save_tokenizer

LAYOUTS = ("coach", "llama")


def export_coach(
    coach: SavedCoach, out: Path, layout: str, encoder: tuple[VideoEncoder, str] | None = None
) -> dict[str, Any]:
    """Writes an export and proves it against the coach.

    Args:
        coach: Trained coach, whose type of weights the export gets.
        out: A new or empty folder.
        layout: ``coach`` for vLLM with this package, ``llama`` for any engine that knows Llama.
        encoder: Encoder and its name, for a server that takes videos.

    Returns:
        The proof, as ``export.json`` has it.

    Raises:
        ValueError: The folder is not empty, the layout is unknown, the encoder is not the coach's, or the export does not
            give the coach's log-probabilities.
    """
    config = coach.model.config
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}; choose {' or '.join(LAYOUTS)}.")
    if config.pose_form == "text":
        raise ValueError("A coach that writes poses as text has no pose tokens to bake; it cannot be exported.")
    refuse_other_architecture(config.text_config, config.base_model)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; give a new folder.")
    if encoder is not None:
        encoder = as_trained_on(*encoder, config.video_encoder), encoder[1]
    out.mkdir(parents=True, exist_ok=True)
    unseal(out)
    dtype = coach.model.language_model.dtype  # what it was opened in: pose rows stay in float32 whatever it is
    _write_llama(coach, out, layout, dtype)
    _write_video(coach, out, encoder)
    _write_configs(coach, out, layout, dtype, encoder)
    write_tokenizer(coach.processor, out, layout)
    save_tokenizer(coach.pose_tokenizer, out / "pose_tokenizer")
    proof = prove(coach, out, dtype)
    try:
        prove_prompts(coach.processor, out, layout)
    except ValueError:
        shutil.rmtree(out)
        raise
    source = {name: getattr(config, name) for name in ("base_model_fingerprint", "mode", "quantization")}
    source |= {
        "base_model": public_name(config.base_model),
        "formats": coach.formats,
        "tasks": coach.run_config.get("tasks", {}),
        "knowledge": coach.run_config.get("knowledge", {}),
    }
    record = run_record(layout=layout, source=source, proof=proof)
    write_atomically(out / RECORD, json.dumps(record, indent=1))
    write_atomically(out / "README.md", model_card(coach, layout, proof))
    seal(out)
    return proof


def merged_weights(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """Collects a language model's weights on the CPU with LoRA added; 4-bit layers become dense first, because they cannot hold the sum."""
    state = {name: value for name, value in model.state_dict().items() if ".lora_" not in name}
    merged = {
        name.replace(".base_layer.", "."): value.to("cpu", dtype)
        for name, value in state.items()
        if not name.endswith(_QUANTIZATION_STATE) and ".quant_state." not in name
    }
    for name, module in model.named_modules():
        base = module.base_layer if isinstance(module, LoraLayer) else module
        if not isinstance(base, nn.Linear) or name.endswith((".base_layer", ".default")):
            continue
        weight = _dense(base)
        if isinstance(module, LoraLayer):
            weight = weight.float() + module.get_delta_weight("default").float()  # type: ignore[attr-defined]
        merged[f"{name}.weight"] = weight.to("cpu", dtype)
    return merged


_QUANTIZATION_STATE = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", "bitsandbytes__nf4")


def _dense(layer: nn.Linear) -> Tensor:
    quantized = getattr(layer.weight, "quant_state", None)
    if quantized is None:
        return layer.weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, quantized)


@torch.no_grad()
def _write_llama(coach: SavedCoach, out: Path, layout: str, dtype: torch.dtype) -> None:
    model, first = coach.model, coach.model.config.first_pose_id
    weights = merged_weights(model.language_model, dtype)
    words = model.language_model.get_input_embeddings().weight[:first]
    head = model.language_model.get_output_embeddings().weight[:first]
    weights["model.embed_tokens.weight"] = torch.cat([words.cpu().to(dtype), model.pose_embedding().cpu().to(dtype)])
    weights["lm_head.weight"] = torch.cat([head.cpu().to(dtype), model.pose_head.weight.cpu().to(dtype)])
    if layout == "coach":  # engines index logits by the ids of a prompt, so placeholders have rows too
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = F.pad(weights[name], (0, 0, 0, NUM_PLACEHOLDERS))
    save_torch_state_dict({name: value.contiguous() for name, value in weights.items()}, out, max_shard_size="4GB")


def _write_video(coach: SavedCoach, out: Path, encoder: tuple[VideoEncoder, str] | None) -> None:
    state = {name: value for name, value in coach.model.state_dict().items() if name.startswith(("ego_", "exo_"))}
    if not state:
        return
    (out / "video").mkdir()
    save_file({name: value.cpu().contiguous() for name, value in state.items()}, out / "video" / "mappers.safetensors")
    if encoder is not None:
        weights = {name: value.cpu().contiguous() for name, value in encoder[0].state_dict().items()}
        save_file(weights, out / "video" / "encoder.safetensors")
        description = {
            "name": encoder[1],
            "architecture": asdict(encoder[0].config),
            **output_read(coach.model.config.video_tokens, coach.model.config.video_width, encoder[0].config),
        }
        (out / "video" / "encoder.json").write_text(json.dumps(description, indent=1))


def _write_configs(
    coach: SavedCoach, out: Path, layout: str, dtype: torch.dtype, encoder: tuple[VideoEncoder, str] | None
) -> None:
    config = coach.model.config
    text = copy.deepcopy(config.text_config)
    text.vocab_size = config.num_predictable + (NUM_PLACEHOLDERS if layout == "coach" else 0)
    text.tie_word_embeddings = False
    if hasattr(text, "quantization_config"):
        del text.quantization_config  # the merged weights are dense
    text.architectures, text.dtype, text.use_cache = [LLAMA], dtype, True
    # Engines that know nothing of coaches keep unknown entries; the grammar reads this one.
    text.pose_vocabulary = asdict(config.pose_vocabulary)
    text.bos_token_id = coach.processor.tokenizer.bos_token_id
    text.eos_token_id, text.pad_token_id = [coach.processor.end_of_turn_id], coach.processor.end_of_turn_id
    plain = text.to_dict() | {"_name_or_path": public_name(config.base_model)}
    named = {"text_config": plain, "base_model": public_name(config.base_model)}
    content = CoachConfig(**{**config.to_dict(), **named}).to_dict() | {"text_config": plain}
    (out / "coach_config.json").write_text(json.dumps(content, indent=1))
    if layout == "coach":
        served = content | {
            "architectures": [ARCHITECTURE],
            "dtype": plain["dtype"],
            "eos_token_id": plain["eos_token_id"],
            "encoder": asdict(encoder[0].config) if encoder else None,
        }
        (out / "config.json").write_text(json.dumps(served, indent=1))
        (out / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": VIDEO_PROCESSOR}))
    else:
        (out / "config.json").write_text(json.dumps(plain, indent=1))
    generation = {"do_sample": False, "eos_token_id": plain["eos_token_id"], "pad_token_id": plain["pad_token_id"]}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=1))
