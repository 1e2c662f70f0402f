"""Similarity Procrustes alignment of 3-D joints, in closed form over whole batches.

The optimal rotation is the dominant eigenvector of Horn's 4×4 quaternion matrix; its eigenvalue is found by Newton's
method on the characteristic polynomial and the vector by the adjugate (Theobald 2005, "QCP"). Rows where that is
ill-conditioned (collinear or nearly symmetric joints) are solved by an eigendecomposition instead, so the result is that
of the textbook SVD with det(R) = +1 everywhere.
"""

import numpy as np

MIN_JOINTS = 3
_CHUNK = 2048  # rows at a time: the working set stays in the processor's cache


def _entries(h: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Horn's symmetric 4×4 quaternion matrix, as entries ``[N]``, of a covariance (source rows, target columns)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = h
    a, b, c = yz - zy, zx - xz, xy - yx
    d, e, f = xy + yx, zx + xz, yz + zy
    return [
        [xx + yy + zz, a, b, c],
        [a, xx - yy - zz, d, e],
        [b, d, -xx + yy - zz, f],
        [c, e, f, -xx - yy + zz],
    ]


def _determinant3(m: list[list[np.ndarray]]) -> np.ndarray:
    (a, b, c), (d, e, f), (g, h, i) = m
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _cofactors(k: list[list[np.ndarray]], row: int) -> np.ndarray:
    """One row of the cofactor matrix of a 4×4 matrix, ``[N, 4]``."""
    rows = [r for r in range(4) if r != row]
    columns = [
        (-1.0) ** (row + column) * _determinant3([[k[r][c] for c in range(4) if c != column] for r in rows])
        for column in range(4)
    ]
    return np.stack(columns, -1)


def _dominant_quaternion(h: list[list[np.ndarray]], upper: np.ndarray) -> np.ndarray:
    """Unit quaternions ``[N, 4]`` that maximise qᵀKq; ``upper`` bounds the largest eigenvalue from above."""
    k = _entries(h)
    c2 = -2.0 * sum(entry * entry for row in h for entry in row)
    c1 = -8.0 * _determinant3(h)
    c0 = sum(k[0][column] * cofactor for column, cofactor in enumerate(np.moveaxis(_cofactors(k, 0), -1, 0)))
    value = upper.copy()
    for _ in range(30):
        squared = value * value
        b = (squared + c2) * value
        slope = 2.0 * squared * value + 2.0 * b + c1
        step = ((b + c1) * value + c0) / np.where(np.abs(slope) > 1e-300, slope, 1.0)
        value = value - step
        if np.all(np.abs(step) <= 1e-13 * np.abs(value) + 1e-300):
            break
    shifted = [[k[r][c] - value if r == c else k[r][c] for c in range(4)] for r in range(4)]
    quaternion = _cofactors(shifted, 0)  # rows of the adjugate are multiples of the eigenvector
    size = np.linalg.norm(quaternion, axis=-1)
    quaternion = quaternion / np.maximum(size, 1e-300)[:, None]
    residual = sum(
        (sum(k[r][c] * quaternion[:, c] for c in range(4)) - value * quaternion[:, r]) ** 2 for r in range(4)
    )
    weak = ~(np.sqrt(residual) <= 1e-10 * upper) | ~(size > 1e-7 * upper**3)
    if weak.any():
        matrices = np.stack([np.stack([k[r][c][weak] for c in range(4)], -1) for r in range(4)], -2)
        quaternion[weak] = np.linalg.eigh(matrices)[1][..., -1]
    return quaternion


def _rotation_entries(quaternion: np.ndarray) -> list[list[np.ndarray]]:
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


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
    # Components are kept apart, so that every step is elementwise over contiguous [N, J] arrays.
    count = visible.sum(1)
    share = visible / np.maximum(count, 1)[:, None]
    x = [np.where(visible, source[..., axis], 0.0).astype(np.float64) for axis in range(3)]
    y = [np.where(visible, target[..., axis], 0.0).astype(np.float64) for axis in range(3)]
    mean_x = [(c * share).sum(1, keepdims=True) for c in x]
    mean_y = [(c * share).sum(1, keepdims=True) for c in y]
    x = [(c - m) * visible for c, m in zip(x, mean_x, strict=True)]
    y = [(c - m) * visible for c, m in zip(y, mean_y, strict=True)]
    size_x = sum((c * c).sum(1) for c in x)
    size_y = sum((c * c).sum(1) for c in y)
    h = [[(x[i] * y[j]).sum(1) for j in range(3)] for i in range(3)]
    rotation = _rotation_entries(_dominant_quaternion(h, np.sqrt(size_x * size_y)))
    factor = np.ones(len(source))
    if scale:
        # trace(R·H), the largest eigenvalue, over the source's size.
        factor = sum(rotation[i][j] * h[j][i] for i in range(3) for j in range(3)) / np.maximum(size_x, 1e-300)
    aligned = np.empty(source.shape, np.float64)
    centred = [source[..., axis] - mean_x[axis] for axis in range(3)]
    for i in range(3):
        turned = sum((factor * rotation[i][j])[:, None] * centred[j] for j in range(3))
        aligned[..., i] = turned + mean_y[i]
    aligned[(count < MIN_JOINTS) | (size_x < 1e-12)] = np.nan
    return aligned


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
    errors = np.empty(len(source))
    for start in range(0, len(source), _CHUNK):
        part = slice(start, start + _CHUNK)
        aligned = align(source[part], target[part], visible[part], scale)
        distance = np.sqrt(((aligned - target[part]) ** 2).sum(-1))
        mean = np.where(visible[part], distance, 0.0).sum(1) / np.maximum(visible[part].sum(1), 1)
        errors[part] = np.where(np.isnan(aligned).all((1, 2)), np.nan, mean)
    return errors
