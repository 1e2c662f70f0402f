"""Frames by time, whatever the file: variable frame rate, rotation, odd sizes, empty and broken files."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mm_data.video import (
    DECODERS,
    VideoError,
    check_pixels,
    middle_times,
    read_duration,
    read_frames,
    read_size,
    torchcodec_loads,
)  # fmt: skip
from mm_data.video_cut import cut_video

decoders = pytest.mark.parametrize(
    "decoder",
    [
        "pyav",
        pytest.param("torchcodec", marks=pytest.mark.skipif(not torchcodec_loads(), reason="does not load here")),
    ],
)


def write_video(
    path: Path,
    images: list[np.ndarray],
    times: list[float] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A nearly lossless video; ``times`` are seconds, by default 30 fps."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=30, options={"crf": "1", "g": "12", **(options or {})})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round((times[k] if times else k / 30) * 1000)
            frame.duration = 33
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def grey(k: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.full((*size, 3), 20 + 14 * (k % 16), np.uint8)


def numbers(frames: np.ndarray) -> list[int]:
    return [round((frame.mean() - 20) / 14) for frame in frames]


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A 30 fps video whose frame k has the grey level 20 + 14·(k mod 16)."""
    return write_video(tmp_path / "numbered.mp4", [grey(k) for k in range(90)])


@decoders
def test_frames_are_those_on_screen_at_the_time(numbered: Path, decoder: str) -> None:
    every = np.arange(90)
    frames = read_frames(numbered, (every + 0.4) / 30, decoder)
    assert numbers(frames) == (every % 16).tolist()
    assert numbers(read_frames(numbered, np.array([31.4, 47.9, 89.9]) / 30, decoder)) == [15, 15, 9]


@decoders
@pytest.mark.parametrize(
    ("name", "codec", "options", "container_options"),
    [
        ("closed.mp4", "libx264", {}, {}),
        ("open.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3"}, {}),
        (
            "hevc.mp4",
            "libx265",
            {"x265-params": "keyint=12:log-level=none"},
            {},
        ),  # open groups by default, as phones write
        ("fragmented.mp4", "libx264", {}, {"movflags": "frag_keyframe+empty_moov"}),
        ("stream.ts", "libx264", {}, {}),
        ("matroska.mkv", "libx264", {}, {}),
    ],
)
def test_every_frame_alone_is_the_right_one(
    name: str, codec: str, options: dict[str, str], container_options: dict[str, str], tmp_path: Path, decoder: str
) -> None:
    if decoder == "torchcodec" and name in ("open.mp4", "stream.ts"):
        pytest.skip("torchcodec refuses such files: 'no more frames left to decode'")
    images = [grey(k) for k in range(75)]
    path = write_video(tmp_path / name, images, codec=codec, options=options, container_options=container_options)
    found = [numbers(read_frames(path, np.array([(k + 0.5) / 30]), decoder))[0] for k in range(75)]
    assert found == [k % 16 for k in range(75)]


