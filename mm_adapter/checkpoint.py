"""One function writes a coach, one reads it; a folder is complete and verified, or it is not a checkpoint.

Layout: ``coach_config.json``, ``coach.safetensors`` (mappers and pose rows), ``adapter/`` (peft format, with LoRA) or
``language_model/`` (full fine-tuning), the processor's tokenizer files, ``pose_tokenizer/``, and ``complete.json``,
which is written last.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from mm_adapter.base_models import load_language_model
from mm_adapter.distributed import gathered
from mm_adapter.modeling import CoachConfig, CoachForConditionalGeneration
from mm_adapter.processing import CoachProcessor
from mm_data.files import write_atomically
from mm_tokenizers import PoseTokenizer, fingerprint, load_tokenizer, save_tokenizer

COMPLETE = "complete.json"
_LM = "language_model."


def trainable_names(model: CoachForConditionalGeneration) -> list[str]:
    """Names of everything that trains: the list behind the printed table and behind what a checkpoint holds."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def trainable_state(model: CoachForConditionalGeneration) -> dict[str, Tensor]:
    """CPU copies of the trainable parameters. Collective: every rank calls it."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with gathered([parameter]):
                state[name] = parameter.detach().to("cpu", copy=True)
    return state


def write_coach(
    folder: Path,
    model: CoachForConditionalGeneration,
    state: dict[str, Tensor],
    processor: CoachProcessor,
    pose_tokenizer: PoseTokenizer,
    run_config: dict[str, Any],
) -> None:
    """Writes a complete coach and reads it back.

    Args:
        folder: Target; written files replace older ones.
        model: The live model, for its configuration and adapter settings.
        state: As `trainable_state` gave it. Frozen new parts are written too, so that the folder stands alone.
        processor: The coach's processor.
        pose_tokenizer: The frozen tokenizer whose fingerprint the configuration carries.
        run_config: The resolved configuration of the run.

    Raises:
        RuntimeError: What was written is not what was meant to be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COMPLETE).unlink(missing_ok=True)
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_LM)}
    own = {name: (state[name] if name in state else tensor.detach().cpu()).contiguous() for name, tensor in own.items()}
    tuned = {name.removeprefix(_LM): tensor for name, tensor in state.items() if name.startswith(_LM)}
    written = {"coach.safetensors": own}
    save_file(own, folder / "coach.safetensors")
    adapter = getattr(model.language_model, "peft_config", None)
    if adapter:
        adapter["default"].save_pretrained(str(folder / "adapter"))
        weights: dict[str, Any] = get_peft_model_state_dict(
            model.language_model, state_dict=tuned, adapter_name="default"
        )
        weights = {name: torch.as_tensor(tensor).contiguous() for name, tensor in weights.items()}
        save_file(weights, folder / "adapter" / "adapter_model.safetensors")
        written["adapter/adapter_model.safetensors"] = weights
    elif tuned:
        model.language_model.save_pretrained(folder / "language_model", state_dict=tuned)
    (folder / "coach_config.json").write_text(json.dumps(_config_dict(model.config), indent=2))
    (folder / "run_config.json").write_text(json.dumps(run_config, indent=2, default=str))
    processor.save(folder)
    save_tokenizer(pose_tokenizer, folder / "pose_tokenizer")
    for name, expected in written.items():
        _verify(folder / name, expected)
    write_atomically(folder / COMPLETE, json.dumps({name: (folder / name).stat().st_size for name in written}))


def _config_dict(config: CoachConfig) -> dict[str, Any]:
    content = config.to_dict()
    content["text_config"] = config.text_config.to_dict()
    return content


