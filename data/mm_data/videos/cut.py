"""Cuts a stretch out of a video as an mp4 that browsers play."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mm_data.ground.files import replacing
from mm_data.videos.frames import iterate_frames

_HEIGHT = 480  # what a page shows


def cut_video(path: Path, start: float, stop: float, out: Path, fps: int = 30) -> None:
    """Writes the frames between two times, upright, at a constant rate and at most 480 pixels high, without sound.

    Args:
        path: The video.
        start: First second.
        stop: End in seconds, exclusive.
        out: ``.mp4``; written at once or not at all.
        fps: Frames per second.

    Raises:
        FileNotFoundError: No such video.
        VideoError: The video cannot be read, or ends before ``stop``.
    """
    times = start + (np.arange(max(1, round((stop - start) * fps))) + 0.5) / fps
    settings = {"movflags": "faststart"}
    with replacing(out) as partial, av.open(str(partial), "w", format="mp4", options=settings) as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, fps)
        for number, image in enumerate(iterate_frames(path, times)):
            if number == 0:
                scale = min(1.0, _HEIGHT / image.shape[0])
                stream.width, stream.height = (2 * round(scale * side / 2) for side in image.shape[1::-1])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
