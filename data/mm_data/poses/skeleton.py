"""The COCO-17 skeleton: joint order, bones, left/right pairs and body regions."""

import numpy as np

_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ("nose", *(f"{side}-{part}" for part in _PARTS for side in ("left", "right")))
"""Joint names in COCO order, spelled as Ego-Exo4D's body files spell them."""

JOINT_INDEX = {name: index for index, name in enumerate(JOINTS)}
NUM_JOINTS = len(JOINTS)
LEFT_HIP, RIGHT_HIP = HIPS = [JOINT_INDEX["left-hip"], JOINT_INDEX["right-hip"]]

MIRRORED_JOINTS = [
    JOINT_INDEX[name.replace("left", "?").replace("right", "left").replace("?", "right")] for name in JOINTS
]
"""For each joint the one on the other side of the body (itself for the nose)."""

BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip

REGIONS: dict[str, tuple[int, ...]] = {
    "head": (0, 1, 2, 3, 4),
    "torso": (5, 6, 11, 12),
    "arms": (7, 8),
    "hands": (9, 10),
    "legs": (13, 14),
    "feet": (15, 16),
}
"""Six body regions over the COCO-17 joints. The grouping is ours: ExpertAF's is unpublished."""


def absent_poses(frames: int) -> np.ndarray:
    """Makes poses ``[frames, 17, 4]`` without a visible joint: NaN coordinates, so that they cannot enter a mean, and flag 0."""
    poses = np.full((frames, NUM_JOINTS, 4), np.nan)
    poses[..., 3] = 0.0
    return poses
