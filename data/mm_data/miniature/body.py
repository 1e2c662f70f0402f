"""A kinematic body: a posture (a few interpretable numbers) to 17 COCO joints in metres.

Body axes: x to the performer's right, y forward, z up; the origin is the floor below the performer's start.
"""

from dataclasses import astuple, dataclass, fields

import numpy as np

from mm_data.poses.skeleton import JOINT_INDEX, MIRRORED_JOINTS, NUM_JOINTS


@dataclass(frozen=True)
class Physique:
    """Segment lengths in metres."""

    height: float
    leg: float
    arm: float
    trunk: float
    shoulder_width: float
    hip_width: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Physique":
        """Draws a person: 1.55 to 1.95 m tall, with individual proportions."""
        height = rng.uniform(1.55, 1.95)
        return cls(
            height=height,
            leg=height * rng.uniform(0.46, 0.50),
            arm=height * rng.uniform(0.32, 0.35),
            trunk=height * rng.uniform(0.285, 0.305),
            shoulder_width=height * rng.uniform(0.20, 0.235),
            hip_width=height * rng.uniform(0.10, 0.125),
        )


@dataclass(frozen=True)
class Posture:
    """One key posture. Lengths are shares of leg length (pelvis, feet) or arm length (hands); angles are radians.

    Hands are relative to their shoulder in the trunk's frame, feet relative to the floor below the start.
    ``*_swivel`` turns the elbow (knee) outwards about the shoulder-hand (hip-foot) line.
    """

    pelvis_x: float = 0.0
    pelvis_y: float = 0.0
    pelvis_z: float = 0.97
    pelvis_yaw: float = 0.0
    lean: float = 0.05  # forward
    tilt: float = 0.0  # to the right
    twist: float = 0.0  # shoulders against the pelvis, to the left
    head_down: float = 0.0
    head_turn: float = 0.0  # to the left
    right_hand_x: float = 0.12
    right_hand_y: float = 0.15
    right_hand_z: float = -0.92
    right_elbow_swivel: float = 0.2
    left_hand_x: float = -0.12
    left_hand_y: float = 0.15
    left_hand_z: float = -0.92
    left_elbow_swivel: float = 0.2
    right_foot_x: float = 0.14
    right_foot_y: float = 0.0
    right_foot_z: float = 0.04
    right_knee_swivel: float = 0.1
    left_foot_x: float = -0.14
    left_foot_y: float = 0.0
    left_foot_z: float = 0.04
    left_knee_swivel: float = 0.1

    def vector(self) -> np.ndarray:
        """Returns the fields in order, shape ``[25]``."""
        return np.array(astuple(self))


POSTURE_INDEX = {f.name: i for i, f in enumerate(fields(Posture))}

Change = dict[str, float]
"""Posture field to the amount added at severity 1."""


def add_change(vector: np.ndarray, change: Change, severity: float = 1.0) -> None:
    """Adds a change, scaled by its severity, to a posture vector ``[25]`` in place."""
    for name, amount in change.items():
        vector[POSTURE_INDEX[name]] += severity * amount


def _rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Rotation matrices ``[T, 3, 3]``: yaw to the left about z, then forward pitch, then roll to the right.

    They are written out: SciPy's differ in the last bit, and the same seed has to give the same bytes.
    """
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    zero, one = np.zeros_like(cy), np.ones_like(cy)
    rz = np.stack([cy, -sy, zero, sy, cy, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    rx = np.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).reshape(-1, 3, 3)
    ry = np.stack([cr, zero, sr, zero, one, zero, -sr, zero, cr], -1).reshape(-1, 3, 3)
    return rz @ rx @ ry


def _two_bone(root: np.ndarray, target: np.ndarray, length: float, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle joint and reached end of a limb of two equal bones, all ``[T, 3]``; ``bend`` points to the joint's side."""
    axis = target - root
    distance = np.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / np.maximum(distance, 1e-6)
    reach = np.clip(distance, 0.25 * length, 0.998 * length)
    bend = bend - (bend * axis).sum(-1, keepdims=True) * axis
    bend = bend / np.maximum(np.linalg.norm(bend, axis=-1, keepdims=True), 1e-6)
    half = length / 2
    middle = root + axis * reach / 2 + bend * np.sqrt(np.maximum(half**2 - (reach / 2) ** 2, 0.0))
    return middle, root + axis * reach


