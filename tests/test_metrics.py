"""Metrics of scores, classes, rankings, poses and moments against published vectors, and what protects them."""

import json
import math
from itertools import product

import numpy as np
import pytest
from test_procrustes import reference_sequence

from mm_eval.metrics.classification import accuracy, top_k
from mm_eval.metrics.narrative import narrative_map, narrative_map_ranked
from mm_eval.metrics.pose import POSE_ERRORS, sequence_error
from mm_eval.metrics.retrieval import chance_recall, ranks, retrieval_metrics
from mm_eval.metrics.scores import relative_l2, spearman_correlation
from mm_eval.metrics.temporal import TimedFeedback, matches, temporal_f
from mm_eval.statistics.aggregates import AGGREGATES, NAE_ACCURACY, NAE_CIDER, NAE_ERRORS
from mm_eval.statistics.intervals import resampling_weights
from mm_eval.statistics.metric import Metric, item_metric

JUDGED = [85.5, 62.1, 90, 45.3, 70.2, 55, 99, 33.3]
PREDICTED = [80, 65, 88, 50, 60, 58, 95, 40]
EIGHT = list("abcdefgh")


def test_rank_vector() -> None:
    scores = np.round(np.random.default_rng(0).normal(size=(8, 8)), 1) + 0.8 * np.eye(8)
    scores = np.round(scores, 1)
    found = ranks(scores, np.arange(8), np.ones((8, 8), bool))
    assert found.tolist() == [2.5, 3, 2, 4, 6, 6, 7, 4]
    metrics = retrieval_metrics(found, np.full(8, 8), list("aabbccdd"))
    assert metrics["median_rank"].value == 4 and metrics["recall@1"].value == 0 and metrics["recall@5"].value == 0.625
    assert metrics["mean_rank"].value == found.mean() and "gallery:8" in metrics["mean_rank"].signature


def test_ties_do_not_flatter() -> None:
    assert ranks(np.zeros((1, 9)), np.array([3]), np.ones((1, 9), bool)).tolist() == [5]
    assert ranks(np.zeros((1, 1272)), np.array([3]), np.ones((1, 1272), bool)).tolist() == [636.5]
    assert [chance_recall(np.array([size]), 50) for size in (400, 1272)] == pytest.approx([0.125, 0.0393], abs=1e-4)


def test_galleries_may_differ() -> None:
    gallery = np.array([[True, True, False], [True, True, True]])
    scores = np.array([[0.1, 0.2, -np.inf], [0.3, 0.2, 0.1]])
    assert ranks(scores, np.array([0, 2]), gallery).tolist() == [2, 3]
    assert chance_recall(np.array([2, 10]), 5) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="Query 0: its positive is not in its gallery"):
        ranks(scores, np.array([2, 2]), gallery)


def test_pose_error_of_a_moved_and_resized_copy_is_zero() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.normal(size=(4, 17, 3)), np.ones((4, 17, 1))], -1)
    assert sequence_error(1.3 * truth[..., :3] + 2, truth) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="3 predicted frames against 4"):
        sequence_error(truth[:3], truth)
    truth[..., 3] = 0
    assert math.isnan(sequence_error(truth[..., :3], truth))


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("pa_mpjpe", 106.638),
        ("pa_mpjpe_rigid", 134.290),
        ("pa_mpjpe_sequence", 134.947),
        ("pa_mpjpe_sequence_rigid", 161.859),
        ("mpjpe_root", 252.17),
    ],
)
def test_pose_error_vectors(variant: str, expected: float) -> None:
    predicted, truth = reference_sequence()
    assert sequence_error(predicted, truth, variant) == pytest.approx(expected, abs=6e-3 if "root" in variant else 6e-4)


def test_root_and_yaw_take_off_place_and_heading_only() -> None:
    _, truth = reference_sequence()
    angle = np.linspace(0, 3, len(truth))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    turned = truth.copy()
    turned[..., :2] = np.einsum("tab,tjb->tja", turn, truth[..., :2]) + 5
    assert sequence_error(turned, truth, "mpjpe_root_yaw") == pytest.approx(0, abs=1e-9)
    assert sequence_error(1.2 * turned, truth, "mpjpe_root_yaw") > 10
    mirrored = truth * [-1, 1, 1]
    for variant in POSE_ERRORS:
        assert sequence_error(mirrored, truth, variant) > 10, variant


def test_collapsed_poses_fail_and_unknown_frames_do_not() -> None:
    _, truth = reference_sequence()
    collapsed = truth.copy()
    collapsed[4] = 1.0
    assert math.isnan(sequence_error(collapsed, truth))
    partly = np.concatenate([truth, np.ones((10, 17, 1))], -1)
    partly[4, :, 3] = 0
    assert sequence_error(collapsed, partly) == pytest.approx(0, abs=1e-9)
    broken = truth.copy()
    broken[2, 5] = np.nan
    assert math.isnan(sequence_error(broken, truth)), "a joint that was not predicted is a failure"
    assert sequence_error(truth, broken) == pytest.approx(0, abs=1e-9), "one that nobody knows is not"


