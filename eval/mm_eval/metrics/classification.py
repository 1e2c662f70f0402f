"""Classes: top-k out of scores, accuracy of parsed answers."""

from collections.abc import Hashable, Sequence

import numpy as np

from mm_eval.metrics.retrieval import ranks
from mm_eval.statistics.metric import YES_OR_NO, Metric, item_metric


def top_k(scores: np.ndarray, true: np.ndarray, k: int, clusters: Sequence[str]) -> Metric:
    """Computes the share of items whose true class is among the k highest scores.

    Args:
        scores: ``[N, C]``, higher is better; a row of NaN is an answer that could not be read, which is wrong. Equal scores share
            their mean rank, so that a model that says the same of every class does not pass for a perfect one.
        true: Column of the true class, ``[N]``.
        k: How many may be named.
        clusters: Cluster of each item (the person, or the take), for the interval.

    Returns:
        The share, its signature with the number of answers that could not be read.
    """
    read = np.isfinite(scores).all(axis=1)
    finite = np.where(np.isfinite(scores), scores, 0.0)
    hits = (ranks(finite, true, np.ones(scores.shape, bool)) <= k) & read
    sign = f"top-{k}|classes:{scores.shape[1]}|ties:mean rank|unparsed:{int((~read).sum())}, wrong"
    return item_metric(hits.astype(float), clusters, YES_OR_NO, sign)


def accuracy(predicted: Sequence[Hashable | None], true: Sequence[Hashable | None], clusters: Sequence[str]) -> Metric:
    """Computes the share of right answers; None, an answer that could not be parsed, is wrong, and counted in the signature.

    Items whose truth is None are left out, and counted as failed.
    """
    right = [
        float("nan") if t is None else float(p is not None and p == t) for p, t in zip(predicted, true, strict=True)
    ]
    unparsed = sum(p is None for p in predicted)
    return item_metric(right, clusters, YES_OR_NO, f"accuracy|unparsed:{unparsed}, wrong")
