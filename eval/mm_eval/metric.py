"""The record every metric value is, and its confidence interval."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to trust it.

    Attributes:
        value: The headline, unrounded.
        per_item: Values per test item, or None for a corpus-level metric.
        n: Items that were scored.
        n_failed: Items that could not be scored.
        scale: Unit or range, such as ``mm`` or ``0-100``.
        signature: Implementation, variant and sizes.
        interval: 95 % interval by resampling takes, or None.
    """

    value: float
    per_item: tuple[float, ...] | None
    n: int
    n_failed: int
    scale: str
    signature: str
    interval: tuple[float, float] | None = None


def cluster_bootstrap(
    per_item: np.ndarray, clusters: list[str], resamples: int = 2000, seed: int = 0, statistic: str = "mean"
) -> tuple[float, float]:
    """95 % percentile interval of a mean or median, resampling whole clusters (takes) with replacement.

    Args:
        per_item: ``[N]``.
        clusters: Cluster of each item; items of one take are not independent.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.
        statistic: ``mean`` or ``median``.
    """
    groups: dict[str, list[int]] = {}
    for index, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(index)
    members = [np.array(rows) for rows in groups.values()]
    rng = np.random.default_rng(seed)
    reduce = np.mean if statistic == "mean" else np.median
    draws = [
        reduce(per_item[np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])])
        for _ in range(resamples)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def item_metric(
    per_item: np.ndarray, clusters: list[str], scale: str, signature: str, statistic: str = "mean"
) -> Metric:
    """A mean (or median) over items with its interval; NaN items count as failed and do not enter it."""
    fine = np.isfinite(per_item)
    kept = per_item[fine]
    if not len(kept):
        return Metric(float("nan"), tuple(per_item), 0, len(per_item), scale, signature)
    interval = cluster_bootstrap(kept, [c for c, ok in zip(clusters, fine, strict=True) if ok], statistic=statistic)
    value = float(kept.mean() if statistic == "mean" else np.median(kept))
    return Metric(
        value, tuple(per_item.tolist()), len(kept), int((~fine).sum()), scale, f"{signature}|n:{len(kept)}", interval
    )
