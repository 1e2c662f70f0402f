"""Poses found in videos: who is followed, what stays a gap, and a folder that is resumed at the video."""

import json
from fractions import Fraction
from pathlib import Path

import fake_mediapipe
import numpy as np
import pytest
from fake_mediapipe import StandIn
from test_video import write_video

from mm_adapter.cli import main as mm_coach
from mm_data.estimation.find import find_poses
from mm_data.estimation.follow import NOBODY, follow
from mm_data.folders import read_videos
from mm_data.poses.manifest import PoseManifest
from mm_data.poses.skeleton import JOINT_INDEX

SIZE = (48, 64, 3)


def grey(value: float) -> np.ndarray:
    return np.full(SIZE, round(value), np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "pose_landmarker.task"
    path.write_bytes(b"weights")
    return path


def video(path: Path, frames: int = 10, value: float = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, [grey(value)] * frames)


def box(left: float, height: float = 0.5) -> np.ndarray:
    return np.array([left, 0.3, left + height / 3, 0.3 + height])


def test_landmarks_become_poses_in_our_axes(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MediaPipe's y points down; ours is z up. What is not visible is absent."""
    looked = fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn(hidden=[13])])
    found = find_poses(video(tmp_path / "a.mp4", 30), model, 0.0, 10 / 30)
    assert found.poses.shape == (10, 17, 4) and len(looked) == 10
    nose, wrist = JOINT_INDEX["nose"], JOINT_INDEX["left-wrist"]
    np.testing.assert_allclose(found.poses[0, nose], [0.0, 0.0, 0.7, 0.9], atol=1e-6)
    np.testing.assert_allclose(found.poses[:, wrist, :3], [[0.22, 0.02 * 15 / 33, -0.03]] * 10, atol=1e-6)
    elbow = found.poses[:, JOINT_INDEX["left-elbow"]]
    assert (elbow[:, 3] == 0).all() and np.isnan(elbow[:, :3]).all()
    assert found.sentences[0] == "Found a person in 10 of 10 frames."


def test_too_few_frames_with_a_person_are_refused(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn()] if index < 4 else [])
    with pytest.raises(ValueError, match="found in 4 of 10 frames; at least 50%"):
        find_poses(video(tmp_path / "a.mp4"), model)


