"""What InternVideo2 sees of a frame: a direct bicubic resize and ImageNet statistics (`systems.md` §2.5).

Aspect is not kept and nothing is cropped. The resize equals the training code's, torchvision's on uint8 tensors of that
time: cubic convolution with a = -0.75, no antialiasing, rounded back to uint8. (The published demo resizes bilinearly.)
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resize_frames(frames: np.ndarray, size: int) -> Tensor:
    """RGB frames ``[T, H, W, 3]`` uint8 to ``[3, T, size, size]`` uint8."""
    resized = []
    for frame in frames:  # one by one: a 4K frame is 100 MB in fp32
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, size=(size, size), mode="bicubic", align_corners=False)
        resized.append(image[0].clamp(0, 255).round().to(torch.uint8))
    return torch.stack(resized, dim=1)


def normalise(video: Tensor) -> Tensor:
    """``[B, 3, T, size, size]`` uint8 to fp32 with ImageNet's mean and standard deviation."""
    mean, std = (video.new_tensor(values, dtype=torch.float32).view(1, 3, 1, 1, 1) for values in (MEAN, STD))
    return (video.float() / 255 - mean) / std
