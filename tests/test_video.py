"""Frames by time, whatever the file: variable frame rate, rotation, odd sizes, empty and broken files."""

import base64
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import fake_mediapipe
import numpy as np
import pytest
import torch
from PIL import Image

from mm_adapter.features.extract import load_clip
from mm_adapter.features.internvideo2 import PRESETS
from mm_data.estimation.find import find_poses
from mm_data.records import VideoClip
from mm_data.videos.cut import cut_video
from mm_data.videos.frames import (
    DECODERS,
    VideoError,
    check_pixels,
    frame_times,
    iterate_frames,
    middle_frames,
    middle_times,
    read_duration,
    read_frames,
    read_size,
    torchcodec_loads,
)  # fmt: skip
from mm_data.videos.pictures import clip_pictures

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
    rate: Fraction = Fraction(30),
) -> Path:
    """A nearly lossless video; ``times`` are seconds, by default those of a constant rate."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"crf": "1", "g": "12", **(options or {})})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round((times[k] if times else k / rate) * 1000)
            frame.duration = round(1000 / rate)
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


MATRICES: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "turned clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned by a half": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "turned anticlockwise": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "left and right swapped": ((-1, 0, 0, 1), np.fliplr),
    "top and bottom swapped": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed the other way": ((0, -1, -1, 0), lambda image: np.rot90(image.swapaxes(0, 1), 2)),
}
"""``a, b, c, d`` of a display matrix, which shows the pixel (x, y) at (a·x + c·y, b·x + d·y), and what is seen then."""
mirrored = [name for name, ((a, b, c, d), _) in MATRICES.items() if a * d - b * c < 0]


def quarters() -> np.ndarray:
    """Red, green / blue, white, higher than wide where it is turned."""
    colours = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], np.uint8)
    return colours.repeat(32, 0).repeat(48, 1)


def write_turned(path: Path, turn: tuple[float, float, float, float], image: np.ndarray | None = None) -> Path:
    """Three frames of a picture in an mp4 with a display matrix."""
    write_video(path, [quarters() if image is None else image] * 3)
    content = bytearray(path.read_bytes())
    box = content.index(b"tkhd")
    assert content[box + 4] == 0, "version 0 of the box"
    a, b, c, d = (round(value * 65536) for value in turn)
    content[box + 44 : box + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@decoders
@pytest.mark.parametrize("name", [name for name in MATRICES if name not in mirrored])
def test_rotated_phone_video_comes_upright(tmp_path: Path, name: str, decoder: str) -> None:
    turn, seen = MATRICES[name]
    (frame,) = read_frames(write_turned(tmp_path / "phone.mp4", turn), np.array([0.01]), decoder)
    expected = seen(quarters())
    assert frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("name", mirrored)
def test_mirrored_video_is_shown_as_players_show_it(tmp_path: Path, name: str) -> None:
    turn, seen = MATRICES[name]
    path = write_turned(tmp_path / "front.mp4", turn)
    (frame,) = read_frames(path, np.array([0.01]))
    expected = seen(quarters())
    assert frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 3
    with pytest.raises(VideoError, match=r"front\.mp4: .*mirror.* torchcodec .*--decoder pyav"):
        read_frames(path, np.array([0.01]), "torchcodec")


def test_matrices_that_also_scale_or_tilt_turn_to_the_nearest_quarter(tmp_path: Path) -> None:
    for turn, name in (
        ((-0.5, 0, 0, 2), "left and right swapped"),
        ((0, 0.5, -0.5, 0), "turned clockwise"),
        ((0.98, 0.17, -0.17, 0.98), "as it is"),
        ((0.17, 0.98, -0.98, 0.17), "turned clockwise"),
        ((0.0, 0.0, 0.0, 0.0), "as it is"),
    ):
        (frame,) = read_frames(write_turned(tmp_path / "scaled.mp4", turn), np.array([0.01]))
        expected = MATRICES[name][1](quarters())
        assert frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 3, turn


@pytest.mark.parametrize("name", MATRICES)
def test_cuts_and_pictures_are_upright(tmp_path: Path, name: str) -> None:
    turn, seen = MATRICES[name]
    path, expected = write_turned(tmp_path / "phone.mp4", turn), seen(quarters()).astype(int)
    cut_video(path, 0.0, 0.1, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")  # as it is stored, matrix or not
    assert stored.shape == expected.shape
    (part,) = clip_pictures(path, 0.0, 0.1, 1, 96)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1]))))
    height, width = expected.shape[:2]
    for image in (stored, picture):
        for y, x in ((8, 8), (8, width - 8), (height - 8, 8), (height - 8, width - 8)):
            assert np.abs(image[y, x] - expected[y, x]).max() < 40, (y, x)


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
    with pytest.raises(VideoError, match=r"cut\.mp4: cannot be (opened|decoded)"):
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


class CountedContainer:
    """A container that counts the frames it decodes."""

    def __init__(self, container: Any, decoded: list[float]) -> None:
        self.container, self.decoded = container, decoded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def __enter__(self) -> "CountedContainer":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def decode(self, *args: Any, **kwargs: Any) -> Iterator[av.VideoFrame]:
        for frame in self.container.decode(*args, **kwargs):
            self.decoded.append(frame.time)
            yield frame


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Times of all frames that are decoded, in order."""
    times: list[float] = []
    opened = av.open

    def count(file: Any, mode: Any = "r", **kwargs: Any) -> Any:
        container: Any = opened(file, mode, **kwargs)
        return container if mode == "w" else CountedContainer(container, times)

    monkeypatch.setattr(av, "open", count)
    return times


