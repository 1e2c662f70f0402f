"""Asks what a task's format asks, of many items at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mm_adapter.evaluation.predictions import Progress
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks import TaskFormat, TaskItem
from mm_data.tasks.questions import Choice, ClipChoice, Dialogue, Poses, Question, Words


def answer_items(
    answerer: Answerer,
    form: TaskFormat,
    items: Sequence[TaskItem],
    records: SharedRecords,
    sampling: Sampling = GREEDY,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Answers the items of this process that have no record yet.

    Args:
        answerer: Whatever answers.
        form: The task's format.
        items: All items.
        records: Where the format's records are kept; their texts are read when they are evaluated.
        sampling: How tokens are drawn.
        progress: Is called with ("answering", done, total).
    """
    by_id = {item.item_id: item for item in items}
    pending = [by_id[name] for name in records.pending([*by_id])]
    for start in range(0, len(pending), answerer.at_once):
        batch = pending[start : start + answerer.at_once]
        answers = hold({item.item_id: form.questions(item) for item in batch}, answerer, sampling)
        for item in batch:
            records.append(item.item_id, answers[item.item_id])
        progress("answering", start + len(batch), len(pending))


def hold(dialogues: dict[str, Dialogue], answerer: Answerer, sampling: Sampling = GREEDY) -> dict[str, dict[str, Any]]:
    """Holds dialogues side by side: what each asks next is asked together, words with words and choices with choices.

    Args:
        dialogues: Item id to its dialogue.
        answerer: Whatever answers.
        sampling: How tokens are drawn.

    Returns:
        Item id to the dialogue's record.
    """
    replies: Mapping[str, Sequence[Any] | None] = dict.fromkeys(dialogues)
    records: dict[str, dict[str, Any]] = {}
    while replies:
        questions: dict[str, Sequence[Question]] = {}
        for name, reply in replies.items():
            try:
                questions[name] = dialogues[name].send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                records[name] = end.value
        replies = _replies(questions, answerer, sampling)
    return records


def _replies(questions: dict[str, Sequence[Question]], answerer: Answerer, sampling: Sampling) -> dict[str, list[Any]]:
    """Returns a reply for every question of every item."""
    flat = [(name, place, question) for name, asked in questions.items() for place, question in enumerate(asked)]
    replies: dict[str, list[Any]] = {name: [None] * len(asked) for name, asked in questions.items()}

    def ask(kinds: type | tuple[type, ...], answer: Callable[[list[tuple[str, Any]]], Sequence[Any]]) -> None:
        alike = [(name, place, question) for name, place, question in flat if isinstance(question, kinds)]
        if alike:
            answers = answer([(name, question) for name, _, question in alike])
            for (name, place, _), reply in zip(alike, answers, strict=True):
                replies[name][place] = reply

    ask(Words, lambda some: answerer.answer_words(some, sampling))
    ask((Choice, ClipChoice), answerer.answer_choices)
    ask(Poses, lambda some: answerer.answer_poses(some, sampling))
    return replies
