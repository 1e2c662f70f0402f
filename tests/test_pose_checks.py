"""Poses that nobody can have, and joints that nobody found: the same sentences at every entrance."""

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mm_data.poses.checks import (
    AT_ORIGIN,
    COLLAPSED,
    IMPOSSIBLE,
    REPEATED,
    RESIZED,
    SHARED,
    check_poses,
    check_upright,
    mask_lost,
    trunk,
)
from mm_data.poses.joint_maps import FORMATS, array_to_coco
from mm_data.poses.skeleton import JOINT_INDEX
from mm_data.release.read import ends_early, load_clip_poses, load_pose_file

_PLACES = {
    "nose": (0.0, 0.12, 1.62), "left-eye": (0.03, 0.1, 1.65), "right-eye": (-0.03, 0.1, 1.65), "left-ear": (0.08, 0.0, 1.63),
    "right-ear": (-0.08, 0.0, 1.63), "left-shoulder": (0.18, 0.0, 1.42), "right-shoulder": (-0.18, 0.0, 1.42),
    "left-elbow": (0.22, 0.0, 1.14), "right-elbow": (-0.22, 0.0, 1.14), "left-wrist": (0.24, 0.1, 0.91),
    "right-wrist": (-0.24, 0.1, 0.91), "left-hip": (0.1, 0.0, 0.92), "right-hip": (-0.1, 0.0, 0.92),
    "left-knee": (0.11, 0.03, 0.5), "right-knee": (-0.11, 0.03, 0.5), "left-ankle": (0.12, 0.0, 0.09), "right-ankle": (-0.12, 0.0, 0.09),
}  # fmt: skip
J = JOINT_INDEX


def person(frames: int = 40, place: tuple[float, float, float] = (2.0, -1.0, 0.0)) -> np.ndarray:
    """An upright walker ``[T, 17, 3]`` in metres, z up."""
    body = np.array([_PLACES[name] for name in J]) + np.array(place)
    drift = np.stack([np.arange(frames) * 0.01, np.sin(np.arange(frames) / 5) * 0.02, np.zeros(frames)], -1)
    return body + drift[:, None]


