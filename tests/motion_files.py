"""Motion files for tests: a rig as BVH text, and people who stand as arrays of any format."""

from typing import Any

import numpy as np

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


def wiggle(frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    phase = np.linspace(0, 2, frames)[:, None, None]
    angles = 25 * np.sin(phase * rng.uniform(1, 3, (1, len(RIG), 3)) + rng.uniform(0, 6, (1, len(RIG), 3)))
    return angles, np.stack([np.linspace(0, 30, frames), np.full(frames, 90.0), np.zeros(frames)], -1)


def standing(frames: int, joints: int, scale: float = 1.0) -> np.ndarray:
    """An upright figure in HumanML3D's order and axes, its knees a little forward: joints of a picture have no depth at all."""
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
        array[:, joint] = (0.1 if joint in (1, 4, 7, 16, 18, 20) else -0.1, height, 0.01 * (joint in (4, 5)))
    return array * scale
