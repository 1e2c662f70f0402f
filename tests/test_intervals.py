"""Intervals over people: their formula, how often they hold, and what is printed where people are few."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mm_data.items.store import read_items
from mm_data.tuples.store import read_tuples
from mm_eval.statistics.aggregates import AGGREGATES
from mm_eval.statistics.comparison import compare
from mm_eval.statistics.intervals import _quantiles, cluster_interval, interval_text, resampling_weights
from mm_eval.statistics.metric import YES_OR_NO, Metric, corpus_metric, item_metric
from mm_eval.tables import Column, Row, ScoreTable
from mm_eval.tables.rendering import RENDERERS


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_many_clusters_of_one_item_give_the_textbook_interval() -> None:
    """Bias-corrected and accelerated, as SciPy computes it; the widening for few clusters is 1 % here."""
    values = np.random.default_rng(0).exponential(size=400)
    low, high = cluster_interval(lambda weights: AGGREGATES["mean"](weights, values[:, None]), names(400)) or (0, 0)
    textbook = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(1))
    tolerance = 0.05 * (textbook.confidence_interval.high - textbook.confidence_interval.low)
    assert (low, high) == pytest.approx(tuple(textbook.confidence_interval), abs=tolerance)
    plain = np.percentile(AGGREGATES["mean"](resampling_weights(names(400)), values[:, None]), [2.5, 97.5])
    assert low > plain[0] and high > plain[1]  # skewed to the right, so is its interval


def test_quantiles_are_wider_with_few_clusters() -> None:
    drawn = np.linspace(-1, 1, 2001)
    even = np.array([-1.0, 1.0] * 6)
    reach = 2.200985 * math.sqrt(12 / 11) * 13 / 12  # Student's t with 11 degrees of freedom
    assert _quantiles(0.0, drawn, even, 12) == pytest.approx([stats.norm.cdf(-reach), stats.norm.cdf(reach)], abs=1e-6)
    # Three quarters of the samples lie below the value: the bounds move up by twice that bias.
    bias = stats.norm.ppf(0.75)
    moved = _quantiles(0.5, drawn, even, 12)
    assert moved == pytest.approx(stats.norm.cdf([2 * bias - reach, 2 * bias + reach]), abs=1e-3)
    # One cluster that pulls the value up by much: the acceleration is that of its influence, 6 deviations of 1 against one of -6 ...
    left_out = np.array([1.0] * 6 + [-6.0])
    change = left_out.mean() - left_out
    acceleration = (change**3).sum() / (6 * (change**2).sum() ** 1.5)
    assert acceleration == pytest.approx(210 / (6 * 42**1.5))
    reach = stats.t.ppf(0.975, 6) * math.sqrt(7 / 6) * 8 / 7
    bounds = [-reach / (1 + acceleration * reach), reach / (1 - acceleration * reach)]
    assert _quantiles(0.0, drawn, left_out, 7) == pytest.approx(stats.norm.cdf(bounds), abs=1e-9)


def simulated_set(rng: np.random.Generator, people: int = 12) -> tuple[np.ndarray, list[str]]:
    """Items of people who have one to four each, of mean 0."""
    person = np.repeat(np.arange(people), rng.integers(1, 5, people))
    values = math.sqrt(0.4) * rng.normal(size=people)[person] + math.sqrt(0.6) * rng.normal(size=len(person))
    return values, [str(number) for number in person]


def test_intervals_over_twelve_people_hold() -> None:
    """Percentiles of the same samples hold in 90 % of the sets; benchmarks/intervals.py has the whole table."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(1000):
        interval = item_metric(*simulated_set(rng), "", "x").interval
        assert interval is not None
        held += interval[0] <= 0 <= interval[1]
    assert 0.93 <= held / 1000 <= 0.97


def test_intervals_of_differences_agree_with_their_p_value() -> None:
    rng = np.random.default_rng(6)
    outside, significant = 0, 0
    for _ in range(300):
        values, people = simulated_set(rng)
        ours, theirs = (item_metric(values + rng.normal(size=len(values)), people, "", "x") for _ in range(2))
        comparison = compare(ours, theirs, people)
        outside += not comparison.interval[0] <= 0 <= comparison.interval[1]
        significant += comparison.p_value <= 0.05
    assert outside / 300 <= 0.06 and abs(outside - significant) / 300 <= 0.02


