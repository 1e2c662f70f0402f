"""A coach's answers to a task's items: a first pass where the task has one, words, and what is read from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from mm_adapter.inference.coach import Coach
from mm_adapter.inference.scoring import score
from mm_adapter.model.processor import IGNORE
from mm_data.conversation import Message
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.cot_afa import NO_ACTION

AT_ONCE = 16
"""Items whose answers are generated together and then kept."""


def answer_items(
    coach: Coach,
    form: TaskFormat,
    items: Sequence[TaskItem],
    records: SharedRecords,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Answers the items that have no record yet.

    Args:
        coach: The coach.
        form: The task's format.
        items: To answer.
        records: Where ``text``, ``ranking``, ``confidence`` and ``expected`` score are kept; texts are read when they are evaluated.
        progress: Called with (done, total).
    """
    there = records.read()
    mine = set(records.mine([item.item_id for item in items]))
    pending = [item for item in items if item.item_id in mine and item.item_id not in there]
    for start in range(0, len(pending), AT_ONCE):
        batch = pending[start : start + AT_ONCE]
        rankings = [rank_choice(coach, form, item) for item in batch]
        prompts = [form.prompt(item, ranking) for item, ranking in zip(batch, rankings, strict=True)]
        asked = [(item.item_id, prompt) for item, prompt in zip(batch, prompts, strict=True)]
        texts = list(coach.answer(asked, form.max_new_tokens, batch_size=AT_ONCE))
        for item, ranking, prompt, text in zip(batch, rankings, prompts, texts, strict=True):
            record = {
                "text": text,
                "ranking": ranking,
                "confidence": confidence(coach, prompt, text, item.item_id),
                "expected": expected_score(coach, form, prompt, text, item.item_id),
            }
            records.append(item.item_id, record)
        progress(start + len(batch), len(pending))


def rank_choice(coach: Coach, form: TaskFormat, item: TaskItem) -> dict[str, float] | None:
    """Log-likelihood of every candidate of the first pass, its end included so that no name gains by being another's beginning."""
    choice = form.choice(item)
    if choice is None:
        return None
    end = [coach.processor.end_of_turn_id]
    ids = [coach.processor.tokenizer.encode(name, add_special_tokens=False) + end for name in choice.candidates]
    total = score(coach, coach.prompt(choice.messages, item.item_id), ids).total
    return dict(zip(choice.candidates, total.tolist(), strict=True))


def confidence(coach: Coach, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Mean log-probability per token of an answer and its end, without which it would be any answer that begins so; None for an empty one."""
    if not text:
        return None
    ids = [*coach.processor.tokenizer.encode(text, add_special_tokens=False), coach.processor.end_of_turn_id]
    return float(score(coach, coach.prompt(prompt, item_id), [ids]).mean[0])


def expected_score(coach: Coach, form: TaskFormat, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Mean of the scores that could stand in an answer, weighted by how likely the coach holds them; None without scores.

    Raises:
        ValueError: A candidate is the beginning of another one, which would count it twice.
    """
    slot = form.score_slot(text)
    if slot is None:
        return None
    tokenizer, end = coach.processor.tokenizer, [coach.processor.end_of_turn_id]
    prefix = coach.prompt(prompt, item_id)
    begun = tokenizer.encode(slot.before, add_special_tokens=False)
    prefix = {
        **prefix,
        "input_ids": [*prefix["input_ids"], *begun],
        "labels": [*prefix["labels"], *([IGNORE] * len(begun))],
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
    """A record as an answer; where classes were ranked, the likeliest is the label, whatever the text calls the action."""
    answer = replace(form.parse(record["text"]), ranking=record["ranking"], confidence=record["confidence"])
    if answer.ranking is None:
        return answer
    unread = [part for part in answer.unread or () if part != NO_ACTION]
    return replace(answer, label=max(answer.ranking.items(), key=lambda pair: pair[1])[0], unread=unread or None)
