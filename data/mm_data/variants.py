"""Other training sets from the same tuples, for ExpertAF's ablations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mm_data.records import CoachingTuple

EXPERTS = ("own", "activity")


def vary_experts(tuples: Sequence[CoachingTuple], experts: str) -> list[CoachingTuple]:
    """Exchanges the experts' demonstrations.

    Args:
        tuples: Training tuples.
        experts: ``own`` keeps them. ``activity`` gives all tuples of an activity one demonstration, the one that most of
            them were paired with ("w/ global pose" of ExpertAF's Table 1).

    Raises:
        ValueError: Unknown choice.
    """
    if experts not in EXPERTS:
        raise ValueError(f"Unknown experts {experts!r}; choose from {', '.join(EXPERTS)}.")
    if experts == "own":
        return list(tuples)
    by_activity: dict[str, list[CoachingTuple]] = {}
    for t in tuples:
        by_activity.setdefault(t.activity, []).append(t)
    chosen = {}
    for activity, members in by_activity.items():
        # Windows of one take differ by a few frames from tuple to tuple, so takes are counted.
        take = Counter(t.expert.take_uid for t in members).most_common(1)[0][0]
        chosen[activity] = next(t.expert for t in members if t.expert.take_uid == take)
    return [replace(t, expert=chosen[t.activity]) for t in tuples]
