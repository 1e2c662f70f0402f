"""Pose metrics against raw expert joints."""

import numpy as np

from mm_data.procrustes import pa_mpjpe

SIGNATURE = "pa_mpjpe|per frame, similarity, raw joints"


def sequence_pa_mpjpe(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean PA-MPJPE over the frames of one clip, in millimetres.

    Args:
        predicted: ``[T, 17, 3]``, or ``[T, 17, 4]`` with a visibility flag.
        truth: Raw joints ``[T, 17, 4]`` in metres with visibility.

    Returns:
        The mean over frames that can be aligned, NaN where none can.

    Raises:
        ValueError: The numbers of frames differ.
    """
    if len(predicted) != len(truth):
        raise ValueError(
            f"{len(predicted)} predicted frames against {len(truth)} true ones; sample both to the same number."
        )
    visible = truth[..., 3] > 0
    if predicted.shape[-1] == 4:
        visible = visible & (predicted[..., 3] > 0)
    errors = pa_mpjpe(predicted[..., :3].astype(np.float64), truth[..., :3].astype(np.float64), visible)
    fine = np.isfinite(errors)
    return float(errors[fine].mean() * 1000.0) if fine.any() else float("nan")
