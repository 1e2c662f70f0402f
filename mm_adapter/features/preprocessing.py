"""What a frozen encoder sees of a frame: a direct bicubic resize and its own statistics. Aspect is not kept and nothing is cropped.

InternVideo2's resize equals its training code's, torchvision's on uint8 tensors of that time (`systems.md` §2.5): cubic convolution with
a = -0.75, no antialiasing, rounded back to uint8. (The published demo resizes bilinearly.) Other encoders' frames are antialiased, as
Pillow does it, in which they were trained.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_adapter.features.encoder import EncoderConfig


def resize_frames(frames: np.ndarray, config: EncoderConfig) -> Tensor:
    """RGB frames ``[T, H, W, 3]`` uint8 to ``[3, T, size, size]`` uint8."""
    side = (config.image_size, config.image_size)
    resized = []
    for frame in frames:  # one by one: a 4K frame is 100 MB in fp32
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, size=side, mode="bicubic", align_corners=False, antialias=config.antialias)
        resized.append(image[0].clamp(0, 255).round().to(torch.uint8))
    return torch.stack(resized, dim=1)


def normalise(video: Tensor, config: EncoderConfig) -> Tensor:
    """``[B, 3, T, size, size]`` uint8 to fp32 with the mean and standard deviation that the encoder was trained with."""
    mean, std = (video.new_tensor(v, dtype=torch.float32).view(1, 3, 1, 1, 1) for v in (config.mean, config.std))
    return (video.float() / 255 - mean) / std
