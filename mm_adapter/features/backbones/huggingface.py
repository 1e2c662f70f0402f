"""Networks of transformers: V-JEPA 2 and VideoMAE see videos; CLIP, SigLIP, DINOv2 and 3, ViT, ResNet and others see one frame at a time."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from mm_adapter.features.backbones.backbone import BackboneConfig
from mm_data.ground.safe_load import read_json

LIBRARY = "transformers"
FRAMES = 8
"""Frames of a clip where a network sees one at a time."""
_SEE_VIDEOS = {"vjepa2": ("frames_per_clip", "crop_size"), "videomae": ("num_frames", "image_size")}
"""Type of model to what its configuration calls the number of frames and their size."""
_PREPROCESSING = ("video_preprocessor_config.json", "preprocessor_config.json")


class HuggingFaceNetwork(nn.Module):
    """The vision part of a model of transformers.

    Args:
        model: The model.
        sees_videos: Whether it is shown clips instead of pictures.
    """

    def __init__(self, model: PreTrainedModel, sees_videos: bool) -> None:
        super().__init__()
        self.model = model
        self._further = {"skip_predictor": True} if model.config.model_type == "vjepa2" else {}
        name = "pixel_values_videos" if model.config.model_type == "vjepa2" else "pixel_values"
        self._name = name if sees_videos else "pixel_values"

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the last hidden state of pictures or clips."""
        return self.model(**{self._name: pixels}, **self._further).last_hidden_state


def read_backbone(name: str, frames: int | None, image_size: int | None) -> tuple[BackboneConfig, nn.Module]:
    """Reads a model and what it was trained to see.

    Args:
        name: Folder, or name on the Hub.
        frames: Frames of a clip; None takes the model's, or 8.
        image_size: Pixels along a side; None takes the model's.

    Returns:
        The configuration, whose width has to be measured, and the network.

    Raises:
        FileNotFoundError: No such folder, or the files that say what the model sees are missing.
        ValueError: The files are none of a model, or the model sees pictures of several sizes at a time.
    """
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise FileNotFoundError(
            f"{name} does not exist; give the folder of a model of transformers, or its name on the Hub."
        )
    try:
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"transformers cannot open {name} ({reason}); give a model's folder or its name on the Hub."
        ) from error
    model = getattr(model, "vision_model", model)
    mean, std = _statistics(name)
    config = model.config
    of_frames, of_size = _SEE_VIDEOS.get(config.model_type, ("", "image_size"))
    size = image_size or getattr(config, of_size, None) or 224
    if not isinstance(size, int):
        raise ValueError(f"{name} sees pictures of {size} pixels; square ones are needed.")
    known = BackboneConfig(
        LIBRARY,
        _described(config),
        frames or (getattr(config, of_frames) if of_frames else FRAMES),
        size,
        mean,
        std,
        frames_per_step=config.tubelet_size if of_frames else 0,
    )
    if known.frames_per_step and known.frames % known.frames_per_step:
        raise ValueError(f"{name} sees {known.frames_per_step} frames at a time; {known.frames} is no multiple of it.")
    return known, HuggingFaceNetwork(model, bool(of_frames))


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Builds a network without its weights."""
    config = AutoConfig.for_model(**architecture)
    model = AutoModel.from_config(config)
    return HuggingFaceNetwork(getattr(model, "vision_model", model), config.model_type in _SEE_VIDEOS)


def _described(config: PreTrainedConfig) -> dict[str, Any]:
    """A configuration as JSON, without what says where it came from or which version wrote it: hashes are over it."""
    content = config.to_diff_dict()
    return {
        name: value
        for name, value in content.items()
        if name not in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    } | {"model_type": config.model_type}


def _statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation that a model's preprocessing subtracts and divides by."""
    for file in _PREPROCESSING:
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            content = read_json(Path(path), "download the model again.")
            content = content.get("image_processor", content)
            if content.get("do_normalize", True) and {"image_mean", "image_std"} <= content.keys():
                mean, std = content["image_mean"], content["image_std"]
                return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
    raise FileNotFoundError(
        f"{name} has no {' or '.join(_PREPROCESSING)} with image_mean and image_std, which say what the model was trained to see; "
        "download it beside the weights."
    )
