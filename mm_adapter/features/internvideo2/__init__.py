"""InternVideo2: the frozen video encoder of the paper, and its published files."""

from mm_adapter.features.internvideo2.modeling import PRESETS, InternVideo2, InternVideo2Config
from mm_adapter.features.internvideo2.weights import build_encoder, load_published

__all__ = [
    "PRESETS",
    "InternVideo2",
    "InternVideo2Config",
    "build_encoder",
    "load_published",
]
