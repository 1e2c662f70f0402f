"""Answers that need no model, beside which every score stands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mm_data.tasks import Answer
from mm_eval.answers.test_sets import OURS, TestItem

SHUFFLED, SHUFFLED_WITHIN = "shuffled", "shuffled within category"
CONSTANT, RANDOM = "constant per category", "random of the category"
NEAREST = "{} nearest neighbour"


def derangement(groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """A permutation that keeps items inside their group and moves every item whose group has more than one."""
    order = np.arange(len(groups))
    for group in dict.fromkeys(groups):
        members = rng.permutation([i for i, g in enumerate(groups) if g == group])
        order[members] = np.roll(members, 1)
    return order


def with_baselines(items: Sequence[TestItem], training: Sequence[TestItem], seed: int = 0) -> list[TestItem]:
    """The items with what baselines answer.

    Shuffled rows give our answers to other items (within a category that has only one, to itself); constant gives the commonest text, label and verdict of the category's training items
    and the mean of their scores; random gives one of them; a nearest neighbour gives that of the training item that ``nearest`` names.

    Args:
        items: Test items with our answers.
        training: Training items with their truths. For a category that has none, all of them stand (`unseen_categories`).
        seed: Of shuffling and drawing.

    Raises:
        ValueError: There is no training item, or a nearest item is none.
    """
    rng = np.random.default_rng(seed)
    categories = [item.category for item in items]
    pools: dict[str, list[TestItem]] = {}
    for item in training:
        pools.setdefault(item.category, []).append(item)
    if not training:
        raise ValueError("There is no training item; the constant and random rows need one.")
    pools |= {category: list(training) for category in set(categories) - set(pools)}
    constants = {category: _commonest([item.truth for item in pools[category]]) for category in set(categories)}
    by_id = {item.item_id: item for item in training}
    shuffled, within = derangement([""] * len(items), rng), derangement(categories, rng)
    found = []
    for index, item in enumerate(items):
        pool = pools[item.category]
        answers = {
            SHUFFLED: items[shuffled[index]].answers[OURS],
            SHUFFLED_WITHIN: items[within[index]].answers[OURS],
            CONSTANT: constants[item.category],
            RANDOM: pool[rng.integers(len(pool))].truth,
        }
        for kind, nearest in item.nearest.items():
            if nearest not in by_id:
                raise ValueError(f"Item {item.item_id!r}: its {kind} neighbour {nearest!r} is no training item.")
            answers[NEAREST.format(kind)] = by_id[nearest].truth
        found.append(replace(item, answers=item.answers | answers))
    return found


def unseen_categories(items: Sequence[TestItem], training: Sequence[TestItem]) -> str | None:
    """A footnote about test items whose category no training item has."""
    known = {item.category for item in training}
    unseen = [item.category for item in items if item.category not in known]
    if not unseen:
        return None
    return f"{len(unseen)} of {len(items)} items are of {len(set(unseen))} categories without a training item, such as {unseen[0]!r}: their constant and random rows come from all training items."


def _commonest(truths: Sequence[Answer]) -> Answer:
    scores = [truth.score for truth in truths if truth.score is not None]
    actions = Counter(tuple(truth.actions) for truth in truths if truth.actions is not None)
    findings = Counter(tuple(truth.findings) for truth in truths if truth.findings is not None)
    labels, verdicts = (Counter(v for v in values if v is not None) for values in ([t.label for t in truths], [t.verdict for t in truths]))  # fmt: skip
    return Answer(
        text=Counter(truth.text for truth in truths).most_common(1)[0][0],
        score=float(np.mean(scores)) if scores else None,
        label=labels.most_common(1)[0][0] if labels else None,
        verdict=verdicts.most_common(1)[0][0] if verdicts else None,
        actions=list(actions.most_common(1)[0][0]) if actions else None,
        findings=list(findings.most_common(1)[0][0]) if findings else None,
    )
