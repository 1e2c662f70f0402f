"""Reads frames of a clip from a video file by time (PyAV)."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.video.stream import VideoStream

MAX_PIXELS, MAX_SIDE = 4096 * 2304, 8192
"""Of a frame, where videos come from strangers."""


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
        with _open(path) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None and stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            if stream is not None and container.duration is not None:
                return container.duration / av.time_base
            if stream is not None and (end := _end_of_packets(container, stream)) > 0:
                return end
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened: {_reason(error)}; export it again as an mp4.") from error
    raise VideoError(f"{path}: has no video stream of a known length; export it again as an mp4.")


def _end_of_packets(container: InputContainer, stream: VideoStream) -> float:
    """Seconds up to the end of the last packet: browsers that record write no duration into the header."""
    base, origin, end = float(stream.time_base or 0), stream.start_time or 0, 0.0
    for packet in container.demux(stream):
        if packet.pts is not None:
            end = max(end, (packet.pts - origin + (packet.duration or 0)) * base)
    return end


def _reason(error: FFmpegError) -> str:
    """FFmpeg's reason in words: its own begins with a number and ends in the path."""
    if isinstance(error, InvalidDataError | ArgumentError | EOFError):
        return "it is damaged or no video"
    return (error.strerror or type(error).__name__).lower()


def check_pixels(path: Path) -> None:
    """Refuses videos whose frames are too large to hold many of them.

    Raises:
        VideoError: Not a video, or one of more than `MAX_PIXELS` or `MAX_SIDE`; gives all numbers.
    """
    width, height = read_size(path)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise VideoError(
            f"{path}: is {width} × {height} pixels; at most {MAX_PIXELS:,} pixels and {MAX_SIDE} along a side are taken. Export it smaller."
        )


def read_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises:
        VideoError: Not a video.
    """
    try:
        with _open(path) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None:
                return stream.codec_context.width, stream.codec_context.height
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened: {_reason(error)}; export it again as an mp4.") from error
    raise VideoError(f"{path}: has no video stream.")


def _open(path: Path | str) -> InputContainer:
    """Opens a container of the kinds that hold one video; playlists could name other files of this machine."""
    return av.open(str(path), options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"})


def torchcodec_loads() -> bool:
    """Whether torchcodec is installed and loads; it needs FFmpeg's libraries and a torch it was built for."""
    try:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found] # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def read_frames(path: Path, times: np.ndarray, decoder: str = "pyav") -> np.ndarray:
    """Frames shown at the given times, upright.

    Frames are found by their time stamps, so variable frame rates are honoured. A rotation in the file (phones write one
    instead of turning the pixels) is applied. Decoding starts at the key frame before the first time and stops after the
    last.

    Args:
        path: Video file.
        times: Ascending seconds from the first frame of the video, ``[N]``.
        decoder: Key of `DECODERS`.

    Returns:
        RGB ``[N, H, W, 3]`` uint8.

    Raises:
        FileNotFoundError: No such file.
        VideoError: The file has no video stream or no frame, is truncated or corrupt, or ends before the last time.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Video {path} does not exist; check the takes folder of the data set.")
    try:
        return DECODERS[decoder](path, times)
    except VideoError:
        raise
    except (ValueError, OverflowError, ZeroDivisionError) as error:  # frames of different sizes, impossible time stamps
        raise VideoError(f"{path}: cannot be read ({error}); export it again as an mp4.") from error


def _read_with_pyav(path: Path, times: np.ndarray) -> np.ndarray:
    frames: list[np.ndarray] = []
    latest: av.VideoFrame | None = None
    end = 0.0
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: has no video stream.")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # callers decode several files at once
            base = float(stream.time_base or 0)
            origin = (stream.start_time or 0) * base
            for frame in _from_before(container, stream, float(times[0]), base, origin):
                shown = (frame.pts or 0) * base - origin
                # A frame is on screen until the next one starts.
                while len(frames) < len(times) and latest is not None and times[len(frames)] < shown - 1e-6:
                    frames.append(_upright(latest))
                if len(frames) == len(times):
                    break
                latest, end = frame, shown + float(frame.duration or 0) * base
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be decoded: {_reason(error)}. Download it again.") from error
    if latest is None:
        raise VideoError(f"{path}: holds no frame at or after {times[0]:.2f} s; the file is empty or truncated.")
    while len(frames) < len(times) and times[len(frames)] < end + _END_SLACK:
        frames.append(_upright(latest))
    if len(frames) < len(times):
        raise _ends_early(path, end, times[len(frames)])
    return np.stack(frames)


def _from_before(
    container: InputContainer, stream: VideoStream, time: float, base: float, origin: float
) -> Iterator[av.VideoFrame]:
    """Decodes from a key frame at or before a time.

    Where a file has no exact index, or groups of pictures that lean on the one before (x265's default), a seek lands later
    or its first pictures cannot be decoded. So the first decoded frame is checked, and the seek repeated from further back.
    """
    for margin in (0.0, 1.0, 4.0, 16.0):
        container.seek(int((max(time - margin, 0.0) + origin) / base), stream=stream, backward=True)
        decoded = container.decode(stream)
        first = next(decoded, None)
        if first is not None and (first.pts or 0) * base - origin <= time + 1e-6:
            yield first
            yield from decoded
            return
    with _open(container.name) as unsought:
        unsought.streams.video[0].codec_context.thread_count = 1
        yield from unsought.decode(video=0)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels, turned as the file's display matrix says (quarter turns)."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)


def _read_with_torchcodec(path: Path, times: np.ndarray) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    try:
        decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
        begin = float(decoder.metadata.begin_stream_seconds or 0.0)
        end = float(decoder.metadata.end_stream_seconds or 0.0) - begin
        if times[-1] >= end + _END_SLACK:
            raise _ends_early(path, end, times[-1])
        last = decoder.get_frame_at(-1)
        before = times[times + begin < last.pts_seconds] + begin
        shown = decoder.get_frames_played_at(seconds=before.tolist()).data.numpy() if len(before) else []
        return np.stack([*shown, *[last.data.numpy()] * (len(times) - len(before))])
    except (RuntimeError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise VideoError(
            f"{path}: cannot be decoded ({reason}); the file is empty, truncated or corrupt. Download it again."
        ) from error


def _ends_early(path: Path, end: float, wanted: float) -> VideoError:
    return VideoError(
        f"{path}: ends at {end:.2f} s, but a frame at {wanted:.2f} s was asked for. "
        "The file is truncated or belongs to another take."
    )


_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"
_END_SLACK = 0.05  # seconds; durations are rounded, so the last frame may be asked for just after its end

DECODERS = {"pyav": _read_with_pyav, "torchcodec": _read_with_torchcodec}
"""Decoders by name. torchcodec cannot read MPEG-TS and open groups of pictures exactly, and says so; PyAV can."""
