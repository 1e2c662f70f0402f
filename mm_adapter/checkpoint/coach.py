"""One function writes a coach, one reads it; a folder is complete and verified, or it is not a checkpoint.

Layout: ``coach_config.json``, ``coach.safetensors`` (mappers and pose rows), ``adapter/`` (peft format, with LoRA) or
``language_model/`` (full fine-tuning), the processor's tokenizer files, ``pose_tokenizer/``, and ``complete.json``
(`seal`), which is written last. Checkpoints of a run also hold the trainer's, the optimizer's (`checkpoint.optimizer`) and
the random generators' state.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mm_adapter.checkpoint.folders import own_checkpoints, unfinished
from mm_adapter.checkpoint.public_names import BASES, without_places
from mm_adapter.checkpoint.run_record import differences, read_run_record
from mm_adapter.checkpoint.seal import COMPLETE, EXPORT_RECORD, is_for_loaders, problems, read_manifest, seal, unseal
from mm_adapter.distributed import whole_parameter
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig, read_config
from mm_adapter.model.language_model import find_base_model, load_language_model
from mm_adapter.model.lora import add_lora
from mm_adapter.model.processor import CoachProcessor
from mm_data.ground.safe_load import read_json
from mm_data.tasks.coaching import shows_poses
from mm_tokenizers import PoseTokenizer, fingerprint, load_tokenizer, save_tokenizer

logger = logging.getLogger(__name__)

_LM = "language_model."
_MUST_MATCH_TO_RESUME = (
    "base_model_fingerprint", "quantization", "mode", "first_pose_id", "num_pose_codes", "pose_tokens_per_frame",
    "pose_frames", "pose_input", "pose_form", "pose_tokenizer", "video_tokens", "video_width", "video_encoder", "views",
)  # fmt: skip
_TRAINING_STATE = ("optimizer*", "scheduler.pt", "rng_state*", "trainer_state.json")


def trainable_state(model: CoachModel, keep: bool = True) -> dict[str, Tensor]:
    """CPU copies of the trainable parameters. Collective: every rank calls it.

    Args:
        model: The live model.
        keep: Whether this rank needs them; the others get nothing.

    Returns:
        Parameter name to its value.
    """
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            value = whole_parameter(parameter)
            if keep:
                state[name] = value.to("cpu").contiguous()
    return state


def write_coach(
    folder: Path,
    model: CoachModel,
    state: dict[str, Tensor],
    processor: CoachProcessor,
    pose_tokenizer: PoseTokenizer,
    run_config: dict[str, Any],
) -> None:
    """Writes a coach's files and reads them back. `seal` makes the folder complete.

    Args:
        folder: Folder of the coach; written files replace older ones.
        model: Live model, for its configuration and adapter settings.
        state: Weights that `trainable_state` collected.
        processor: Processor of the coach.
        pose_tokenizer: The frozen tokenizer whose fingerprint the configuration carries.
        run_config: The resolved configuration of the run.

    Raises:
        RuntimeError: What was written is not what was meant to be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unseal(folder)
    new_parts = {name: tensor for name, tensor in state.items() if not name.startswith(_LM)}
    tuned = {name.removeprefix(_LM): tensor for name, tensor in state.items() if name.startswith(_LM)}
    written = {"coach.safetensors": new_parts}
    save_file(new_parts, folder / "coach.safetensors")
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
        for file in _visible(folder / "language_model"):
            written[f"language_model/{file.name}"] = {name: tuned[name] for name in safe_open(file, "pt").keys()}  # noqa: SIM118
        if lost := set(tuned) - {name for file in written.values() for name in file}:
            raise RuntimeError(
                f"{folder / 'language_model'}: {len(lost)} tensors were not written, such as {min(lost)}."
            )
    config = model.config.to_dict() | {"text_config": model.config.text_config.to_dict()}
    (folder / "coach_config.json").write_text(json.dumps(config, indent=2))
    (folder / "run_config.json").write_text(json.dumps(run_config, indent=2, default=str))
    processor.tokenizer.save_pretrained(folder)
    save_tokenizer(pose_tokenizer, folder / "pose_tokenizer")
    for name, expected in written.items():
        _verify(folder / name, expected)


def _verify(path: Path, expected: dict[str, Tensor]) -> None:
    """Re-opens a written file: key set, shapes (an empty ZeRO-3 shard would have shape [0]), values."""
    with safe_open(path, "pt") as file:
        if set(file.keys()) != set(expected):
            raise RuntimeError(f"{path}: wrote {len(expected)} tensors, found {len(file.keys())} after re-opening.")
        for name, tensor in expected.items():
            written = file.get_tensor(name)
            if written.shape != tensor.shape or written.numel() == 0:
                raise RuntimeError(f"{path}: {name} has shape {tuple(written.shape)}, expected {tuple(tensor.shape)}.")
            if problem := weight_problem(name, written):
                raise RuntimeError(
                    f"{path}: {problem}; training has diverged. Lower the learning rate and resume from an earlier checkpoint."
                )