def checked(array: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    notes: Counter[str] = Counter()
    poses = mask_lost(array_to_coco(array, FORMATS["coco17"], "x"), notes)
    return check_poses(poses, "x", notes), +notes


def lying(heading: float) -> np.ndarray:
    flat = person()[..., [0, 2, 1]] * np.array([1, 1, -1.0])
    c, s = np.cos(heading), np.sin(heading)
    return flat @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


# --- joints that were not found --------------------------------------------------------------------------------------


def test_a_person_passes_untouched() -> None:
    poses, notes = checked(person())
    np.testing.assert_array_equal(poses[..., :3], person())
    assert (poses[..., 3] == 1).all() and not notes


@pytest.mark.parametrize("point", [(0.0, 0.0, 0.0), (-1.0, -1.0, -1.0), (7.0, 0.5, 3.0)])
def test_joints_at_one_point_are_absent(point: tuple[float, float, float]) -> None:
    array = person()
    array[:, [J["left-wrist"], J["right-wrist"]]] = point
    array[5:15] = point  # ten frames in which nobody was found
    poses, notes = checked(array)
    lost = np.zeros((40, 17), bool)
    lost[:, [J["left-wrist"], J["right-wrist"]]] = True
    lost[5:15] = True
    np.testing.assert_array_equal(poses[..., 3] == 0, lost)
    assert np.isnan(poses[lost, :3]).all()
    assert notes == {COLLAPSED: 10, (SHARED if any(point) else AT_ORIGIN): 60}


def test_one_joint_at_zero_is_absent_whatever_the_unit() -> None:
    array = person() * 1000
    array[3, J["left-knee"]] = 0
    notes: Counter[str] = Counter()
    poses = mask_lost(array_to_coco(array.astype(np.int16), FORMATS["coco17"], "x"), notes)
    assert np.argwhere(poses[..., 3] == 0).tolist() == [[3, J["left-knee"]]] and +notes == {AT_ORIGIN: 1}


def test_the_root_of_a_format_is_no_lost_joint() -> None:
    centred = person()
    centred -= centred[:, [J["left-hip"]]]
    poses, notes = checked(centred)
    assert (poses[..., 3] == 1).all() and not notes
    never = person(place=(0.6, 0.3, 0.0))  # a hip that was never found, of somebody near the origin
    never[:, J["left-hip"]] = 0
    with pytest.raises(ValueError, match=r"none of its 40 frames has both hips \(40 joints at \(0, 0, 0\)"):
        checked(never)
    once = person()
    once[7, J["left-hip"]] = 0
    assert checked(once)[1] == {AT_ORIGIN: 1}


def test_two_of_our_joints_may_stand_for_one_of_theirs() -> None:
    array = person()
    array[:, J["right-ear"]] = array[:, J["left-ear"]]
    poses = array_to_coco(array, FORMATS["coco17"], "x")
    notes: Counter[str] = Counter()
    same = dict(J) | {"right-ear": J["left-ear"]}
    assert (mask_lost(poses, notes, same)[..., 3] == 1).all() and not +notes
    assert (mask_lost(poses, notes)[:, J["right-ear"], 3] == 0).all() and +notes == {SHARED: 80}


def test_files_that_are_mostly_lost_are_refused() -> None:
    with pytest.raises(ValueError, match=r"every joint of every frame is at \(0, 0, 0\) or at one point"):
        checked(np.zeros((9, 17, 3)))
    array = person()
    array[:21] = 0
    with pytest.raises(
        ValueError, match=r"x: of 40 frames, 323 joints can be used; .*21 frames whose joints all coincide"
    ):
        checked(array)
    array = person()
    array[:20] = 0
    assert checked(array)[1] == {COLLAPSED: 20}
    with pytest.raises(ValueError, match="none of its 40 frames has both hips, so"):
        checked(np.full((40, 17, 3), np.nan))


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "legs", "fits"),
    [(1000, "842", "mm"), (100, "84.2", "cm"), (1 / 0.0254, "33.2", "inch"), (0.45 / 0.0254, "14.9", "cmu"), (0.001, "0.000842", "no unit")],
)  # fmt: skip
def test_another_unit_is_refused_and_named(factor: float, legs: str, fits: str) -> None:
    with pytest.raises(ValueError, match=rf"legs are {legs} m long if the unit is m; .* fit (if it were )?{fits}.* Save the poses in metres"):  # fmt: skip
        checked(person() * factor)


def test_size_is_measured_on_the_trunk_where_knees_are_absent() -> None:
    array = person() * 100
    array[:, [J["left-knee"], J["right-knee"]]] = np.nan
    with pytest.raises(ValueError, match="would fit if it were cm"):
        checked(array)
    assert (checked(array / 100)[0][:, J["left-hip"], 3] == 1).all()


def test_limbs_that_nobody_has_lose_the_joint_at_their_end() -> None:
    array = person()
    array[4, J["left-wrist"]] += (0, 0, 0.7)  # a forearm of 0.9 m
    array[6, J["right-hip"]] -= (0.7, 0, 0)  # hips 0.9 m apart
    array[8, J["left-knee"]] = (0, 0, 0.01)
    array[9, J["left-elbow"]] = array[9, J["left-shoulder"]] + 0.001  # no upper arm at all, and a long forearm
    poses, notes = checked(array)
    lost = [[4, J["left-wrist"]], [6, J["right-hip"]], [8, J["left-knee"]], [9, J["left-elbow"]]]
    assert np.argwhere(poses[..., 3] == 0).tolist() == lost and notes == {IMPOSSIBLE: 4}
    wide = person()
    wide[:, J["right-hip"]] -= (0.17, 0, 0)
    wide[:, J["left-hip"]] += (0.17, 0, 0)
    with pytest.raises(ValueError, match=r"has both hips .*joints at the end of limbs that nobody has"):
        checked(wide)


