"""Paired comparisons against textbook values."""

import math

import numpy as np
import pytest

from mm_eval.statistics.comparison import compare, holm, item_tests
from mm_eval.statistics.metric import corpus_metric, item_metric

FIRST = [0.434383, 0.261951, 0.353792, 0.261224, 0.17829, 1, 0.41, 0.22, 0.37, 0.55]
SECOND = [0.40, 0.25, 0.36, 0.20, 0.15, 0.93, 0.42, 0.18, 0.30, 0.50]
TAKES = [str(i) for i in range(10)]


def test_vectors() -> None:
    tests = item_tests(FIRST, SECOND)
    assert (tests.t, tests.t_p_value) == pytest.approx((3.783131, 0.00432812), abs=1e-6)
    assert (tests.wilcoxon, tests.wilcoxon_p_value) == pytest.approx((3, 0.00976563), abs=1e-8)
    assert tests.bca_interval == pytest.approx((0.016187, 0.050514), abs=1e-6)
    found = compare(item_metric(FIRST, TAKES, "0-1", "x"), item_metric(SECOND, TAKES, "0-1", "x"), TAKES)
    assert found.exact and found.p_value == pytest.approx(0.00976563, abs=1e-8)
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    # Wider than the ten items' own BCa interval, because a t with 9 degrees of freedom is.
    assert found.interval == pytest.approx((0.0123, 0.0550), abs=2e-3)
    assert holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.2])


def test_swaps_are_of_takes() -> None:
    """Sixteen items of two takes can only be swapped in four ways, so nothing can be significant."""
    takes = [str(i // 8) for i in range(16)]
    found = compare(item_metric([1.0] * 16, takes, "0-1", "x"), item_metric([0.0] * 16, takes, "0-1", "x"), takes)
    assert found.exact and found.p_value == 0.5 and (found.items, found.clusters) == (16, 2)


def test_false_positives_are_as_many_as_promised() -> None:
    """Systems that are equally good, with items of a take that go together: 5 % of the comparisons may find a difference."""
    rng = np.random.default_rng(0)
    takes = [str(i // 8) for i in range(96)]
    found = 0
    for _ in range(120):
        shared = np.repeat(rng.normal(size=12), 8)
        a, b = (item_metric(rng.normal(size=96) + sign * shared, takes, "0-1", "x") for sign in (1, -1))
        found += compare(a, b, takes).p_value <= 0.05
    assert found / 120 < 0.12


@pytest.mark.parametrize("aggregate", ["spearman", "median", "bleu4"])
def test_metrics_of_the_whole_set_are_compared_too(aggregate: str) -> None:
    rng = np.random.default_rng(0)
    if aggregate == "bleu4":
        guessed = np.tile([9.0, 8, 7, 6], (40, 1))
        good, bad = (np.hstack([guessed - k, guessed, np.full((40, 2), 9.0)]) for k in (1, 3))
    elif aggregate == "spearman":
        true = rng.random(40)
        good, bad = np.stack([true + 0.05 * rng.random(40), true], 1), np.stack([rng.random(40), true], 1)
    else:
        good, bad = rng.random((40, 1)) + 1, rng.random((40, 1))
    takes = [str(i // 2) for i in range(40)]
    a, b = (corpus_metric(rows, aggregate, takes, "0-1", "x") for rows in (good, bad))
    found = compare(a, b, takes)
    assert found.p_value < 0.01 and not found.exact and found.interval[0] > 0
    again = compare(b, a, takes)
    assert again.difference == pytest.approx(-found.difference) and again.p_value == pytest.approx(
        found.p_value, abs=2e-3
    )
    assert compare(a, a, takes).p_value == 1


def test_items_that_one_system_failed_are_left_out_for_both() -> None:
    a, b = [1.0, math.nan, 3.0, 4.0], [0.0, 5.0, math.nan, 2.0]
    takes = list("abcd")
    found = compare(item_metric(a, takes, "0-1", "x"), item_metric(b, takes, "0-1", "x"), takes)
    assert found.items == 2 and found.difference == 1.5


def test_different_metrics_are_not_paired() -> None:
    with pytest.raises(ValueError, match="Cannot pair mean of"):
        compare(item_metric([1.0], ["a"], "", ""), item_metric([1.0], ["a"], "", "", "median"), ["a"])
