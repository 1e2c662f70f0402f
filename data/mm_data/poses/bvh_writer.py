"""Writes COCO-17 joints as a Biovision Hierarchy file, which Blender and others open.

Every joint carries its position relative to its parent, frame by frame, instead of a rotation: limbs of estimated poses are
not rigid, and nothing is lost that way. Axes are turned to BVH's y up, lengths to centimetres.
"""

from pathlib import Path

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.poses.skeleton import JOINT_INDEX, JOINTS, NUM_JOINTS

PARENTS = {
    "left-hip": "hips", "right-hip": "hips", "left-knee": "left-hip", "left-ankle": "left-knee",
    "right-knee": "right-hip", "right-ankle": "right-knee", "left-shoulder": "hips", "left-elbow": "left-shoulder",
    "left-wrist": "left-elbow", "right-shoulder": "hips", "right-elbow": "right-shoulder",
    "right-wrist": "right-elbow", "nose": "hips", "left-eye": "nose", "left-ear": "left-eye", "right-eye": "nose",
    "right-ear": "right-eye",
}  # fmt: skip
"""Joints and what they hang from; the root stands midway between the hips."""

_CENTIMETRES = 100.0


def write_bvh(path: Path, joints: np.ndarray, fps: float) -> None:
    """Writes a motion.

    Args:
        path: Target.
        joints: ``[T, 17, 3]`` in metres, z up.
        fps: Frames per second.

    Raises:
        ValueError: Another shape, no frame, or values that are not finite.
    """
    if joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 3) or not len(joints):
        raise ValueError(f"Joints have shape {joints.shape}; [T, {NUM_JOINTS}, 3] with T > 0 is needed.")
    absent = np.argwhere(~np.isfinite(joints).all(-1))
    if len(absent):
        frame, joint = absent[0]
        raise ValueError(
            f"Frame {frame}: {JOINTS[joint]} is absent, and a BVH file has to place every joint ({len(absent)} are "
            "absent in all). Leave those frames out, or write .npy or a drawing."
        )
    turned = _CENTIMETRES * np.stack([joints[..., 0], joints[..., 2], -joints[..., 1]], axis=-1)
    places = {name: turned[:, index] for name, index in JOINT_INDEX.items()}
    places["hips"] = (places["left-hip"] + places["right-hip"]) / 2
    order: list[str] = []

    def branch(name: str, depth: int) -> list[str]:
        order.append(name)
        pad = "  " * depth
        first = places[name][0] - (places[PARENTS[name]][0] if name in PARENTS else 0.0)
        children = [child for child, parent in PARENTS.items() if parent == name]
        lines = [f"{pad}{'JOINT' if name in PARENTS else 'ROOT'} {name}", f"{pad}{{"]
        lines.append(f"{pad}  OFFSET {_row(first)}")
        lines.append(f"{pad}  CHANNELS 3 Xposition Yposition Zposition")
        for child in children:
            lines += branch(child, depth + 1)
        if not children:
            lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 0 0", f"{pad}  }}"]
        return [*lines, f"{pad}}}"]

    hierarchy = branch("hips", 0)
    moved = [places[name] - (places[PARENTS[name]] if name in PARENTS else 0.0) for name in order]
    frames = np.concatenate(moved, axis=1)
    header = ["MOTION", f"Frames: {len(frames)}", f"Frame Time: {1 / fps:.8f}"]
    write_atomically(path, "\n".join(["HIERARCHY", *hierarchy, *header, *map(_row, frames)]) + "\n")


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.5f}" for value in values)