def test_frames_that_shrink_and_frames_that_repeat_are_counted() -> None:
    array = person()
    array[10:13] *= 0.3  # what interpolation towards a frame of zeros leaves
    array[20:25] = array[20]
    poses, notes = checked(array)
    assert np.flatnonzero((poses[..., 3] == 0).all(1)).tolist() == [10, 11, 12]
    assert notes == {RESIZED: 3, REPEATED: 4}


def test_one_joint_far_away_is_refused() -> None:
    array = person()
    array[7, 3] = 1e30
    with pytest.raises(ValueError, match=r"frame 7, joint 3 is 1e\+30 m from the origin"):
        checked(array)


# --- axes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "axis"),
    [([0, 2, 1], r"\+y"), ([2, 0, 1], r"\+x")],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_another_axis_is_refused(turn: list[int], axis: str, sign: int) -> None:
    poses, _ = checked(sign * person()[..., turn])
    with pytest.raises(ValueError, match=rf"\(1 of 1\) the shoulders are -?0\.\d\d m above the hips if z points up, and 0\.50 m from them along {axis if sign > 0 else axis.replace('+', '-')}"):  # fmt: skip
        check_upright([trunk(poses)], "x")


def test_people_may_lie() -> None:
    check_upright([trunk(checked(lying(0.8))[0])], "x")
    check_upright([trunk(checked(lying(angle))[0]) for angle in (0.0, 1.6, 3.1, 4.7, 0.8)], "x")
    check_upright([trunk(checked(person())[0]), trunk(checked(person())[0]), trunk(checked(lying(0.0))[0])], "x")
    with pytest.raises(ValueError, match="1 of 2"):
        check_upright([trunk(checked(person())[0]), trunk(checked(lying(0.0))[0])], "x")


# --- files -----------------------------------------------------------------------------------------------------------


def test_pose_files_are_known_by_their_content(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", poses=person())
    (tmp_path / "no_ending").write_bytes((tmp_path / "one.npz").read_bytes())
    np.save(tmp_path / "a.npy", person())
    for name in ("one.npz", "no_ending", "a.npy"):
        np.testing.assert_array_equal(load_clip_poses(tmp_path / name)[..., :3], person())


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(person()))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.mkdir(), r"is a folder; poses are an \.npy or \.npz file"),
        (lambda path: path.write_bytes(b""), r"is empty; poses are an \.npy"),
        (lambda path: path.write_text("x,y,z\n1,2,3\n"), r"is no pose file; .*Ego-Exo4D body pose file"),
        (_pickle, r"is no pose file; poses are"),
        (lambda path: path.write_bytes(b"\0\0\0 ftypisom"), "is no pose file"),
        (lambda path: np.savez(path.open("wb"), a=person(), b=person()), r"holds 2 arrays \(a, b\)"),
        (lambda path: np.savez(path.open("wb")), r"holds 0 arrays|is no pose file"),
        (lambda path: np.savez(path.open("wb"), a=person()[:, :16]), r"shape \(40, 16, 3\)"),
        (lambda path: np.savez(path.open("wb"), a=np.array([{}])), "archive of plain arrays"),
        (lambda path: np.save(path.open("wb"), person()[:0]), r"holds no frame"),
        (lambda path: np.save(path.open("wb"), person()[..., [0, 2, 1]]), "so z is not up"),
        (lambda path: np.save(path.open("wb"), person() * 100), "would fit if it were cm"),
        (lambda path: path.write_text("{}"), "holds no pose in any of its 0 frames"),
    ],
)
def test_other_files_get_a_true_sentence(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write(tmp_path / "x")
    with pytest.raises(ValueError, match=message):
        load_clip_poses(tmp_path / "x")


def test_a_file_that_is_not_there_says_what_is_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the file does not exist; poses are"):
        load_pose_file(tmp_path / "x.npz")


def test_poses_at_another_rate_end_early() -> None:
    assert ends_early(150, 5.0) is None and ends_early(143, 5.0) is None
    assert ends_early(125, 5.0) == "125 frames, 4.2 s at 30 fps; the video is 5.0 s long, as it would be at 25.0 fps"
    assert ends_early(27, 1.0) is None, "a tenth of a second is no frame rate"