def weight_problem(name: str, tensor: Tensor) -> str | None:
    """What is wrong with a trained tensor, or None. Only biases and LoRA's B, which starts at zero, may be all zero."""
    if not torch.isfinite(tensor).all():
        return f"{name} holds values that are not finite"
    if not tensor.any() and not name.endswith(".bias") and "lora_B" not in name:
        return f"{name} is all zero"
    return None


def last_complete_checkpoint(run: Path, identity: str | None = None) -> Path | None:
    """Finds the newest ``checkpoint-N`` that a run wrote and whose files are all as they were written.

    Those that a crash cut short while this run wrote them are removed; complete ones that were damaged later are passed
    over aloud and kept. Folders, links and files that this run did not write are left alone.

    Args:
        run: The run's folder.
        identity: Identity of the run (`run_record.run_record`); by default the one in its record.

    Returns:
        The checkpoint's folder, or None.
    """
    identity = identity or read_run_record(run).get("identity")
    for folder in reversed(own_checkpoints(run, identity)):
        if unfinished(folder):
            logger.warning("%s was cut short while it was written and is removed", folder)
            shutil.rmtree(folder)
        elif (folder / COMPLETE).is_file():
            if not (damage := problems(folder, everything=True)):
                return folder
            logger.warning("%s is damaged and passed over: %s", folder, "; ".join(damage))
    return None


def check_same_coach(checkpoint: Path, config: CoachConfig) -> None:
    """Makes sure that a run that goes on builds the same coach from the same parts.

    Args:
        checkpoint: Checkpoint that the run goes on from.
        config: Configuration of the coach that was built.

    Raises:
        ValueError: Another base model, pose tokenizer, video encoder or architecture; lists old and new values.
    """
    begun = json.loads((checkpoint / "coach_config.json").read_text())
    if changed := differences(begun, {name: getattr(config, name) for name in _MUST_MATCH_TO_RESUME}):
        raise ValueError(f"{checkpoint} cannot go on with other parts: {'; '.join(changed)}.")


def copy_coach(checkpoint: Path, folder: Path) -> None:
    """Makes a coach of a run's checkpoint: everything but the state of the training."""
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(*_TRAINING_STATE, COMPLETE), dirs_exist_ok=True)
    seal(folder, step=read_manifest(checkpoint)["step"])


def load_trainable(folder: Path, model: CoachModel, new_parts_only: bool = False) -> None:
    """Loads a checkpoint's trained weights into a model of the same architecture, strictly.

    Args:
        folder: A complete coach or checkpoint.
        model: Model of the same architecture.
        new_parts_only: Leave out what it holds of the language model; for a stage that trains other parts of it.

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
    if new_parts_only:
        return
    if (folder / "adapter" / "adapter_config.json").is_file():
        weights = load_file(folder / "adapter" / "adapter_model.safetensors")
        result = set_peft_model_state_dict(model.language_model, weights, adapter_name="default")
        lost = [key for key in result.missing_keys if "lora_" in key] + list(result.unexpected_keys)
        if lost:
            raise ValueError(f"{folder / 'adapter'}: these adapter weights do not match the model: {lost[:8]}")
    full = folder / "language_model"
    missing = dict(model.language_model.named_parameters()).keys() if (full / "config.json").is_file() else set()
    for file in _visible(full):
        weights = load_file(file)
        if unknown := model.language_model.load_state_dict(weights, strict=False).unexpected_keys:
            raise ValueError(f"{file}: these weights do not match the model: {unknown[:8]}")
        missing = missing - weights.keys()
    if missing:
        raise ValueError(f"{full}: {len(missing)} weights are missing, such as {min(missing)}.")


def _visible(folder: Path) -> list[Path]:
    """A folder's weights, without what a desktop leaves beside each file (``._model.safetensors``)."""
    return sorted(path for path in folder.glob("*.safetensors") if is_for_loaders(path.name))


