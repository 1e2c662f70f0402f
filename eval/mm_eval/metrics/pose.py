"""Pose errors of one clip in millimetres, in the variants that papers report under one name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mm_data.poses.procrustes import MIN_JOINTS, pa_mpjpe
from mm_data.poses.skeleton import HIPS

_MILLIMETRES = 1000.0

OfFrames = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PoseError:
    """One variant of the error.

    Attributes:
        signature: Which parts are aligned to which before distances are taken.
        of_frames: Function from joints ``[T, 17, 3]`` predicted and true and the mask of joints that both have to errors of frames, or to the
            one error of the sequence: NaN where too few joints are known, infinite where the prediction has collapsed.
    """

    signature: str
    of_frames: OfFrames


def _per_frame(scale: bool) -> OfFrames:
    def error(predicted: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> np.ndarray:
        errors = pa_mpjpe(predicted, truth, visible, scale)
        return np.where(np.isnan(errors) & (visible.sum(1) >= MIN_JOINTS), np.inf, errors)

    return error


def _per_sequence(scale: bool) -> OfFrames:
    """Aligns once for all frames: motion through space and changes of size count."""
    aligned = _per_frame(scale)

    def error(predicted: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> np.ndarray:
        return aligned(predicted.reshape(1, -1, 3), truth.reshape(1, -1, 3), visible.reshape(1, -1))

    return error


def _turned(x: np.ndarray, y: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Turns joints about the vertical axis, frame by frame, so that they come nearest to others.

    With points of the ground plane as complex numbers, the turn that brings u nearest to v is the angle of the sum of conj(u) v.
    """
    u, v = (np.where(visible, joints[..., 0] + 1j * joints[..., 1], 0) for joints in (x, y))
    heading = np.angle((u.conj() * v).sum(1))
    turned = (x[..., 0] + 1j * x[..., 1]) * np.exp(1j * heading)[:, None]
    return np.stack([turned.real, turned.imag, x[..., 2]], axis=-1)


def _root_centred(yaw: bool) -> OfFrames:
    """Puts the middle of the hips at the origin and, if asked, finds the best turn about the vertical axis, frame by frame."""

    def error(predicted: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> np.ndarray:
        x, y = (joints - joints[:, HIPS].mean(1, keepdims=True) for joints in (predicted, truth))
        if yaw:
            x = _turned(x, y, visible)
        count = np.where(visible[:, HIPS].all(1), visible.sum(1), 0)
        distance = np.where(visible, np.linalg.norm(x - y, axis=-1), 0).sum(1)
        return np.where(count > 0, distance / np.maximum(count, 1), np.nan)

    return error


POSE_ERRORS = {
    "pa_mpjpe": PoseError("pa_mpjpe|per frame, similarity", _per_frame(True)),
    "pa_mpjpe_rigid": PoseError("pa_mpjpe|per frame, rigid", _per_frame(False)),
    "pa_mpjpe_sequence": PoseError("pa_mpjpe|per sequence, similarity", _per_sequence(True)),
    "pa_mpjpe_sequence_rigid": PoseError("pa_mpjpe|per sequence, rigid", _per_sequence(False)),
    "mpjpe_root": PoseError("mpjpe|middle of the hips at the origin", _root_centred(False)),
    "mpjpe_root_yaw": PoseError("mpjpe|middle of the hips at the origin, best yaw per frame", _root_centred(True)),
}
"""Variants by name. The choice is worth 25 to 50 %; ExpertAF's is the first."""


def sequence_error(predicted: np.ndarray, truth: np.ndarray, variant: str = "pa_mpjpe") -> float:
    """Measures the error of one clip in millimetres, the prediction moved onto the truth.

    Args:
        predicted: ``[T, 17, 3]`` in metres, z up, or ``[T, 17, 4]`` with a visibility flag.
        truth: True joints ``[T, 17, 3]`` in metres, z up, or ``[T, 17, 4]`` with a visibility flag.
        variant: A key of `POSE_ERRORS`.

    Returns:
        The mean over frames with enough common joints; NaN without any, and where a predicted frame has collapsed into a point or a
        predicted joint is not finite. A mirrored pose does not align.

    Raises:
        ValueError: The numbers of frames differ.
    """
    if len(predicted) != len(truth):
        raise ValueError(
            f"{len(predicted)} predicted frames against {len(truth)} true ones; sample both to the same number."
        )
    joints = [np.asarray(poses[..., :3], float) for poses in (predicted, truth)]
    visible: np.ndarray = np.isfinite(joints[1]).all(axis=-1)  # pyright: ignore[reportAssignmentType]
    for poses in (predicted, truth):
        if poses.shape[-1] == 4:
            visible &= poses[..., 3] > 0
    if not np.isfinite(joints[0][visible]).all():
        return float("nan")
    x, y = (np.where(visible[..., None], j, 0.0) for j in joints)
    errors = POSE_ERRORS[variant].of_frames(x, y, visible)
    known = errors[~np.isnan(errors)]
    return float(known.mean() * _MILLIMETRES) if np.isfinite(known).all() and len(known) else float("nan")
