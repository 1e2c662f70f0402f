"""Finds the part of an expert's take that shows the same moment as a learner's clip (ExpertAF §3.2, temporal alignment)."""

from dataclasses import dataclass

import numpy as np

from mm_data.procrustes import pa_mpjpe

MIN_COMMON_JOINTS = 10
MIN_FRAME_SHARE = 0.8


@dataclass(frozen=True)
class Match:
    """A window ``[start, start + length)`` of the expert's take and its mean PA-MPJPE in millimetres."""

    start: int
    error_mm: float


def best_window(learner: np.ndarray, expert: np.ndarray, first: int, last: int, stride: int) -> Match | None:
    """Slides a window of the learner's length over the expert's poses and keeps the best.

    All frame pairs of all windows are aligned in one batch.

    Args:
        learner: The learner's clip ``[n, 17, 4]`` (x, y, z, flag) in metres.
        expert: The expert's whole take ``[m, 17, 4]``.
        first: First allowed start of the window.
        last: Last allowed start, inclusive; starts that run past the take are not tried.
        stride: Every how many frames windows start and frames are compared.

    Returns:
        The best match, or None where no window has enough frames with `MIN_COMMON_JOINTS` joints in common.
    """
    starts = np.arange(max(first, 0), min(last, len(expert) - len(learner)) + 1, stride)
    if len(starts) == 0:
        return None
    offsets = np.arange(0, len(learner), stride)
    rows = starts[:, None] + offsets[None]  # [windows, frames]
    target = np.broadcast_to(learner[offsets], (len(starts), *learner[offsets].shape))
    source = expert[rows]
    visible = (source[..., 3] > 0) & (target[..., 3] > 0)
    flat = visible.reshape(-1, visible.shape[-1])
    errors = pa_mpjpe(
        source[..., :3].reshape(-1, *source.shape[-2:-1], 3), target[..., :3].reshape(-1, *target.shape[-2:-1], 3), flat
    )
    errors = np.where(flat.sum(1) >= MIN_COMMON_JOINTS, errors, np.nan).reshape(rows.shape)
    usable = np.isfinite(errors).mean(1) >= MIN_FRAME_SHARE
    if not usable.any():
        return None
    means = np.full(len(starts), np.inf)
    means[usable] = np.nanmean(errors[usable], axis=1)
    best = int(means.argmin())
    return Match(int(starts[best]), float(means[best] * 1000.0))