def coach_folder(name: str | Path, revision: str | None = None) -> Path:
    """Finds the folder that a coach's name stands for, and fetches it from the Hugging Face Hub where it is none.

    Args:
        name: Folder or name on the Hub.
        revision: Branch, tag or commit on the Hub.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: It is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(str(name), revision=revision))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a coach on the Hugging Face Hub.") from error


def copy_for_everybody(folder: Path, public: Path) -> None:
    """Copies a coach with names in the place of local paths, sealed anew; it opens where its base model is."""
    private = shutil.ignore_patterns(*_TRAINING_STATE, "training_args.bin", COMPLETE, ".*")
    shutil.copytree(folder, public, ignore=private)
    for path in public.rglob("*.json"):
        content = read_json(path, "")
        public_content = without_places(content, only=None if path.name == "run_config.json" else BASES)
        if public_content != content:
            path.write_text(json.dumps(public_content, indent=2))
    seal(public, **{key: value for key, value in read_manifest(folder).items() if key == "step"})


@dataclass(frozen=True)
class SavedCoach:
    """A trained coach as it is saved: a model, a processor and a pose tokenizer that belong together.

    Attributes:
        model: Network in evaluation mode.
        processor: Processor that renders conversations for it.
        pose_tokenizer: Frozen tokenizer of the pose tokens.
        run_config: Resolved configuration of the run that trained it.
    """

    model: CoachModel
    processor: CoachProcessor
    pose_tokenizer: PoseTokenizer
    run_config: dict[str, Any]

    @property
    def can_demonstrate(self) -> bool:
        """Whether it was trained on more than commentary."""
        return shows_poses(self.formats)

    @property
    def formats(self) -> list[str] | None:
        """ExpertAF's formats that it was trained in; none for a coach of other tasks alone."""
        return self.run_config.get("formats", self.run_config.get("coach", {}).get("formats"))

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        base_model: str | Path | None = None,
    ) -> "SavedCoach":
        """Opens a coach.

        Args:
            name: A run's ``coach`` folder, any of its checkpoints, or a name on the Hugging Face Hub.
            device: Device of the model.
            dtype: Type of the language model's weights.
            revision: Branch, tag or commit on the Hub.
            base_model: Folder or name on the Hub of the language model that it was trained on; by default
                `language_model.find_base_model` looks for it.

        Returns:
            The coach.

        Raises:
            FileNotFoundError: The folder is not a complete coach, or its base model is not here.
            ValueError: Files were changed since they were written, the base model is another one than in training, or the
                pose tokenizer is not the one that the coach was trained with.
        """
        folder = coach_folder(name, revision)
        if changed := problems(folder, everything=False):
            raise ValueError(f"{folder} is damaged: {'; '.join(changed)}. Use another checkpoint.")
        if (folder / EXPORT_RECORD).is_file():
            raise ValueError(f"{folder} is an export; give the coach that it was made of, or serve it.")
        config = read_config(folder)
        pose_tokenizer = load_tokenizer(folder / "pose_tokenizer")
        if fingerprint(pose_tokenizer) != config.pose_tokenizer:
            raise ValueError(
                f"{folder / 'pose_tokenizer'} was replaced: fingerprint {fingerprint(pose_tokenizer)[:12]}, the coach was trained with {config.pose_tokenizer[:12]}."
            )
        full = folder / "language_model"
        if (full / "config.json").is_file():
            language_model = load_language_model(str(full), dtype)
        else:
            base = find_base_model(config.base_model, config.base_model_fingerprint, folder, base_model)
            language_model = load_language_model(base, dtype, config.quantization)
        if (folder / "adapter" / "adapter_config.json").is_file():
            add_lora(language_model, LoraConfig.from_pretrained(folder / "adapter"))  # type: ignore[arg-type]
        model = CoachModel(config, language_model, pose_tokenizer.quantizer.codebook)
        load_trainable(folder, model)
        model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
        processor = CoachProcessor.load(folder, config)
        run_config = read_json(folder / "run_config.json", "the folder is not a whole coach.")
        return cls(model.eval().requires_grad_(False), processor, pose_tokenizer, run_config)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a folder that `from_pretrained` opens."""
        adapted, full = self.model.config.mode == "lora", self.model.config.mode == "full"
        state = {
            name: parameter.detach().to("cpu")
            for name, parameter in self.model.named_parameters()
            if not name.startswith(_LM) or full or (adapted and "lora_" in name)
        }
        write_coach(Path(folder), self.model, state, self.processor, self.pose_tokenizer, self.run_config)
        seal(Path(folder))

    def push_to_hub(self, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
        """Uploads the coach to the Hugging Face Hub, creating the repository where needed; returns its address."""
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload_coach(Path(folder), repo_id, private, token)


def upload_coach(folder: Path, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Uploads a coach's folder to the Hugging Face Hub, without local paths and creating the repository where needed.

    Args:
        folder: Folder of the coach.
        repo_id: Name of the repository, ``owner/name``.
        private: Whether a new repository is private; None is the account's default.
        token: Access token of the Hub.

    Returns:
        The address of the upload.
    """
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    with TemporaryDirectory() as place:
        public = Path(place) / "coach"
        copy_for_everybody(folder, public)
        return str(api.upload_folder(repo_id=repo_id, folder_path=public, commit_message="Upload coach"))
