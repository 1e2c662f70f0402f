"""Answers that need no model, beside which every score stands."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from mm_data.tasks import Answer
from mm_eval.answers.test_sets import OURS, TestItem

Value = TypeVar("Value", bound=Hashable)

SHUFFLED, SHUFFLED_WITHIN = "shuffled", "shuffled within category"
CONSTANT, RANDOM = "constant per category", "random of the category"
NEAREST = "{} nearest neighbour"


def derangement(groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Draws a permutation that keeps items inside their group and moves every item whose group has more than one.

    Args:
        groups: Group of each item.
        rng: Generator that is drawn from.

    Returns:
        ``[items]`` of positions.
    """
    order = np.arange(len(groups))
    for group in dict.fromkeys(groups):
        members = rng.permutation([i for i, g in enumerate(groups) if g == group])
        order[members] = np.roll(members, 1)
    return order


def with_baselines(items: Sequence[TestItem], training: Sequence[TestItem], seed: int = 0) -> list[TestItem]:
    """Adds the answers of baselines to items.

    Shuffled rows give our answers to other items (within a category that has only one, to itself); constant gives the commonest
    text, label and verdict of the category's training items and the mean of their scores; random gives the truth of one of them; a
    nearest neighbour gives that of the training item that ``nearest`` names.

    Args:
        items: Test items with our answers.
        training: Training items with their truths. For a category that has none, all of them stand (`unseen_categories`).
        seed: Seed of shuffling and drawing.

    Returns:
        The items with more answers.

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
    extended = []
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
        extended.append(replace(item, answers=item.answers | answers))
    return extended


def unseen_categories(items: Sequence[TestItem], training: Sequence[TestItem]) -> str | None:
    """Words a footnote about test items whose category no training item has; None where there are none."""
    known = {item.category for item in training}
    unseen = [item.category for item in items if item.category not in known]
    if not unseen:
        return None
    categories = f"{len(set(unseen))} categories without a training item, such as {unseen[0]!r}"
    return (
        f"{len(unseen)} of {len(items)} items are of {categories}: "
        "their constant and random rows come from all training items."
    )


def _commonest(truths: Sequence[Answer]) -> Answer:
    scores = [truth.score for truth in truths if truth.score is not None]
    actions = _most_common(tuple(truth.actions) for truth in truths if truth.actions is not None)
    findings = _most_common(tuple(truth.findings) for truth in truths if truth.findings is not None)
    return Answer(
        text=_most_common(truth.text for truth in truths) or "",
        score=float(np.mean(scores)) if scores else None,
        label=_most_common(truth.label for truth in truths if truth.label is not None),
        verdict=_most_common(truth.verdict for truth in truths if truth.verdict is not None),
        actions=None if actions is None else list(actions),
        findings=None if findings is None else list(findings),
    )


def _most_common(values: Iterable[Value]) -> Value | None:
    """Returns the commonest value, the first of several; None where there is none."""
    return next((value for value, _ in Counter(values).most_common(1)), None)
