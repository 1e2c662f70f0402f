"""Finds the part of an expert's take that shows the same moment as a learner's clip (ExpertAF §3.2, temporal alignment)."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from mm_data.poses.procrustes import axis_major, fit_pose

MIN_COMMON_JOINTS = 10
MIN_FRAME_SHARE = 0.8
_PROBE = 5  # of a window's compared frames, every fifth is looked at before windows are ranked


@dataclass(frozen=True)
class PoseTrack:
    """Poses prepared for alignment; slices share memory.

    Attributes:
        coordinates: ``[T, 3, P]``, each pose about its own mean.
        mask: ``[T, P]``, 1.0 where a joint is there.
    """

    coordinates: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.mask)

    def window(self, start: int, stop: int) -> "PoseTrack":
        """Returns frames ``[start, stop)``."""
        return PoseTrack(self.coordinates[start:stop], self.mask[start:stop])


@dataclass(frozen=True)
class Match:
    """A window ``[start, start + length)`` of the expert's take and its mean PA-MPJPE in millimetres."""

    start: int
    error_mm: float


def prepare_track(poses: np.ndarray) -> PoseTrack:
    """Prepares poses ``[T, 17, 4]`` (x, y, z in metres and a flag; above 0 is visible)."""
    return PoseTrack(*axis_major(poses[..., :3], poses[..., 3] > 0))


def error_curve(learner: PoseTrack, expert: PoseTrack, starts: np.ndarray, stride: int) -> np.ndarray:
    """Computes the mean PA-MPJPE of every window of the learner's length, in millimetres.

    Args:
        learner: The learner's clip.
        expert: The expert's whole take.
        starts: First frames of the windows ``[W]``; every window lies inside the take.
        stride: Every how many frames the two clips are compared.

    Returns:
        ``[W]``; infinite where fewer than `MIN_FRAME_SHARE` of the compared frames have `MIN_COMMON_JOINTS` joints in
        common.
    """
    curve = np.empty(len(starts))
    _curve(*_compared(learner, stride), expert.coordinates, expert.mask, starts, stride, curve)
    return curve * 1000.0


def clip_error(learner: np.ndarray, expert: np.ndarray, stride: int) -> float | None:
    """Computes the mean PA-MPJPE of two clips of one length.

    Args:
        learner: The learner's poses ``[T, 17, 4]``.
        expert: The expert's poses ``[T, 17, 4]``.
        stride: Every how many frames the two are compared.

    Returns:
        Millimetres with three decimals; None where the clips cannot be compared.
    """
    (error,) = error_curve(prepare_track(learner), prepare_track(expert), np.zeros(1, np.int64), stride)
    return round(float(error), 3) if np.isfinite(error) else None


def best_window(
    learner: PoseTrack, expert: PoseTrack, starts: np.ndarray, stride: int, ceiling_mm: float = np.inf
) -> Match | None:
    """Finds the window with the smallest error of `error_curve`, without computing the whole curve.

    Args:
        learner: The learner's clip.
        expert: The expert's whole take.
        starts: First frames of the windows ``[W]``, ascending. Of equal windows the first one wins.
        stride: Every how many frames the two clips are compared.
        ceiling_mm: Windows that cannot be better than this are not looked for.

    Returns:
        The best match, or None where no window can be compared or none is better than the ceiling.
    """
    best, error = _search(
        *_compared(learner, stride), expert.coordinates, expert.mask, starts, stride, ceiling_mm / 1000.0
    )
    return None if best < 0 else Match(int(starts[best]), float(error * 1000.0))


def _compared(track: PoseTrack, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stride-th frame, contiguous: the kernel does not vectorise over strided memory."""
    return np.ascontiguousarray(track.coordinates[::stride]), np.ascontiguousarray(track.mask[::stride])


@njit(cache=True, nogil=True)
def _frame_error(clip, clip_mask, frame, track, track_mask, at):
    """Mean distance between a frame of the clip and one of the take in metres, or -1.0 where they cannot be compared."""
    return fit_pose(track, track_mask, at, clip, clip_mask, frame, MIN_COMMON_JOINTS, True)[0]


@njit(cache=True, nogil=True)
def _curve(clip, clip_mask, track, track_mask, starts, stride, curve):
    for window in range(len(starts)):
        total, usable = 0.0, 0
        for frame in range(len(clip)):
            error = _frame_error(clip, clip_mask, frame, track, track_mask, starts[window] + frame * stride)
            if error >= 0:
                total += error
                usable += 1
        curve[window] = total / usable if usable >= MIN_FRAME_SHARE * len(clip) else np.inf


@njit(cache=True, nogil=True)
def _search(clip, clip_mask, track, track_mask, starts, stride, ceiling):
    """Index of the best window and its error, or -1.

    A few frames of every window say which windows to finish first; a window is given up as soon as it could not beat
    the best one even if its other frames fitted perfectly. The result is that of trying everything.
    """
    frames, windows = len(clip), len(starts)
    totals, usable = np.zeros(windows), np.zeros(windows, np.int64)
    for window in range(windows):
        for frame in range(0, frames, _PROBE):
            error = _frame_error(clip, clip_mask, frame, track, track_mask, starts[window] + frame * stride)
            if error >= 0:
                totals[window] += error
                usable[window] += 1
    best, best_error = -1, ceiling
    for window in np.argsort(totals):
        left = frames - (frames + _PROBE - 1) // _PROBE
        for frame in range(frames):
            if frame % _PROBE == 0:
                continue
            if totals[window] > best_error * (usable[window] + left):
                break
            error = _frame_error(clip, clip_mask, frame, track, track_mask, starts[window] + frame * stride)
            left -= 1
            if error >= 0:
                totals[window] += error
                usable[window] += 1
        if left == 0 and usable[window] >= MIN_FRAME_SHARE * frames:
            mean = totals[window] / usable[window]
            if mean < best_error or (mean == best_error and window < best):
                best, best_error = window, mean
    return best, best_error
