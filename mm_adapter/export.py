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
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import save_torch_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from mm_adapter.base_models import LLAMA, public_name, refuse_other_architecture
from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.configuration import VIEWS, CoachConfig
from mm_adapter.export_tokenizer import prove_prompts, write_tokenizer
from mm_adapter.internvideo2 import InternVideo2, InternVideo2Config, encoder_hash
from mm_adapter.manifest import EXPORT_RECORD, added, problems, seal, unseal
from mm_adapter.mappers import FeatureMapper
from mm_adapter.model_card import model_card
from mm_adapter.packed_attention import PACKED_SDPA
from mm_adapter.run_directory import run_record
from mm_data.ground.files import write_atomically
from mm_data.tasks.expertaf import commentary_prompt, demonstration_prompt
from mm_tokenizers import save_tokenizer

LAYOUTS = ("coach", "llama")
RECORD = EXPORT_RECORD
ARCHITECTURE = "MMCoachForConditionalGeneration"
NUM_PLACEHOLDERS = len(VIEWS)
VIDEO_PROCESSOR = "MMCoachVideoProcessor"
BOUND = 1e-3
"""Largest difference of a log-probability that an export in float32 may show."""
ENCODER_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types that `mm-coach features extract` runs encoders in."""
QUANTIZED_BOUND = 0.05
"""Likewise where the coach was in 4 bits: bitsandbytes' kernels round more than a product with the dense weights."""
DIVERGENCE_BOUND = 0.02
"""Mean Kullback-Leibler divergence, in nats, that an export in 16 bits may show: rounding moves unlikely tokens by whole
nats, in the coach as in its export, and hardly what either says. A layer whose adapter is lost moves it by 0.2."""


def export_coach(
    coach: PretrainedCoach,
    out: Path,
    layout: str,
    encoder: tuple[InternVideo2, str] | None = None,
) -> dict[str, Any]:
    """Writes an export and proves it against the coach.

    Args:
        coach: Trained; its type is the export's.
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
        encoder = as_trained_on(*encoder, config), encoder[1]
    out.mkdir(parents=True, exist_ok=True)
    unseal(out)
    dtype = coach.model.pose_head.weight.dtype if config.mode == "full" else coach.model.language_model.dtype
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
    }
    record = run_record(layout=layout, source=source, proof=proof)
    write_atomically(out / RECORD, json.dumps(record, indent=1))
    write_atomically(out / "README.md", model_card(coach, layout, proof))
    seal(out)
    return proof


def merged_weights(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """A language model's weights on the CPU with LoRA added; 4-bit layers become dense first, because they cannot hold the sum."""
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
def _write_llama(coach: PretrainedCoach, out: Path, layout: str, dtype: torch.dtype) -> None:
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


def _write_video(coach: PretrainedCoach, out: Path, encoder: tuple[InternVideo2, str] | None) -> None:
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
            **output_read(coach.model.config, encoder[0].config),
        }
        (out / "video" / "encoder.json").write_text(json.dumps(description, indent=1))