def test_too_few_people_have_no_interval() -> None:
    four = item_metric([1.0, 2.0, 3.0, 4.0], list("abcd"), "mm", "x")
    assert four.interval is None and (four.value, four.clusters) == (2.5, 4)
    assert four.signature == "x|n:4|clusters:4"
    five = item_metric([1.0, 2.0, 3.0, 4.0, 5.0], list("abcde"), "mm", "x")
    assert Metric.from_json(json.loads(json.dumps(five.to_json()))) == five
    assert five.interval is not None and 1 <= five.interval[0] < 3 < five.interval[1] <= 5
    paired = compare(four, item_metric([0.0] * 4, list("abcd"), "mm", "x"), list("abcd"))
    assert paired.difference == 2.5 and np.isnan(paired.interval).all() and paired.p_value == 0.125
    assert interval_text(four.interval, 1) == interval_text(paired.interval, 1) == "–"
    assert interval_text((-1.25, 3.0), 1, "+") == "-1.2 to +3.0"


def test_a_share_of_all_or_nothing_is_not_certain() -> None:
    """With 12 of 12 people right, 0.735 is the lowest share for which that has a chance of 2.5 %."""
    right, wrong = (item_metric([value] * 24, [str(i // 2) for i in range(24)], YES_OR_NO, "x") for value in (1.0, 0.0))
    assert right.interval == pytest.approx((0.025 ** (1 / 12), 1.0)) and wrong.interval == pytest.approx(
        (0.0, 0.26465), abs=1e-5
    )
    for scale in ("mm", "0-1"):  # a ROUGE-L of 0 everywhere is no share of people
        assert item_metric([1.0] * 12, names(12), scale, "x").interval == (1.0, 1.0)


def test_a_value_lies_in_its_interval() -> None:
    """A statistic that is largest for everybody together: a bootstrap sample always lacks somebody."""
    interval = cluster_interval(lambda weights: (weights > 0).sum(1).astype(float), names(30))
    assert interval is not None and interval[0] < 30 and interval[1] == 30


def test_samples_without_a_value_are_left_out() -> None:
    """A sample of one person over and over has no rank correlation."""
    rows = np.array([[1.0, 2], [2, 1], [3, 4], [4, 3], [5, 5]])
    metric = corpus_metric(rows, "spearman", list("abcde"), "-1-1", "x")
    assert metric.interval is not None and np.isfinite(metric.interval).all()
    constant = corpus_metric(np.array([[1.0, 2]] * 6), "spearman", list("abcdef"), "-1-1", "x")
    assert math.isnan(constant.value) and constant.interval is None


def test_people_are_the_clusters_of_expertaf(tiny: Path) -> None:
    items = read_items(tiny / "tuples", "test")
    assert [item.cluster for item in items] == [t.learner.participant for t in read_tuples(tiny / "tuples", "test")]
    assert len({item.cluster for item in items}) < len({item.clip.clip_id.partition(":")[0] for item in items})


def table_of(*counts: int) -> ScoreTable:
    rows = [
        Row(f"system {count}", {("t", "m"): Metric(0.5, None, 20, 0, "0-1", "s", (0.25, 0.75), clusters=count)})
        for count in counts
    ]
    return ScoreTable("Title", "Lead.", (Column("t", "m", "M"),), tuple(rows))


def test_tables_say_how_many_people_stand_behind_an_interval() -> None:
    clusters = "clusters (people, or takes where nobody says whose they are)."
    assert table_of(12).about_intervals == f"In brackets: 95 % intervals over 12 {clusters}"
    assert table_of(12, 30).about_intervals == f"In brackets: 95 % intervals over 12 to 30 {clusters}"
    assert "rough guide" in table_of(9, 12).about_intervals and "no interval" not in table_of(9).about_intervals
    assert "With fewer than 5 clusters there is no interval." in table_of(4).about_intervals
    assert table_of().about_intervals == ""
    for ending in ("md", "tex", "html"):
        assert "over 9 clusters" in RENDERERS[ending](table_of(9)) and "rough guide" in RENDERERS[ending](table_of(9))
    assert RENDERERS["csv"](table_of(9)).splitlines()[1].split(",")[5:10] == ["0.25", "0.75", "20", "0", "9"]