def test_gaps_stay_gaps(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mediapipe.install(monkeypatch, lambda image, index: [] if index in (3, 4) else [StandIn(raised=0.01 * index)])
    found = find_poses(video(tmp_path / "a.mp4"), model)
    assert np.flatnonzero((found.poses[..., 3] == 0).all(1)).tolist() == [3, 4] and found.seen == 8
    heights = found.poses[:, JOINT_INDEX["left-wrist"], 2] + 0.03
    expected = np.where(np.isin(np.arange(10), (3, 4)), np.nan, 0.01 * np.arange(10))
    np.testing.assert_allclose(heights, expected, atol=1e-6, err_msg="nothing is smoothed, nothing filled in")


def test_the_large_one_is_followed_whatever_the_order(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(image: np.ndarray, index: int) -> list[StandIn]:
        people = [StandIn(x=0.3, height=0.8, raised=0.2), StandIn(x=0.8, height=0.4)]
        return people if index % 2 else people[::-1]

    fake_mediapipe.install(monkeypatch, seen)
    found = find_poses(video(tmp_path / "a.mp4"), model)
    np.testing.assert_allclose(found.poses[:, JOINT_INDEX["left-wrist"], 2], 0.17, atol=1e-6)
    assert found.crowded == 10 and "In 10 of them are others too" in found.sentences[1]


FOLLOWED: dict[str, tuple[list[list[np.ndarray]], list[int]]] = {
    "nobody is there": ([[], []], [NOBODY, NOBODY]),
    "a gap": ([[box(0.1)], [], [box(0.12)]], [0, NOBODY, 0]),
    "another order": ([[box(0.1), box(0.6)], [box(0.6), box(0.1)]], [0, 1]),
    "who is far away stays a bystander": ([[box(0.1)], [box(0.12)], [box(0.6, 0.2)]], [0, 0, NOBODY]),
    "jumped, and nobody else is there": ([[box(0.1)], [box(0.7)], [box(0.72)]], [0, 0, 0]),
    "there for longer": ([[box(0.1), box(0.6)]] * 3 + [[box(0.6)]] * 9, [1] * 3 + [0] * 9),
    "forgotten": ([[box(0.1)]] * 3 + [[]] * 16 + [[box(0.1, 0.24)]], [0] * 3 + [NOBODY] * 17),
    "somebody else meanwhile": ([[box(0.1)], [box(0.7, 0.45)], [box(0.1), box(0.7, 0.45)]], [0, NOBODY, 0]),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_who_is_followed(case: str) -> None:
    boxes, followed = FOLLOWED[case]
    assert follow(boxes).tolist() == followed


@pytest.mark.parametrize(
    "rate", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(120)]
)
def test_every_frame_rate_gives_the_same_poses_of_the_same_seconds(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, rate: Fraction
) -> None:
    """The picture tells the time: 100 grey levels a second, and the wrist follows it."""
    fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn(raised=(image.mean() - 20) / 4000)])
    frames = round(2 * rate)
    path = write_video(tmp_path / "a.mp4", [grey(20 + 100 * float(k / rate)) for k in range(frames)], rate=rate)
    found = find_poses(path, model, 0.5, 1.5)
    assert len(found.poses) == 30
    seconds = (found.poses[:, JOINT_INDEX["left-wrist"], 2] + 0.03) * 40
    middles = 0.5 + (np.arange(30) + 0.5) / 30
    late = middles - seconds  # a frame is on screen until the next one comes
    grey_levels = 0.015  # a level is 0.01 s, and half a one is lost in the video
    assert late.min() > -grey_levels and late.max() < 1 / rate + grey_levels


def test_a_model_that_is_none_is_a_sentence(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(options: object) -> None:
        raise RuntimeError("Unable to open zip archive.\nCalculatorGraph::Run() failed")

    fake_mediapipe.install(monkeypatch, lambda image, index: [])
    monkeypatch.setattr("mediapipe.tasks.vision.PoseLandmarker.create_from_options", refuse)
    with pytest.raises(
        ValueError, match=r"pose_landmarker.task is no pose landmarker .*\(Unable to open zip archive.\)"
    ):
        find_poses(video(tmp_path / "a.mp4"), model)


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "begun.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_folder_is_resumed_at_the_video(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out, other = tmp_path / "clips", tmp_path / "poses", tmp_path / "again"
    for name in ("anna/one", "anna/two", "ben/one"):
        video(clips / f"{name}.mp4", 10)
    command = ["poses", "find", str(clips), str(out), "--pose-model", str(model)]

    def interrupted(image: np.ndarray, index: int) -> list[StandIn]:
        if len(looked) > 15:
            raise KeyboardInterrupt
        return [StandIn()]

    looked = fake_mediapipe.install(monkeypatch, interrupted)
    assert mm_coach(command) == 130
    assert not (out / "poses.json").exists() and [p.stem for p in (out / "status").iterdir()] == ["anna-one"]
    looked = fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn()])
    assert mm_coach(command) == 0
    assert len(looked) == 20, "the first video's poses stay"
    printed = capsys.readouterr().out
    assert "2 people (2 by first folder): 1 train, 1 test" in printed and "poses of 3 of 3 videos" in printed
    assert mm_coach([*command[:3], str(other), *command[4:]]) == 0
    assert files_of(out) == files_of(other), "interrupted and resumed equals uninterrupted"
    before = files_of(out)
    looked.clear()
    assert mm_coach(command) == 0
    assert files_of(out) == before and not looked
    manifest = PoseManifest.read(out)
    assert {s.name: s.frames for s in manifest.sequences} == {"anna-one": 10, "anna-two": 10, "ben-one": 10}
    assert not manifest.synthetic and "samples/anna-one.jpg" in (out / "index.html").read_text()
    video(clips / "ben" / "one.mp4", 12)
    assert mm_coach(command) == 0
    assert len(looked) == 12, "a video that was changed is looked at again, alone"
    model.write_bytes(b"other weights")
    assert mm_coach(command) == 2
    assert "begun with other inputs: model was" in capsys.readouterr().err


