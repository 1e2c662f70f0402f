"""A coach's answers to a task's items: a first pass where the task has one, words, and what is read from them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from mm_adapter.evaluation.predictions import Progress
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.scoring import score
from mm_adapter.model.processor import IGNORE
from mm_data.conversation import Message
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.cot_afa import NO_ACTION

AT_ONCE = 16
"""Number of items whose answers are generated together and then kept."""


def answer_items(
    coach: Coach,
    form: TaskFormat,
    items: Sequence[TaskItem],
    records: SharedRecords,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Answers the items that have no record yet.

    Args:
        coach: The coach.
        form: The task's format.
        items: All items; those of this process that have no record yet are answered.
        records: Where ``text``, ``ranking``, ``confidence`` and ``expected`` score are kept; texts are read when they are evaluated.
        progress: Is called with ("answering", done, total).
    """
    there = records.read()
    mine = set(records.mine([item.item_id for item in items]))
    pending = [item for item in items if item.item_id in mine and item.item_id not in there]
    for start in range(0, len(pending), AT_ONCE):
        batch = pending[start : start + AT_ONCE]
        rankings = [rank_choice(coach, form, item) for item in batch]
        prompts = [form.prompt(item, ranking) for item, ranking in zip(batch, rankings, strict=True)]
        questions = [(item.item_id, prompt) for item, prompt in zip(batch, prompts, strict=True)]
        texts = list(coach.answer(questions, form.max_new_tokens, batch_size=AT_ONCE))
        for item, ranking, prompt, text in zip(batch, rankings, prompts, texts, strict=True):
            record = {
                "text": text,
                "ranking": ranking,
                "confidence": confidence(coach, prompt, text, item.item_id),
                "expected": expected_score(coach, form, prompt, text, item.item_id),
            }
            records.append(item.item_id, record)
        progress("answering", start + len(batch), len(pending))


def rank_choice(coach: Coach, form: TaskFormat, item: TaskItem) -> dict[str, float] | None:
    """Returns the log-likelihood of every candidate of a first pass, or None where the task has none.

    Ends of turns count, so that no name gains by being another's beginning.
    """
    choice = form.choice(item)
    if choice is None:
        return None
    end = coach.processor.end_of_turn_ids
    ids = [coach.processor.tokenizer.encode(name, add_special_tokens=False) + end for name in choice.candidates]
    total = score(coach, coach.prompt(choice.messages, item.item_id), ids).total
    return dict(zip(choice.candidates, total.tolist(), strict=True))


def confidence(coach: Coach, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Returns the mean log-probability per token of an answer, or None for an empty one.

    The end of the turn counts: without it, this would be any answer that begins so.
    """
    if not text:
        return None
    ids = coach.processor.tokenizer.encode(text, add_special_tokens=False) + coach.processor.end_of_turn_ids
    return float(score(coach, coach.prompt(prompt, item_id), [ids]).mean[0])


def expected_score(coach: Coach, form: TaskFormat, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Averages the scores that could stand in an answer, weighted by how likely the coach holds them.

    Args:
        coach: The coach.
        form: The task's format, which says where a score stands.
        prompt: Question that was answered.
        text: The answer.
        item_id: Id of the item.

    Returns:
        The mean; None where no score stands in the answer.

    Raises:
        ValueError: A candidate is the beginning of another one, which would count it twice.
    """
    slot = form.score_slot(text)
    if slot is None:
        return None
    tokenizer, end = coach.processor.tokenizer, coach.processor.end_of_turn_ids
    prefix = coach.prompt(prompt, item_id)
    beginning = tokenizer.encode(slot.before, add_special_tokens=False)
    prefix = {
        **prefix,
        "input_ids": [*prefix["input_ids"], *beginning],
        "labels": [*prefix["labels"], *([IGNORE] * len(beginning))],
    }
    space = " " if slot.before else ""
    followers = [
        tokenizer.encode(space + t, add_special_tokens=False) + (end if slot.last else []) for t in slot.values
    ]
    _refuse_beginnings(followers, list(slot.values), item_id)
    likely = score(coach, prefix, followers).total.softmax(0)
    return float(likely @ torch.tensor(list(slot.values.values()), dtype=likely.dtype))


def _refuse_beginnings(candidates: Sequence[Sequence[int]], texts: Sequence[str], item_id: str) -> None:
    """Raises ``ValueError`` where a candidate is the beginning of another: whatever is likely after it would count for both."""
    ordered = sorted(zip(map(tuple, candidates), texts, strict=True))  # a beginning comes right before what it begins
    for (first, text), (second, other) in pairwise(ordered):
        if second[: len(first)] == first:
            raise ValueError(
                f"{item_id}: {text!r} is a beginning of {other!r}, so its score would count twice; let the format's score_slot "
                "give every candidate what ends its number, or say that the answer ends there (last=True)."
            )


def read_answer(form: TaskFormat, record: Mapping[str, Any]) -> Answer:
    """Reads a record as an answer; where classes were ranked, the likeliest is the label, whatever the text calls the action."""
    answer = replace(form.parse(record["text"]), ranking=record["ranking"], confidence=record["confidence"])
    if answer.ranking is None:
        return answer
    unread = [part for part in answer.unread or () if part != NO_ACTION]
    return replace(answer, label=max(answer.ranking.items(), key=lambda pair: pair[1])[0], unread=unread or None)
