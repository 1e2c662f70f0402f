"""Joint arrays and data sets as COCO-17 poses: formats, frame rates, units."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_files import bvh_text, standing, wiggle
from tiny_coach import Silent

from mm_data.folders import import_dataset, pose_files
from mm_data.poses.joint_maps import FORMATS, array_to_coco, to_z_up
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.poses.skeleton import JOINT_INDEX, JOINTS
from mm_data.tuples.store import is_synthetic

# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_finds_its_joints(name: str) -> None:
    form = FORMATS[name]
    array = np.arange(form.joints, dtype=float)[None, :, None] * np.ones((2, 1, 3))
    poses = array_to_coco(array, form, "x")
    seen = poses[0, :, 3] > 0
    assert [JOINTS[j] for j in np.flatnonzero(seen)] == [j for j in JOINTS if j in form.source]
    assert poses[0, JOINT_INDEX["left-knee"], 0] == {"humanml3d": 4, "smpl": 4, "mediapipe": 25}.get(name, 13)
    assert poses[0, JOINT_INDEX["right-wrist"], 0] == {"humanml3d": 21, "smpl": 21, "mediapipe": 16}.get(name, 10)
    with pytest.raises(ValueError, match=r"expected \[T, "):
        array_to_coco(array[:, 1:], form, "x")


def test_axes_keep_handedness_and_point_up() -> None:
    for up, vertical in (("z", [0, 0, 1]), ("y", [0, 1, 0]), ("y-down", [0, -1, 0])):
        np.testing.assert_array_equal(to_z_up(np.array(vertical, float), up), [0, 0, 1])
        assert np.linalg.det(to_z_up(np.eye(3), up)) == pytest.approx(1)
    with pytest.raises(ValueError, match="Up axis 'x'"):
        to_z_up(np.zeros(3), "x")


def test_mediapipe_visibility_is_a_probability() -> None:
    array = np.ones((1, 33, 4))
    array[0, 25, 3] = 0.4
    poses = array_to_coco(array, FORMATS["mediapipe"], "x")
    assert poses[0, JOINT_INDEX["left-knee"], 3] == 0 and poses[0, JOINT_INDEX["right-knee"], 3] == 1


def test_arrays_are_resampled_split_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for part in ("train", "test"):
        (source / part).mkdir(parents=True)
    moving = standing(41, 22)
    moving[..., 2] += np.arange(41)[:, None] * 0.01
    np.save(source / "train" / "a.npy", moving)
    np.savez(source / "test" / "b.npz", first=standing(20, 22), second=standing(10, 22), fps=np.array(20))
    np.save(source / "train" / "features.npy", np.zeros((9, 1, 263)))
    np.save(source / "train" / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    manifest = import_motion(source, tmp_path / "out", ImportOptions("humanml3d"), Silent())
    assert {s.name: (s.split, s.frames) for s in manifest.sequences} == {
        "train__a": ("train", 61),
        "test__b__first": ("test", 29),
        "test__b__second": ("test", 14),
    }
    poses = np.load(pose_files(tmp_path / "out", "train")["train__a"])
    np.testing.assert_allclose(poses[:, JOINT_INDEX["left-hip"], 1], -np.arange(61) * 0.01 * 20 / 30, atol=1e-6)
    assert manifest.funnel[0]["kept"] == 2 and sum(manifest.funnel[0]["dropped"].values()) == 2
    assert any("new_joints" in example for example in manifest.funnel[0]["examples"]["cannot be used"])


def test_the_wrong_unit_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source" / "a.npy", standing(5, 22, scale=1000))
    with pytest.raises(ValueError, match=r"legs are 800 m long if the unit is m; .*Set --unit"):
        import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d"), Silent())
    import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", unit="mm"), Silent())
    with pytest.raises(ValueError, match="the test split holds no sequence"):
        pose_files(tmp_path / "out", "test")
    with pytest.raises(FileNotFoundError, match=r"holds no \.bvh file"):
        import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("bvh"), Silent())
    with pytest.raises(ValueError, match="Unknown format 'fbx'"):
        ImportOptions("fbx")
    with pytest.raises(ValueError, match="Unknown unit"):
        ImportOptions("bvh", unit="ft")
    with pytest.raises(ValueError, match="fps is 0"):
        ImportOptions("smpl", fps=0.0)
    with pytest.raises(ValueError, match="BVH files say their own frame rate"):
        ImportOptions("bvh", fps=30.0)
    with pytest.raises(ValueError, match="has to be lines like"):
        ImportOptions("bvh", joint_map=["left-hip"])  # type: ignore[arg-type]


def test_mirrored_twins_stay_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(30):
        for prefix in ("", "M"):
            np.save(tmp_path / "source" / f"{prefix}{number:06d}.npy", standing(3, 22))
    manifest = import_motion(
        tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", test_share=0.3), Silent()
    )
    split = {entry.name: entry.split for entry in manifest.sequences}
    assert set(split.values()) == {"train", "test"}
    assert all(split[f"M{number:06d}"] == split[f"{number:06d}"] for number in range(30))


def test_names_that_collide_and_bodies_that_lie_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    np.save(source / "a" / "b.npy", standing(3, 22))
    np.save(source / "a__b.npy", standing(3, 22))
    with pytest.raises(ValueError, match="1 sequences would have the same name, such as a__b"):
        import_motion(source, tmp_path / "out", ImportOptions("humanml3d"), Silent())
    (source / "a__b.npy").unlink()
    with pytest.raises(ValueError, match=r"in half of the sequences .*Set --up"):
        import_motion(source, tmp_path / "out", ImportOptions("humanml3d", up="z"), Silent())
    assert not (tmp_path / "out" / "poses.json").exists()
    one_file = import_motion(source / "a" / "b.npy", tmp_path / "out", ImportOptions("humanml3d"), Silent())
    assert [entry.name for entry in one_file.sequences] == ["b"]
    arrays: dict[str, Any] = {"x/y": standing(3, 22), "z": standing(3, 22)}
    np.savez(source / "a" / "c.npz", **arrays)
    np.save(source / "a" / "d.npy", np.zeros((3, 22, 3), dtype="U3"))
    manifest = import_motion(source, tmp_path / "out", ImportOptions("humanml3d", max_drop_rate=0.9), Silent())
    assert manifest.funnel[0]["dropped"] == {"cannot be used": 2}
    assert any(
        "'x/y' cannot become a file name" in example for example in manifest.funnel[0]["examples"]["cannot be used"]
    )


# --- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [20.0, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 100.0, 120.0])
def test_motion_keeps_its_length_and_gaps_do_not_spread(fps: float, tmp_path: Path) -> None:
    frames = round(8 * fps) + 1
    array = standing(frames, 22)
    seconds = np.arange(frames) / fps
    array[..., 2] += seconds[:, None]
    gap = (seconds > 3.0) & (seconds < 4.0)
    array[gap, 18] = np.nan
    zeros = (seconds > 5.0) & (seconds < 6.0)
    array[zeros] = 0.0
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source" / "a.npy", array)
    manifest = import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", fps=fps), Silent())
    poses = np.load(tmp_path / "out" / "poses" / "a.npy")
    times = np.arange(len(poses)) / 30
    assert len(poses) / 30 == pytest.approx(frames / fps, abs=1 / 30)
    np.testing.assert_allclose(poses[(times < 4.9), JOINT_INDEX["left-hip"], 1], -times[times < 4.9], atol=1e-5)
    for joint, first, last, lost in (("left-elbow", 3.0, 4.0, gap), ("left-hip", 5.0, 6.0, zeros)):
        track = poses[:, JOINT_INDEX[joint]]
        absent = (times > first + 1e-6) & (times < last - 1e-6)
        near = (times > first - 1 / fps - 1e-6) & (times < last + 1 / fps + 1e-6)
        assert (track[absent, 3] == 0).all() and np.isnan(track[absent, :3]).all()
        assert (track[~near & ((times < 5) | (joint == "left-hip")), 3] == 1).all() and lost.any()
    assert manifest.funnel[0]["noted"]["frames whose joints all coincide, taken as absent"] == int(zeros.sum())


@pytest.mark.parametrize("fps", [120.0, 1 / 0.0083333])
def test_a_whole_frame_time_does_not_draw_on_the_next_frame(fps: float, tmp_path: Path) -> None:
    """Frames 0, 4, 8 of 120 a second are kept; the absent frames between them are nobody's neighbours."""
    array = standing(401, 22)
    array[1::4] = np.nan
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source" / "a.npy", array)
    import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", fps=fps), Silent())
    poses = np.load(tmp_path / "out" / "poses" / "a.npy")
    assert len(poses) == 101 and (poses[:, JOINT_INDEX["left-hip"], 3] == 1).all()
    with pytest.raises(ValueError, match="fps is nan"):
        ImportOptions("smpl", fps=float("nan"))


