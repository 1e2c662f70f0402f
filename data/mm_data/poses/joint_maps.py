"""Other skeletons as COCO-17: which source joint stands for which of ours, and which way is up.

A joint that the source lacks stays absent (flag 0); nothing is invented. SMPL's ``head`` joint is inside the skull, so it
does not stand for the nose.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mm_data.poses.skeleton import JOINT_INDEX, JOINTS, absent_poses


def _both_sides(**left: int) -> dict[str, int]:
    """Joints of both sides to their indices, where the index of the right one follows upon that of the left one."""
    return {f"{side}-{part}": index + (side == "right") for part, index in left.items() for side in ("left", "right")}


_SMPL = _both_sides(hip=1, knee=4, ankle=7, shoulder=16, elbow=18, wrist=20)
_MEDIAPIPE = {"nose": 0, "left-eye": 2, "right-eye": 5}
_MEDIAPIPE |= _both_sides(ear=7, shoulder=11, elbow=13, wrist=15, hip=23, knee=25, ankle=27)


@dataclass(frozen=True)
class JointFormat:
    """A skeleton as arrays hold it.

    Attributes:
        joints: Number of joints.
        source: COCO joint name to its index.
        up: Axis that points up by convention: ``z``, ``y`` or ``y-down``.
        fps: Frame rate by convention.
        min_visibility: Flags above this mean visible. MediaPipe's are probabilities, the others' are 0 or 1.
    """

    joints: int
    source: Mapping[str, int]
    up: str
    fps: float
    min_visibility: float = 0.0


@dataclass(frozen=True)
class NamedMotion:
    """Positions over time of joints or markers that a file names.

    Attributes:
        names: Their names, in the file's order.
        positions: ``[T, J, 3]`` in the file's axes; NaN where one was not seen.
        fps: Frames per second.
    """

    names: list[str]
    positions: np.ndarray
    fps: float


FORMATS = {
    "coco17": JointFormat(17, JOINT_INDEX, "z", 30.0),
    "wholebody": JointFormat(133, JOINT_INDEX, "z", 30.0),
    "humanml3d": JointFormat(22, _SMPL, "y", 20.0),
    "smpl": JointFormat(24, _SMPL, "y", 30.0),
    "mediapipe": JointFormat(33, _MEDIAPIPE, "y-down", 30.0, min_visibility=0.5),
}
"""Array formats by name; `ImportOptions` can override ``up`` and ``fps``."""

_TO_Z_UP = {
    "z": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "y": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "y-down": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
UP_AXES = tuple(_TO_Z_UP)


def to_z_up(points: np.ndarray, up: str) -> np.ndarray:
    """Rotates ``[..., 3]`` so that ``up`` becomes +z; handedness is kept.

    Args:
        points: Points ``[..., 3]``.
        up: Axis that points up: ``z``, ``y`` or ``y-down``.

    Returns:
        The rotated points.

    Raises:
        ValueError: Unknown axis.
    """
    if up not in _TO_Z_UP:
        raise ValueError(f"Up axis {up!r} is unknown; choose {', '.join(UP_AXES)}.")
    return points @ _TO_Z_UP[up].T


def array_to_coco(array: np.ndarray, form: JointFormat, where: str) -> np.ndarray:
    """Brings joints of a source format to ``[T, 17, 4]`` with NaN and flag 0 where a joint is absent; other flags are kept.

    Args:
        array: ``[T, J, 3]``, or ``[T, J, 4]`` with visibility; source axes and unit.
        form: The format of the array.
        where: File, for the error.

    Returns:
        The poses.

    Raises:
        ValueError: Another shape, no frame, or a visible joint that is not finite.
    """
    if array.ndim != 3 or array.shape[1] != form.joints or array.shape[2] not in (3, 4):
        features = " This looks like HumanML3D's feature vectors; give its joint positions (new_joints)."
        hint = features if array.shape[-1:] == (263,) else ""
        raise ValueError(
            f"{where}: shape {array.shape}; expected [T, {form.joints}, 3] or [T, {form.joints}, 4].{hint}"
        )
    if not len(array):
        raise ValueError(f"{where}: holds no frame (shape {array.shape}).")
    finite = np.isfinite(array[..., :3]).all(axis=2)
    flags = array[..., 3] if array.shape[2] == 4 else finite.astype(float)
    visible = flags > form.min_visibility
    if np.any(visible & ~finite):
        frame, joint = np.argwhere(visible & ~finite)[0]
        raise ValueError(
            f"{where}: frame {frame}, joint {joint} is visible but not finite; set its flag to 0 or mend it."
        )
    poses = absent_poses(len(array))
    for name, index in form.source.items():
        frames = visible[:, index]
        poses[frames, JOINT_INDEX[name], :3] = array[frames, index, :3]
        poses[frames, JOINT_INDEX[name], 3] = flags[frames, index]
    return poses


# Names of a limb's joints after lower-casing and removing separators; {side} is left or right, {s} its first letter.
_CONVENTIONS: tuple[dict[str, str], ...] = (
    {"shoulder": "{side}arm", "elbow": "{side}forearm", "wrist": "{side}hand"},
    {"shoulder": "{side}shoulder", "elbow": "{side}elbow", "wrist": "{side}wrist"},
    {"shoulder": "{s}shoulder", "elbow": "{s}elbow", "wrist": "{s}wrist"},
    {"hip": "{side}upleg", "knee": "{side}leg", "ankle": "{side}foot"},
    {"hip": "{side}hip", "knee": "{side}knee", "ankle": "{side}ankle"},
    {"hip": "{side}thigh", "knee": "{side}shin", "ankle": "{side}foot"},
    {"hip": "{s}hip", "knee": "{s}knee", "ankle": "{s}ankle"},
)
_FACE = {"nose": ("nose",), "eye": ("{side}eye", "{s}eye"), "ear": ("{side}ear", "{s}ear")}


def match_named_joints(names: list[str], by_hand: Mapping[str, str], where: str) -> dict[str, str]:
    """Finds the named joint that stands for each COCO joint.

    Knows the names of CMU, Mixamo and LAFAN1 rigs, Left/RightHip-Knee-Ankle, and L/RHip-Knee-Ankle as Pose2Sim writes them. A limb is matched by one convention as a whole, because
    ``LeftShoulder`` is the collar bone in some rigs and the shoulder joint in others.

    Args:
        names: Joints of the file.
        by_hand: COCO names that the user mapped by hand; they win, and the rest of their limb is still matched by name.
        where: File, for the error.

    Returns:
        COCO joint name to the name of the file's joint.

    Raises:
        ValueError: A hip, knee or shoulder cannot be matched, or the user's map names what does not exist.
    """
    unknown = [
        f"{ours}: {theirs}" for ours, theirs in by_hand.items() if ours not in JOINT_INDEX or theirs not in names
    ]
    if unknown:
        raise ValueError(
            f"{where}: the joint map names what is not there: {', '.join(unknown)}. Joints of the file: "
            f"{', '.join(names)}."
        )
    plain = {_plain(name): name for name in reversed(names)}
    matches: dict[str, str] = {}
    for side in ("left", "right"):
        for convention in _CONVENTIONS:
            limb = {f"{side}-{part}": name.format(side=side, s=side[0]) for part, name in convention.items()}
            left = {ours: name for ours, name in limb.items() if ours not in by_hand}
            if all(name in plain for name in left.values()) and not left.keys() & matches.keys():
                matches |= {ours: plain[name] for ours, name in left.items()}
        for part, spellings in _FACE.items():
            ours = part if part == "nose" else f"{side}-{part}"
            there = [plain[spelt] for name in spellings if (spelt := name.format(side=side, s=side[0])) in plain]
            if there:
                matches[ours] = there[0]
    matches |= by_hand
    needed = [name for name in JOINTS if name.endswith(("shoulder", "hip", "knee"))]
    if lacking := [name for name in needed if name not in matches]:
        raise ValueError(
            f"{where}: no joint for {', '.join(lacking)} among {', '.join(names)}. "
            "Give a YAML file with --joint-map, lines like 'left-hip: LeftUpLeg'."
        )
    return matches


def _plain(name: str) -> str:
    """Lower case, without a rig's prefix (``mixamorig:``) and separators."""
    return re.sub("[-_ ]", "", name.rsplit(":", 1)[-1].lower())
