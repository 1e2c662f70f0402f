"""How a metric's value follows from rows of items: for the items as they are, and for thousands of resamples at once.

Every function takes weights ``[R, N]``, how often each item occurs in each of R samples, and rows ``[N, S]`` of sufficient statistics,
and returns values ``[R]``. So BLEU, METEOR or a rank correlation is resampled by sums over items instead of scored again.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

Aggregate = Callable[[np.ndarray, np.ndarray], np.ndarray]

BLEU_ORDERS = 4
NAE_ERRORS = (0.003, 0.005, 0.010, 0.015, 0.020)
NAE_CIDER = (0.05, 0.10, 0.15, 0.20, 0.25)
NAE_ACCURACY = (0.25, 0.50, 0.75, 1.00)
"""Thresholds of narrative action evaluation, on R-ℓ2 and CIDEr's raw scales."""
_TINY, _SMALL = 1e-15, 1e-9
_METEOR_STAGES = np.array([1.0, 0.6, 0.8, 0.6])
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75


def mean(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Averages one column."""
    return (weights @ rows[:, 0]) / weights.sum(1)


def median(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Takes the median of one column; the mean of the two middle items where their number is even."""
    order = np.argsort(rows[:, 0], kind="stable")
    values, reached = rows[order, 0], weights[:, order].cumsum(1)
    total = reached[:, -1]
    lower = (reached > ((total - 1) // 2)[:, None]).argmax(1)
    upper = (reached > (total // 2)[:, None]).argmax(1)
    return (values[lower] + values[upper]) / 2


def bleu(order: int) -> Aggregate:
    """Makes BLEU up to an order as pycocoevalcap computes it, not smoothed.

    Rows are correct n-grams of orders 1 to 4, candidate n-grams likewise, candidate length, reference length.
    """

    def value(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        sums = weights @ rows
        correct, guessed = sums[:, :order] + _TINY, sums[:, BLEU_ORDERS : BLEU_ORDERS + order] + _SMALL
        ratio = (sums[:, -2] + _TINY) / (sums[:, -1] + _SMALL)
        return (correct / guessed).prod(1) ** (1 / order) * np.exp(np.minimum(1 - 1 / ratio, 0))

    return value


def sacrebleu(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes BLEU-4 from 0 to 100 as sacrebleu computes it, with its exponential smoothing; rows as for `bleu`."""
    sums = weights @ rows
    correct, guessed = sums[:, :BLEU_ORDERS], sums[:, BLEU_ORDERS : 2 * BLEU_ORDERS]
    missing = correct == 0
    smoothed = np.where(missing, 0.5 ** missing.cumsum(1), correct)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = 100 * np.exp(np.log(smoothed / guessed).mean(1) + np.minimum(1 - sums[:, -1] / sums[:, -2], 0))
    nothing = (correct.sum(1) == 0) | (guessed == 0).any(1)
    return np.where(nothing, 0.0, score)


def nltk_bleu(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes BLEU-4 as NLTK does with its smoothing method 4 (k = 5), which scales with the corpus's length; rows as for `bleu`."""
    sums = weights @ rows
    correct, guessed = sums[:, :BLEU_ORDERS], sums[:, BLEU_ORDERS : 2 * BLEU_ORDERS]
    length, true_length = sums[:, -2], sums[:, -1]
    missing = (correct == 0) & (length > 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = np.where(missing, np.log(length)[:, None] / (5 * 2.0 ** missing.cumsum(1)), correct)
        penalty = np.where(length > true_length, 1.0, np.exp(1 - true_length / length))
        score = penalty * np.exp(np.log(smoothed / guessed).mean(1))
    return np.where((correct[:, 0] == 0) | (length == 0), 0.0, score)


def meteor(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes METEOR 1.5 (English, its tuned parameters) from the 23 statistics that its Java program prints for a segment."""
    whole = (rows[:, [21, 22]] == rows[:, [0, 1]]).all(1) & (rows[:, 20] == 1)  # a perfect segment is not a fragment
    rows = np.where(whole[:, None] & (np.arange(rows.shape[1]) == 20), 0.0, rows)
    sums = weights @ rows
    content = sums[:, :2] - sums[:, 2:4]
    matches = sums[:, 4:20].reshape(-1, 4, 4)  # stage; content and function words, candidate's and reference's
    weighted = np.stack(
        [_DELTA * matches[..., side] + (1 - _DELTA) * matches[..., side + 2] for side in (0, 1)], axis=-1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.einsum("rts,t->rs", weighted, _METEOR_STAGES) / (_DELTA * content + (1 - _DELTA) * sums[:, 2:4])
        precision, recall = share[:, 0], share[:, 1]
        f = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
        fragments = sums[:, 20] / sums[:, 21:23].mean(1)
        return np.nan_to_num(f * (1 - _GAMMA * fragments**_BETA))


def spearman(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Correlates (Pearson) the average ranks of two columns; NaN where one of them is constant."""
    total = weights.sum(1, keepdims=True)
    x, y = (_ranks(weights, column) for column in rows.T)
    x, y = x - (weights * x).sum(1, keepdims=True) / total, y - (weights * y).sum(1, keepdims=True) / total
    spread = np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (weights * x * y).sum(1) / spread, np.nan)


def _ranks(weights: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Ranks ``[R, N]`` every item within its sample, ties by their average."""
    _, group = np.unique(column, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    size = np.add.reduceat(weights[:, order], starts, axis=1)
    return (size.cumsum(1) - size + (size + 1) / 2)[:, group]


def f_score(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Takes the harmonic mean of recall and precision over the whole set.

    Rows are true ones that were predicted, true ones, predicted ones that are right, predicted ones.
    """
    recalled, true, right, predicted = (weights @ rows).T
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision = recalled / true, right / predicted
        return np.nan_to_num(2 * precision * recall / (precision + recall))


def ratio(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Divides the sum of the first column by the sum of the second; NaN where that is zero."""
    above, below = (weights @ rows).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def narrative_ap(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Averages over NAE's 100 thresholds the average precision of items ranked by confidence, as dense captioning ranks its regions.

    Rows are confidence, relative squared error, CIDEr and accuracy of actions. The precision at a hit is that of all items ranked as
    high or higher, and every item could have been a hit.
    """
    order = np.argsort(-rows[:, 0], kind="stable")
    drawn, (confidence, error, cider, accuracy) = weights[:, order], rows[order].T
    # Equal confidences are reached together.
    last = np.searchsorted(-confidence, -confidence, side="right") - 1
    reached = drawn.cumsum(1)[:, last]
    total = np.zeros(len(weights))
    for r, c, a in product(NAE_ERRORS, NAE_CIDER, NAE_ACCURACY):
        hits = drawn * ((error <= r) & (cider >= c) & (accuracy >= a))
        precision = hits.cumsum(1)[:, last] / np.maximum(reached, 1)
        total += (hits * precision).sum(1) / drawn.sum(1)
    return total / (len(NAE_ERRORS) * len(NAE_CIDER) * len(NAE_ACCURACY))


AGGREGATES: dict[str, Aggregate] = {
    "mean": mean,
    "median": median,
    "sacrebleu": sacrebleu,
    "nltk_bleu": nltk_bleu,
    "meteor": meteor,
    "spearman": spearman,
    "f_score": f_score,
    "ratio": ratio,
    "narrative_ap": narrative_ap,
    **{f"bleu{order}": bleu(order) for order in range(1, BLEU_ORDERS + 1)},
}
"""Aggregates by the name that a `mm_eval.statistics.metric.Metric` carries."""
