"""BVH files as COCO-17 poses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_files import RIG, bvh_text, wiggle
from scipy.spatial.transform import Rotation
from tiny_coach import Silent, launch

from mm_data.poses.bvh import read_bvh
from mm_data.poses.joint_maps import match_named_joints
from mm_data.poses.manifest import PoseSequence
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.poses.skeleton import JOINT_INDEX, JOINTS


def by_definition(angles: np.ndarray, root: np.ndarray, order: str) -> np.ndarray:
    positions = np.zeros((len(angles), len(RIG), 3))
    for t in range(len(angles)):
        turns: list[Rotation] = []
        for j, (_, parent, offset) in enumerate(RIG):
            local = Rotation.from_euler(order, angles[t, j], degrees=True)
            turns.append(local if parent < 0 else turns[parent] * local)
            positions[t, j] = root[t] if parent < 0 else positions[t, parent] + turns[parent].apply(offset)
    return positions


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
    found = match_named_joints(names, {}, "a.bvh")
    assert found["left-shoulder"] == shoulder
    assert set(found) == {name for name in JOINTS if not name.endswith(("nose", "eye", "ear"))}


def test_unusual_rigs_need_a_map(tmp_path: Path) -> None:
    names = [f"bone{i}" for i in range(len(RIG))]
    with pytest.raises(ValueError, match=r"no joint for left-shoulder, .*--joint-map"):
        match_named_joints(names, {}, "a.bvh")
    with pytest.raises(ValueError, match="names what is not there: left-hip: hip"):
        match_named_joints(names, {"left-hip": "hip"}, "a.bvh")
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
