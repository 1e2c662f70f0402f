"""Temporal F of live coaching (QEVD, NeurIPS 2024): is feedback given at the right moments?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mm_eval.statistics.metric import Metric, corpus_metric

TOLERANCE = 3.0
"""Seconds; a match is less than half of it away."""


@dataclass(frozen=True)
class TimedFeedback:
    """Remarks of one exercise and their moments in seconds; texts may be empty."""

    times: tuple[float, ...]
    texts: tuple[str, ...]


def matches(walked: TimedFeedback, searched: TimedFeedback, tolerance: float = TOLERANCE) -> list[tuple[int, int]]:
    """Pairs feedback (index walked, index searched) as the official evaluator does.

    It walks one side in order; the nearest moment of the other side is a match if it is near enough, comes after the last match and
    is not silent: of all texts only the empty one is, blanks are none. Nearest alone is tried, so this is not the largest possible
    matching.

    Args:
        walked: Side that is walked through in order.
        searched: Side in which the nearest moment is looked for.
        tolerance: Seconds; a match is less than half of it away.

    Returns:
        The pairs.
    """
    pairs: list[tuple[int, int]] = []
    if not searched.times:
        return pairs
    times, last = np.asarray(searched.times), -1
    for index, time in enumerate(walked.times):
        nearest = int(np.abs(times - time).argmin())
        if abs(times[nearest] - time) < tolerance / 2 and nearest > last and searched.texts[nearest] != "":
            pairs.append((index, nearest))
            last = nearest
    return pairs


def temporal_f(
    predicted: Sequence[TimedFeedback | None],
    true: Sequence[TimedFeedback],
    clusters: Sequence[str],
    tolerance: float = TOLERANCE,
    official: bool = False,
) -> Metric:
    """Computes F of recall and precision over all feedback of the set, transitions between exercises left out beforehand.

    Args:
        predicted: Predicted feedback of each exercise; None where nothing was predicted.
        true: True feedback of each exercise.
        clusters: Session of each exercise, for the interval.
        tolerance: Seconds; a match is less than half of it away.
        official: Leave out exercises without a prediction, as the official evaluator does: leaving out hard ones then raises the
            score. By default all that was missed counts.

    Returns:
        F with its interval.
    """
    rows = []
    for spoken, reference in zip(predicted, true, strict=True):
        if spoken is None and official:
            rows.append([float("nan")] * 4)
            continue
        feedback = spoken or TimedFeedback((), ())
        recalled = len(matches(reference, feedback, tolerance))
        right = len(matches(feedback, reference, tolerance))
        rows.append([recalled, len(reference.times), right, len(feedback.times)])
    reading = "without unpredicted exercises" if official else "all exercises"
    return corpus_metric(np.array(rows, float), "f_score", clusters, "0-1", f"temporal-f|{tolerance:g} s|{reading}")
