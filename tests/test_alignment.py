"""The window search: that of a plain loop over SVDs, and right where the truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from mm_data.poses.window_search import MIN_COMMON_JOINTS, MIN_FRAME_SHARE, best_window, error_curve, prepare_track
from mm_data.records import POSES
from mm_data.tuples.mining import search_starts
from mm_data.tuples.pairing import PairingOptions
from mm_data.tuples.store import read_tuples


def svd_error(x: np.ndarray, y: np.ndarray) -> float:
    """Textbook similarity Procrustes (Umeyama) of ``[J, 3]``, mean distance."""
    x, y = x - x.mean(0), y - y.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = (s * sign).sum() / (x**2).sum() * x @ (u * sign) @ vt
    return float(np.linalg.norm(aligned - y, axis=-1).mean())


def plain_curve(learner: np.ndarray, expert: np.ndarray, starts: np.ndarray, stride: int) -> np.ndarray:
    curve = []
    for start in starts:
        errors = []
        for frame in range(0, len(learner), stride):
            both = (learner[frame, :, 3] > 0) & (expert[start + frame, :, 3] > 0)
            if both.sum() >= MIN_COMMON_JOINTS:
                errors.append(svd_error(expert[start + frame, both, :3], learner[frame, both, :3]))
        compared = len(range(0, len(learner), stride))
        curve.append(np.mean(errors) * 1000 if len(errors) >= MIN_FRAME_SHARE * compared else np.inf)
    return np.array(curve)


def motion(rng: np.random.Generator, frames: int, missing: float) -> np.ndarray:
    body = rng.normal(size=(17, 3)) * [0.3, 0.25, 0.55] + rng.normal(size=3) * 5
    xyz = body + np.cumsum(rng.normal(0, 0.01, (frames, 17, 3)), 0)
    flags = (rng.random((frames, 17, 1)) >= missing).astype(float)
    return np.concatenate([np.where(flags > 0, xyz, np.nan), flags], -1)


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("stride", [1, 3])
def test_equals_a_loop_over_svds(missing: float, stride: int) -> None:
    rng = np.random.default_rng(round(10 * missing) + stride)
    learner, expert = motion(rng, 31, missing), motion(rng, 120, missing)
    expert[40:60, :, 3] = 0  # a gap in which some windows have too few frames
    starts = np.arange(0, len(expert) - len(learner) + 1, stride)
    plain = plain_curve(learner, expert, starts, stride)
    tracks = prepare_track(learner), prepare_track(expert)
    curve = error_curve(*tracks, starts, stride)
    assert np.isinf(plain).any() and np.isfinite(plain).any()
    np.testing.assert_allclose(curve, plain, atol=1e-6)
    found = best_window(*tracks, starts, stride)
    assert found is not None
    assert found.start == starts[plain.argmin()] and found.error_mm == pytest.approx(plain.min(), abs=1e-6)
    assert best_window(*tracks, starts, stride, ceiling_mm=plain.min() - 1e-3) is None
    above = best_window(*tracks, starts, stride, ceiling_mm=plain.min() + 1e-3)
    assert above is not None and above.start == found.start


def test_nothing_to_compare_is_none() -> None:
    rng = np.random.default_rng(0)
    learner, expert = motion(rng, 20, 0.0), motion(rng, 60, 0.0)
    expert[..., 3] = 0
    tracks = prepare_track(learner), prepare_track(expert)
    assert best_window(*tracks, np.arange(0, 40), 1) is None
    assert best_window(*tracks, np.arange(0), 1) is None


def test_of_equal_windows_the_first_wins() -> None:
    rng = np.random.default_rng(0)
    once = motion(rng, 30, 0.0)
    expert = np.concatenate([motion(rng, 9, 0.0), once, once, once])
    found = best_window(prepare_track(once), prepare_track(expert), np.arange(0, len(expert) - 29), 3)
    assert found is not None and found.start == 9


def test_search_range_is_the_union_of_horizons_inside_the_take() -> None:
    options = PairingOptions(horizon=1.0, stride=3)
    starts = search_starts([40, 45, 150], 20, 170, options)
    assert starts[0] == 12 and (starts % 3 == 0).all(), "40 - 30 = 10, and the first multiple of 3"
    assert set(starts.tolist()) == {s for s in range(0, 151, 3) if 10 <= s <= 55 or 120 <= s <= 150}
    assert len(search_starts([40], 200, 170, options)) == 0, "the take is shorter than the clip"


def test_windows_injected_into_expert_takes_are_found(big_tuples: Path) -> None:
    """Learner windows, turned, moved, resized and noisy, are spliced into experts' takes at random places."""
    rng, options = np.random.default_rng(0), PairingOptions()
    offsets = []
    for item in read_tuples(big_tuples, "train")[::9]:
        learner = np.load(big_tuples / POSES / f"{item.learner.take_uid}.npy")[item.learner.start : item.learner.stop]
        expert = np.load(big_tuples / POSES / f"{item.expert.take_uid}.npy")
        at = int(rng.integers(0, len(expert) - len(learner) + 1))
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        moved = rng.uniform(0.85, 1.15) * learner[..., :3] @ turn.T + rng.uniform(-2, 2, 3)
        expert[at : at + len(learner), :, :3] = moved + rng.normal(0, 0.01, moved.shape)
        expert[at : at + len(learner), :, 3] = learner[..., 3]
        comment = round(item.provenance.expert_comment_time * 30)
        starts = search_starts([comment], len(learner), len(expert), options)
        found = best_window(prepare_track(learner), prepare_track(expert), starts, options.stride)
        assert found is not None
        offsets.append(abs(found.start - at))
    assert len(offsets) > 300 and np.mean(np.array(offsets) <= 3) >= 0.95, np.bincount(offsets)


def test_windows_show_the_same_moment_of_the_movement(big_miniature: Path, big_tuples: Path) -> None:
    """Other people with other tempos: the best expert's window lies at the learner's phase of a repetition.

    Clean pairs are those with dense poses on both sides.
    """
    takes = json.loads((big_miniature / "miniature_truth.json").read_text())["takes"]
    sparse = {path.stem for path in big_miniature.glob("annotations/ego_pose/*/body/annotation/*.json")}
    offsets = []
    for split in ("train", "test"):
        for item in read_tuples(big_tuples, split):
            if not item.tuple_id.endswith("~0") or {item.learner.take_uid, item.expert.take_uid} & sparse:
                continue
            middle = (item.learner.start + item.learner.stop) / 2
            spans = [r["frames"] for r in takes[item.learner.take_uid]["repetitions"]]
            first, last = min(spans, key=lambda span: abs(sum(span) / 2 - middle))
            phase = (middle - first) / (last - first)
            expert_middle = (item.expert.start + item.expert.stop) / 2
            spans = [r["frames"] for r in takes[item.expert.take_uid]["repetitions"]]
            offsets.append(min(abs(expert_middle - (a + phase * (b - a))) for a, b in spans))
    share = np.mean(np.array(offsets) <= 3)
    assert len(offsets) > 600 and share >= 0.95, (len(offsets), share)