def test_spearman_vectors() -> None:
    found = spearman_correlation([5, 6, 7, 7, 8, 9, 9, 10], [5, 5, 7, 8, 8, 8, 9, 10], EIGHT)
    assert found.value == pytest.approx(0.931839, abs=1e-6)
    assert spearman_correlation(PREDICTED, JUDGED, EIGHT).value == pytest.approx(0.976190, abs=1e-6)
    assert math.isnan(spearman_correlation([3] * 8, JUDGED, EIGHT).value)  # a constant has no order
    unread = spearman_correlation([None, float("nan"), *PREDICTED[2:]], JUDGED, EIGHT)
    assert (unread.n, unread.n_failed) == (6, 2)


def test_spearman_of_resamples_is_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, size=(30, 2)).astype(float)
    weights = rng.multinomial(30, np.full(30, 1 / 30), size=5).astype(float)
    for drawn, value in zip(weights, AGGREGATES["spearman"](weights, rows), strict=True):
        x, y = np.repeat(rows, drawn.astype(int), axis=0).T
        assert value == pytest.approx(spearmanr(x, y)[0], abs=1e-12)


@pytest.mark.parametrize("aggregate", ["mean", "median", "f_score", "ratio"])
def test_aggregates_of_weights_are_those_of_repeated_items(aggregate: str) -> None:
    rng = np.random.default_rng(1)
    rows = rng.random((11, {"f_score": 4, "ratio": 2}.get(aggregate, 1)))
    weights = rng.multinomial(11, np.full(11, 1 / 11), size=6).astype(float)
    for drawn, value in zip(weights, AGGREGATES[aggregate](weights, rows), strict=True):
        repeated = np.repeat(rows, drawn.astype(int), axis=0)
        assert value == pytest.approx(AGGREGATES[aggregate](np.ones((1, len(repeated))), repeated)[0], abs=1e-12)
        if aggregate in ("mean", "median"):
            assert value == pytest.approx(getattr(np, aggregate)(repeated), abs=1e-12)


@pytest.mark.parametrize(
    ("score_range", "classes", "expected"),
    [
        ("split", None, 0.691187),
        ((0, 100), None, 0.298350),
        ((0, 104.5), None, 0.273208),
        ("class", list("xxxxyyyy"), 0.908754),
    ],
)
def test_relative_l2_vectors(
    score_range: str | tuple[float, float], classes: list[str] | None, expected: float
) -> None:
    found = relative_l2(PREDICTED, JUDGED, EIGHT, score_range, classes)
    assert 100 * found.value == pytest.approx(expected, abs=1e-6)
    assert "range:" in found.signature
    if classes:
        assert found.per_item is not None
        halves = 100 * np.array(found.per_item).reshape(2, 4).mean(1)
        assert halves == pytest.approx([0.810149, 1.007358], abs=1e-6)


def test_ranges_are_stated_or_refused() -> None:
    assert "range:split [33.3, 99]" in relative_l2(PREDICTED, JUDGED, EIGHT, "split").signature
    with pytest.raises(ValueError, match="range of scores, which is empty here"):
        relative_l2([1, 2], [5, 5], ["a", "b"], "split")
    with pytest.raises(ValueError, match="needs the classes"):
        relative_l2(PREDICTED, JUDGED, EIGHT, "class")


def test_top_k_and_accuracy() -> None:
    equal = top_k(np.zeros((4, 10)), np.arange(4), 5, list("abcd"))
    assert equal.value == 0  # the same score for every class is not a hit among five
    scores = np.eye(10)[[0, 1, 2, 9]]
    assert top_k(scores, np.arange(4), 1, list("abcd")).value == 0.75
    found = accuracy(["yes", None, "no"], ["yes", "yes", "yes"], list("abc"))
    assert found.value == pytest.approx(1 / 3) and "unparsed:1, wrong" in found.signature


NAE = (
    [0.0005, 0.004, 0.012, 0.03, 0.0029, 0.0049, 0.0101, 0.019],
    [0.30, 0.12, 0.04, 0.50, 0.21, 0.16, 0.07, 0.26],
    [1, 0.8, 1, 1, 0.5, 0.25, 0.75, 1],
)


def test_narrative_map_vectors() -> None:
    found = narrative_map(*NAE, EIGHT)
    assert found.value == pytest.approx(0.2525, abs=1e-12)
    assert found.per_item == pytest.approx([1, 0.24, 0, 0, 0.4, 0.12, 0.06, 0.2])
    assert narrative_map(*NAE, EIGHT, strict=True).value == pytest.approx(0.1725, abs=1e-12)
    errors, cider, right = (np.array(values) for values in NAE)
    loop = [
        ((errors <= r) & (cider >= c) & (right >= a)).mean() for r, c, a in product(NAE_ERRORS, NAE_CIDER, NAE_ACCURACY)
    ]
    assert len(loop) == 100 and found.value == pytest.approx(np.mean(loop))
    unread = narrative_map([None, *NAE[0][1:]], NAE[1], NAE[2], EIGHT)
    assert unread.per_item is not None and unread.per_item[0] == 0 and "without a score:1, failing" in unread.signature