# --- units -----------------------------------------------------------------------------------------------------------


def test_units_of_cmu_and_of_nobody(tmp_path: Path) -> None:
    angles, root = wiggle(21)
    cmu = 100 * 0.45 / 2.54 / 100  # CMU's units a centimetre
    lines = []
    for line in bvh_text(angles, root * cmu).splitlines():
        words = line.split()
        lines.append(
            f"OFFSET {' '.join(str(float(word) * cmu) for word in words[1:])}" if words[0] == "OFFSET" else line
        )
    (tmp_path / "01").mkdir()
    (tmp_path / "01" / "01_01.bvh").write_text("\n".join(lines) + "\n")
    lengths = {}
    cases: dict[str, dict[str, Any]] = {"named": {"unit": "cmu"}, "scaled": {"scale": 0.0254 / 0.45}}
    for name, options in cases.items():
        import_motion(tmp_path / "01", tmp_path / name, ImportOptions("bvh", **options), Silent())
        poses = np.load(tmp_path / name / "poses" / "01_01.npy")
        thigh = poses[:, JOINT_INDEX["left-hip"], :3] - poses[:, JOINT_INDEX["left-knee"], :3]
        lengths[name] = np.linalg.norm(thigh, axis=-1)
        np.testing.assert_allclose(lengths[name], 0.42, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"legs are 0\.378 m long if the unit is inch; .*fit if it were cmu\. Set --unit, or --scale"
    ):
        import_motion(tmp_path / "01", tmp_path / "out", ImportOptions("bvh", unit="inch"), Silent())
    with pytest.raises(ValueError, match=r"legs are 1\.49 m long if the unit is 0\.1 m; .*Set --scale"):
        import_motion(tmp_path / "01", tmp_path / "out", ImportOptions("bvh", scale=0.1), Silent())
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="metres per unit"):
            ImportOptions("bvh", scale=scale)
    with pytest.raises(ValueError, match="no unit beside it"):
        ImportOptions("bvh", unit="cm", scale=0.01)


