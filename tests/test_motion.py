"""Motion of other kinds as COCO-17 poses: BVH, joint arrays, data sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny_coach import Silent, launch

from mm_data.folders import import_dataset, pose_files
from mm_data.poses.bvh import read_bvh
from mm_data.poses.joint_maps import FORMATS, array_to_coco, match_bvh_joints, to_z_up
from mm_data.poses.manifest import PoseManifest, PoseSequence
from mm_data.poses.people import describe_people, read_people
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.poses.skeleton import JOINT_INDEX, JOINTS
from mm_data.tuples.store import is_synthetic

# (name, parent, offset in centimetres), y up, facing z: a person 1.7 m tall in a T-pose. Left is +x.
RIG = [
    ("Hips", -1, (0, 0, 0)),
    ("LeftUpLeg", 0, (10, 0, 0)),
    ("LeftLeg", 1, (0, -42, 0)),
    ("LeftFoot", 2, (0, -42, 0)),
    ("RightUpLeg", 0, (-10, 0, 0)),
    ("RightLeg", 4, (0, -42, 0)),
    ("RightFoot", 5, (0, -42, 0)),
    ("Spine", 0, (0, 50, 0)),
    ("LeftShoulder", 7, (2, 0, 0)),
    ("LeftArm", 8, (16, 0, 0)),
    ("LeftForeArm", 9, (28, 0, 0)),
    ("LeftHand", 10, (26, 0, 0)),
    ("RightShoulder", 7, (-2, 0, 0)),
    ("RightArm", 12, (-16, 0, 0)),
    ("RightForeArm", 13, (-28, 0, 0)),
    ("RightHand", 14, (-26, 0, 0)),
]


def bvh_text(angles: np.ndarray, root: np.ndarray, order: str = "ZXY", fps: float = 60.0, rename: Any = str) -> str:
    """``angles [T, J, 3]`` degrees in channel order, ``root [T, 3]``."""
    children = {i: [j for j, (_, parent, _) in enumerate(RIG) if parent == i] for i in range(-1, len(RIG))}
    order_of: list[int] = []

    def joint(index: int, depth: int) -> list[str]:
        order_of.append(index)
        name, parent, offset = RIG[index]
        pad = "\t" * depth
        channels = [*(f"{axis}position" for axis in "XYZ" if parent < 0), *(f"{axis}rotation" for axis in order)]
        lines = [
            f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {rename(name)}",
            f"{pad}{{",
            f"{pad}\tOFFSET {offset[0]} {offset[1]} {offset[2]}",
            f"{pad}\tCHANNELS {len(channels)} {' '.join(channels)}",
        ]
        for child in children[index]:
            lines += joint(child, depth + 1)
        if not children[index]:
            lines += [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET 0 -5 0", f"{pad}\t}}"]
        return [*lines, f"{pad}}}"]

    lines = ["HIERARCHY", *joint(0, 0), "MOTION", f"Frames: {len(angles)}", f"Frame Time: {1 / fps:.7f}"]
    for frame, place in zip(angles, root, strict=True):
        lines.append(" ".join(f"{v:.6f}" for v in [*place, *frame[order_of].ravel()]))
    return "\n".join(lines) + "\n"


def by_definition(angles: np.ndarray, root: np.ndarray, order: str) -> np.ndarray:
    positions = np.zeros((len(angles), len(RIG), 3))
    for t in range(len(angles)):
        turns: list[Rotation] = []
        for j, (_, parent, offset) in enumerate(RIG):
            local = Rotation.from_euler(order, angles[t, j], degrees=True)
            turns.append(local if parent < 0 else turns[parent] * local)
            positions[t, j] = root[t] if parent < 0 else positions[t, parent] + turns[parent].apply(offset)
    return positions


def wiggle(frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    phase = np.linspace(0, 2, frames)[:, None, None]
    angles = 25 * np.sin(phase * rng.uniform(1, 3, (1, len(RIG), 3)) + rng.uniform(0, 6, (1, len(RIG), 3)))
    return angles, np.stack([np.linspace(0, 30, frames), np.full(frames, 90.0), np.zeros(frames)], -1)


# --- BVH -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "YXZ"])
def test_forward_kinematics_equal_the_definition(order: str, tmp_path: Path) -> None:
    angles, root = wiggle(7)
    (tmp_path / "a.bvh").write_text(bvh_text(angles, root, order))
    motion = read_bvh(tmp_path / "a.bvh")
    assert motion.fps == pytest.approx(60, abs=1e-3)
    expected = by_definition(angles, root, order)
    for j, (name, _, _) in enumerate(RIG):
        np.testing.assert_allclose(motion.positions[:, motion.names.index(name)], expected[:, j], atol=1e-3)


def test_bvh_becomes_coco_in_metres_at_30_fps(tmp_path: Path) -> None:
    angles, root = wiggle(61)
    (tmp_path / "source" / "anna").mkdir(parents=True)
    (tmp_path / "source" / "anna" / "walk.bvh").write_text(bvh_text(angles, root))
    manifest = import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("bvh", unit="cm"), Silent())
    assert manifest.sequences == [PoseSequence("anna__walk", "train", 31)]
    poses = np.load(tmp_path / "out" / "poses" / "anna__walk.npy")
    expected = by_definition(angles, root, "ZXY")[::2] / 100
    for ours, theirs in {"left-wrist": "LeftHand", "right-shoulder": "RightArm", "left-hip": "LeftUpLeg"}.items():
        x, y, z = expected[:, [name for name, _, _ in RIG].index(theirs)].T
        np.testing.assert_allclose(poses[:, JOINT_INDEX[ours], :3], np.stack([x, -z, y], -1), atol=1e-4)
    assert (poses[:, :5, 3] == 0).all() and np.isnan(poses[:, :5, :3]).all()  # this rig has no face
    assert (poses[:, 5:, 3] == 1).all()


@pytest.mark.parametrize(
    ("rename", "shoulder"),
    [
        (lambda n: f"mixamorig:{n}", "mixamorig:LeftArm"),
        (lambda n: n.replace("Shoulder", "Collar").replace("ForeArm", "Elbow").replace("Arm", "Shoulder").replace("Hand", "Wrist"), "LeftShoulder"),
        (lambda n: n.replace("UpLeg", "_Hip").replace("Leg", "_Knee").replace("Foot", "_Ankle"), "LeftArm"),
    ],
)  # fmt: skip
def test_rigs_are_recognised_by_their_names(rename: Any, shoulder: str) -> None:
    names = [rename(name) for name, _, _ in RIG]
    found = match_bvh_joints(names, {}, "a.bvh")
    assert found["left-shoulder"] == shoulder
    assert set(found) == {name for name in JOINTS if not name.endswith(("nose", "eye", "ear"))}


def test_unusual_rigs_need_a_map(tmp_path: Path) -> None:
    names = [f"bone{i}" for i in range(len(RIG))]
    with pytest.raises(ValueError, match=r"no joint for left-shoulder, .*--joint-map"):
        match_bvh_joints(names, {}, "a.bvh")
    with pytest.raises(ValueError, match="names what is not there: left-hip: hip"):
        match_bvh_joints(names, {"left-hip": "hip"}, "a.bvh")
    angles, root = wiggle(5)
    index = {name: f"bone{i}" for i, (name, _, _) in enumerate(RIG)}
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.bvh").write_text(bvh_text(angles, root, rename=lambda name: index[name]))
    parts = {"shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand", "hip": "UpLeg", "knee": "Leg", "ankle": "Foot"}
    lines = [f"{s}-{ours}: {index[s.title() + theirs]}" for s in ("left", "right") for ours, theirs in parts.items()]
    (tmp_path / "map.yaml").write_text("\n".join(lines))
    flags = ["--format", "bvh", "--unit", "cm", "--joint-map", str(tmp_path / "map.yaml"), "--test-share", "0"]
    done = launch("mm-coach", "poses", "import", str(tmp_path / "source"), str(tmp_path / "out"), *flags)
    assert "1 train sequences of 3 frames" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("HIERARCHY", "NOTHING"), "does not begin with HIERARCHY"),
        (lambda t: t[: len(t) // 3], "the file is truncated|is not expected there"),
        (lambda t: t.replace("Frames: 3", "Frames: 9"), "announces 9 frames and has 3; it is truncated"),
        (lambda t: t.rsplit(" ", 1)[0] + "\n", r"50 values; the skeleton has 51 channels"),
        (lambda t: t.rsplit(" ", 1)[0] + " nan\n", "a value is not finite"),
        (lambda t: t.rsplit(" ", 1)[0] + " abc\n", "could not convert string to float"),
        (lambda t: t.replace("Zrotation", "Wrotation"), "unknown channels Wrotation"),
        (lambda t: t.replace("Frame Time: 0.0166667", "Frame Time: 0"), "expected 'Frames: N' and 'Frame Time: seconds'"),
        (lambda t: t.replace("Frame Time: 0.0166667", "Frame Time: 1e8"), "expected 'Frames: N' and 'Frame Time: seconds'"),
        (lambda t: t.replace("OFFSET 10 0 0", "OFFSET 10 zero 0"), "could not convert"),
    ],
)  # fmt: skip
def test_broken_files_are_named(change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(change(bvh_text(*wiggle(3))))
    with pytest.raises(ValueError, match=message):
        read_bvh(path)


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


def standing(frames: int, joints: int, scale: float = 1.0) -> np.ndarray:
    """An upright figure in HumanML3D's order and axes."""
    array = np.zeros((frames, joints, 3))
    array[..., 0] = 0.1 * np.arange(joints)
    for joint, height in {
        1: 0.9,
        2: 0.9,
        4: 0.5,
        5: 0.5,
        7: 0.1,
        8: 0.1,
        16: 1.4,
        17: 1.4,
        18: 1.1,
        19: 1.1,
        20: 0.85,
        21: 0.85,
    }.items():
        array[:, joint] = (0.1 if joint in (1, 4, 7, 16, 18, 20) else -0.1, height, 0.0)
    return array * scale


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


