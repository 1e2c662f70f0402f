"""Poses written out as coordinates: what a language model without pose tokens can read and write.

One line per frame, joints in COCO order separated by commas, three whole centimetres each: ``-12 4 51,-10 2 53,...``.
"""

import re

import numpy as np

from mm_data.poses.skeleton import NUM_JOINTS


def poses_to_text(joints: np.ndarray) -> str:
    """Writes joints ``[T, 17, 3]`` in metres as text, exact to half a centimetre."""
    centimetres = np.rint(np.asarray(joints)[..., :3] * 100).astype(int)
    return "\n".join(",".join(" ".join(map(str, joint)) for joint in frame) for frame in centimetres)


def text_to_poses(text: str, frames: int) -> np.ndarray:
    """Reads joints ``[T, 17, 3]`` in metres from text.

    Args:
        text: Lines of coordinates.
        frames: T, lines that there have to be.

    Returns:
        The joints.

    Raises:
        ValueError: Not ``frames`` lines of 17 joints with three whole numbers each; says where.
    """
    lines = text.strip().split("\n")
    if len(lines) != frames:
        raise ValueError(f"{len(lines)} frames of coordinates, expected {frames}.")
    poses = []
    for number, line in enumerate(lines, start=1):
        joints = line.split(",")
        if len(joints) != NUM_JOINTS:
            raise ValueError(f"Frame {number} has {len(joints)} joints, expected {NUM_JOINTS}.")
        for joint in joints:
            if not re.fullmatch(r"\s*-?\d{1,4} -?\d{1,4} -?\d{1,4}\s*", joint, flags=re.ASCII):
                raise ValueError(f"Frame {number} holds {joint!r}, expected three whole numbers.")
        poses.append([[int(value) for value in joint.split()] for joint in joints])
    return np.array(poses, np.float32) / 100


def read_poses(text: str, frames: int) -> np.ndarray | None:
    """Reads poses ``[frames, 17, 3]`` as `text_to_poses` does, or returns None where the text is no pose sequence."""
    try:
        return text_to_poses(text, frames)
    except ValueError:
        return None
