"""Canonical poses: mid-hip at the origin, hips facing one way, metres."""

import numpy as np

from mm_data.poses.skeleton import HIPS, LEFT_HIP, RIGHT_HIP


def canonical_poses(poses: np.ndarray) -> np.ndarray:
    """Removes position and heading from COCO-17 poses, frame by frame.

    Args:
        poses: ``[..., 17, 4]`` x, y, z in metres (z up) and a visibility flag (> 0 is visible).

    Returns:
        The same shape in float32: mid-hip at the origin, the left-to-right hip line along +x, invisible joints zeroed
        with flag 0, visible ones with flag 1.

    Raises:
        ValueError: A frame lacks a hip, so that it has no origin, or a visible joint is not finite.
    """
    visible = poses[..., 3] > 0
    if not visible[..., HIPS].all():
        lacking = int((~visible[..., HIPS].all(-1)).sum())
        raise ValueError(
            f"{lacking} of {visible[..., 0].size} poses lack a hip joint and cannot be centred; leave those frames out."
        )
    xyz = np.where(visible[..., None], poses[..., :3], 0.0)
    if not np.isfinite(xyz).all():
        bad = np.argwhere(~np.isfinite(xyz).all(-1))[0].tolist()
        raise ValueError(
            f"Pose {bad[:-1]}, joint {bad[-1]} is visible but not finite; mark it as absent (flag 0) or mend it."
        )
    left, right = xyz[..., LEFT_HIP, :], xyz[..., RIGHT_HIP, :]
    xyz = xyz - ((left + right) / 2)[..., None, :]
    across = right - left
    yaw = np.arctan2(across[..., 1], across[..., 0])
    c, s = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    turned = np.stack([c * xyz[..., 0] + s * xyz[..., 1], -s * xyz[..., 0] + c * xyz[..., 1], xyz[..., 2]], -1)
    out = np.concatenate([turned, np.ones_like(turned[..., :1])], -1) * visible[..., None]
    return out.astype(np.float32)


def has_hips(poses: np.ndarray) -> np.ndarray:
    """Says which frames of ``[..., 17, 4]`` can be made canonical."""
    return np.all(poses[..., HIPS, 3] > 0, axis=-1)


def sample_frames(poses: np.ndarray, num_frames: int) -> np.ndarray:
    """Chooses frames ``round(linspace(0, n - 1, num_frames))`` as in ExpertAF, moved to the nearest frame that has hips.

    Args:
        poses: ``[n, 17, 4]``.
        num_frames: Frames to choose.

    Returns:
        Indices of frames ``[num_frames]``.

    Raises:
        ValueError: The clip has no frame, or none with both hips.
    """
    usable = np.flatnonzero(has_hips(poses))
    if len(poses) == 0:
        raise ValueError(
            "The clip has no frame of poses: it is shorter than a frame, or lies after the end of the poses."
        )
    if len(usable) == 0:
        raise ValueError(f"None of the clip's {len(poses)} frames has both hips.")
    spread = np.round(np.linspace(0, len(poses) - 1, num_frames)).astype(int)
    return usable[np.abs(usable[None] - spread[:, None]).argmin(1)]
