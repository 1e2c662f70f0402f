"""TRC and C3D files as COCO-17 poses, and joints of pictures that pretend to be in space."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_pose_checks import person
from tiny_coach import Silent

from mm_data.poses.marker_files import read_c3d, read_trc
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.poses.skeleton import JOINT_INDEX, JOINTS

SHORT = {name: name[0].upper() + name.partition("-")[2].capitalize() if "-" in name else "Nose" for name in JOINTS}
"""COCO joint to its name in Pose2Sim's files: RHip, LWrist, Nose."""
RATE, FRAMES = 60.0, 80


def walker() -> np.ndarray:
    """``[T, 17, 3]`` in metres, z up."""
    return person(FRAMES)


def write_trc(path: Path, metres: np.ndarray, unit: str = "m", missing: tuple[int, int] | None = None) -> Path:
    """As Pose2Sim writes it: y up."""
    factor = {"m": 1.0, "mm": 1000.0, "cm": 100.0}.get(unit, 1.0)
    points = metres[..., [0, 2, 1]] * (1, 1, -1) * factor
    rows = []
    for frame, pose in enumerate(points):
        cells = [f"{value:.5f}" for value in pose.ravel()]
        if missing and missing[0] == frame:
            cells[3 * missing[1] : 3 * missing[1] + 3] = ["", "", ""]
        rows.append("\t".join([str(frame + 1), f"{frame / RATE:.5f}", *cells]))
    heading = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{RATE:g}\t{RATE:g}\t{len(metres)}\t17\t{unit}\t{RATE:g}\t0\t{len(metres)}",
        "Frame#\tTime\t" + "\t\t\t".join(SHORT[name] for name in JOINTS) + "\t\t\t",
        "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, 18)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join([*heading, "", *rows, ""]))
    return path


def write_c3d(path: Path, metres: np.ndarray, unit: str = "mm", missing: tuple[int, int] | None = None) -> Path:
    import ezc3d  # type: ignore[import-not-found]

    file = ezc3d.c3d()
    about = file["parameters"]["POINT"]
    about["RATE"]["value"], about["UNITS"]["value"] = [RATE], (unit,)
    about["LABELS"]["value"] = tuple(f"anna:{SHORT[name]}" for name in JOINTS)
    points = np.ones((4, 17, len(metres)))
    points[:3] = metres.transpose(2, 1, 0) * 1000
    file["data"]["points"] = points
    residuals = np.zeros((1, 17, len(metres)))
    if missing:
        residuals[0, missing[1], missing[0]] = -1
    file["data"]["meta_points"]["residuals"] = residuals
    path.parent.mkdir(parents=True, exist_ok=True)
    file.write(str(path))
    return path


@pytest.mark.parametrize(("form", "write"), [("trc", write_trc), ("c3d", write_c3d)])
def test_markers_become_poses(form: str, write: object, tmp_path: Path) -> None:
    """60 frames a second become 30, whatever axes and unit were; what was not seen is absent."""
    elbow = JOINT_INDEX["left-elbow"]
    for name in ("p1/walk", "p2/walk"):
        write(tmp_path / "motion" / f"{name}.{form}", walker(), missing=(20, elbow))  # type: ignore[operator]
    manifest = import_motion(tmp_path / "motion", tmp_path / "poses", ImportOptions(form), Silent())
    assert manifest.people["train"] == manifest.people["test"] == 1
    poses = np.load(tmp_path / "poses" / "poses" / "p1__walk.npy")
    expected = walker()[::2]
    seen = poses[..., 3] > 0
    assert poses.shape == (40, 17, 4) and not seen[10, elbow] and seen.sum() == 40 * 17 - 1
    np.testing.assert_allclose(poses[..., :3][seen], expected[seen], atol=2e-5)


@pytest.mark.parametrize("unit", ["mm", "cm", "m"])
def test_files_say_their_unit(unit: str, tmp_path: Path) -> None:
    motion = read_trc(write_trc(tmp_path / "a.trc", walker(), unit))
    np.testing.assert_allclose(motion.positions[0, 0], [2.0, 1.62, 0.88], atol=1e-5)
    assert motion.fps == RATE and motion.names[0] == "Nose"


def test_a_map_names_markers_of_one_s_own(tmp_path: Path) -> None:
    file = write_trc(tmp_path / "motion" / "a.trc", walker())
    file.write_text(file.read_text().replace("LHip", "Mk1").replace("RHip", "Mk2"))
    with pytest.raises(
        ValueError, match=r"no joint for left-hip, right-hip, left-knee, right-knee among .*--joint-map"
    ):
        import_motion(file, tmp_path / "poses", ImportOptions("trc"), Silent())
    options = ImportOptions("trc", joint_map={"left-hip": "Mk1", "right-hip": "Mk2"})
    assert import_motion(file, tmp_path / "poses", options, Silent()).frames("train") == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("PathFileType", "Path"), "is no TRC file"),
        (("\tm\t", "\tfeet\t"), "its unit is feet; m, cm and mm are known"),
        (("\tm\t", "\t\t"), "its unit is not said"),
        (("NumFrames", "Frames"), "a.trc:3: DataRate or NumFrames is missing"),
        (("\t80\t17", "\t90\t17"), "line 3 says 90 frames, and 80 are there; the file is truncated"),
        (("\t1.62000\t", "\t1,62\t"), r"a.trc:7: could not convert string to float: '1,62'; coordinates are numbers with a point"),
        (("\n1\t0.00000\t", "\n1\t0.00000\t5\t"), "a.trc:7: .* belongs to no marker; line 4 names 17"),
    ],
)  # fmt: skip
def test_trc_files_that_cannot_be_read_are_sentences(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    file = write_trc(tmp_path / "a.trc", walker())
    text = file.read_bytes().decode().replace("\r\n", "\n")
    assert change[0] in text
    file.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=message):
        read_trc(file)


def test_c3d_files_that_cannot_be_read_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.c3d").write_bytes(b"no motion at all")
    with pytest.raises(ValueError, match=r"a.c3d: is damaged or no C3D file"):
        read_c3d(tmp_path / "a.c3d")
    with pytest.raises(ValueError, match="its unit is inch; m, cm and mm are known"):
        read_c3d(write_c3d(tmp_path / "inch.c3d", walker(), "inch"))
    with pytest.raises(FileNotFoundError, match=r"none.c3d does not exist"):
        read_c3d(tmp_path / "none.c3d")
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mm-coach\[motion\]'"):
        read_c3d(tmp_path / "inch.c3d")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 60.0}, "TRC files say their own frame rate; leave --fps out"),
        ({"unit": "mm"}, "TRC files say their own unit; leave --unit and --scale out"),
        ({"scale": 0.001}, "TRC files say their own unit"),
    ],
)
def test_what_a_file_says_is_not_given_too(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImportOptions("trc", **settings)  # type: ignore[arg-type]


def test_joints_of_a_picture_are_refused(tmp_path: Path) -> None:
    """Sports2D writes z = 0 everywhere; so do many who add a third column to COCO's two."""
    flat = walker() * (1, 0, 1)
    write_trc(tmp_path / "motion" / "a.trc", flat)
    with pytest.raises(ValueError, match=r"is the same for all joints of all frames, so these are joints in a picture"):
        import_motion(tmp_path / "motion", tmp_path / "poses", ImportOptions("trc"), Silent())
