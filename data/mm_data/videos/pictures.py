"""Frames of a clip as pictures in a message to a vision-language model."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mm_data.videos.frames import iterate_frames, middle_times

_JPEG_QUALITY = 90


def clip_pictures(video: Path, start: float, stop: float, count: int, size: int) -> Iterator[dict[str, Any]]:
    """Makes content parts of evenly spaced frames.

    Args:
        video: The file.
        start: First second.
        stop: End in seconds.
        count: Number of frames.
        size: Most pixels along the longer side.

    Yields:
        One part after the other.

    Raises:
        FileNotFoundError: No such video.
        VideoError: It cannot be read.
    """
    for frame in iterate_frames(video, middle_times(start, stop, count)):
        image, buffer = Image.fromarray(frame), io.BytesIO()
        image.thumbnail((size, size))
        image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        address = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        yield {"type": "image_url", "image_url": {"url": address}}