@pytest.fixture
def long_group(tmp_path: Path) -> Path:
    """Five seconds with one key frame, as screen recorders write them."""
    return write_video(tmp_path / "long.mp4", [grey(k) for k in range(150)], options={"g": "9999", "sc_threshold": "0"})


def test_a_cut_decodes_every_frame_once(long_group: Path, decoded: list[float], tmp_path: Path) -> None:
    cut_video(long_group, 0.0, 5.0, tmp_path / "cut.mp4")
    assert 150 <= len(decoded) <= 152
    decoded.clear()
    cut_video(long_group, 1.0, 4.0, tmp_path / "part.mp4")
    assert 120 <= len(decoded) <= 123
    times = (np.arange(90) + 0.5) / 30
    decoded.clear()
    assert numbers(read_frames(tmp_path / "part.mp4", times)) == [(30 + k) % 16 for k in range(90)]


def test_poses_decode_every_frame_once(
    long_group: Path, decoded: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = fake_mediapipe.install(monkeypatch, lambda image, index: [fake_mediapipe.StandIn()])
    (tmp_path / "model.task").write_bytes(b"")
    steps: list[tuple[int, int]] = []
    found = find_poses(long_group, tmp_path / "model.task", 1.0, 4.0, lambda *step: steps.append(step))
    assert len(found.poses) == 90 and numbers(np.stack(shown)) == [(30 + k) % 16 for k in range(90)]
    assert steps[-1] == (90, 90) and steps == sorted(steps)
    assert 120 <= len(decoded) <= 123


def test_frames_come_one_by_one(long_group: Path, decoded: list[float]) -> None:
    """Nothing is decoded before it is asked for: a film of an hour is not held."""
    frames = iterate_frames(long_group, (np.arange(150) + 0.5) / 30)
    for k in range(5):
        assert numbers(next(frames)[None]) == [k]
    assert len(decoded) <= 8
    with pytest.raises(FileNotFoundError, match=r"no\.mp4"):
        next(iterate_frames(long_group.with_name("no.mp4"), np.array([0.0])))


def test_a_cut_leaves_files_of_others_alone(numbered: Path, tmp_path: Path) -> None:
    other = tmp_path / "cut.partial.mp4"
    other.write_bytes(b"somebody's")
    cut_video(numbered, 0.5, 0.7, tmp_path / "cut.mp4")
    assert other.read_bytes() == b"somebody's"
    assert {path.name for path in tmp_path.iterdir()} == {"numbered.mp4", "cut.mp4", "cut.partial.mp4"}


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 5000], ids=["empty", "text", "zeros"])
def test_damaged_files_are_told_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    for read in (
        lambda: read_duration(path),
        lambda: read_size(path),
        lambda: check_pixels(path),
        lambda: read_frames(path, np.array([0.0])),
        lambda: cut_video(path, 0.0, 1.0, tmp_path / "cut.mp4"),
        lambda: [*clip_pictures(path, 0.0, 1.0, 1, 64)],
        lambda: frame_times(path, 0.0, 1.0, 2),
    ):
        with pytest.raises(VideoError) as raised:
            read()
        message = str(raised.value)
        assert message.count("damaged.mp4") == 1 and "Errno" not in message and "damaged or no video" in message
        assert "again" in message, "what to do"


