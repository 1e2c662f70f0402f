"""Reads frames of a clip from a video file by time (PyAV)."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.video.stream import VideoStream

from mm_data.records import FPS

MAX_PIXELS, MAX_SIDE = 4096 * 2304, 8192
"""Of a frame, where videos come from strangers."""


class VideoError(ValueError):
    """A video that cannot give the frames that were asked for; the message names the file and what to do."""


def middle_times(start: float, stop: float, num_frames: int) -> np.ndarray:
    """Returns the middles of ``num_frames`` equal intervals of ``[start, stop]``, in seconds; `frame_times` says what an encoder sees."""
    edges = np.linspace(start, stop, num_frames + 1)
    return (edges[:-1] + edges[1:]) / 2


def middle_frames(count: int, num_frames: int) -> np.ndarray:
    """Chooses of ``count`` frames those that InternVideo2's 'middle' sampling takes, ``[num_frames]`` from 0.

    Intervals begin at whole frames, and of two middle frames the earlier one counts. A video that has fewer frames than are
    asked for gives each once, then the last one again.
    """
    edges = np.linspace(0, count, min(num_frames, count) + 1).astype(int)
    chosen = (edges[:-1] + edges[1:] - 1) // 2
    return np.pad(chosen, (0, num_frames - len(chosen)), mode="edge")


def frame_times(path: Path, start: float, stop: float, num_frames: int) -> np.ndarray:
    """Computes when the frames are on screen that InternVideo2's 'middle' sampling takes of a clip.

    A clip is taken for a video of as many frames as its length holds at the file's average rate, rounded, and at least one.
    Its frame k is the one on screen in the middle of the k-th of as many equal parts of the clip: where a clip begins with a
    frame of the file, these are that frame and those that follow. Where frames come at a varying rate, a part may show a
    frame for longer or several shortly, and times decide.

    Args:
        path: The video.
        start: First second of the clip.
        stop: End of the clip in seconds.
        num_frames: Frames that are taken.

    Returns:
        Seconds ``[num_frames]``.

    Raises:
        FileNotFoundError: No such file.
        VideoError: Not a video.
    """
    count = max(1, round((stop - start) * read_rate(path)))
    return start + (middle_frames(count, num_frames) + 0.5) * (stop - start) / count


def read_rate(path: Path) -> float:
    """Reads the average frames per second, 30 where the file does not say.

    Args:
        path: The video.

    Returns:
        Frames per second.

    Raises:
        FileNotFoundError: No such file.
        VideoError: Not a video.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        return float(stream.average_rate or stream.guessed_rate or FPS)


def read_duration(path: Path) -> float:
    """Reads the length of the video stream.

    Args:
        path: The video.

    Returns:
        Seconds.

    Raises:
        FileNotFoundError: No such file.
        VideoError: Not a video, or one that does not say how long it is.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if container.duration is not None:
            return container.duration / av.time_base
        if (end := _end_of_packets(container, stream)) > 0:
            return end
    raise VideoError(f"{path}: does not say how long it is, and holds no picture; export it again as an mp4.")


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

    Args:
        path: The video.

    Raises:
        VideoError: Not a video, or one of more than `MAX_PIXELS` or `MAX_SIDE`; gives all numbers.
    """
    width, height = read_size(path)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise VideoError(
            f"{path}: is {width} × {height} pixels; "
            f"at most {MAX_PIXELS:,} pixels and {MAX_SIDE} along a side are taken. Export it smaller."
        )


def read_size(path: Path) -> tuple[int, int]:
    """Reads width and height from the header.

    Args:
        path: The video.

    Returns:
        Width and height in pixels.

    Raises:
        VideoError: Not a video.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        return stream.codec_context.width, stream.codec_context.height


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Opens a video whose errors are sentences.

    Args:
        path: The video.

    Yields:
        The open container.

    Raises:
        FileNotFoundError: No such file.
        VideoError: It cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Video {path} does not exist; check the folder of the videos.")
    failed = "opened"
    try:
        with _open(path) as container:
            failed = "decoded"
            yield container
    except VideoError:
        raise
    except FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be {failed}: {_reason(error)}. Download it again, or export it again as an mp4."
        ) from error
    except (ValueError, OverflowError, ZeroDivisionError) as error:  # impossible time stamps
        raise VideoError(f"{path}: cannot be read ({error}); export it again as an mp4.") from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise VideoError(f"{path}: has no video stream; give a file with pictures, such as an mp4.")
    return container.streams.video[0]


def _open(path: Path | str) -> InputContainer:
    """Opens a container of the kinds that hold one video; playlists could name other files of this machine."""
    return av.open(str(path), options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"})


def torchcodec_loads() -> bool:
    """Says whether torchcodec is installed and loads; it needs FFmpeg's libraries and a torch it was built for."""
    try:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found] # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def read_frames(path: Path, times: np.ndarray, decoder: str = "pyav") -> np.ndarray:
    """Reads the frames shown at the given times, upright, all at once; see `iterate_frames`.

    Args:
        path: Video file.
        times: Ascending seconds from the first frame of the video, ``[N]``.
        decoder: Name of the decoder, a key of `DECODERS`.

    Returns:
        RGB ``[N, H, W, 3]`` uint8.

    Raises:
        FileNotFoundError: No such file.
        VideoError: See `iterate_frames`; or the decoder cannot show the file as it is meant.
    """
    return DECODERS[decoder](path, times)