def _write_configs(
    coach: PretrainedCoach,
    out: Path,
    layout: str,
    dtype: torch.dtype,
    encoder: tuple[InternVideo2, str] | None,
) -> None:
    config = coach.model.config
    text = copy.deepcopy(config.text_config)
    text.vocab_size = config.num_predictable + (NUM_PLACEHOLDERS if layout == "coach" else 0)
    text.tie_word_embeddings = False
    if hasattr(text, "quantization_config"):
        del text.quantization_config  # the merged weights are dense
    text.architectures, text.dtype, text.use_cache = [LLAMA], dtype, True
    # Engines that know nothing of coaches keep unknown entries; the grammar reads this one.
    text.pose_vocabulary = {
        "first_id": config.first_pose_id,
        "num_codes": config.num_pose_codes,
        "tokens_per_frame": config.pose_tokens_per_frame,
        "frames": config.pose_frames,
    }
    text.bos_token_id = coach.processor.tokenizer.bos_token_id
    text.eos_token_id, text.pad_token_id = coach.processor.end_of_turn_ids, coach.processor.end_of_turn_ids[0]
    plain = text.to_dict() | {"_name_or_path": public_name(config.base_model)}
    named = {"text_config": plain, "base_model": public_name(config.base_model)}
    own = CoachConfig(**{**config.to_dict(), **named}).to_dict() | {"text_config": plain}
    (out / "coach_config.json").write_text(json.dumps(own, indent=1))
    if layout == "coach":
        served = own | {
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


def as_trained_on(encoder: InternVideo2, name: str, config: CoachConfig) -> InternVideo2:
    """The encoder in the type of weights that the coach's features were made with.

    Raises:
        ValueError: In none of them is it the coach's encoder.
    """
    for dtype in ENCODER_DTYPES:
        if f"{name} {encoder_hash(encoder, dtype)}" == config.video_encoder:
            return encoder.to(dtype)
    wanted, digest = config.video_encoder.rsplit(" ", 1) if config.video_encoder else ("no encoder", "")
    raise ValueError(
        f"The coach was trained on features of {wanted} ({digest[:12]}); {name} is another encoder, or has other weights, frames or image size ({encoder_hash(encoder, torch.float32)[:12]} in float32)."
    )


def output_read(coach: CoachConfig, encoder: InternVideo2Config) -> dict[str, Any]:
    """Which output of an encoder has the shape of a coach's features: ``output`` and ``grid``.

    Raises:
        ValueError: None has.
    """
    grid = math.isqrt(coach.video_tokens // encoder.frames)
    if coach.video_width == encoder.width and coach.video_tokens == encoder.frames * grid**2:
        return {"output": "tokens", "grid": grid}
    if coach.video_width == encoder.pooled_dim and coach.video_tokens == 1 and encoder.pooling:
        return {"output": "pooled", "grid": 1}
    raise ValueError(
        f"The coach's features are {coach.video_tokens} × {coach.video_width} per view; an encoder of {encoder.frames} frames and width {encoder.width} gives none of that shape."
    )


def open_llama(folder: Path, dtype: torch.dtype | str = "auto") -> PreTrainedModel:
    """An export's language model in transformers, whatever its layout."""
    text = CoachConfig(**json.loads((folder / "coach_config.json").read_text())).text_config
    return AutoModelForCausalLM.from_pretrained(folder, config=text, dtype=dtype, attn_implementation=PACKED_SDPA)


def open_mappers(folder: Path) -> dict[str, FeatureMapper]:
    """An export's video mappers by view."""
    config = CoachConfig(**json.loads((folder / "coach_config.json").read_text()))
    path = folder / "video" / "mappers.safetensors"
    if not path.is_file():
        return {}
    state, mappers = load_file(path), {}
    for view in config.shown_views:
        mapper = FeatureMapper(config.video_width, config.text_config.hidden_size)
        prefix = f"{view}_mapper."
        mapper.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        mappers[view] = mapper.eval().requires_grad_(False)
    return mappers


def open_encoder(folder: Path) -> tuple[InternVideo2, dict[str, Any]] | None:
    """An export's video encoder and its description, where it has one."""
    path = folder / "video" / "encoder.json"
    if not path.is_file():
        return None
    description = json.loads(path.read_text())
    encoder = InternVideo2(InternVideo2Config(**description["architecture"]))
    state = load_file(folder / "video" / "encoder.safetensors")
    encoder.load_state_dict(state)
    return encoder.to(next(iter(state.values())).dtype).eval().requires_grad_(False), description


def check_export(folder: Path) -> None:
    """Makes sure that every file of an export that a loader might read is as it was written, and that none was added.

    Raises:
        FileNotFoundError: The folder is no complete export.
        ValueError: Files were changed or added; lists them.
    """
    if found := problems(folder, everything=True):
        raise ValueError(f"{folder} was changed after it was exported: {'; '.join(found)}. Export it again.")
    if foreign := added(folder):
        raise ValueError(
            f"{folder} holds files that the export did not write and engines might read: {', '.join(f'{name} was added' for name in foreign)}. Delete them."
        )


@torch.inference_mode()
def prove(coach: PretrainedCoach, out: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Compares an export with its coach on fixed prompts with seeded poses and features.

    Returns:
        ``largest_difference`` of a log-probability, ``mean_divergence`` in nats, ``positions`` compared, the share of them
        where both give the same most likely token, and which figure is ``bounded`` by what ``bound``.

    Raises:
        ValueError: The figure is above its bound.
    """
    config, generator = coach.model.config, torch.Generator().manual_seed(0)
    llama, mappers = open_llama(out, dtype).to(coach.model.device), open_mappers(out)  # type: ignore[arg-type]
    shape = (config.pose_frames, config.pose_tokens_per_frame)
    codes = torch.randint(config.num_pose_codes, (3, *shape), generator=generator).numpy()
    largest, divergence, same, positions = 0.0, 0.0, 0, 0
    for clip, poses in enumerate(codes):
        for messages in (commentary_prompt("clip"), demonstration_prompt("clip", "Bend the knees.")):
            encoded = coach.processor.encode_prompt(messages, lambda _, poses=poses: poses, f"proof {clip}")
            answer = coach.processor.answer_ids(codes[clip - 1])
            ids = torch.tensor([encoded.input_ids + answer], device=coach.model.device)
            features = {
                view: torch.randn(1, config.video_tokens, config.video_width, generator=generator).to(ids.device)
                for view in config.shown_views
            }
            given = {f"{view}_features": features.get(view) for view in VIEWS}
            ours = coach.model(input_ids=ids, **given).logits[0].float().log_softmax(-1)
            embeddings = llama.get_input_embeddings()(ids.clamp(max=config.num_predictable - 1))
            for view, values in features.items():
                mapped = mappers[view].to(values.device)(values)[0].to(embeddings.dtype)
                embeddings[ids == (config.ego_id if view == "ego" else config.exo_id)] = mapped
            theirs = llama(inputs_embeds=embeddings).logits[0, :, : config.num_predictable].float().log_softmax(-1)
            largest = max(largest, float((ours - theirs).abs().max()))
            divergence += float(F.kl_div(theirs, ours, reduction="sum", log_target=True))
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            positions += len(ours)
    bounded, bound = "largest_difference", QUANTIZED_BOUND if config.quantization else BOUND
    if dtype != torch.float32:
        bounded, bound = "mean_divergence", DIVERGENCE_BOUND
    proof = {
        "largest_difference": largest,
        "mean_divergence": max(0.0, divergence / positions),
        "bounded": bounded,
        "bound": bound,
        "dtype": str(dtype).removeprefix("torch."),
        "positions": positions,
        "same_most_likely_token": same / positions,
    }
    if not proof[bounded] <= bound:
        shutil.rmtree(out)
        raise ValueError(
            f"The export does not say what the coach says: {bounded.replace('_', ' ')} of log-probabilities is {proof[bounded]:.3g}, above {bound}."
        )
    return proof
