"""Judged scores: how well they are ordered, and how far off they are."""

from collections.abc import Sequence

import numpy as np

from mm_eval.statistics.metric import Metric, corpus_metric, item_metric

SPLIT, PER_CLASS = "split", "class"


def spearman_correlation(predicted: Sequence[float | None], true: Sequence[float], clusters: Sequence[str]) -> Metric:
    """Computes Spearman's ρ, ties sharing their mean rank; NaN where either side is constant.

    Args:
        predicted: Scores; None or NaN where none could be read from an answer. Those items are left out and counted.
        true: Judges' scores; NaN where there is none, which is left out and counted.
        clusters: Cluster of each item (the person, or the take), for the interval.

    Returns:
        The correlation with its interval.
    """
    rows = np.stack([_numbers(predicted), np.asarray(true, float)], axis=1)
    return corpus_metric(rows, "spearman", clusters, "-1-1", "spearman|ties:mean rank")


def relative_l2(
    predicted: Sequence[float | None],
    true: Sequence[float],
    clusters: Sequence[str],
    score_range: str | tuple[float, float],
    classes: Sequence[str] | None = None,
) -> Metric:
    """Computes R-ℓ2 (CoRe, ICCV 2021), the mean of ((p - y) / (highest - lowest))². Papers print it × 100.

    Args:
        predicted: Scores; None or NaN where none could be read, which are left out and counted.
        true: Judges' scores; NaN where there is none, which is left out and counted.
        clusters: Cluster of each item (the person, or the take), for the interval.
        score_range: ``split``: of the evaluated items, as all released code does, so a subset changes it; ``class``: of the items of
            each class; or the lowest and the highest score. The same errors give very different numbers.
        classes: Class of each item, for ``class``.

    Returns:
        The mean over items.

    Raises:
        ValueError: An unknown or empty range, or no classes for ``class``.
    """
    y = np.asarray(true, float)
    lowest, highest = np.nanmin(y), np.nanmax(y)
    if score_range == SPLIT:
        spread, source = np.full(len(y), highest - lowest), f"split [{lowest:g}, {highest:g}]"
    elif score_range == PER_CLASS:
        if classes is None:
            raise ValueError("R-ℓ2 with the range of each class needs the classes.")
        names = np.asarray(classes)
        spread = np.array([np.nanmax(y[names == name]) - np.nanmin(y[names == name]) for name in names])
        source = "class"
    elif isinstance(score_range, tuple):
        spread, source = np.full(len(y), score_range[1] - score_range[0]), f"[{score_range[0]:g}, {score_range[1]:g}]"
    else:
        raise ValueError(f"Range {score_range!r}: use {SPLIT!r}, {PER_CLASS!r} or (lowest, highest).")
    if not (spread > 0).all():
        raise ValueError(
            f"R-ℓ2 divides by the range of scores, which is empty here ({source}); give (lowest, highest)."
        )
    errors = ((_numbers(predicted) - y) / spread) ** 2
    return item_metric(errors, clusters, "squared share of the range", f"r-l2|range:{source}")


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([float("nan") if value is None else value for value in values], float)
