"""mAP of narrative action evaluation (NAE, CVPR 2024): score, words and actions right at once."""

from collections.abc import Sequence

import numpy as np

from mm_eval.statistics.aggregates import NAE_ACCURACY, NAE_CIDER, NAE_ERRORS
from mm_eval.statistics.metric import Metric, corpus_metric, item_metric

_UNREAD = 1e9  # a squared error that passes no threshold


def narrative_map(
    errors: Sequence[float | None],
    cider: Sequence[float],
    accuracy: Sequence[float],
    clusters: Sequence[str],
    strict: bool = False,
) -> Metric:
    """Computes the share of items that pass all three thresholds, over all 100 combinations of them.

    Without a confidence the paper's "average precision" is a precision, and the mean over combinations is
    a mean over items of the product of the shares passed. The paper's code is unpublished. Its figures fit thresholds on the raw
    squared error and on CIDEr's raw scale, and need ``accuracy >= threshold``, because no accuracy exceeds 1.

    Args:
        errors: R-ℓ2 per item, not multiplied; None or NaN where no score could be read, which passes no threshold.
        cider: CIDEr-D per item on pycocoevalcap's scale.
        accuracy: Share of the actions that are right, per item; NaN where the truth has none, which is left out.
        clusters: Cluster of each item (the person, or the take), for the interval.
        strict: Read the thresholds on accuracy as "more than".

    Returns:
        The mean over items and thresholds.
    """
    e = np.array([float("nan") if error is None else error for error in errors], float)
    c, a = np.asarray(cider, float), np.asarray(accuracy, float)
    passed_error = (e[:, None] <= NAE_ERRORS).mean(1)
    passed_words = (c[:, None] >= NAE_CIDER).mean(1)
    passed_actions = (a[:, None] > NAE_ACCURACY if strict else a[:, None] >= NAE_ACCURACY).mean(1)
    reading = "accuracy > threshold" if strict else "accuracy >= threshold"
    unread = int(np.isnan(e).sum())
    values = np.where(np.isnan(a), np.nan, passed_error * passed_words * passed_actions)
    return item_metric(values, clusters, "0-1", f"nae-map|100 thresholds|{reading}|without a score:{unread}, failing")


def narrative_map_ranked(
    errors: Sequence[float | None],
    cider: Sequence[float],
    accuracy: Sequence[float],
    confidence: Sequence[float],
    clusters: Sequence[str],
) -> Metric:
    """Computes the other reading: average precision of items ranked by confidence, averaged over the same thresholds.

    Args:
        errors: R-ℓ2 per item, not multiplied; None or NaN where no score could be read.
        cider: CIDEr-D per item on pycocoevalcap's scale.
        accuracy: Share of the actions that are right, per item.
        confidence: Confidence of each answer, such as its mean log-probability.
        clusters: Cluster of each item (the person, or the take), for the interval.

    Returns:
        The mean over thresholds.
    """
    e = [_UNREAD if error is None or np.isnan(error) else error for error in errors]
    rows = np.stack([confidence, e, cider, accuracy], axis=1).astype(float)
    sign = f"nae-map|100 thresholds|ranked by confidence|without a score:{e.count(_UNREAD)}, failing"
    return corpus_metric(rows, "narrative_ap", clusters, "0-1", sign)
