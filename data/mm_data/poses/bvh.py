"""Reads Biovision Hierarchy files: a skeleton of offsets and one line of channel values per frame."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mm_data.poses.joint_maps import NamedMotion

MAX_BVH_BYTES = 2**29
"""Larger files are refused; an hour of motion at 120 fps is a quarter of this."""

_ROTATIONS = {"Xrotation": "x", "Yrotation": "y", "Zrotation": "z"}
_POSITIONS = {"Xposition": 0, "Yposition": 1, "Zposition": 2}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: list[tuple[str, int]] = field(default_factory=list)  # (channel, column)


def read_bvh(path: Path) -> NamedMotion:
    """Reads a file and computes joint positions by forward kinematics.

    Args:
        path: The file.

    Returns:
        Positions of all joints without end sites, in the file's unit.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a BVH file, truncated, or too large; names the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    size = path.stat().st_size
    if size > MAX_BVH_BYTES:
        raise ValueError(f"{path}: {size:,} bytes; BVH files above {MAX_BVH_BYTES:,} bytes are refused. Split it.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    joints, row = _read_hierarchy(path, lines)
    values, fps = _read_motion(path, lines, row, sum(len(joint.channels) for joint in joints))
    return NamedMotion([joint.name for joint in joints], _forward_kinematics(joints, values), fps)


def _read_hierarchy(path: Path, lines: list[str]) -> tuple[list[_Joint], int]:
    """Joints, parents first, and the row of the line ``MOTION``."""
    if not lines or lines[0].strip() != "HIERARCHY":
        raise ValueError(f"{path}: does not begin with HIERARCHY, so it is not a BVH file.")
    joints: list[_Joint] = []
    open_joints: list[int | None] = []  # None is an end site, whose offset nobody needs
    columns = 0
    for row, line in enumerate(lines[1:], start=2):
        words = line.split()
        match words:
            case [] | ["{"]:
                pass
            case ["ROOT" | "JOINT", *name]:
                parent = open_joints[-1] if open_joints else -1
                joints.append(_Joint(" ".join(name), -1 if parent is None else parent, np.zeros(3)))
                open_joints.append(len(joints) - 1)
            case ["End", *_]:
                open_joints.append(None)
            case ["OFFSET", x, y, z]:
                if open_joints and open_joints[-1] is not None:
                    joints[open_joints[-1]].offset = _numbers(path, row, [x, y, z])
            case ["CHANNELS", _, *names] if open_joints and open_joints[-1] is not None:
                unknown = [name for name in names if name not in _ROTATIONS | _POSITIONS]
                if unknown:
                    raise ValueError(f"{path}:{row}: unknown channels {', '.join(unknown)}.")
                joints[open_joints[-1]].channels = [(name, columns + i) for i, name in enumerate(names)]
                columns += len(names)
            case ["}"] if open_joints:
                open_joints.pop()
            case ["MOTION"] if joints and not open_joints:
                return joints, row
            case _:
                raise ValueError(f"{path}:{row}: {line.strip()[:60]!r} is not expected there.")
    raise ValueError(f"{path}: ends before MOTION; the file is truncated.")


def _read_motion(path: Path, lines: list[str], row: int, columns: int) -> tuple[np.ndarray, float]:
    """Channel values ``[T, columns]`` and frames per second."""
    header = {}
    for offset in (0, 1):
        name, _, value = (lines[row + offset] if row + offset < len(lines) else "").partition(":")
        header[name.strip()] = _numbers(path, row + offset + 1, [value or "nothing"])[0]
    if header.keys() != {"Frames", "Frame Time"} or not 1e-3 <= header["Frame Time"] <= 1 or header["Frames"] < 1:
        raise ValueError(f"{path}:{row + 1}: expected 'Frames: N' and 'Frame Time: seconds' (0.001 to 1) after MOTION.")
    frames = [(number, line) for number, line in enumerate(lines[row + 2 :], start=row + 3) if line.strip()]
    if len(frames) != int(header["Frames"]):
        raise ValueError(f"{path}: announces {int(header['Frames'])} frames and has {len(frames)}; it is truncated.")
    values = np.empty((len(frames), columns))
    for index, (number, line) in enumerate(frames):
        numbers = _numbers(path, number, line.split())
        if len(numbers) != columns:
            raise ValueError(f"{path}:{number}: {len(numbers)} values; the skeleton has {columns} channels.")
        values[index] = numbers
    return values, 1.0 / float(header["Frame Time"])


def _numbers(path: Path, row: int, words: list[str]) -> np.ndarray:
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise ValueError(f"{path}:{row}: {error}.") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}:{row}: a value is not finite.")
    return numbers


def _forward_kinematics(joints: list[_Joint], values: np.ndarray) -> np.ndarray:
    """Joint positions ``[T, J, 3]`` of channel values ``[T, columns]``."""
    positions = np.empty((len(values), len(joints), 3))
    rotations: list[Rotation] = []
    for index, joint in enumerate(joints):
        local, turn = np.tile(joint.offset, (len(values), 1)), Rotation.identity(len(values))
        if any(name in _POSITIONS for name, _ in joint.channels):  # position channels replace the offset
            local = np.zeros_like(local)
        for name, column in joint.channels:
            if name in _POSITIONS:
                local[:, _POSITIONS[name]] = values[:, column]
            else:
                turn = turn * Rotation.from_euler(_ROTATIONS[name], values[:, [column]], degrees=True)
        if joint.parent >= 0:
            parent = rotations[joint.parent]
            local, turn = positions[:, joint.parent] + parent.apply(local), parent * turn
        positions[:, index] = local
        rotations.append(turn)
    return positions
