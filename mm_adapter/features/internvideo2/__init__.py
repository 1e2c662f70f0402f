"""InternVideo2: the frozen video encoder, its published files, and what it sees of a frame."""

from mm_adapter.features.internvideo2.modeling import PRESETS, InternVideo2, InternVideo2Config, encoder_hash
from mm_adapter.features.internvideo2.preprocessing import normalise, resize_frames
from mm_adapter.features.internvideo2.weights import build_encoder, load_published

__all__ = [
    "PRESETS",
    "InternVideo2",
    "InternVideo2Config",
    "build_encoder",
    "encoder_hash",
    "load_published",
    "normalise",
    "resize_frames",
]
