"""Intervals by resampling whole clusters: people (or takes) are independent of each other, the items of one person are not.

The interval is the bias-corrected and accelerated bootstrap (Efron 1987) over clusters, read at wider quantiles than 2.5 % and
97.5 %: with few clusters a bootstrap sample varies less than a fresh sample of people would (Hesterberg 2015, "expanded percentile").
``benchmarks/intervals.py`` shows by simulation how often such intervals hold the true value.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 2000
FEWEST_CLUSTERS = 5
"""With fewer, even the whole range of resampled values holds the true value too rarely (4 clusters: 87 %), so there is no interval."""
FEW_CLUSTERS = 10
"""With fewer, an interval is printed with a warning."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Values ``[R]`` for weights ``[R, N]``: how often each item occurs in each of R samples."""


def members(clusters: Sequence[str]) -> tuple[int, np.ndarray]:
    """Returns the number of clusters, and the index of each item's cluster ``[N]``."""
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    return len(names), member


def resampling_weights(clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draws how often each item occurs in each bootstrap sample of whole clusters, ``[R, N]``."""
    count, member = members(clusters)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, member].astype(float)


def cluster_interval(statistic: Statistic, clusters: Sequence[str], seed: int = 0) -> tuple[float, float] | None:
    """Computes the 95 % interval of a statistic, whole clusters resampled.

    Samples for which the statistic is not defined (a constant has no rank correlation) are left out.

    Args:
        statistic: Function of samples of the items.
        clusters: Cluster of each item, such as the person.
        seed: Seed for drawing the samples.

    Returns:
        Lower and upper bound, or None with fewer than `FEWEST_CLUSTERS` clusters or where the statistic itself is not defined.
    """
    count, member = members(clusters)
    value = statistic(np.ones((1, len(member))))[0]
    if count < FEWEST_CLUSTERS or not np.isfinite(value):
        return None
    drawn = statistic(resampling_weights(clusters, seed=seed))
    drawn = drawn[np.isfinite(drawn)]
    left_out = statistic((~np.eye(count, dtype=bool))[:, member].astype(float))
    low, high = np.quantile(drawn, _quantiles(value, drawn, left_out[np.isfinite(left_out)], count))
    return float(min(low, value)), float(max(high, value))  # no sample may reach a value that needs everybody


def _quantiles(value: float, drawn: np.ndarray, left_out: np.ndarray, count: int) -> np.ndarray:
    """Says which quantiles of the resampled values are the bounds.

    Args:
        value: The statistic of the items as they are.
        drawn: The statistic of every bootstrap sample.
        left_out: The statistic without each cluster in turn.
        count: Number of clusters.

    Returns:
        The two quantiles.
    """
    # Student's t for few clusters, and n / (n - 1) because a bootstrap sample's variance is that much too small; the last factor
    # makes up for skewed statistics and was chosen by simulation.
    reach = stats.t.ppf(0.975, count - 1) * np.sqrt(count / (count - 1)) * (1 + 1 / count)
    tie = np.abs(drawn - value) <= 1e-12 * max(1.0, abs(value))
    below = ((drawn < value) & ~tie).mean() + tie.mean() / 2
    bias = stats.norm.ppf(np.clip(below, 0.01, 0.99))
    change = left_out.mean() - left_out
    spread = (change**2).sum()
    acceleration = (change**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    shifted = bias + np.array([-reach, reach])
    slope = 1 - acceleration * shifted
    return np.where(slope > 0, stats.norm.cdf(bias + shifted / np.maximum(slope, 1e-12)), [0.0, 1.0])


def interval_text(interval: tuple[float, float] | None, digits: int, sign: str = "") -> str:
    """Prints an interval for people to read.

    Args:
        interval: Lower and upper bound, or None or NaN where there are too few clusters.
        digits: Digits behind the point.
        sign: "+" to print the sign of positive numbers too.

    Returns:
        Both bounds; a dash where there is no interval.
    """
    if interval is None or np.isnan(interval).any():
        return "–"
    return " to ".join(f"{bound:{sign}.{digits}f}" for bound in interval)


def unanimous_interval(value: float, clusters: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share that is 0 or 1 in every cluster (Clopper and Pearson 1934): resampling would say that it is certain."""
    reach = 1 - 0.025 ** (1 / clusters)
    return (0.0, reach) if value == 0 else (1 - reach, 1.0)