# --- people ----------------------------------------------------------------------------------------------------------


def imported(root: Path, names: list[str], **options: Any) -> PoseManifest:
    for name in names:
        (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "source" / f"{name}.npy", standing(3, 22))
    return import_motion(root / "source", root / "out", ImportOptions("humanml3d", **options), Silent())


def sides(manifest: PoseManifest) -> dict[str, str]:
    return {entry.name: entry.split for entry in manifest.sequences}


@pytest.mark.parametrize(
    ("people", "share", "test"),
    [(1, 0.1, 0), (2, 0.1, 1), (2, 0.9, 1), (10, 0.1, 1), (10, 0.04, 1), (10, 0.99, 9), (10, 0.3, 3), (10, 0.0, 0), (40, 0.1, 4)],
)  # fmt: skip
def test_both_sides_have_people(people: int, share: float, test: int, tmp_path: Path) -> None:
    manifest = imported(tmp_path, [f"p{n}/{take}" for n in range(people) for take in "ab"], test_share=share)
    assert list(sides(manifest).values()).count("test") == 2 * test
    assert (manifest.people["train"], manifest.people["test"]) == (people - test, test)
    for bad in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="test share is"):
            ImportOptions("smpl", test_share=bad)


@pytest.mark.parametrize(
    ("names", "options", "people"),
    [
        (["07_01", "07_02", "08_01", "08_11_poses"], {}, 2),
        (["walk1_subject5", "run1_subject5", "walk1_subject1"], {}, 2),
        (["Subject_12_walk", "subject-12-run", "Sub03_x", "sub3_y"], {}, 2),
        (["m01_s01_e01", "m02_s01_e03", "m01_s02_e01"], {}, 2),
        (["P03_squat", "p3_lunge", "P04_squat"], {}, 2),
        (["S001C001P003R002A013", "S002C001P003R001A001", "S001C001P004R001A001"], {}, 2),
        (["jump/subject1_a", "walk/subject1_b", "walk/subject2_a"], {}, 2),
        (["anna/07_01", "anna/s02", "ben/07_01"], {}, 2),
        (["anna-a", "anna-b", "ben-a"], {"person": r"^(\w+)-"}, 2),
        (["anna-a", "anna-b", "ben-a"], {"person": r"anna|ben"}, 2),
        (["x1", "x2", "dir/x3"], {"people": {"x1": "anna", "x2": "anna", "dir/x3": "ben"}}, 2),
        (["walk", "run", "jump"], {}, 3),
    ],
)
def test_people_are_split_not_files(names: list[str], options: dict[str, Any], people: int, tmp_path: Path) -> None:
    manifest = imported(tmp_path, names, test_share=0.5, **options)
    assert manifest.people["train"] + manifest.people["test"] == people and not manifest.people["on_both_sides"]
    said = describe_people(manifest)
    assert said[0].startswith(f"{people} people (") and "% of the frames" in said[0]
    assert any("do not say whose they are" in line for line in said) == (names == ["walk", "run", "jump"])