def test_clips_without_a_person_are_counted_and_stop_the_command(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn()] if image.mean() > 60 else [])
    clips, out = tmp_path / "clips", tmp_path / "poses"
    video(clips / "empty.mp4", value=20)
    video(clips / "anna.mp4")
    (clips / "torn.mp4").write_bytes(b"no video")
    command = ["poses", "find", str(clips), str(out), "--pose-model", str(model)]
    assert mm_coach(command) == 2
    error = capsys.readouterr().err
    assert "kept 1 of 3" in error and "2 × clips without poses" in error and "found in 0 of 10 frames" in error
    assert mm_coach([*command, "--max-bad", "0.7"]) == 0
    assert "left out 2: clips without poses" in capsys.readouterr().out
    assert [s.name for s in PoseManifest.read(out).sequences] == ["anna"]
    page = (out / "index.html").read_text()
    assert page.index("<b>empty</b>") < page.index("<b>anna</b>") and "is damaged or no video" in page


def test_of_items_the_clips_alone_are_looked_at(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two clips of one film of two seconds: half a second of it is nobody's."""
    clips, items, out = tmp_path / "clips", tmp_path / "items", tmp_path / "poses"
    video(clips / "anna.mp4", 60)
    video(clips / "ben.mp4", 30)
    rows = ["clip,start,stop,person,split,remark", "anna.mp4,0,0.5,Anna,train,Good.", "anna.mp4,1,1.5,Anna,train,Low."]
    (clips / "items.csv").write_text("\n".join([*rows, "ben.mp4,0,1,Ben,test,Bend."]))
    assert mm_coach(["task", "read", "table", str(clips), str(items)]) == 0
    (found,) = [one for one in read_videos(items) if one.name == "anna"]
    assert found.stretches == ((0.0, 0.5), (1.0, 1.5)) and (found.person, found.known_by) == ("Anna", "items")
    looked = fake_mediapipe.install(monkeypatch, lambda image, index: [StandIn()])
    assert mm_coach(["poses", "find", str(items), str(out), "--pose-model", str(model)]) == 0
    assert len(looked) == 15 + 15 + 30
    poses = np.load(out / "poses" / "anna.npy")
    assert len(poses) == 45 and (poses[15:30, :, 3] == 0).all() and (poses[30:, 0, 3] > 0).all()
    posed = tmp_path / "posed"
    assert mm_coach(["task", "read", "table", str(clips), str(posed), "--poses", str(out)]) == 0
    assert "2 training and 1 test items, 3 with poses" in capsys.readouterr().out
    assert json.loads((posed / "items.json").read_text())["synthetic"] is False


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    video(tmp_path / "a" / "b.mp4")
    video(tmp_path / "a-b.mp4")
    with pytest.raises(ValueError, match=r"would both be a-b.npy; rename one of them"):
        read_videos(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no video; looked for are .mp4, .mov"):
        read_videos(tmp_path / "empty")


def test_poses_of_own_takes_get_the_names_that_are_looked_for(tmp_path: Path) -> None:
    """`data build` reads poses/<take>.npy with __ for folders."""
    video(tmp_path / "videos" / "day1" / "serve.mp4")
    (tmp_path / "takes.csv").write_text("video,participant,task,skill\nday1/serve.mp4,Anna,serve,Novice\n")
    assert [one.name for one in read_videos(tmp_path)] == ["day1__serve"]