def iterate_frames(path: Path, times: np.ndarray) -> Iterator[np.ndarray]:
    """Reads the frames shown at the given times, upright, one after the other in one pass over the file.

    Frames are found by their time stamps, so variable frame rates are honoured. The file's display matrix is applied: phones
    write one instead of turning the pixels, front cameras one that mirrors. Decoding starts at the key frame before the first
    time and stops after the last.

    Args:
        path: Video file.
        times: Ascending seconds from the first frame of the video, ``[N]``.

    Yields:
        RGB ``[H, W, 3]`` uint8, N times and all of one size.

    Raises:
        FileNotFoundError: No such file.
        VideoError: The file has no video stream or no frame, is truncated or corrupt, changes its size, or ends before the last
            time.
    """
    with _opened(path) as container:
        size: tuple[int, ...] | None = None
        for frame in _frames_at(container, path, times):
            image = _upright(frame)
            if image.shape != (size := size or image.shape):
                raise VideoError(
                    f"{path}: cannot be read (its frames change from {size[1]} × {size[0]} to {image.shape[1]} × "
                    f"{image.shape[0]} pixels); export it again as an mp4."
                )
            yield image


def _read_with_pyav(path: Path, times: np.ndarray) -> np.ndarray:
    return np.stack([*iterate_frames(path, times)])


def _frames_at(container: InputContainer, path: Path, times: np.ndarray) -> Iterator[av.VideoFrame]:
    """The decoded frame that is on screen at each of the times."""
    stream = _video_stream(container, path)
    stream.codec_context.thread_count = 1  # callers decode several files at once
    base = float(stream.time_base or 0)
    origin = (stream.start_time or 0) * base
    taken, end = 0, 0.0
    latest: av.VideoFrame | None = None
    for frame in _from_before(container, stream, float(times[0]), base, origin):
        begin = (frame.pts or 0) * base - origin
        # A frame is on screen until the next one starts.
        while taken < len(times) and latest is not None and times[taken] < begin - 1e-6:
            yield latest
            taken += 1
        if taken == len(times):
            return
        latest, end = frame, begin + float(frame.duration or 0) * base
    if latest is None:
        raise VideoError(f"{path}: holds no frame at or after {times[0]:.2f} s; the file is empty or truncated.")
    while taken < len(times) and times[taken] < end + _END_SLACK:
        yield latest
        taken += 1
    if taken < len(times):
        raise _ends_early(path, end, times[taken])


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
    """RGB pixels as players show them: turned and mirrored as the display matrix says, to the nearest quarter turn."""
    image = frame.to_ndarray(format="rgb24")
    a, b, c, d = _display_matrix(frame)
    # The pixel (x, y) is shown at (a·x + c·y, b·x + d·y).
    if abs(b) > abs(a):
        image, across, down = image.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """a, b, c and d of ``[[a, b, u], [c, d, v], [x, y, w]]``, in units of 1/65536."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 65536, 0, 0, 65536
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    return a, b, c, d


def _check_not_mirrored(path: Path) -> None:
    """Refuses a display matrix that mirrors, of which torchcodec applies the turn alone."""
    with _opened(path) as container:
        frame = next(container.decode(_video_stream(container, path)), None)
        a, b, c, d = _display_matrix(frame) if frame is not None else (1, 0, 0, 1)
    if a * d - b * c < 0:
        raise VideoError(f"{path}: its display matrix mirrors it, which torchcodec leaves out; use --decoder pyav.")


def _read_with_torchcodec(path: Path, times: np.ndarray) -> np.ndarray:
    _check_not_mirrored(path)
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    try:
        decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
        begin = float(decoder.metadata.begin_stream_seconds or 0.0)
        end = float(decoder.metadata.end_stream_seconds or 0.0) - begin
        if times[-1] >= end + _END_SLACK:
            raise _ends_early(path, end, times[-1])
        last = decoder.get_frame_at(-1)
        before = times[times + begin < last.pts_seconds] + begin
        frames = decoder.get_frames_played_at(seconds=before.tolist()).data.numpy() if len(before) else []
        return np.stack([*frames, *[last.data.numpy()] * (len(times) - len(before))])
    except (RuntimeError, ValueError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, VideoError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise VideoError(
            f"{path}: cannot be decoded ({reason}); the file is empty, truncated or corrupt. Download it again."
        ) from error


def _ends_early(path: Path, end: float, time: float) -> VideoError:
    return VideoError(
        f"{path}: ends at {end:.2f} s, but a frame at {time:.2f} s was asked for. "
        "The file is truncated or belongs to another take."
    )


_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"
_END_SLACK = 0.05  # seconds; durations are rounded, so the last frame may be asked for just after its end

DECODERS = {"pyav": _read_with_pyav, "torchcodec": _read_with_torchcodec}
"""Decoders by name. torchcodec cannot read MPEG-TS and open groups of pictures exactly, and says so; PyAV can."""
