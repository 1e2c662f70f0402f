"""Body poses of a take as one dense array, from Ego-Exo4D's sparse per-frame JSON."""

import itertools
from pathlib import Path

import numpy as np

from mm_data.egoexo4d.release import read_json
from mm_data.records import Take
from mm_data.skeleton import JOINT_INDEX, NUM_JOINTS

FPS = 30.0
MAX_GAP = 6
"""Longest run of missing frames that is filled by interpolation; 6 frames are 0.2 s."""


def pose_file(root: Path, take: Take) -> Path | None:
    """The take's automatic poses, else its manual ones, else None."""
    body = root / "annotations/ego_pose" / take.split / "body"
    candidates = (body / "automatic" / f"{take.take_uid}.json", body / "annotation" / f"{take.take_uid}.json")
    return next((path for path in candidates if path.is_file()), None)


def load_poses(path: Path, max_gap: int = MAX_GAP) -> np.ndarray:
    """Reads one pose file.

    Joints are found by name, frames are sorted by number, and gaps of up to ``max_gap`` frames per joint are
    interpolated linearly (sparse manual labels have a step of 3).

    Args:
        path: ``annotations/ego_pose/<split>/body/<kind>/<take_uid>.json``.
        max_gap: Longest gap to fill, in frames.

    Returns:
        ``[T, 17, 4]``: x, y, z in metres and a flag: 1 measured, 0.5 interpolated, 0 absent (coordinates NaN, so that
        a filler can never enter a mean or a Procrustes fit). Row t is take frame t.

    Raises:
        ValueError: No pose, an unknown joint, or a coordinate that is not finite; names the file and the frame.
    """
    frames = {int(number): entries for number, entries in read_json(path, "body poses").items()}
    if not any(frames.values()):
        raise ValueError(f"{path}: holds no pose in any of its {len(frames)} frames.")
    poses = np.full((max(frames) + 1, NUM_JOINTS, 4), np.nan)
    poses[..., 3] = 0.0
    for number, entries in frames.items():
        for name, joint in (entries[0]["annotation3D"] if entries else {}).items():
            if name not in JOINT_INDEX:
                raise ValueError(
                    f"{path}: frame {number} has an unknown joint {name!r}; expected COCO-17 names with hyphens."
                )
            xyz = (joint["x"], joint["y"], joint["z"])
            if not np.isfinite(xyz).all():
                raise ValueError(
                    f"{path}: frame {number}, joint {name!r} is {xyz}; coordinates must be finite. Remove the joint or mend the file."
                )
            poses[number, JOINT_INDEX[name]] = (*xyz, 1.0)
    for joint in range(NUM_JOINTS):
        _interpolate(poses[:, joint], max_gap)
    return poses


def _interpolate(track: np.ndarray, max_gap: int) -> None:
    """Fills short gaps of one joint's track ``[T, 4]`` in place and flags them 0.5."""
    known = np.flatnonzero(track[:, 3] == 1.0)
    for before, after in itertools.pairwise(known):
        if 1 < after - before <= max_gap + 1:
            weight = (np.arange(before + 1, after) - before)[:, None] / (after - before)
            track[before + 1 : after, :3] = (1 - weight) * track[before, :3] + weight * track[after, :3]
            track[before + 1 : after, 3] = 0.5