# --- which frames ----------------------------------------------------------------------------------------------------


def test_middle_times() -> None:
    np.testing.assert_allclose(middle_times(1.0, 3.0, 4), [1.25, 1.75, 2.25, 2.75])
    assert set(DECODERS) == {"pyav", "torchcodec"}


def middle_by_reference(count: int, num: int) -> list[int]:
    """Indices as InternVideo2's loader computes them for 'middle', with its padding of short videos."""
    intervals = np.linspace(start=0, stop=count, num=min(num, count) + 1).astype(int)
    ranges = [(interval, intervals[i + 1] - 1) for i, interval in enumerate(intervals[:-1])]
    indices = [int((first + last) // 2) for first, last in ranges]
    return indices + [indices[-1]] * (num - len(indices))


def test_middle_frames_are_the_reference_s() -> None:
    assert middle_frames(10, 4).tolist() == [0, 3, 5, 8]
    assert middle_frames(8, 4).tolist() == [0, 2, 4, 6], "the earlier one of two middle frames"
    assert middle_frames(3, 5).tolist() == [0, 1, 2, 2, 2]
    for count in range(1, 130):
        for num in (1, 2, 3, 4, 7, 8, 16, 32):
            assert middle_frames(count, num).tolist() == middle_by_reference(count, num), (count, num)


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction(60)])
def test_frames_of_a_video_are_the_reference_s(tmp_path: Path, rate: Fraction) -> None:
    for count in (1, 7, 16):
        path = tmp_path / f"{count}.mp4"
        write_video(path, [grey(k) for k in range(count)], rate=rate)
        for num in (1, 2, 4, 8):
            times = frame_times(path, 0.0, float(count / rate), num)
            assert numbers(read_frames(path, times)) == middle_by_reference(count, num), (count, num)


def test_frames_of_a_clip_are_those_of_a_video_of_its_frames(numbered: Path) -> None:
    for first, count in ((0, 16), (10, 13), (37, 40), (89, 1)):
        for num in (1, 4, 8):
            times = frame_times(numbered, first / 30, (first + count) / 30, num)
            expected = [(first + k) % 16 for k in middle_by_reference(count, num)]
            assert numbers(read_frames(numbered, times)) == expected, (first, count, num)


def test_an_encoder_sees_these_frames(numbered: Path) -> None:
    """View by view, at each file's rate: an even number of frames per interval tells the two middles apart."""
    fast = write_video(numbered.with_name("fast.mp4"), [grey(k) for k in range(64)], rate=Fraction(60))
    clip = VideoClip("clip", {"slow": numbered.name, "fast": fast.name}, 0.0, 16 / 30)
    loaded = load_clip(
        clip, ("fast", "slow"), numbered.parent, replace(PRESETS["tiny"], frames=4, image_size=28), "pyav"
    )
    assert isinstance(loaded, torch.Tensor)
    assert [numbers(view.permute(1, 2, 3, 0).numpy()) for view in loaded] == [
        [k % 16 for k in middle_by_reference(32, 4)],
        middle_by_reference(16, 4),
    ]


def test_times_stay_inside_the_clip(tmp_path: Path) -> None:
    """Also of a recording that shows one frame for many seconds."""
    path = write_video(tmp_path / "slow.mkv", [grey(k) for k in range(4)], [0.0, 10.0, 20.0, 30.0])
    for start, stop in ((2.0, 3.0), (0.0, 0.01), (9.0, 30.0)):
        times = frame_times(path, start, stop, 4)
        assert (times > start).all() and (times < stop).all() and (np.diff(times) >= 0).all()