def _swivelled(forward: np.ndarray, outward: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.cos(angle)[:, None] * forward + np.sin(angle)[:, None] * outward


def pose_joints(postures: np.ndarray, physique: Physique) -> np.ndarray:
    """Computes the joints of a posture sequence.

    Args:
        postures: ``[T, 25]``, columns as in `Posture`.
        physique: The performer.

    Returns:
        COCO-17 joints ``[T, 17, 3]`` in metres, body axes.
    """
    column = {name: postures[:, i] for name, i in POSTURE_INDEX.items()}
    zeros = np.zeros(len(postures))
    joints = np.zeros((len(postures), NUM_JOINTS, 3))

    def put(name: str, value: np.ndarray) -> None:
        joints[:, JOINT_INDEX[name]] = value

    pelvis = np.stack([column["pelvis_x"], column["pelvis_y"], column["pelvis_z"]], -1) * physique.leg
    hips_frame = _rotation(column["pelvis_yaw"], zeros, zeros)
    trunk_frame = _rotation(column["pelvis_yaw"] + column["twist"], column["lean"], column["tilt"])
    neck = pelvis + trunk_frame @ np.array([0, 0, physique.trunk])
    head_frame = _rotation(
        column["pelvis_yaw"] + column["twist"] + column["head_turn"], column["lean"] * 0.4 + column["head_down"], zeros
    )
    head = neck + trunk_frame @ np.array([0, 0, 0.05]) + head_frame @ np.array([0, 0.02, 0.11 * physique.height / 1.75])
    put("nose", head + head_frame @ np.array([0, 0.11, -0.01]))

    for side, sign in (("right", 1.0), ("left", -1.0)):
        put(f"{side}-eye", head + head_frame @ np.array([sign * 0.032, 0.095, 0.03]))
        put(f"{side}-ear", head + head_frame @ np.array([sign * 0.075, 0.0, 0.01]))
        shoulder = neck + trunk_frame @ np.array([sign * physique.shoulder_width / 2, 0, -0.03])
        put(f"{side}-shoulder", shoulder)
        offset = np.stack([column[f"{side}_hand_{axis}"] for axis in "xyz"], -1) * physique.arm
        hand = shoulder + np.einsum("tij,tj->ti", trunk_frame, offset)
        down_back = trunk_frame @ np.array([0, -0.6, -0.8])
        outward = trunk_frame @ np.array([sign, 0, 0])
        bend = _swivelled(down_back, outward, column[f"{side}_elbow_swivel"])
        elbow, wrist = _two_bone(shoulder, hand, physique.arm, bend)
        put(f"{side}-elbow", elbow)
        put(f"{side}-wrist", wrist)

        hip = pelvis + hips_frame @ np.array([sign * physique.hip_width / 2, 0, 0])
        put(f"{side}-hip", hip)
        foot = np.stack([column[f"{side}_foot_{axis}"] for axis in "xyz"], -1) * physique.leg
        forward, outward = hips_frame @ np.array([0, 1.0, 0.1]), hips_frame @ np.array([sign, 0, 0])
        bend = _swivelled(forward, outward, column[f"{side}_knee_swivel"])
        knee, ankle = _two_bone(hip, foot, physique.leg, bend)
        put(f"{side}-knee", knee)
        put(f"{side}-ankle", ankle)
    return joints


def mirrored(joints: np.ndarray) -> np.ndarray:
    """Returns the left-handed performer of the same motion: x negated, left and right joints swapped."""
    return joints[:, MIRRORED_JOINTS] * np.array([-1.0, 1.0, 1.0])
