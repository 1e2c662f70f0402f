"""Measures at their edges: a rank that is k, a threshold that is met, a swap that changes nothing, a take that failed."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from mm_eval.metrics.classification import accuracy, top_k
from mm_eval.metrics.narrative import narrative_map, narrative_map_ranked
from mm_eval.metrics.pose import POSE_ERRORS, sequence_error
from mm_eval.metrics.retrieval import chance_recall, ranks, retrieval_metrics
from mm_eval.metrics.scores import relative_l2, spearman_correlation
from mm_eval.statistics.aggregates import AGGREGATES, NAE_ACCURACY, NAE_CIDER, NAE_ERRORS
from mm_eval.statistics.comparison import compare, holm, item_tests, measured_alike
from mm_eval.statistics.intervals import resampling_weights
from mm_eval.statistics.metric import Metric, corpus_metric, item_metric

NAN = float("nan")


def items_of(metric: Metric) -> list[float]:
    assert metric.per_item is not None
    return list(metric.per_item)


# --- ranks and classes -----------------------------------------------------------------------------------------------


def test_ranks_are_those_of_sorting() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 4, size=(6, 7)).astype(float)
        candidates = rng.random((6, 7)) < 0.7
        positives = rng.integers(0, 7, size=6)
        candidates[np.arange(6), positives] = True
        found = ranks(np.where(candidates, scores, -np.inf), positives, candidates)
        for row in range(6):
            better = sorted(-scores[row, candidates[row]])
            mine = -scores[row, positives[row]]
            places = [place for place, value in enumerate(better, start=1) if value == mine]
            assert found[row] == np.mean(places)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_candidates_without_a_score_come_last(value: float) -> None:
    scores, all_of_them = np.array([[1.0, value, 0.0]]), np.ones((1, 3), bool)
    assert ranks(scores, np.array([2]), all_of_them).tolist() == [2]
    assert np.isnan(ranks(scores, np.array([1]), all_of_them)).all()
    assert ranks(scores, np.array([0]), np.array([[True, False, True]])).tolist() == [1]


@pytest.mark.parametrize(
    ("largest", "ks"),
    [(3, [1, 5, 10]), (50, [1, 5, 10]), (51, [1, 5, 10, 50])],
)
def test_large_k_needs_a_larger_gallery(largest: int, ks: list[int]) -> None:
    found = retrieval_metrics(np.array([1.0, 1.5, 5.0, 50.0]), np.array([3, 3, 3, largest]), list("aabc"))
    assert list(found) == [*(f"recall@{k}" for k in ks), "median_rank", "mean_rank"]
    assert [found[f"recall@{k}"].value for k in ks] == [{1: 0.25, 5: 0.75, 10: 0.75, 50: 1.0}[k] for k in ks]
    assert (found["median_rank"].value, found["mean_rank"].value) == (3.25, 57.5 / 4)
    assert found["median_rank"].aggregate == "median"
    chance = (3 * 4 + largest + 1) / 4 / 2
    assert (
        found["recall@1"].signature
        == f"R@1|gallery:3 (median)|ties:mean|chance of the mean rank:{chance:g}|n:4|clusters:3"
    )


def test_up_to_ten_every_k_is_told() -> None:
    found = retrieval_metrics(np.array([1.0, 2.0]), np.array([3, 3]), list("ab"), ks=(2, 9, 10, 11))
    assert [name for name in found if name.startswith("recall")] == ["recall@2", "recall@9", "recall@10"]


def test_chance_is_k_of_the_gallery_and_at_most_one() -> None:
    assert chance_recall(np.array([1, 5, 6, 10, 50]), 5) == pytest.approx((1 + 1 + 5 / 6 + 1 / 2 + 1 / 10) / 5)


def test_top_k_counts_the_rank_k() -> None:
    scores = np.array([[5.0, 4, 3, 2, 1]] * 5 + [[1.0, 1, 0, 0, 0], [NAN, 1, 0, 0, 0], [NAN] * 5])
    true = np.array([0, 1, 2, 3, 4, 0, 1, 0])
    found = {k: top_k(scores, true, k, [str(i) for i in range(8)]) for k in (1, 2, 3)}
    assert items_of(found[1]) == [1, 0, 0, 0, 0, 0, 0, 0]
    assert items_of(found[2]) == [1, 1, 0, 0, 0, 1, 0, 0], "1.5 is among two and not the first"
    assert items_of(found[3]) == [1, 1, 1, 0, 0, 1, 0, 0]
    assert found[2].signature == "top-2|classes:5|ties:mean rank|unparsed:2, wrong|n:8|clusters:8"
    assert found[2].scale == "0 or 1"


def test_accuracy_leaves_out_what_nobody_knows() -> None:
    found = accuracy(["a", None, "b", "a", None], ["a", "a", "a", None, None], list("vwxyz"))
    assert items_of(found) == pytest.approx([1, 0, 0, NAN, NAN], nan_ok=True)
    assert found.value == pytest.approx(1 / 3) and (found.n, found.n_failed, found.scale) == (3, 2, "0 or 1")
    assert found.signature == "accuracy|unparsed:2, wrong|n:3|clusters:3"
    with pytest.raises(ValueError, match="zip"):
        accuracy(["a"], ["a", "b"], ["x"])


# --- scores ----------------------------------------------------------------------------------------------------------


def test_relative_l2_divides_by_the_stated_range() -> None:
    true, said = [1.0, NAN, 3.0, 5.0], [2.0, 2.0, None, 5.0]
    split = relative_l2(said, true, list("abcd"), "split")
    assert items_of(split) == pytest.approx([1 / 16, NAN, NAN, 0], nan_ok=True) and split.n_failed == 2
    assert split.signature == "r-l2|range:split [1, 5]|n:2|clusters:2" and split.scale == "squared share of the range"
    stated = relative_l2(said, true, list("abcd"), (0.0, 10.0))
    assert items_of(stated) == pytest.approx([1 / 100, NAN, NAN, 0], nan_ok=True)
    assert stated.signature == "r-l2|range:[0, 10]|n:2|clusters:2"
    assert items_of(relative_l2(said, true, list("abcd"), (2.0, 10.0)))[0] == pytest.approx(1 / 64)
    classes = relative_l2([1.0, 2.0, 5.0, 9.0], [1.0, 3.0, 5.0, 7.0], list("abcd"), "class", list("xyxy"))
    assert items_of(classes) == pytest.approx([0, 1 / 16, 0, 4 / 16]) and "range:class" in classes.signature
    with pytest.raises(ValueError, match=r"Range 'whole': use 'split', 'class' or \(lowest, highest\)"):
        relative_l2(said, true, list("abcd"), "whole")
    with pytest.raises(ValueError, match=r"empty here \(\[5, 5\]\)"):
        relative_l2(said, true, list("abcd"), (5.0, 5.0))
    with pytest.raises(ValueError, match=r"empty here \(class\)"):
        relative_l2([1.0, 2.0, 3.0], [1.0, 3.0, 5.0], list("abc"), "class", list("xxy"))


def test_spearman_is_of_what_was_read() -> None:
    found = spearman_correlation([3.0, None, 1.0, 9.0, 2.0], [30.0, 99.0, 10.0, NAN, 20.0], list("abcde"))
    assert found.value == pytest.approx(1) and (found.n, found.n_failed) == (3, 2)
    assert found.signature == "spearman|ties:mean rank|n:3|clusters:3"
    assert found.scale == "-1-1" and found.per_item is None
    assert spearman_correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], list("abc")).value == pytest.approx(-1)


# --- NAE -------------------------------------------------------------------------------------------------------------


def test_a_threshold_that_is_met_is_passed() -> None:
    """R-ℓ2 at most, CIDEr and accuracy at least; 5 × 5 × 4 combinations."""
    assert (NAE_ERRORS, NAE_CIDER) == ((0.003, 0.005, 0.010, 0.015, 0.020), (0.05, 0.10, 0.15, 0.20, 0.25))
    assert NAE_ACCURACY == (0.25, 0.50, 0.75, 1.00)
    best = (0.0, 0.25, 1.0)
    for place, thresholds in enumerate((NAE_ERRORS, NAE_CIDER, NAE_ACCURACY)):
        for position, threshold in enumerate(thresholds):
            for value, met in ((threshold - 1e-9, place == 0), (threshold, True), (threshold + 1e-9, place != 0)):
                error, cider, right = [*best[:place], value, *best[place + 1 :]]
                found = narrative_map([error], [cider], [right], ["take"])
                lower = position + met
                passed = len(thresholds) - position - (not met) if place == 0 else lower
                assert found.value == pytest.approx(passed / len(thresholds)), (place, value)
    strict = [narrative_map([0.0], [1.0], [a], ["x"], strict=True).value for a in (0.25, 0.26, 0.5, 0.75, 1.0)]
    assert strict == [0, 0.25, 0.25, 0.5, 0.75]


def test_signatures_of_narrative_map() -> None:
    arguments = ([0.0, None, NAN], [1.0, 1.0, 1.0], [1.0, 1.0, NAN], list("abc"))
    plain, strict = narrative_map(*arguments), narrative_map(*arguments, strict=True)
    assert plain.signature == "nae-map|100 thresholds|accuracy >= threshold|without a score:2, failing|n:2|clusters:2"
    assert strict.signature == "nae-map|100 thresholds|accuracy > threshold|without a score:2, failing|n:2|clusters:2"
    assert plain.value == 0.5 and strict.value == 0.375 and plain.scale == "0-1"
    ranked = narrative_map_ranked([0.0, None, NAN], [1.0] * 3, [1.0] * 3, [3.0, 2.0, 1.0], list("abc"))
    assert ranked.signature == "nae-map|100 thresholds|ranked by confidence|without a score:2, failing|n:3|clusters:3"
    assert ranked.value == pytest.approx(1 / 3) and ranked.scale == "0-1"


def test_ranked_map_is_that_of_a_plain_loop() -> None:
    """Also for resamples: what is drawn twice stands twice at its confidence."""
    rng = np.random.default_rng(0)
    rows = np.stack(
        [rng.integers(0, 5, 12), rng.choice([0.001, 0.004, 0.012, 0.03], 12), rng.random(12) * 0.3, rng.choice([0.3, 0.6, 1.0], 12)], axis=1
    )  # fmt: skip
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=6).astype(float)

    def plain(drawn: np.ndarray) -> float:
        total = 0.0
        for r, c, a in itertools.product(NAE_ERRORS, NAE_CIDER, NAE_ACCURACY):
            hit = (drawn[:, 1] <= r) & (drawn[:, 2] >= c) & (drawn[:, 3] >= a)
            for row, is_hit in zip(drawn, hit, strict=True):
                above = drawn[:, 0] >= row[0]
                total += is_hit * hit[above].sum() / above.sum() / len(drawn)
        return total / 100

    found = AGGREGATES["narrative_ap"](np.vstack([np.ones(12), weights]), rows)
    assert found[0] == pytest.approx(plain(rows))
    for weight, value in zip(weights, found[1:], strict=True):
        assert value == pytest.approx(plain(np.repeat(rows, weight.astype(int), axis=0)))


# --- aggregates ------------------------------------------------------------------------------------------------------


def test_bleu_is_the_geometric_mean_of_precisions_with_its_brevity() -> None:
    rows = np.array([[4.0, 2, 1, 0, 6, 5, 4, 3, 6, 8], [5.0, 4, 3, 2, 5, 4, 3, 2, 5, 4]])
    sums = rows.sum(0)
    precision = sums[:4] / sums[4:8]
    for order in (1, 2, 3, 4):
        value = AGGREGATES[f"bleu{order}"](np.ones((1, 2)), rows)[0]
        assert value == pytest.approx(precision[:order].prod() ** (1 / order) * math.exp(1 - 12 / 11), rel=1e-6)
        alone = AGGREGATES[f"bleu{order}"](np.array([[0.0, 1.0]]), rows)[0]
        assert alone == pytest.approx(1, rel=1e-6), "longer than the reference is no reward"


def test_sacrebleu_smooths_orders_without_a_match() -> None:
    one = np.array([[4.0, 2, 0, 0, 6, 5, 4, 3, 6, 8]])
    precisions = [4 / 6, 2 / 5, 0.5 / 4, 0.25 / 3]
    expected = 100 * np.prod(precisions) ** 0.25 * math.exp(1 - 8 / 6)
    assert AGGREGATES["sacrebleu"](np.ones((1, 1)), one)[0] == pytest.approx(expected)
    longer = np.array([[4.0, 2, 1, 1, 6, 5, 4, 3, 8, 6]])
    expected = 100 * (4 / 6 * 2 / 5 * 1 / 4 * 1 / 3) ** 0.25
    assert AGGREGATES["sacrebleu"](np.ones((1, 1)), longer)[0] == pytest.approx(expected)
    nothing = np.array([[0.0, 0, 0, 0, 6, 5, 4, 3, 6, 8]])
    short = np.array([[2.0, 1, 0, 0, 2, 1, 0, 0, 2, 8]])
    assert (
        AGGREGATES["sacrebleu"](np.ones((1, 1)), nothing)[0] == AGGREGATES["sacrebleu"](np.ones((1, 1)), short)[0] == 0
    )


def test_the_median_of_resamples_is_the_median() -> None:
    rows = np.array([[5.0], [1.0], [3.0], [2.0]])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 0], [1, 0, 0, 1], [4, 0, 0, 0]])
    assert AGGREGATES["median"](weights, rows).tolist() == [2.5, 1, 3.5, 5]


def test_ratio_of_nothing_is_not_defined() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 0.0]])
    found = AGGREGATES["ratio"](np.array([[1.0, 1.0], [0.0, 1.0]]), rows)
    assert found[0] == 2 and math.isnan(found[1])


# --- intervals and comparisons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["mean", "median", "spearman"])
def test_failed_items_do_not_shift_takes(aggregate: str) -> None:
    """An interval with items that failed is the one without those items, their takes included."""
    rng = np.random.default_rng(0)
    rows = rng.random((18, 2 if aggregate == "spearman" else 1))
    takes = [f"take {i // 3}" for i in range(18)]
    broken = np.insert(rows, [0, 4, 4, 9], np.nan, axis=0)
    labels = ["take 9", *takes[:4], "take 0", "take 0", *takes[4:9], "take 3", *takes[9:]]
    whole, part = corpus_metric(rows, aggregate, takes, "", "x"), corpus_metric(broken, aggregate, labels, "", "x")
    assert part.interval == whole.interval and part.interval is not None
    assert part.value == whole.value and (part.n, part.n_failed) == (18, 4)
    assert part.clusters == whole.clusters == 6, "a take of which nothing was scored does not count"


def test_fewer_than_five_takes_have_no_interval() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    for takes, count in (("aaaaa", 1), ("abcdd", 4), ("abcde", 5)):
        found = item_metric(values, list(takes), "", "x")
        assert found.clusters == count and (found.interval is None) == (count < 5)
    known = item_metric([*values, NAN], list("abcdde"), "", "x")
    assert known.interval is None and known.clusters == 4, "nothing is known of the fifth"
    constant = spearman_correlation([1.0] * 5, values, list("abcde"))
    assert constant.interval is None and constant.clusters == 5, "it has no value"


def test_weights_are_draws_of_takes() -> None:
    weights = resampling_weights(list("abbc"), resamples=400, seed=1)
    assert weights.shape == (400, 4) and (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights.mean(0) == pytest.approx(np.ones(4), abs=0.15)
    assert (resampling_weights(list("abbc"), 400, 1) == weights).all()
    assert (resampling_weights(list("abbc"), 400, 2) != weights).any()


def test_what_a_record_keeps() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [2.0, NAN]])
    found = corpus_metric(rows, "ratio", list("abc"), "unit", "sign", per_item=[0.5, 0.75, NAN])
    assert found.value == pytest.approx(4 / 6) and (found.n, found.n_failed) == (2, 1)
    assert found.signature == "sign|n:2|clusters:2" and found.scale == "unit" and found.aggregate == "ratio"
    assert found.rows is not None and np.array_equal(found.rows, rows, equal_nan=True)
    assert np.array_equal(found.statistics, rows, equal_nan=True)
    assert items_of(found) == pytest.approx([0.5, 0.75, NAN], nan_ok=True)
    plain = item_metric([1.0, NAN], list("ab"), "unit", "sign")
    assert plain.rows is None and plain.statistics.shape == (2, 1)
    nothing = corpus_metric(np.full((2, 2), NAN), "ratio", list("ab"), "unit", "sign")
    assert math.isnan(nothing.value) and nothing.interval is None and nothing.signature == "sign|n:0|clusters:0"
    assert nothing.aggregate == "ratio" and nothing.n_failed == 2
    back = Metric.from_json(found.to_json())
    assert np.array_equal(back.statistics, rows, equal_nan=True) and back.interval == found.interval
    assert found.to_json()["rows"][2] == [2.0, None]


def swaps(
    first: np.ndarray, second: np.ndarray, takes: list[str], value: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """Difference, and the share of all swaps of takes whose difference is as large or not defined."""
    names = sorted(set(takes))
    difference = value(first) - value(second)
    large = 0
    for choice in itertools.product([False, True], repeat=len(names)):
        swapped = np.array([choice[names.index(take)] for take in takes])[:, None]
        a, b = np.where(swapped, second, first), np.where(swapped, first, second)
        found = value(a) - value(b)
        large += math.isnan(found) or abs(found) >= abs(difference) - 1e-9
    return difference, large / 2 ** len(names)


def spearman_of(rows: np.ndarray) -> float:
    x, y = (np.array([(np.sum(c < v) + np.sum(c <= v) + 1) / 2 for v in c]) for c in rows.T)
    return NAN if np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])


def test_exact_p_values_are_those_of_trying_every_swap() -> None:
    rng = np.random.default_rng(0)
    takes = list("aabbccdde")
    for _ in range(20):
        first, second = rng.integers(0, 4, (2, 9, 1)) / 10.0
        a, b = (item_metric(values[:, 0], takes, "", "x") for values in (first, second))
        difference, p_value = swaps(first, second, takes, lambda rows: float(rows.mean()))
        found = compare(a, b, takes)
        assert found.exact and (found.items, found.clusters) == (9, 5)
        assert (found.difference, found.p_value) == pytest.approx((difference, p_value)), "rounding decides nothing"


def test_swaps_without_a_value_count_as_large() -> None:
    """Scores of three takes: some swaps leave a system that says the same of all, whose order is not defined."""
    true = np.array([1.0, 2.0, 3.0])
    first, second = (np.stack([np.array(said), true], axis=1) for said in ([1.0, 2.0, 2.0], [2.0, 1.0, 1.0]))
    takes = list("abc")
    a, b = (corpus_metric(rows, "spearman", takes, "", "x") for rows in (first, second))
    difference, p_value = swaps(first, second, takes, spearman_of)
    found = compare(a, b, takes)
    assert (found.difference, found.p_value) == pytest.approx((difference, p_value))
    undefined = compare(a, corpus_metric(np.stack([np.ones(3), true], 1), "spearman", takes, "", "x"), takes)
    assert math.isnan(undefined.difference) and math.isnan(undefined.p_value) and not undefined.exact
    assert (undefined.items, undefined.clusters) == (3, 3) and math.isnan(undefined.interval[0])


def test_random_swaps_never_give_zero() -> None:
    takes = [str(i) for i in range(40)]
    a, b = item_metric(np.ones(40), takes, "", "x"), item_metric(np.zeros(40), takes, "", "x")
    found = compare(a, b, takes)
    assert not found.exact and found.p_value == 1 / 10_001, "the swap that was observed is one of them"
    assert compare(a, a, takes).p_value == 1
    assert compare(item_metric(np.ones(13), takes[:13], "", "x"), item_metric(np.zeros(13), takes[:13], "", "x"), takes[:13]).exact  # fmt: skip
    assert not compare(item_metric(np.ones(14), takes[:14], "", "x"), item_metric(np.zeros(14), takes[:14], "", "x"), takes[:14]).exact  # fmt: skip


def test_the_order_of_systems_is_the_sign() -> None:
    takes = list("aabbccddee")
    a, b = np.arange(10.0), np.arange(10.0)[::-1] / 3
    first, second = item_metric(a, takes, "", "x"), item_metric(b, takes, "", "x")
    found, turned = compare(first, second, takes), compare(second, first, takes)
    assert found.difference == pytest.approx(3.0) == -turned.difference and found.p_value == turned.p_value
    assert found.interval[0] <= found.difference <= found.interval[1] and turned.interval[1] <= 0 + found.interval[1]
    with pytest.raises(ValueError, match="No item was scored for both"):
        compare(item_metric([1.0, NAN], ["a", "b"], "", "x"), item_metric([NAN, 1.0], ["a", "b"], "", "x"), ["a", "b"])
    with pytest.raises(ValueError, match=r"Cannot pair mean of \(10, 1\) with mean of \(2, 1\) over 10 items"):
        compare(first, item_metric([1.0, 2.0], ["a", "b"], "", "x"), takes)
    with pytest.raises(ValueError, match="over 9 items"):
        compare(first, second, takes[:9])


def test_holm_keeps_order_and_leaves_out_what_is_undefined() -> None:
    assert holm([0.01, NAN, 0.04, 0.03]) == pytest.approx([0.03, NAN, 0.06, 0.06], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])


def test_item_tests_are_paired() -> None:
    first, second = [1.0, 2.0, 4.0, 8.0, 9.0], [0.5, 2.5, 3.0, 6.0, 8.0]
    found, turned = item_tests(first, second), item_tests(second, first)
    difference = np.subtract(first, second)
    assert found.t == pytest.approx(difference.mean() / (difference.std(ddof=1) / math.sqrt(5))) == -turned.t
    assert found.bca_interval[0] < difference.mean() < found.bca_interval[1]
    assert found.wilcoxon == 1.5, "ranks of what speaks for the second"


@pytest.mark.parametrize(
    ("signature", "alike"),
    [
        ("bleu4|tok:13a|n:9", True), ("bleu4|tok:13a|n:1|clusters:7", True), ("bleu4|tok:13a|unparsed:3, wrong|n:1", True), ("bleu4|tok:13a|inputs:steps", True),
        ("bleu4|tok:13a|without a score:2, failing", True), ("bleu4|tok:13a|undefined:1|wins:3|sign test p:0.1", True),
        ("bleu4|tok:ptb|n:9", False), ("bleu4|n:9", False), ("bleu4|tok:13a|case:mixed", False),
    ],
)  # fmt: skip
def test_measured_alike_but_for_what_belongs_to_one_system(signature: str, alike: bool) -> None:
    first = Metric(0.5, (0.5,), 1, 0, "0-1", "bleu4|tok:13a|n:1")
    other = Metric(0.1, (0.1,), 1, 0, "0-1", signature)
    assert measured_alike(first, other) == measured_alike(other, first) == alike
    assert not measured_alike(first, Metric(0.5, (0.5,), 1, 0, "0-1", first.signature, aggregate="median"))


# --- poses -----------------------------------------------------------------------------------------------------------


def triangle(frames: int = 1) -> np.ndarray:
    """Hips at ±1 on x, and a nose at 1 on z, that alone are seen; ``[T, 17, 4]``."""
    poses = np.zeros((frames, 17, 4))
    poses[:, [11, 12, 0], 3] = 1.0
    poses[:, 11, 0], poses[:, 12, 0], poses[:, 0, 2] = 1.0, -1.0, 1.0
    return poses


def test_a_sequence_is_the_mean_of_its_known_frames() -> None:
    truth, said = triangle(3), triangle(3)[..., :3].copy()
    said[1, 0, 2] = 1.6
    said[2, 0, 2] = 9.0
    truth[2, 0, 3] = 0.0  # two joints have no orientation
    assert sequence_error(said, truth, "mpjpe_root") == pytest.approx((0 + 600 / 3 + 0) / 3)
    errors = sequence_error(said[:2], truth[:2]), sequence_error(said[1:2], truth[1:2])
    assert errors[0] == pytest.approx(errors[1] / 2) and sequence_error(said, truth) == pytest.approx(errors[0])
    assert math.isnan(sequence_error(said[2:], truth[2:]))


def test_hips_that_are_not_seen_have_no_middle() -> None:
    truth = triangle(2)
    truth[1, 11, 3] = 0.0
    said = triangle(2)[..., :3].copy()
    said[..., 2] *= 1.3
    for variant in ("mpjpe_root", "mpjpe_root_yaw"):
        assert sequence_error(said, truth, variant) == pytest.approx(100), (
            "0.3 of one of three joints, in the first frame"
        )
        assert math.isnan(sequence_error(said[1:], truth[1:], variant))
    seen = np.concatenate([said, np.ones((2, 17, 1))], axis=-1)
    seen[0, 0, 3] = 0.0
    assert sequence_error(seen, truth, "mpjpe_root") == pytest.approx(0), "a nose that the prediction does not show"


def test_names_of_pose_errors_are_their_signatures() -> None:
    assert {name: error.signature for name, error in POSE_ERRORS.items()} == {
        "pa_mpjpe": "pa_mpjpe|per frame, similarity",
        "pa_mpjpe_rigid": "pa_mpjpe|per frame, rigid",
        "pa_mpjpe_sequence": "pa_mpjpe|per sequence, similarity",
        "pa_mpjpe_sequence_rigid": "pa_mpjpe|per sequence, rigid",
        "mpjpe_root": "mpjpe|middle of the hips at the origin",
        "mpjpe_root_yaw": "mpjpe|middle of the hips at the origin, best yaw per frame",
    }


def test_meteor_of_hand_made_statistics() -> None:
    """METEOR 1.5's formula, written out for sums of two segments; then a perfect segment, which is one chunk and no fragment."""
    first = [6, 7, 2, 3, *(2, 3, 1, 1), *(1, 1, 0, 0), *(0, 1, 0, 0), *(0, 0, 1, 0), 3, 5, 5]
    second = [4, 5, 1, 1, *(1, 1, 1, 0), *(0, 0, 0, 1), *(1, 0, 0, 0), *(0, 1, 0, 0), 2, 3, 4]
    sums = [a + b for a, b in zip(first, second, strict=True)]
    stages = [sums[4 + 4 * stage : 8 + 4 * stage] for stage in range(4)]
    shares = []
    for side in (0, 1):  # content words count 0.75, function words 0.25; exact, stem, synonym and paraphrase matches
        found = sum(
            w * (0.75 * m[side] + 0.25 * m[side + 2]) for w, m in zip((1.0, 0.6, 0.8, 0.6), stages, strict=True)
        )
        shares.append(found / (0.75 * (sums[side] - sums[2 + side]) + 0.25 * sums[2 + side]))
    precision, recall = shares
    f = precision * recall / (0.85 * precision + 0.15 * recall)
    expected = f * (1 - 0.6 * (sums[20] / ((sums[21] + sums[22]) / 2)) ** 0.2)
    assert AGGREGATES["meteor"](np.ones((1, 2)), np.array([first, second], float))[0] == pytest.approx(expected)
    perfect = [3, 3, 1, 1, *(2, 2, 1, 1), *(0,) * 12, 1, 3, 3]
    assert AGGREGATES["meteor"](np.ones((1, 1)), np.array([perfect], float))[0] == pytest.approx(1.0)
    nothing = [3, 3, 1, 1, *(0,) * 16, 0, 0, 0]
    assert AGGREGATES["meteor"](np.ones((1, 1)), np.array([nothing], float))[0] == 0.0


