"""Reads frames of a clip from a video file by time (PyAV)."""

from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError


class VideoError(ValueError):
    """A video that cannot give the frames that were asked for; the message names the file and what to do."""


def middle_times(start: float, stop: float, num_frames: int) -> np.ndarray:
    """Middles of ``num_frames`` equal intervals of ``[start, stop]``, in seconds (InternVideo2's 'middle' sampling)."""
    edges = np.linspace(start, stop, num_frames + 1)
    return (edges[:-1] + edges[1:]) / 2


def read_duration(path: Path) -> float:
    """Length of the video stream in seconds.

    Raises:
        FileNotFoundError: No such file.
        VideoError: Not a video, or one that does not say how long it is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Video {path} does not exist.")
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None and stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            if stream is not None and container.duration is not None:
                return container.duration / av.time_base
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened ({error}); export it again as an mp4.") from error
    raise VideoError(f"{path}: has no video stream of a known length; export it again as an mp4.")


def read_frames(path: Path, times: np.ndarray) -> np.ndarray:
    """Frames shown at the given times.

    Decoding starts at the key frame before the first time and stops after the last.

    Args:
        path: Video file.
        times: Ascending seconds from the start of the video, ``[N]``.

    Returns:
        RGB ``[N, H, W, 3]`` uint8.

    Raises:
        FileNotFoundError: No such file.
        VideoError: The file has no video stream, is truncated or corrupt, or ends before the last time.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Video {path} does not exist; check the takes folder of the data set.")
    frames: list[np.ndarray] = []
    latest: np.ndarray | None = None
    end = 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: has no video stream.")
            stream = container.streams.video[0]
            base = float(stream.time_base or 0)
            origin = (stream.start_time or 0) * base
            container.seek(int((times[0] + origin) / base), stream=stream, backward=True)
            for frame in container.decode(stream):
                shown = (frame.pts or 0) * base - origin
                # A frame is on screen until the next one starts; half a frame absorbs rounding of time stamps.
                while len(frames) < len(times) and latest is not None and times[len(frames)] < shown - 1e-6:
                    frames.append(latest)
                if len(frames) == len(times):
                    break
                latest = frame.to_ndarray(format="rgb24")
                end = shown + float(frame.duration or 0) * base
    except FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be decoded ({error}); the file is truncated or corrupt. Download it again."
        ) from error
    while len(frames) < len(times) and latest is not None and times[len(frames)] < end + 0.05:
        frames.append(latest)
    if len(frames) < len(times):
        raise VideoError(
            f"{path}: ends at {end:.2f} s, but a frame at {times[len(frames)]:.2f} s was asked for. "
            "The file is truncated or belongs to another take."
        )
    return np.stack(frames)