@pytest.mark.parametrize("thigh", [6.0, 8.0, 9.5])  # CMU's units: from short to the tallest subjects
def test_no_body_fits_inches_and_cmu_alike(thigh: float, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", standing(5, 22, scale=thigh / 0.4))
    with pytest.raises(ValueError, match="fit if it were cmu"):
        import_motion(tmp_path, tmp_path.parent / "out", ImportOptions("humanml3d", unit="inch"), Silent())


def test_a_sequence_with_another_axis_up_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        np.save(source / f"{number}.npy", standing(3, 22))
    np.save(source / "turned.npy", standing(3, 22)[..., [0, 2, 1]])
    funnel = import_motion(source, tmp_path / "out", ImportOptions("humanml3d"), Silent()).funnel[0]
    what = "sequences whose people do not stand upright: do they lie, or is another axis up?"
    assert funnel["kept"] == 4 and funnel["noted"][what] == 1
    assert funnel["examples"][what] == ["turned (shoulders are along +z from the hips)"]


# --- data sets -------------------------------------------------------------------------------------------------------


def test_a_data_set_keeps_its_split(tiny: Path, tmp_path: Path) -> None:
    manifest = import_dataset(tiny / "miniature", tmp_path / "out", Silent())
    assert is_synthetic(tmp_path / "out") and is_synthetic(tiny / "tuples")
    assert len(manifest.sequences) == manifest.funnel[0]["kept"]
    takes = {
        take["take_uid"]: take["participant_uid"]
        for take in json.loads((tiny / "miniature" / "takes.json").read_text())
    }
    people = {split: {takes[name] for name in pose_files(tmp_path / "out", split)} for split in ("train", "test")}
    assert people["train"] and people["test"] and not people["train"] & people["test"]
    for split in people:  # takes with tuples are among them, with the same poses
        for name, path in pose_files(tiny / "tuples", split).items():
            assert np.array_equal(np.load(path), np.load(pose_files(tmp_path / "out", split)[name]), equal_nan=True)