@pytest.mark.parametrize(
    ("correct", "guessed", "length", "true_length"),
    [
        ((5, 3, 0, 0), (8, 7, 6, 5), 8, 10),
        ((5, 3, 2, 1), (8, 7, 6, 5), 8, 6),
        ((4, 0, 0, 0), (8, 7, 6, 5), 8, 8),
        ((0, 0, 0, 0), (8, 7, 6, 5), 8, 8),
    ],
)
def test_nltks_bleu_of_hand_made_counts(
    correct: tuple[int, ...], guessed: tuple[int, ...], length: int, true_length: int
) -> None:
    """NLTK's smoothing method 4: the n-th order without a match counts ln(length) / (5 · 2ⁿ)."""
    logs, missing = [], 0
    for right, count in zip(correct, guessed, strict=True):
        missing += right == 0
        logs.append(math.log((right or math.log(length) / (5 * 2**missing)) / count))
    penalty = 1.0 if length > true_length else math.exp(1 - true_length / length)
    expected = penalty * math.exp(sum(logs) / 4) if correct[0] else 0.0
    rows = np.array([[*correct, *guessed, length, true_length]], float)
    assert AGGREGATES["nltk_bleu"](np.ones((1, 1)), rows)[0] == pytest.approx(expected)


def test_nltks_bleu_of_a_single_word_is_not_smoothed() -> None:
    rows = np.array([[1.0, 0, 0, 0, 1, 0, 0, 0, 1, 1], [0.0, 0, 0, 0, 0, 0, 0, 0, 0, 3]])
    values = [AGGREGATES["nltk_bleu"](weights[None], rows)[0] for weights in np.eye(2)]
    assert not any(value > 0 for value in values)