def test_narrative_map_ranked_by_confidence() -> None:
    good, bad = (0.0, 1.0, 1.0), (1.0, 0.0, 0.0)

    def value(answers: list[tuple[float, float, float]], confidence: list[float]) -> float:
        errors, cider, right = zip(*answers, strict=True)
        return narrative_map_ranked(errors, cider, right, confidence, EIGHT[: len(answers)]).value

    assert value([good, good], [1, 2]) == 1 and value([bad, bad], [1, 2]) == 0
    assert value([good, bad], [2, 1]) == 0.5 and value([good, bad], [1, 2]) == 0.25  # the hit is second of two
    assert value([good, bad], [1, 1]) == 0.25, "equal confidences are reached together"
    assert value([bad, good, bad, good], [4, 3, 2, 1]) == pytest.approx((1 / 2 + 2 / 4) / 4)
    unread = narrative_map_ranked([None, 0.0], [1, 1], [1, 1], [2, 1], ["a", "b"])
    assert unread.value == 0.25 and "without a score:1, failing" in unread.signature
    constant = narrative_map_ranked(*NAE, [1.0] * 8, EIGHT)
    assert constant.value < narrative_map(*NAE, EIGHT).value, "each hit is worth the precision, not 1"


def test_temporal_f() -> None:
    true = TimedFeedback((1.0, 5.0, 9.0), ("lower", "faster", "good"))
    assert matches(true, TimedFeedback((1.4, 6.5, 8.6), ("a", "b", "c"))) == [(0, 0), (2, 2)]  # 1.5 s away is too far
    assert matches(true, TimedFeedback((1.4,), ("",))) == []
    for blank in (" ", "\n", "\t "):
        assert matches(true, TimedFeedback((1.4,), (blank,))) == [(0, 0)], (
            "the official evaluator takes blanks for words"
        )
    shares = [temporal_f([TimedFeedback((1.4,), (text,))], [true], ["x"]).value for text in ("", " ")]
    # All three remarks and the one answer are walked; only a match with something said counts.
    assert shares[1] == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1)) and shares[0] < shares[1]
    assert matches(TimedFeedback((1.0, 1.2), ("a", "b")), TimedFeedback((1.1,), ("x",))) == [(0, 0)]  # used once
    predicted = TimedFeedback((1.4, 6.5, 8.6, 20.0), ("a", "b", "c", "d"))
    found = temporal_f([predicted, None], [true, true], ["x", "y"])
    assert found.value == pytest.approx(2 * (2 / 4) * (2 / 6) / (2 / 4 + 2 / 6))
    official = temporal_f([predicted, None], [true, true], ["x", "y"], official=True)
    assert official.value == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)) and official.n_failed == 1
    assert temporal_f([true], [true], ["x"]).value == 1 and temporal_f([None], [true], ["x"]).value == 0


@pytest.mark.parametrize(
    "metric",
    [
        spearman_correlation(PREDICTED, JUDGED, EIGHT),
        relative_l2(PREDICTED, JUDGED, EIGHT, "split"),
        narrative_map(*NAE, EIGHT),
        accuracy([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 2, 4, 5, 6, 7, 9], EIGHT),
        item_metric([3, 1, 2, 8, 5, 6, 7, 4], EIGHT, "rank", "x", "median"),
    ],
)
def test_order_of_items_does_not_matter(metric: Metric) -> None:
    order = [3, 1, 5, 0, 2, 4, 7, 6]
    value = AGGREGATES[metric.aggregate](np.ones((1, 8)), metric.statistics[order])[0]
    assert value == pytest.approx(metric.value)


def test_intervals_resample_people_not_items() -> None:
    values = np.repeat([0.0, 1.0] * 3, 25)
    by_person = item_metric(values, [str(i // 25) for i in range(150)], "0-1", "x").interval
    by_item = item_metric(values, [str(i) for i in range(150)], "0-1", "x").interval
    assert by_person is not None and by_person[0] < 0.1 and by_person[1] > 0.9
    assert by_item is not None and 0.38 < by_item[0] < 0.45 and 0.55 < by_item[1] < 0.62
    weights = resampling_weights(list("aabbb"), resamples=50)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2:] == weights[:, 2:3]).all()


def test_failed_items_are_counted_not_averaged() -> None:
    metric = item_metric(np.array([1.0, np.nan, 3.0]), list("abc"), "mm", "x")
    assert (metric.value, metric.n, metric.n_failed) == (2.0, 2, 1)
    nothing = item_metric([float("nan")], ["a"], "mm", "x")
    assert math.isnan(nothing.value) and (nothing.n, nothing.n_failed, nothing.interval) == (0, 1, None)


def test_values_survive_json() -> None:
    metric = item_metric(np.array([1 / 3, 2 / 3]), list("ab"), "0-1", "x")
    assert Metric.from_json(json.loads(json.dumps(metric.to_json()))) == metric
    assert metric.value == 0.5
    unread = relative_l2([None, 2.0], [1.0, 3.0], ["a", "b"], "split")
    written = json.dumps(unread.to_json(), allow_nan=False)
    assert Metric.from_json(json.loads(written)).per_item == pytest.approx(unread.per_item, nan_ok=True)
