"""Whether one system is better than another: paired, by person, for any metric that has an aggregate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mm_eval.statistics.aggregates import AGGREGATES
from mm_eval.statistics.intervals import cluster_interval, members
from mm_eval.statistics.metric import Metric

MOST_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Comparison:
    """Two systems on the items that both have.

    Attributes:
        difference: First minus second; NaN, like interval and p-value, where the metric is not defined for one of them.
        interval: Its 95 % interval, clusters resampled; NaN where they are too few.
        p_value: Two-sided, by swapping the systems' answers cluster by cluster.
        exact: Whether every swap was tried.
        items: Items compared.
        clusters: Clusters (people, or takes where nobody says whose they are) that the items come from.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    exact: bool
    items: int
    clusters: int


@dataclass(frozen=True)
class ItemTests:
    """Tests that take items for independent, as most papers do; with several items per person they find too much."""

    t: float
    t_p_value: float
    wilcoxon: float
    wilcoxon_p_value: float
    bca_interval: tuple[float, float]


def compare(first: Metric, second: Metric, clusters: Sequence[str], seed: int = 0) -> Comparison:
    """Compares two systems in one metric, corpus metrics included, answers paired.

    Args:
        first: Metric of one system.
        second: Metric of the other system, of the same items in the same order.
        clusters: Cluster of each item: the person, or the take where nobody says whose it is.
        seed: Seed of resampling and of swaps that are not exhaustive.

    Returns:
        Difference, interval and p-value.

    Raises:
        ValueError: The records are of different metrics or numbers of items, or have no item in common.
    """
    a, b = first.statistics, second.statistics
    if first.aggregate != second.aggregate or a.shape != b.shape or len(a) != len(clusters):
        raise ValueError(
            f"Cannot pair {first.aggregate} of {a.shape} with {second.aggregate} of {b.shape} over {len(clusters)} "
            "items; both systems need the same metric on the same items."
        )
    fine: np.ndarray = np.isfinite(np.hstack([a, b])).all(axis=1)  # pyright: ignore[reportAssignmentType]
    if not fine.any():
        raise ValueError("No item was scored for both systems.")
    a, b = a[fine], b[fine]
    there = [cluster for cluster, ok in zip(clusters, fine, strict=True) if ok]
    count, member = members(there)
    value = AGGREGATES[first.aggregate]

    def differences(weights: np.ndarray) -> np.ndarray:
        return value(weights, a) - value(weights, b)

    difference = float(differences(np.ones((1, len(a))))[0])
    if not np.isfinite(difference):
        return Comparison(float("nan"), (float("nan"), float("nan")), float("nan"), False, len(a), count)
    interval = cluster_interval(differences, there, seed) or (float("nan"), float("nan"))
    swaps, exact = _swaps(count, seed)
    chosen = swaps[:, member]  # 1 where the first system's answer stands on the first side
    both = np.concatenate([a, b])
    swapped = np.concatenate(
        [
            value(np.hstack([part, 1 - part]), both) - value(np.hstack([1 - part, part]), both)
            for part in np.array_split(chosen, max(1, chosen.size // 2_000_000))
        ]
    )
    # A swap that leaves the difference as it is must count, whatever rounding did, and so must one that has no value.
    as_large = ~(np.abs(swapped) < abs(difference) * (1 - 1e-9) - 1e-12)
    p_value = float(as_large.mean() if exact else (as_large.sum() + 1) / (len(swapped) + 1))
    return Comparison(difference, interval, p_value, exact, len(a), count)


def _swaps(count: int, seed: int) -> tuple[np.ndarray, bool]:
    """Lists ways ``[S, count]`` to leave (1) or swap (0) each cluster: all of them where they are few, else random ones."""
    if 2**count <= MOST_PERMUTATIONS:
        return ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(float), True
    return np.random.default_rng(seed).integers(0, 2, size=(MOST_PERMUTATIONS, count)).astype(float), False


def item_tests(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, seed: int = 0) -> ItemTests:
    """Runs a paired t-test and Wilcoxon's signed ranks, and takes the BCa interval of the mean difference, item by item."""
    x, y = np.asarray(first, float), np.asarray(second, float)
    t, t_p = stats.ttest_rel(x, y)
    rank, rank_p = stats.wilcoxon(x, y)
    boot = stats.bootstrap((x - y,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(seed))
    low, high = boot.confidence_interval
    numbers = np.array([t, t_p, rank, rank_p, low, high], float).tolist()
    return ItemTests(*numbers[:4], bca_interval=(numbers[4], numbers[5]))


_OWN_PARTS = ("n:", "clusters:", "unparsed:", "without a score:", "undefined:", "wins:", "sign test p:", "inputs:")
"""Beginnings of the parts of a signature that belong to one system."""


def measured_alike(first: Metric, second: Metric) -> bool:
    """Says whether two metrics were measured alike: their signatures differ in nothing but what belongs to one system."""
    parts = [
        [part for part in metric.signature.split("|") if not part.startswith(_OWN_PARTS)] for metric in (first, second)
    ]
    return parts[0] == parts[1] and first.aggregate == second.aggregate


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values by Holm (1979), in the order of the input; NaN, which is no comparison, stays NaN."""
    order = [index for index in np.argsort(p_values, kind="stable") if np.isfinite(p_values[index])]
    count, adjusted, running = len(order), np.full(len(p_values), np.nan), 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (count - position) * p_values[index]))
        adjusted[index] = running
    return adjusted.tolist()
