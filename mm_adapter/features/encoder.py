"""What every frozen video encoder is: frames of a clip become features, and a hash says by which weights."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of a pixel's channels from 0 to 1."""


class EncoderConfig(Protocol):
    """What has to be known of an encoder without its weights. Implementations are dataclasses of JSON."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def frames(self) -> int:
        """Frames of a clip (T)."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels."""
        ...

    @property
    def antialias(self) -> bool:
        """Whether frames are antialiased where they are made smaller."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """What is taken from a pixel's channels from 0 to 1."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """What they are then divided by."""
        ...

    @property
    def steps(self) -> int:
        """Moments that tokens stand for: frames, or pairs of them."""
        ...

    @property
    def width(self) -> int:
        """Width of a token (D)."""
        ...

    @property
    def pooled_dim(self) -> int:
        """Width of the output ``pooled``."""
        ...

    @property
    def pooling(self) -> bool:
        """Whether there is an output ``pooled``."""
        ...


class VideoEncoder(nn.Module, ABC):
    """A frozen encoder."""

    config: EncoderConfig

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def use_attention(self, kind: str) -> None:
        """Chooses the attention kernel.

        Args:
            kind: ``sdpa``, the default; others where an encoder has them.

        Raises:
            ValueError: This encoder has no such kernel.
        """
        if kind != "sdpa":
            raise ValueError(f"{type(self).__name__} has no attention {kind!r}; use --attention sdpa.")

    @abstractmethod
    def forward(self, video: Tensor, grid: int) -> dict[str, Tensor]:
        """Encodes clips.

        Args:
            video: ``[B, 3, T, H, W]``, from `mm_adapter.features.preprocessing.normalise`.
            grid: g; the patches of every moment are averaged to a g×g grid.

        Returns:
            ``tokens`` ``[B, steps·g·g, D]``, layer-normalised, and ``pooled`` ``[B, P]`` where there is pooling. Both fp32.
        """


def encoder_hash(encoder: VideoEncoder, dtype: torch.dtype | None = None) -> str:
    """Computes a hash over configuration and weights, in the type they are used in.

    Args:
        encoder: Video encoder; not changed.
        dtype: Type in which the weights are hashed; by default their own.

    Returns:
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(asdict(encoder.config), sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        if dtype is not None and value.is_floating_point():  # as `Module.to` does
            value = value.to(dtype)
        digest.update(f"{name} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
