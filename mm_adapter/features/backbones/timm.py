"""Networks of timm, which sees one frame at a time (timm and torchvision have to be installed)."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mm_adapter.features.backbones.backbone import BackboneConfig

LIBRARY = "timm"
_FRAMES = 8
_LONGEST_REASON = 300  # characters: a file that does not fit has all its keys in it


class TimmNetwork(nn.Module):
    """A network without its classifier.

    Args:
        model: timm's model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns tokens ``[N, n, D]``, or maps ``[N, D, h, w]``."""
        out = self.model.forward_features(pixels)
        channels_last = out.ndim == 4 and out.shape[1] != self.model.num_features  # Swin's maps
        return out.permute(0, 3, 1, 2) if channels_last else out


def read_backbone(
    name: str, frames: int | None, image_size: int | None, weights: Path | None = None
) -> tuple[BackboneConfig, nn.Module]:
    """Opens a network and reads what it was trained to see.

    Args:
        name: timm's name of the network, such as ``vit_small_patch14_dinov2.lvd142m``.
        frames: Frames of a clip; by default 8.
        image_size: Pixels along a side; None takes the network's.
        weights: File of its weights; None takes those that timm downloads.

    Returns:
        The configuration, whose width has to be measured, and the network.

    Raises:
        ModuleNotFoundError: timm is not installed, or does not load.
        ValueError: timm knows no such network, or the file does not fit it.
    """
    timm = _library()
    sized = {} if image_size is None else {"img_size": image_size}
    given = {"checkpoint_path": str(weights)} if weights else {}
    given |= {"pretrained": weights is None, "num_classes": 0}
    try:
        try:
            model = timm.create_model(name, **given, **sized)
        except TypeError:  # convolutions take any size and are told none
            sized = {}
            model = timm.create_model(name, **given)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ValueError(f"timm cannot open {name}{f' with {weights}' if weights else ''}: {reason}") from error
    seen = timm.data.resolve_model_data_config(model)
    size = image_size or seen["input_size"][-1]
    architecture = {"name": name, **sized}
    return BackboneConfig(LIBRARY, architecture, frames or _FRAMES, size, seen["mean"], seen["std"]), TimmNetwork(model)


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Builds a network without its weights."""
    settings = dict(architecture)
    return TimmNetwork(_library().create_model(settings.pop("name"), num_classes=0, **settings))


def _library() -> Any:
    try:
        import timm  # type: ignore[import-not-found]
    except (ImportError, RuntimeError) as error:  # torchvision of another torch raises the latter
        raise ModuleNotFoundError(f"timm does not load here ({error}); pip install timm torchvision.") from error
    return timm
