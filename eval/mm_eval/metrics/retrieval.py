"""Ranking metrics: one positive per query, a gallery per query, ties by mean rank."""

import numpy as np

from mm_eval.statistics.metric import YES_OR_NO, Metric, item_metric

_ALWAYS = 10


def ranks(scores: np.ndarray, positives: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Ranks each query's positive, 1 is best; ties share their mean rank.

    Args:
        scores: ``[Q, G]``, higher is better. A candidate without a finite one comes after all others.
        positives: Column of the positive, ``[Q]``.
        candidates: ``[Q, G]`` boolean, which columns belong to the query's gallery.

    Returns:
        ``[Q]``, NaN where the positive itself has no finite score: such a query failed.

    Raises:
        ValueError: A positive is not in its own gallery.
    """
    rows = np.arange(len(scores))
    if not candidates[rows, positives].all():
        raise ValueError(
            f"Query {int(np.flatnonzero(~candidates[rows, positives])[0])}: its positive is not in its gallery."
        )
    known = candidates & np.isfinite(scores)
    positive = scores[rows, positives][:, None]
    above = (known & (scores > positive)).sum(1)
    equal = (known & (scores == positive)).sum(1) - 1
    return np.where(known[rows, positives], 1 + above + equal / 2, np.nan)


def chance_recall(sizes: np.ndarray, k: int) -> float:
    """Returns the recall at k of random ranking over galleries of these sizes."""
    return float(np.minimum(k / sizes, 1.0).mean())


def retrieval_metrics(
    ranked: np.ndarray, sizes: np.ndarray, clusters: list[str], ks: tuple[int, ...] = (1, 5, 10, 50)
) -> dict[str, Metric]:
    """Computes recall at k (large k only where a gallery is larger), median and mean rank, with intervals over clusters.

    Args:
        ranked: Rank of each query's positive, ``[Q]``; NaN counts as failed.
        sizes: Size of each query's gallery, ``[Q]``.
        clusters: Cluster of each query.
        ks: Values of k.

    Returns:
        Metrics by name, their signatures with the gallery's size and chance.
    """
    sign = f"gallery:{int(np.median(sizes))} (median)|ties:mean|chance of the mean rank:{(sizes + 1).mean() / 2:g}"
    ks = tuple(k for k in ks if k <= _ALWAYS or k < sizes.max())
    hits = {k: np.where(np.isnan(ranked), np.nan, ranked <= k) for k in ks}
    metrics = {f"recall@{k}": item_metric(hits[k], clusters, YES_OR_NO, f"R@{k}|{sign}") for k in ks}
    metrics["median_rank"] = item_metric(ranked, clusters, "rank", f"medR|{sign}", statistic="median")
    metrics["mean_rank"] = item_metric(ranked, clusters, "rank", f"meanR|{sign}")
    return metrics
