"""Compiled closed-form Procrustes against reference vectors and the textbook SVD."""

import numpy as np
import pytest

from mm_data.poses.procrustes import pa_mpjpe


def reference_sequence() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(17, 3)) * [0.3, 0.25, 0.55]
    truth = np.stack([base + 0.05 * rng.normal(size=(17, 3)) + [0.1 * t, 0, 0] for t in range(10)])

    def turn(a: float) -> np.ndarray:
        return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])

    predicted = np.stack(
        [1.1 * (truth[t] + 0.08 * rng.normal(size=(17, 3))) @ turn(0.3 + 0.05 * t).T + [2, -1, 0.5] for t in range(10)]
    )
    return predicted, truth


def svd_error(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * sign).sum() / (x**2).sum()
    return float(np.linalg.norm(scale * x @ (u * sign) @ vt - y, axis=1).mean())


def test_reference_vectors() -> None:
    predicted, truth = reference_sequence()
    assert 1000 * pa_mpjpe(predicted, truth).mean() == pytest.approx(106.638, abs=1e-3)
    assert 1000 * pa_mpjpe(predicted, truth, scale=False).mean() == pytest.approx(134.290, abs=1e-3)
    assert 1000 * pa_mpjpe(truth, predicted).mean() == pytest.approx(120.127, abs=1e-3)
    x = np.array([[(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]], float)
    y = np.array([[(0, 0, 0), (0, 2, 0), (-2, 0, 0), (0, 0, 2.4)]], float)
    assert pa_mpjpe(x, y)[0] == pytest.approx(0.12445753, abs=1e-8)
    assert pa_mpjpe(x, y, scale=False)[0] == pytest.approx(0.83330597, abs=1e-8)


@pytest.mark.parametrize("case", ["random", "planar", "collinear", "mirrored", "identical"])
def test_equals_the_svd(case: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 17, 3)), rng.normal(size=(500, 17, 3))
    if case == "planar":
        x[..., 2] = 0
    elif case == "collinear":
        x[..., 1:] = 0
    elif case == "mirrored":
        y = x * [-1, 1, 1]
    elif case == "identical":
        y = x
    expected = np.array([svd_error(a, b) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(pa_mpjpe(x, y), expected, atol=1e-10)


def test_mirror_image_does_not_align() -> None:
    _, truth = reference_sequence()
    assert 1000 * pa_mpjpe(truth * [-1, 1, 1], truth).mean() == pytest.approx(272.8, abs=0.1)


def test_absent_joints_do_not_enter() -> None:
    predicted, truth = reference_sequence()
    visible = np.ones((10, 17), bool)
    visible[:, 3] = False
    kept = np.delete(np.arange(17), 3)
    broken = predicted.copy()
    broken[:, 3] = np.nan
    np.testing.assert_allclose(
        pa_mpjpe(broken, truth, visible), pa_mpjpe(predicted[:, kept], truth[:, kept]), atol=1e-12
    )


def test_what_has_no_alignment_is_nan() -> None:
    _, truth = reference_sequence()
    assert np.isnan(pa_mpjpe(np.zeros_like(truth), truth)).all()
    visible = np.zeros((10, 17), bool)
    visible[:, :2] = True
    assert np.isnan(pa_mpjpe(truth, truth, visible)).all()


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 17, 3\).*\(10, 17, 3\)"):
        pa_mpjpe(np.zeros((1, 17, 3)), np.zeros((10, 17, 3)))
