"""Similarity Procrustes alignment of 3-D joints, in closed form and compiled.

The optimal rotation is the dominant eigenvector of Horn's 4×4 quaternion matrix; its eigenvalue is found by Newton's
method on the characteristic polynomial and the vector by the adjugate (Theobald 2005, "QCP"). Where that is
ill-conditioned (collinear or nearly symmetric joints) an eigendecomposition takes over, so the result is that of the
textbook SVD with det(R) = +1 everywhere.

Coordinates are handed to the kernel axis by axis, so that its loops over joints are contiguous and vectorise.
"""

import numpy as np
from numba import njit

MIN_JOINTS = 3
_COINCIDENT = 1e-12  # squared extent in square metres below which joints have no orientation


@njit(cache=True, nogil=True)
def _adjugate_row(k, row, out):
    """One row of the cofactor matrix of a 4×4 matrix: a multiple of the eigenvector where the matrix is singular."""
    a, b, c = (1, 2, 3) if row == 0 else (0, 2, 3) if row == 1 else (0, 1, 3) if row == 2 else (0, 1, 2)
    sign = 1.0 if row % 2 == 0 else -1.0
    for column in range(4):
        d, e, f = (1, 2, 3) if column == 0 else (0, 2, 3) if column == 1 else (0, 1, 3) if column == 2 else (0, 1, 2)
        out[column] = sign * (
            k[a, d] * (k[b, e] * k[c, f] - k[b, f] * k[c, e])
            - k[a, e] * (k[b, d] * k[c, f] - k[b, f] * k[c, d])
            + k[a, f] * (k[b, d] * k[c, e] - k[b, e] * k[c, d])
        )
        sign = -sign