def test_frames_of_changing_size_are_a_video_error(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", [grey(k, (64, 64)) for k in range(30)])
    second = write_video(
        tmp_path / "b.ts", [grey(k, (96, 96)) for k in range(30)], times=[1 + k / 30 for k in range(30)]
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(VideoError, match=r"joined\.ts: (cannot be read|ends at)"):
        read_frames(joined, np.array([0.5, 1.7]))


@decoders
def test_variable_frame_rate_goes_by_time_stamps(tmp_path: Path, decoder: str) -> None:
    times = [0.0, 0.033, 0.5, 0.9, 1.0, 2.5, 2.533]
    path = write_video(tmp_path / "variable.mp4", [grey(k) for k in range(7)], times, options={"g": "2"})
    assert numbers(read_frames(path, np.array([0.01, 0.4, 0.6, 0.95, 2.4, 2.51]), decoder)) == [0, 1, 2, 3, 4, 5]


@decoders
@pytest.mark.parametrize(("degrees", "top_left"), [(0, "red"), (90, "blue"), (180, "white"), (270, "green")])
def test_rotated_phone_video_comes_upright(tmp_path: Path, degrees: int, top_left: str, decoder: str) -> None:
    """Quarters red, green / blue, white; turned clockwise by the file's matrix, as players show it."""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    image = np.zeros((64, 96, 3), np.uint8)
    for (row, column), colour in zip([(0, 0), (0, 1), (1, 0), (1, 1)], colours.values(), strict=True):
        image[row * 32 : row * 32 + 32, column * 48 : column * 48 + 48] = colour
    path = write_video(tmp_path / "phone.mp4", [image] * 3)
    content = bytearray(path.read_bytes())
    box = content.index(b"tkhd")
    assert content[box + 4] == 0, "version 0 of the box"
    turn = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 65536 for value in turn)
    content[box + 44 : box + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (frame,) = read_frames(path, np.array([0.01]), decoder)
    assert frame.shape == ((96, 64, 3) if degrees in (90, 270) else (64, 96, 3))
    assert np.abs(frame[8, 8].astype(int) - colours[top_left]).max() < 20


@decoders
def test_odd_sizes_are_read_whole(tmp_path: Path, decoder: str) -> None:
    path = write_video(tmp_path / "odd.mp4", [grey(k, (47, 65)) for k in range(3)])
    assert read_frames(path, np.array([0.01, 0.05]), decoder).shape == (2, 47, 65, 3)


@decoders
def test_a_video_that_ends_too_early_is_an_error(numbered: Path, decoder: str) -> None:
    with pytest.raises(VideoError, match=r"numbered\.mp4: ends at (2\.97|3\.0\d) s, but a frame at 4\.00 s"):
        read_frames(numbered, np.array([1.0, 4.0]), decoder)


@decoders
def test_truncated_empty_and_missing_videos_are_named(numbered: Path, tmp_path: Path, decoder: str) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(numbered.read_bytes()[: numbered.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4: cannot be decoded"):
        read_frames(cut, np.array([1.0]), decoder)
    empty = tmp_path / "empty.mp4"
    with av.open(str(empty), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        container.start_encoding()
    with pytest.raises(VideoError, match=r"empty\.mp4"):
        read_frames(empty, np.array([0.0]), decoder)
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        read_frames(tmp_path / "nothing.mp4", np.array([1.0]), decoder)


def test_sound_without_pictures_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video stream"):
        read_frames(path, np.array([0.0]))


def test_a_recording_without_a_duration_is_as_long_as_its_packets(tmp_path: Path) -> None:
    """Browsers that record write their header before they know."""
    images = [grey(k) for k in range(45)]
    live = write_video(tmp_path / "live.mkv", images, container_options={"live": "1"})
    with av.open(str(live)) as container:
        assert container.duration is None and container.streams.video[0].duration is None
    assert read_duration(live) == pytest.approx(1.5, abs=0.04)


def test_frames_too_large_are_refused_by_their_header(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mp4", [np.zeros((16, 8400, 3), np.uint8)])
    with pytest.raises(VideoError, match=r"wide\.mp4: is 8400 × 16 pixels; at most 9,437,184 pixels and 8192"):
        check_pixels(wide)


def test_a_cut_shows_the_frames_of_its_stretch(numbered: Path, tmp_path: Path) -> None:
    cut_video(numbered, 0.5, 1.5, tmp_path / "cut.mp4")
    assert read_duration(tmp_path / "cut.mp4") == pytest.approx(1.0, abs=1e-3)
    times = (np.arange(30) + 0.5) / 30
    assert numbers(read_frames(tmp_path / "cut.mp4", times)) == numbers(read_frames(numbered, 0.5 + times))
    large = write_video(tmp_path / "large.mp4", [grey(k, (962, 500)) for k in range(4)])
    cut_video(large, 0.0, 0.1, tmp_path / "small.mp4")
    assert read_size(tmp_path / "small.mp4") == (250, 480), "sides are even"
    with pytest.raises(VideoError, match="ends at"):
        cut_video(numbered, 2.5, 9.0, tmp_path / "late.mp4")
    assert not [*tmp_path.glob("late*")]


def test_middle_times() -> None:
    np.testing.assert_allclose(middle_times(1.0, 3.0, 4), [1.25, 1.75, 2.25, 2.75])
    assert set(DECODERS) == {"pyav", "torchcodec"}
