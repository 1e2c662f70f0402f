"""Body poses of a take as one dense array, from Ego-Exo4D's sparse per-frame JSON."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mm_data.ground.safe_load import MAX_FRAME, read_json
from mm_data.poses.skeleton import JOINT_INDEX, NUM_JOINTS, absent_poses
from mm_data.records import Take

MAX_GAP = 6
"""Longest run of missing frames that is filled by interpolation; 6 frames are 0.2 s."""


def pose_file(root: Path, take: Take) -> Path | None:
    """Finds the take's automatic poses, else its manual ones, else None."""
    body = root / "annotations/ego_pose" / take.split / "body"
    candidates = (body / "automatic" / f"{take.take_uid}.json", body / "annotation" / f"{take.take_uid}.json")
    return next((path for path in candidates if path.is_file()), None)


def load_poses(path: Path, max_gap: int = MAX_GAP, notes: Counter[str] | None = None) -> np.ndarray:
    """Reads one pose file.

    Joints are found by name, frames are sorted by number, and gaps of up to ``max_gap`` frames per joint are
    interpolated linearly (sparse manual labels have a step of 3).

    Args:
        path: ``annotations/ego_pose/<split>/body/<kind>/<take_uid>.json``.
        max_gap: Longest gap to fill, in frames.
        notes: Receives counts of irregularities that were read without losing the file.

    Returns:
        ``[T, 17, 4]``: x, y, z in metres and a flag: 1 measured, 0.5 interpolated, 0 absent (coordinates NaN, so that
        a filler can never enter a mean or a Procrustes fit). Row t is take frame t.

    Raises:
        ValueError: No pose, an unknown joint, a coordinate that is not finite, a frame number that no video reaches, or
            labels too sparse to interpolate; names the file and the frame.
    """
    frames = {_frame_number(key, path): entries for key, entries in _content(path).items()}
    numbers = sorted(number for number, entries in frames.items() if entries)
    if not numbers:
        raise ValueError(f"{path}: holds no pose in any of its {len(frames)} frames.")
    step = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
    if step > max_gap + 1:
        raise ValueError(
            f"{path}: poses are {step} frames apart; gaps of up to {max_gap} frames are interpolated. "
            "Allow longer gaps, or use denser poses."
        )
    poses = absent_poses(numbers[-1] + 1)
    for number in numbers:
        for name, xyz in _joints(frames[number], f"{path}: frame {number}"):
            poses[number, JOINT_INDEX[name]] = (*xyz, 1.0)
    for joint in range(NUM_JOINTS):
        _interpolate(poses[:, joint], max_gap)
    if notes is not None:
        notes["frames without poses"] += len(frames) - len(numbers)
        notes["files with sparse poses"] += step > 1
        notes["files whose frames are out of order"] += list(frames) != sorted(frames)
        notes["files that begin after frame 0"] += numbers[0] > 0
        notes["joints interpolated"] += int((poses[..., 3] == 0.5).sum())
        notes["joints absent"] += int((poses[..., 3] == 0.0).sum())
    return poses


def _joints(entries: list, where: str) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Name and coordinates of a frame's joints."""
    try:
        joints = (entries[0].get("annotation3D") or {}).items()
        places = [(name, (float(joint["x"]), float(joint["y"]), float(joint["z"]))) for name, joint in joints]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"{where} is malformed ({type(error).__name__}: {error}); download the file again.") from error
    for name, xyz in places:
        if name not in JOINT_INDEX:
            raise ValueError(f"{where} has an unknown joint {name!r}; expected COCO-17 names with hyphens.")
        if not np.isfinite(xyz).all():
            raise ValueError(
                f"{where}, joint {name!r} is {xyz}; coordinates must be finite. Remove the joint or mend the file."
            )
        yield name, xyz


def _content(path: Path) -> dict[str, list]:
    content = read_json(path, "body poses come with `--parts ego_pose_pseudo_gt`")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected frames by number, found {type(content).__name__}.")
    return content


def _frame_number(key: str, path: Path) -> int:
    if not key.isdigit() or int(key) > MAX_FRAME:
        raise ValueError(f"{path}: frame {key[:20]!r} is not a frame number up to {MAX_FRAME} (a day at 30 fps).")
    return int(key)


def _interpolate(track: np.ndarray, max_gap: int) -> None:
    """Fills short gaps of one joint's track ``[T, 4]`` in place and flags them 0.5."""
    known = np.flatnonzero(track[:, 3] == 1.0)
    for before, after in itertools.pairwise(known):
        if 1 < after - before <= max_gap + 1:
            weight = (np.arange(before + 1, after) - before)[:, None] / (after - before)
            track[before + 1 : after, :3] = (1 - weight) * track[before, :3] + weight * track[after, :3]
            track[before + 1 : after, 3] = 0.5