def _verify(path: Path, expected: dict[str, Tensor]) -> None:
    """Re-opens a written file: key set, shapes, finite values (an empty ZeRO-3 shard would have shape [0])."""
    with safe_open(path, "pt") as file:
        if set(file.keys()) != set(expected):
            raise RuntimeError(f"{path}: wrote {len(expected)} tensors, found {len(file.keys())} after re-opening.")
        for name, tensor in expected.items():
            found = file.get_tensor(name)
            if found.shape != tensor.shape or found.numel() == 0:
                raise RuntimeError(f"{path}: {name} has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}.")
            if not torch.isfinite(found).all():
                raise RuntimeError(
                    f"{path}: {name} holds values that are not finite; training has diverged. Lower the learning rate and resume from an earlier checkpoint."
                )


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a coach whose files are all there with the sizes that were written."""
    path = folder / COMPLETE
    if not path.is_file():
        return False
    sizes = json.loads(path.read_text())
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def last_complete_checkpoint(run: Path) -> Path | None:
    """The newest complete ``checkpoint-N`` of a run; incomplete ones (a crash while saving) are removed."""
    complete = []
    for folder in run.glob("checkpoint-*"):
        if is_complete(folder) and (folder / "trainer_state.json").is_file():
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return max(complete, key=lambda folder: int(folder.name.split("-")[1]), default=None)


def load_trainable(folder: Path, model: CoachForConditionalGeneration) -> None:
    """Loads a checkpoint's trained weights into a model of the same architecture, strictly.

    Raises:
        ValueError: Keys do not match; lists them.
    """
    state = load_file(folder / "coach.safetensors")
    expected = {name for name in model.state_dict() if not name.startswith(_LM)}
    if expected != set(state):
        raise ValueError(
            f"{folder}: missing {sorted(expected - set(state))}, unexpected {sorted(set(state) - expected)}."
        )
    model.load_state_dict(state, strict=False)
    if (folder / "adapter").is_dir():
        weights = load_file(folder / "adapter" / "adapter_model.safetensors")
        result = set_peft_model_state_dict(model.language_model, weights, adapter_name="default")
        lost = [key for key in result.missing_keys if "lora_" in key] + list(result.unexpected_keys)
        if lost:
            raise ValueError(f"{folder / 'adapter'}: these adapter weights do not match the model: {lost[:8]}")


def add_lora(language_model: PreTrainedModel, config: LoraConfig) -> None:
    """Injects LoRA into a language model; the adapter's weights are float32 whatever the base is."""
    inject_adapter_in_model(config, language_model, adapter_name="default")
    language_model.peft_config = {"default": config}  # type: ignore[assignment]
    for name, parameter in language_model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def load_coach(
    folder: Path, device: torch.device, dtype: torch.dtype
) -> tuple[CoachForConditionalGeneration, CoachProcessor, PoseTokenizer]:
    """Opens a trained coach for inference.

    Args:
        folder: A run's ``coach`` folder or any of its checkpoints.
        device: Where to put it.
        dtype: Type of the language model's weights.

    Raises:
        FileNotFoundError: The folder is not a complete coach, or its base model is gone.
        ValueError: The pose tokenizer inside is not the one that the coach was trained with.
    """
    if not is_complete(folder):
        raise FileNotFoundError(
            f"{folder} is not a complete coach ({COMPLETE} is missing or files were cut); point to a run's coach/ or checkpoint-N folder."
        )
    config = CoachConfig(**json.loads((folder / "coach_config.json").read_text()))
    pose_tokenizer = load_tokenizer(folder / "pose_tokenizer")
    if fingerprint(pose_tokenizer) != config.pose_tokenizer:
        raise ValueError(
            f"{folder / 'pose_tokenizer'} was replaced: fingerprint {fingerprint(pose_tokenizer)[:12]}, the coach was trained with {config.pose_tokenizer[:12]}."
        )
    full = folder / "language_model"
    language_model = load_language_model(str(full) if full.is_dir() else config.base_model, dtype, None)
    if (folder / "adapter").is_dir():
        add_lora(language_model, LoraConfig.from_pretrained(folder / "adapter"))  # type: ignore[arg-type]
    model = CoachForConditionalGeneration(config, language_model, pose_tokenizer.quantizer.codebook)
    load_trainable(folder, model)
    processor = CoachProcessor.load(
        folder, config.num_pose_codes, config.pose_tokens_per_frame, config.pose_frames, config.video_tokens
    )
    model.to(device)  # pyright: ignore[reportArgumentType]
    return model.eval().requires_grad_(False), processor, pose_tokenizer
