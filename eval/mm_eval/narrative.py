"""mAP of narrative action evaluation (NAE, CVPR 2024): score, words and actions right at once."""

from collections.abc import Sequence

import numpy as np

from mm_eval.metric import Metric, item_metric

RELATIVE_L2 = (0.003, 0.005, 0.010, 0.015, 0.020)
CIDER = (0.05, 0.10, 0.15, 0.20, 0.25)
ACCURACY = (0.25, 0.50, 0.75, 1.00)


def narrative_map(
    errors: Sequence[float | None],
    cider: Sequence[float],
    accuracy: Sequence[float],
    clusters: Sequence[str],
    strict: bool = False,
) -> Metric:
    """Share of items that pass all three thresholds, over all 100 combinations of them.

    One answer per video carries no confidence, so the paper's "average precision" is a precision, and the mean over combinations is
    a mean over items of the product of the shares passed. The paper's code is unpublished. Its figures fit thresholds on the raw
    squared error and on CIDEr's raw scale, and need ``accuracy >= threshold``, because no accuracy exceeds 1.

    Args:
        errors: R-ℓ2 per item, not multiplied; None or NaN where no score could be read, which passes no threshold.
        cider: CIDEr-D per item on pycocoevalcap's scale.
        accuracy: Share of the actions that are right, per item; NaN where the truth has none, which is left out.
        clusters: Take of each item, for the interval.
        strict: Read the thresholds on accuracy as "more than".
    """
    e = np.array([float("nan") if error is None else error for error in errors], float)
    c, a = np.asarray(cider, float), np.asarray(accuracy, float)
    passed_error = (e[:, None] <= RELATIVE_L2).mean(1)
    passed_words = (c[:, None] >= CIDER).mean(1)
    passed_actions = (a[:, None] > ACCURACY if strict else a[:, None] >= ACCURACY).mean(1)
    reading = "accuracy > threshold" if strict else "accuracy >= threshold"
    unread = int(np.isnan(e).sum())
    values = np.where(np.isnan(a), np.nan, passed_error * passed_words * passed_actions)
    return item_metric(values, clusters, "0-1", f"nae-map|100 thresholds|{reading}|without a score:{unread}, failing")
