"""Hands a video file to the coach as it came: frames are chosen where the encoder is known, as in feature extraction.

vLLM picks this loader for models whose folder names `VIDEO_PROCESSOR` as its video processor; others keep theirs.
"""

from typing import Any

import numpy as np
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

from mm_adapter.export.read import VIDEO_PROCESSOR


@VIDEO_LOADER_REGISTRY.register("mm_coach", video_processor=VIDEO_PROCESSOR)
class UndecodedVideo(VideoLoader):
    """Loader of vLLM's registry."""

    @classmethod
    def load_bytes(cls, data: bytes, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """The file's bytes ``[N]`` uint8."""
        return np.frombuffer(data, np.uint8), {}
