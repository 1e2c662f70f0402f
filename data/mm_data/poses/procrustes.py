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
def _first_cofactors(k00, k01, k02, k03, k11, k12, k13, k22, k23, k33):
    """First row of the cofactors of a symmetric 4×4 matrix: where it is singular, a multiple of its null vector."""
    m01, m02, m03 = k02 * k13 - k12 * k03, k02 * k23 - k22 * k03, k02 * k33 - k23 * k03
    m12, m13, m23 = k12 * k23 - k22 * k13, k12 * k33 - k23 * k13, k22 * k33 - k23 * k23
    return (
        k11 * m23 - k12 * m13 + k13 * m12,
        -(k01 * m23 - k12 * m03 + k13 * m02),
        k01 * m13 - k11 * m03 + k13 * m01,
        -(k01 * m12 - k11 * m02 + k12 * m01),
    )


@njit(cache=True, nogil=True)
def _dominant_quaternion(h00, h01, h02, h10, h11, h12, h20, h21, h22, bound):
    """Unit quaternion (w, x, y, z) that maximises qᵀKq for a covariance ``h`` (source rows, target columns).

    ``bound`` is at least the largest eigenvalue of Horn's matrix K.
    """
    k00, k11, k22, k33 = h00 + h11 + h22, h00 - h11 - h22, -h00 + h11 - h22, -h00 - h11 + h22
    k01, k02, k03 = h12 - h21, h20 - h02, h01 - h10
    k12, k13, k23 = h01 + h10, h20 + h02, h12 + h21
    c2 = -2.0 * (
        h00 * h00 + h01 * h01 + h02 * h02 + h10 * h10 + h11 * h11 + h12 * h12 + h20 * h20 + h21 * h21 + h22 * h22
    )
    c1 = -8.0 * (h00 * (h11 * h22 - h12 * h21) - h01 * (h10 * h22 - h12 * h20) + h02 * (h10 * h21 - h11 * h20))
    w, x, y, z = _first_cofactors(k00, k01, k02, k03, k11, k12, k13, k22, k23, k33)
    c0 = k00 * w + k01 * x + k02 * y + k03 * z
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
    d0, d1, d2, d3 = k00 - value, k11 - value, k22 - value, k33 - value
    w, x, y, z = _first_cofactors(d0, k01, k02, k03, d1, k12, k13, d2, k23, d3)
    size = np.sqrt(w * w + x * x + y * y + z * z)
    if size > 1e-7 * bound**3:
        w, x, y, z = w / size, x / size, y / size, z / size
        residual = (
            (d0 * w + k01 * x + k02 * y + k03 * z) ** 2
            + (k01 * w + d1 * x + k12 * y + k13 * z) ** 2
            + (k02 * w + k12 * x + d2 * y + k23 * z) ** 2
            + (k03 * w + k13 * x + k23 * y + d3 * z) ** 2
        )
        if np.sqrt(residual) <= 1e-10 * bound:
            return w, x, y, z
    k = np.array([[k00, k01, k02, k03], [k01, k11, k12, k13], [k02, k12, k22, k23], [k03, k13, k23, k33]])
    vector = np.linalg.eigh(k)[1][:, 3]
    return vector[0], vector[1], vector[2], vector[3]


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract", "arcp"})
def fit_pose(
    x: np.ndarray,
    mask_x: np.ndarray,
    row_x: int,
    y: np.ndarray,
    mask_y: np.ndarray,
    row_y: int,
    min_joints: int,
    free_scale: bool,
) -> tuple[float, ...]:
    """Aligns one pose with another and measures what is left.

    Args:
        x: Source poses ``[N, 3, P]`` from `axis_major`.
        mask_x: Masks of the source poses ``[N, P]``.
        row_x: Row of the source pose.
        y: Target poses ``[M, 3, P]`` from `axis_major`.
        mask_y: Masks of the target poses ``[M, P]``.
        row_y: Row of the target pose.
        min_joints: Fewest joints that both must have in common.
        free_scale: Whether the scale is free or 1.

    Returns:
        The mean distance over the common joints, or -1.0 where there is no alignment; then scale times rotation, row by
        row, and the translation: 13 numbers.
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
    share = 1.0 / max(count, 1.0)
    x0, x1, x2, y0, y1, y2 = x0 * share, x1 * share, x2 * share, y0 * share, y1 * share, y2 * share
    size_x -= count * (x0 * x0 + x1 * x1 + x2 * x2)
    size_y -= count * (y0 * y0 + y1 * y1 + y2 * y2)
    if count < min_joints or size_x < _COINCIDENT:
        return -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    h00, h01, h02 = h00 - count * x0 * y0, h01 - count * x0 * y1, h02 - count * x0 * y2
    h10, h11, h12 = h10 - count * x1 * y0, h11 - count * x1 * y1, h12 - count * x1 * y2
    h20, h21, h22 = h20 - count * x2 * y0, h21 - count * x2 * y1, h22 - count * x2 * y2
    bound = np.sqrt(size_x * max(size_y, 0.0))
    qw, qx, qy, qz = _dominant_quaternion(h00, h01, h02, h10, h11, h12, h20, h21, h22, bound)
    r00, r01, r02 = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy)
    r10, r11, r12 = 2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx)
    r20, r21, r22 = 2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy)
    if free_scale:
        trace = (
            r00 * h00 + r01 * h10 + r02 * h20 + r10 * h01 + r11 * h11 + r12 * h21 + r20 * h02 + r21 * h12 + r22 * h22
        )
        factor = trace / size_x
        r00, r01, r02 = factor * r00, factor * r01, factor * r02
        r10, r11, r12 = factor * r10, factor * r11, factor * r12
        r20, r21, r22 = factor * r20, factor * r21, factor * r22
    t0 = y0 - (r00 * x0 + r01 * x1 + r02 * x2)
    t1 = y1 - (r10 * x0 + r11 * x1 + r12 * x2)
    t2 = y2 - (r20 * x0 + r21 * x1 + r22 * x2)
    total = 0.0
    for j in range(joints):
        a0, a1, a2 = x[row_x, 0, j], x[row_x, 1, j], x[row_x, 2, j]
        d0 = r00 * a0 + r01 * a1 + r02 * a2 + t0 - y[row_y, 0, j]
        d1 = r10 * a0 + r11 * a1 + r12 * a2 + t1 - y[row_y, 1, j]
        d2 = r20 * a0 + r21 * a1 + r22 * a2 + t2 - y[row_y, 2, j]
        total += mask_x[row_x, j] * mask_y[row_y, j] * np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    return total * share, r00, r01, r02, r10, r11, r12, r20, r21, r22, t0, t1, t2


@njit(cache=True, nogil=True)
def _aligned_errors(source, target, mask, free_scale, errors):
    for n in range(len(source)):
        error = fit_pose(source, mask, n, target, mask, n, MIN_JOINTS, free_scale)[0]
        errors[n] = error if error >= 0 else np.nan


def axis_major(xyz: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prepares poses for the kernels.

    Args:
        xyz: Joints ``[N, J, 3]``.
        visible: Joints that are there ``[N, J]``, boolean.

    Returns:
        Coordinates ``[N, 3, P]`` in float64, each pose about the mean of its visible joints and invisible ones zero;
        and the mask ``[N, P]`` as 0.0 and 1.0. P is J rounded up to whole vector registers.
    """
    count, joints = visible.shape
    padded = -(-joints // 8) * 8
    coordinates, mask = np.zeros((count, 3, padded)), np.zeros((count, padded))
    _fill(xyz, visible, coordinates, mask)
    return coordinates, mask


@njit(cache=True, nogil=True)
def _fill(xyz, visible, coordinates, mask):
    mean = np.zeros(3)
    for n in range(len(xyz)):
        count = 0
        mean[:] = 0.0
        for j in range(visible.shape[1]):
            if visible[n, j]:
                count += 1
                mask[n, j] = 1.0
                for axis in range(3):
                    mean[axis] += xyz[n, j, axis]
        for axis in range(3):
            mean[axis] /= max(count, 1)
            for j in range(visible.shape[1]):
                if visible[n, j]:
                    coordinates[n, axis, j] = xyz[n, j, axis] - mean[axis]


def pa_mpjpe(
    source: np.ndarray, target: np.ndarray, visible: np.ndarray | None = None, scale: bool = True
) -> np.ndarray:
    """Computes the Procrustes-aligned mean per-joint position error per frame, in the unit of the input.

    Args:
        source: Predicted joints ``[N, J, 3]``.
        target: True joints ``[N, J, 3]``.
        visible: ``[N, J]`` boolean mask of joints present in both, or None for all.
        scale: Whether to align by similarity (the usual PA-MPJPE) or rigidly.

    Returns:
        Errors ``[N]``; NaN where there is no alignment: fewer than three joints are visible, or those of the source coincide.

    Raises:
        ValueError: The shapes differ.
    """
    if source.shape != target.shape:
        raise ValueError(
            f"Poses have different shapes: {source.shape} predicted, {target.shape} true. Resample one of them."
        )
    if visible is None:
        visible = np.ones(source.shape[:2], bool)
    (x, mask), (y, _), errors = axis_major(source, visible), axis_major(target, visible), np.empty(len(source))
    _aligned_errors(x, y, mask, scale, errors)
    return errors
