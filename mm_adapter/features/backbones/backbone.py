"""A network of another library as a video encoder: its tokens, whatever their layout, on one grid per moment."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_adapter.features.encoder import VideoEncoder

_MOST_EXTRA = 16  # class and register tokens before the patches


@dataclass(frozen=True)
class BackboneConfig:
    """What a network is built from and how it sees a clip.

    Attributes:
        library: Key of `mm_adapter.features.encoders.LIBRARIES`.
        architecture: What the library builds the network from, as JSON.
        frames: Frames of a clip (T).
        image_size: Height and width of a frame in pixels.
        mean: What is taken from a pixel's channels from 0 to 1.
        std: What they are then divided by.
        width: Width of a token (D).
        frames_per_step: Frames that a network for videos joins into one moment; 0 for a network that sees one frame at a time.
    """

    library: str
    architecture: dict[str, Any]
    frames: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width: int = 0
    frames_per_step: int = 0
    antialias: bool = True

    @property
    def steps(self) -> int:
        """Moments that tokens stand for."""
        return self.frames // (self.frames_per_step or 1)

    @property
    def pooled_dim(self) -> int:
        """There is no output ``pooled``: a mean over tokens is what a grid of 1 gives."""
        return 0

    @property
    def pooling(self) -> bool:
        """There is none."""
        return False


class Backbone(VideoEncoder):
    """A frozen network.

    Args:
        config: How it sees a clip.
        network: Called with pictures ``[N, 3, H, W]`` or, where it sees videos, with ``[B, T, 3, H, W]``; returns tokens ``[·, n, D]``
            with class and register tokens before the patches, or maps ``[·, D, h, w]``.
    """

    config: BackboneConfig

    def __init__(self, config: BackboneConfig, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network

    def forward(self, video: Tensor, grid: int) -> dict[str, Tensor]:
        """Encodes clips; see `VideoEncoder.forward`.

        Args:
            video: ``[B, 3, T, H, W]``.
            grid: g.

        Returns:
            ``tokens`` ``[B, steps·g·g, D]`` in fp32: layer-normalised without weights, then averaged.

        Raises:
            ValueError: The network's tokens are no square grid.
        """
        clips = video.transpose(1, 2).to(next(self.network.parameters()).dtype)  # [B, T, 3, H, W]
        if self.config.frames_per_step:
            maps = patch_maps(self.network(clips), self.config.steps)
        else:
            maps = patch_maps(self.network(clips.flatten(0, 1)), 1).unflatten(0, (len(clips), -1)).flatten(1, 2)
        normed = F.layer_norm(maps.float(), maps.shape[-1:])  # [B, steps, h, w, D]
        pooled = F.adaptive_avg_pool2d(normed.flatten(0, 1).permute(0, 3, 1, 2), grid)  # [B·steps, D, g, g]
        return {"tokens": pooled.flatten(2).transpose(1, 2).unflatten(0, (len(clips), -1)).flatten(1, 2)}


def patch_maps(out: Tensor, steps: int) -> Tensor:
    """Brings what a network returns to ``[B, steps, h, w, D]``.

    Args:
        out: Maps ``[B, D, h, w]`` of one moment, or tokens ``[B, n, D]``: some of the whole clip, then a square of patches for every moment.
        steps: Number of moments.

    Returns:
        The patches on their grid.

    Raises:
        ValueError: The tokens are no square of patches for every moment.
    """
    if out.ndim == 4:
        return out.permute(0, 2, 3, 1)[:, None]
    side = math.isqrt(out.shape[1] // steps) if out.ndim == 3 else 0
    extra = out.shape[1] - steps * side**2 if out.ndim == 3 else -1
    if side < 1 or not 0 <= extra <= _MOST_EXTRA:
        raise ValueError(
            f"The network returns {tuple(out.shape)}, which is no square of patches for each of {steps} moments; "
            "networks with other outputs cannot be used."
        )
    return out[:, extra:].unflatten(1, (steps, side, side))


@torch.inference_mode()
def measured_width(encoder: Backbone) -> int:
    """Returns the width of a network's tokens, which a blank clip tells."""
    config = encoder.config
    blank = torch.zeros(1, 3, config.frames, config.image_size, config.image_size)
    return encoder(blank, 1)["tokens"].shape[-1]