def test_people_of_arrays_in_one_file(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"m0{m}_s0{s}_e01": standing(3, 22) for m in (1, 2) for s in (1, 2)}
    (tmp_path / "source").mkdir()
    np.savez(tmp_path / "source" / "all.npz", **arrays)
    split = sides(import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d"), Silent()))
    assert set(split.values()) == {"train", "test"}
    for s in (1, 2):
        assert split[f"all__m01_s0{s}_e01"] == split[f"all__m02_s0{s}_e01"]


def test_what_is_said_about_one_person_and_about_two_sides(tmp_path: Path) -> None:
    alone = imported(tmp_path / "alone", ["anna/a", "anna/b", "anna/c"], test_share=0.4)
    assert set(sides(alone).values()) == {"train"} and "nothing is kept for testing" in describe_people(alone)[-1]
    asked = imported(tmp_path / "asked", ["anna/a", "anna/b", "anna/c"], test_share=0.4, split_by="sequence")
    assert sorted(sides(asked).values()) == ["test", "train", "train"]
    assert "1 people are on both sides (anna)" in describe_people(asked)[-1]
    told = imported(tmp_path / "told", ["train/anna/a", "test/anna/b", "test/ben/a"])
    assert sides(told) == {"train__anna__a": "train", "test__anna__b": "test", "test__ben__a": "test"}
    assert "1 people are on both sides (anna)" in describe_people(told)[-1]
    for options, message in (
        ({"person": "^(b)"}, "anna/a does not match the pattern of people"),
        ({"people": {"b": "x"}}, "the table of people lists neither anna/a nor a"),
        ({"split_by": "file"}, "Unknown way to split"),
    ):
        with pytest.raises(ValueError, match=message):
            imported(tmp_path / "wrong", ["anna/a"], **options)


def test_the_table_of_people_and_what_the_command_prints(tmp_path: Path) -> None:
    for name in ("x1", "x2", "x3"):
        (tmp_path / "source").mkdir(exist_ok=True)
        np.save(tmp_path / "source" / f"{name}.npy", standing(30, 22))
    (tmp_path / "people.csv").write_text("file,person\nx1.npy,anna\nx2.npy,anna\nx3,ben\n")
    assert read_people(tmp_path / "people.csv") == {"x1": "anna", "x2": "anna", "x3": "ben"}
    flags = ["--format", "humanml3d", "--people", str(tmp_path / "people.csv"), "--test-share", "0.5"]
    done = launch("mm-coach", "poses", "import", str(tmp_path / "source"), str(tmp_path / "out"), *flags)
    assert "2 people (2 by table): 1 train, 1 test, with" in done.stdout
    assert "87 frames that repeat the one before exactly (such as in" in done.stdout
    (tmp_path / "people.csv").write_text("file,person\nx1.npy,anna\nx1,ben\n")
    with pytest.raises(ValueError, match=r"people\.csv:3: x1 is anna's in an earlier line and ben's here"):
        read_people(tmp_path / "people.csv")


@pytest.mark.parametrize("out", [".", "out", "deep/out"])
def test_motion_does_not_import_itself(out: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", standing(3, 22))
    with pytest.raises(ValueError, match="the next import would read them as motion"):
        import_motion(tmp_path, tmp_path / out, ImportOptions("humanml3d"), Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_poses_are_not_written_over_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "poses" / "more").mkdir(parents=True)
    np.save(tmp_path / "poses" / "a.npy", standing(3, 22))
    for source in (tmp_path / "poses", tmp_path / "poses" / "more"):
        with pytest.raises(ValueError, match="the next import would read them as motion"):
            import_motion(source, tmp_path, ImportOptions("humanml3d"), Silent())
    with pytest.raises(ValueError, match="Give a folder outside"):
        import_dataset(tmp_path, tmp_path, Silent())


def test_lost_markers_and_impossible_limbs_are_left_out(tmp_path: Path) -> None:
    array = standing(40, 22)
    array[3, 4] = 0.0
    array[5, 20] += (0.0, 2.0, 0.0)
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source" / "a.npy", array)
    manifest = import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", fps=30.0), Silent())
    poses = np.load(tmp_path / "out" / "poses" / "a.npy")
    hidden = np.argwhere(poses[:, 5:, 3] == 0).tolist()
    assert hidden == [[3, JOINT_INDEX["left-knee"] - 5], [5, JOINT_INDEX["left-wrist"] - 5]]
    noted = manifest.funnel[0]["noted"]
    assert noted["joints at (0, 0, 0), taken as absent"] == 1
    assert noted["joints at the end of limbs that nobody has, taken as absent"] == 1


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