@njit(cache=True, nogil=True)
def _dominant_quaternion(h, bound, k, quaternion):
    """Unit quaternion that maximises qᵀKq for a covariance ``h`` (source rows, target columns).

    ``bound`` is at least the largest eigenvalue; ``k`` ``[4, 4]`` is scratch; the result is written to ``quaternion``.
    """
    k[0, 0] = h[0, 0] + h[1, 1] + h[2, 2]
    k[1, 1] = h[0, 0] - h[1, 1] - h[2, 2]
    k[2, 2] = -h[0, 0] + h[1, 1] - h[2, 2]
    k[3, 3] = -h[0, 0] - h[1, 1] + h[2, 2]
    k[0, 1] = k[1, 0] = h[1, 2] - h[2, 1]
    k[0, 2] = k[2, 0] = h[2, 0] - h[0, 2]
    k[0, 3] = k[3, 0] = h[0, 1] - h[1, 0]
    k[1, 2] = k[2, 1] = h[0, 1] + h[1, 0]
    k[1, 3] = k[3, 1] = h[2, 0] + h[0, 2]
    k[2, 3] = k[3, 2] = h[1, 2] + h[2, 1]
    squares = 0.0
    for i in range(3):
        for j in range(3):
            squares += h[i, j] * h[i, j]
    determinant = (
        h[0, 0] * (h[1, 1] * h[2, 2] - h[1, 2] * h[2, 1])
        - h[0, 1] * (h[1, 0] * h[2, 2] - h[1, 2] * h[2, 0])
        + h[0, 2] * (h[1, 0] * h[2, 1] - h[1, 1] * h[2, 0])
    )
    _adjugate_row(k, 0, quaternion)
    c2, c1 = -2.0 * squares, -8.0 * determinant
    c0 = k[0, 0] * quaternion[0] + k[0, 1] * quaternion[1] + k[0, 2] * quaternion[2] + k[0, 3] * quaternion[3]
    value = bound
    for _ in range(30):
        squared = value * value
        b = (squared + c2) * value
        slope = 2.0 * squared * value + 2.0 * b + c1
        if abs(slope) < 1e-300:
            break
        step = ((b + c1) * value + c0) / slope
        value -= step
        if abs(step) <= 1e-13 * abs(value):
            break
    for i in range(4):
        k[i, i] -= value
    _adjugate_row(k, 0, quaternion)
    size = np.sqrt((quaternion * quaternion).sum())
    if size > 1e-7 * bound**3:
        quaternion /= size
        residual = 0.0
        for i in range(4):
            row = k[i, 0] * quaternion[0] + k[i, 1] * quaternion[1] + k[i, 2] * quaternion[2] + k[i, 3] * quaternion[3]
            residual += row * row
        if np.sqrt(residual) <= 1e-10 * bound:
            return
    for i in range(4):
        k[i, i] += value
    quaternion[:] = np.linalg.eigh(k)[1][:, 3]


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract", "arcp"})
def frame_error(x, mask_x, row_x, y, mask_y, row_y, min_joints, free_scale, scratch, transform):
    """Mean distance over the common joints between one pose and another after similarity alignment.

    Args:
        x: Source poses ``[N, 3, P]`` from `axis_major`.
        mask_x: Their masks ``[N, P]``.
        row_x: Which of them.
        y: Target poses ``[M, 3, P]``, likewise.
        mask_y: Their masks ``[M, P]``.
        row_y: Which of them.
        min_joints: Fewest joints that both must have in common.
        free_scale: Whether the scale is free or 1.
        scratch: `scratch_space`.
        transform: ``[3, 4]``, receives scale times rotation, and translation.

    Returns:
        The distance, or -1.0 where there is no alignment.
    """
    joints = x.shape[2]
    count, x0, x1, x2, y0, y1, y2, size_x, size_y = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    h00, h01, h02, h10, h11, h12, h20, h21, h22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(joints):
        weight = mask_x[row_x, j] * mask_y[row_y, j]
        a0, a1, a2 = weight * x[row_x, 0, j], weight * x[row_x, 1, j], weight * x[row_x, 2, j]
        b0, b1, b2 = weight * y[row_y, 0, j], weight * y[row_y, 1, j], weight * y[row_y, 2, j]
        count += weight
        x0 += a0
        x1 += a1
        x2 += a2
        y0 += b0
        y1 += b1
        y2 += b2
        size_x += a0 * a0 + a1 * a1 + a2 * a2
        size_y += b0 * b0 + b1 * b1 + b2 * b2
        h00 += a0 * b0
        h01 += a0 * b1
        h02 += a0 * b2
        h10 += a1 * b0
        h11 += a1 * b1
        h12 += a1 * b2
        h20 += a2 * b0
        h21 += a2 * b1
        h22 += a2 * b2
    if count < min_joints:
        return -1.0
    x0, x1, x2, y0, y1, y2 = x0 / count, x1 / count, x2 / count, y0 / count, y1 / count, y2 / count
    size_x -= count * (x0 * x0 + x1 * x1 + x2 * x2)
    size_y -= count * (y0 * y0 + y1 * y1 + y2 * y2)
    if size_x < _COINCIDENT:
        return -1.0
    h, k, quaternion = scratch
    h[0, 0], h[0, 1], h[0, 2] = h00 - count * x0 * y0, h01 - count * x0 * y1, h02 - count * x0 * y2
    h[1, 0], h[1, 1], h[1, 2] = h10 - count * x1 * y0, h11 - count * x1 * y1, h12 - count * x1 * y2
    h[2, 0], h[2, 1], h[2, 2] = h20 - count * x2 * y0, h21 - count * x2 * y1, h22 - count * x2 * y2
    _dominant_quaternion(h, np.sqrt(size_x * max(size_y, 0.0)), k, quaternion)
    qw, qx, qy, qz = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    r00, r01, r02 = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy)
    r10, r11, r12 = 2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx)
    r20, r21, r22 = 2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy)
    factor = 1.0
    if free_scale:
        trace = (
            r00 * h[0, 0] + r01 * h[1, 0] + r02 * h[2, 0]
            + r10 * h[0, 1] + r11 * h[1, 1] + r12 * h[2, 1]
            + r20 * h[0, 2] + r21 * h[1, 2] + r22 * h[2, 2]
        )  # fmt: skip
        factor = trace / size_x
    r00, r01, r02 = factor * r00, factor * r01, factor * r02
    r10, r11, r12 = factor * r10, factor * r11, factor * r12
    r20, r21, r22 = factor * r20, factor * r21, factor * r22
    t0 = y0 - (r00 * x0 + r01 * x1 + r02 * x2)
    t1 = y1 - (r10 * x0 + r11 * x1 + r12 * x2)
    t2 = y2 - (r20 * x0 + r21 * x1 + r22 * x2)
    transform[0, 0], transform[0, 1], transform[0, 2], transform[0, 3] = r00, r01, r02, t0
    transform[1, 0], transform[1, 1], transform[1, 2], transform[1, 3] = r10, r11, r12, t1
    transform[2, 0], transform[2, 1], transform[2, 2], transform[2, 3] = r20, r21, r22, t2
    total = 0.0
    for j in range(joints):
        a0, a1, a2 = x[row_x, 0, j], x[row_x, 1, j], x[row_x, 2, j]
        d0 = r00 * a0 + r01 * a1 + r02 * a2 + t0 - y[row_y, 0, j]
        d1 = r10 * a0 + r11 * a1 + r12 * a2 + t1 - y[row_y, 1, j]
        d2 = r20 * a0 + r21 * a1 + r22 * a2 + t2 - y[row_y, 2, j]
        total += mask_x[row_x, j] * mask_y[row_y, j] * np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    return total / count


