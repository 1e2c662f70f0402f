"""A coach's answers to a task's items: a first pass where the task has one, words, and what is read from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch

from mm_adapter.inference.generation import Coach
from mm_adapter.inference.scoring import score
from mm_data.conversation import Message
from mm_data.shared_records import SharedRecords
from mm_data.tasks import Answer, TaskFormat, TaskItem

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
        records: Where answers are kept: ``answer`` and, where the task has scores, ``expected``.
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
            answer = replace(
                form.parse(text), ranking=ranking, confidence=confidence(coach, prompt, text, item.item_id)
            )
            if ranking is not None:
                answer = replace(answer, label=max(ranking.items(), key=lambda pair: pair[1])[0])
            expected = expected_score(coach, form, prompt, text, item.item_id)
            records.append(item.item_id, {"text": text, "answer": asdict(answer), "expected": expected})
        progress(start + len(batch), len(pending))


def rank_choice(coach: Coach, form: TaskFormat, item: TaskItem) -> dict[str, float] | None:
    """Log-likelihood of every candidate of the first pass, its end included so that no name gains by being another's beginning."""
    choice = form.choice(item)
    if choice is None:
        return None
    end = coach.processor.end_of_turn_ids
    ids = [coach.processor.tokenizer.encode(name, add_special_tokens=False) + end for name in choice.candidates]
    total = score(coach, coach.prompt(choice.messages, item.item_id), ids).total
    return dict(zip(choice.candidates, total.tolist(), strict=True))


def confidence(coach: Coach, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Mean log-probability per token of an answer; None for an empty one."""
    if not text:
        return None
    return float(score(coach, coach.prompt(prompt, item_id), [text]).mean[0])


def expected_score(coach: Coach, form: TaskFormat, prompt: list[Message], text: str, item_id: str) -> float | None:
    """Mean of the scores that could stand in an answer, weighted by how likely the coach holds them; None without scores."""
    slot = form.score_slot(text)
    if slot is None:
        return None
    before, values = slot
    prefix = coach.prompt(prompt, item_id)
    begun = coach.processor.tokenizer.encode(before, add_special_tokens=False)
    prefix = {
        **prefix,
        "input_ids": [*prefix["input_ids"], *begun],
        "labels": [*prefix["labels"], *([-100] * len(begun))],
    }
    likely = score(coach, prefix, _followers(coach, before, list(values))).total.softmax(0)
    return float(likely @ torch.tensor(list(values.values()), dtype=likely.dtype))


def _followers(coach: Coach, before: str, texts: Sequence[str]) -> list[list[int]]:
    """Ids of numbers behind a text that ends without a space."""
    space = " " if before else ""
    return [coach.processor.tokenizer.encode(space + text, add_special_tokens=False) for text in texts]


def read_answer(record: Mapping) -> Answer:
    """The answer of a record."""
    return Answer(**record["answer"])
