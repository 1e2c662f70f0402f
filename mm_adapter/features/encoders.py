"""Finds the video encoder that a name stands for: InternVideo2's sizes, or a network of another library."""

from pathlib import Path
from typing import Any

import torch

from mm_adapter.features.backbones import efficientnet_lite, huggingface, timm
from mm_adapter.features.backbones.backbone import Backbone, BackboneConfig, measured_width
from mm_adapter.features.encoder import EncoderConfig, VideoEncoder
from mm_adapter.features.internvideo2 import PRESETS, InternVideo2, InternVideo2Config
from mm_adapter.features.internvideo2 import build_encoder as build_internvideo2

LIBRARIES = {library.LIBRARY: library for library in (huggingface, timm, efficientnet_lite)}
"""Name of a library to the module that opens its networks."""


def open_encoder(
    name: str,
    weights: Path | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    random_weights: bool = False,
) -> tuple[VideoEncoder, str]:
    """Opens a frozen encoder.

    Args:
        name: A size of InternVideo2 (tiny, S, B, L, 1B, 6B), ``transformers:NAME_OR_FOLDER``, ``timm:NAME``, or ``efficientnet-lite0``.
        weights: File of the weights: InternVideo2's published ones, or a network's of timm.
        frames: Frames per clip (T); None takes those that the weights were trained with, or 8 where they see one frame at a time.
        image_size: Pixels along a side; None takes those that the weights were trained with.
        dtype: Type of the weights.
        random_weights: Whether a published size of InternVideo2 may have random weights, to try out speed and memory.

    Returns:
        The encoder, and a name that says which weights it has.

    Raises:
        FileNotFoundError: No such file or folder.
        ModuleNotFoundError: The library is not installed.
        ValueError: Unknown name, no weights, or weights that do not fit.
    """
    kind, _, rest = name.partition(":")
    if name in PRESETS:
        return build_internvideo2(name, weights, frames, image_size, dtype, random_weights=random_weights)
    if name == efficientnet_lite.NAME:
        kind, rest = efficientnet_lite.LIBRARY, name
    elif kind not in (huggingface.LIBRARY, timm.LIBRARY) or not rest:
        raise ValueError(
            f"Unknown video encoder {name!r}; choose one of {', '.join(PRESETS)}, {efficientnet_lite.NAME}, "
            "transformers:NAME_OR_FOLDER or timm:NAME."
        )
    if random_weights or (weights is not None and kind != timm.LIBRARY):
        flag = "--random-weights" if random_weights else "--weights"
        raise ValueError(f"{flag} does not go with {name}, whose weights come with its name; leave it out.")
    if frames is not None and frames < 1:
        raise ValueError(f"{frames} frames per clip; at least 1 is needed.")
    given = {"weights": weights} if kind == timm.LIBRARY else {}
    config, network = LIBRARIES[kind].read_backbone(rest, frames, image_size, **given)
    label = f"{kind}:{Path(rest).name}" if Path(rest).is_dir() else name
    encoder = _frozen(Backbone(_measured(Backbone(config, network.eval()), name), network))
    return encoder.to(dtype), f"{label} ({weights.name})" if weights else label


def name_without_weights(made_by: str) -> str | None:
    """Returns the name by which `open_encoder` opens the encoder of a coach's features; None for one that needs a file or folder too.

    Args:
        made_by: Name and hash of the encoder, as a coach keeps them.
    """
    label = made_by.rpartition(" ")[0]
    return {efficientnet_lite.NAME: efficientnet_lite.NAME, "InternVideo2-tiny (random weights)": "tiny"}.get(label)


def read_encoder_config(entry: dict[str, Any]) -> InternVideo2Config | BackboneConfig:
    """Reads what `dataclasses.asdict` made of an encoder's configuration, from JSON."""
    if "library" not in entry:
        return InternVideo2Config(**entry)
    return BackboneConfig(**{**entry, "mean": tuple(entry["mean"]), "std": tuple(entry["std"])})


def empty_encoder(config: EncoderConfig) -> VideoEncoder:
    """Builds an encoder for weights that are loaded into it."""
    if isinstance(config, InternVideo2Config):
        return InternVideo2(config)
    assert isinstance(config, BackboneConfig)
    return Backbone(config, LIBRARIES[config.library].build_network(config.architecture))


def _measured(encoder: Backbone, name: str) -> BackboneConfig:
    """The encoder's configuration with the width of its tokens, which shows whether it takes such clips at all."""
    config = encoder.config
    try:
        width = measured_width(encoder)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{name} does not take {config.frames} frames of {config.image_size} pixels ({reason}); "
            "leave --frames and --image-size out, or choose others."
        ) from error
    return BackboneConfig(**{**vars(config), "width": width})


def _frozen(encoder: VideoEncoder) -> VideoEncoder:
    return encoder.eval().requires_grad_(False)