@njit(cache=True, nogil=True)
def scratch_space():
    """Working arrays of `frame_error`: allocated once, not per frame."""
    return np.empty((3, 3)), np.empty((4, 4)), np.empty(4)


@njit(cache=True, nogil=True)
def _errors(source, target, mask, free_scale, errors, transforms):
    scratch = scratch_space()
    for n in range(len(source)):
        error = frame_error(source, mask, n, target, mask, n, MIN_JOINTS, free_scale, scratch, transforms[n])
        errors[n] = error if error >= 0 else np.nan
        if error < 0:
            transforms[n] = np.nan


def axis_major(xyz: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prepares poses for the kernels.

    Args:
        xyz: ``[N, J, 3]``.
        visible: ``[N, J]`` boolean.

    Returns:
        Coordinates ``[N, 3, P]`` in float64, each pose about the mean of its visible joints and invisible ones zero; the
        mask ``[N, P]`` as 0.0 and 1.0; the means ``[N, 3]``. P is J rounded up to whole vector registers.
    """
    count, joints = visible.shape
    padded = -(-joints // 8) * 8
    mask = np.zeros((count, padded))
    mask[:, :joints] = visible
    clean = np.where(visible[..., None], xyz, 0.0).astype(np.float64)
    means = clean.sum(1) / np.maximum(visible.sum(1), 1)[:, None]
    coordinates = np.zeros((count, 3, padded))
    coordinates[:, :, :joints] = ((clean - means[:, None]) * visible[..., None]).transpose(0, 2, 1)
    return coordinates, mask, means


def _fit(
    source: np.ndarray, target: np.ndarray, visible: np.ndarray, scale: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, mask, mean_x = axis_major(source, visible)
    y, _, mean_y = axis_major(target, visible)
    errors, transforms = np.empty(len(source)), np.empty((len(source), 3, 4))
    _errors(x, y, mask, scale, errors, transforms)
    return errors, transforms, mean_x, mean_y


def align(source: np.ndarray, target: np.ndarray, visible: np.ndarray, scale: bool = True) -> np.ndarray:
    """Moves each source pose onto its target: ``s·R·x + t`` that minimises the squared distance over visible joints.

    Args:
        source: ``[N, J, 3]``.
        target: ``[N, J, 3]``.
        visible: ``[N, J]`` boolean; coordinates of other joints may be NaN.
        scale: Whether s is free or 1.

    Returns:
        ``[N, J, 3]`` in float64. Rows with fewer than three visible joints, or whose visible source joints coincide,
        are NaN: they have no alignment.
    """
    _, transforms, mean_x, mean_y = _fit(source, target, visible, scale)
    turned = np.einsum("nab,njb->nja", transforms[..., :3], source - mean_x[:, None])
    return turned + (transforms[..., 3] + mean_y)[:, None]


def pa_mpjpe(
    source: np.ndarray, target: np.ndarray, visible: np.ndarray | None = None, scale: bool = True
) -> np.ndarray:
    """Procrustes-aligned mean per-joint position error per frame, in the unit of the input.

    Args:
        source: Predicted joints ``[N, J, 3]``.
        target: True joints ``[N, J, 3]``.
        visible: ``[N, J]`` boolean mask of joints present in both, or None for all.
        scale: Similarity (the usual PA-MPJPE) or rigid alignment.

    Returns:
        ``[N]``; NaN where there is no alignment (see `align`).

    Raises:
        ValueError: The shapes differ.
    """
    if source.shape != target.shape:
        raise ValueError(
            f"Poses have different shapes: {source.shape} predicted, {target.shape} true. Resample one of them."
        )
    if visible is None:
        visible = np.ones(source.shape[:2], bool)
    return _fit(source, target, visible, scale)[0]
