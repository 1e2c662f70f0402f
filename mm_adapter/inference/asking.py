"""Asks what a task's format asks, of many items at a time."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.tasks.questions import CANNOT, Choice, ClipChoice, Poses, Question, Words

Result = TypeVar("Result")
Asking = Generator[Sequence[Question], Any, Result]


def hold(dialogues: Mapping[str, Asking[Result]], answerer: Answerer, sampling: Sampling = GREEDY) -> dict[str, Result]:
    """Holds dialogues side by side: what each asks next is asked together, words with words and choices with choices.

    Args:
        dialogues: Name to its dialogue; the name decides what is drawn.
        answerer: Whatever answers; what it has no means to answer is replied to with `CANNOT`.
        sampling: How tokens are drawn.

    Returns:
        Name to what the dialogue returned.
    """
    replies: Mapping[str, Sequence[Any] | None] = dict.fromkeys(dialogues)
    results: dict[str, Result] = {}
    while replies:
        questions: dict[str, Sequence[Question]] = {}
        for name, reply in replies.items():
            try:
                questions[name] = dialogues[name].send(reply)
            except StopIteration as end:
                results[name] = end.value
        replies = _replies(questions, answerer, sampling)
    return results


def _replies(questions: dict[str, Sequence[Question]], answerer: Answerer, sampling: Sampling) -> dict[str, list[Any]]:
    """Returns a reply for every question of every dialogue."""
    flat = [(name, place, question) for name, asked in questions.items() for place, question in enumerate(asked)]
    replies: dict[str, list[Any]] = {name: [CANNOT] * len(asked) for name, asked in questions.items()}

    def ask(kinds: type | tuple[type, ...], answer: Callable[[list[tuple[str, Any]]], Sequence[Any]]) -> None:
        alike = [(name, place, question) for name, place, question in flat if isinstance(question, kinds)]
        if alike:
            answers = answer([(name, question) for name, _, question in alike])
            for (name, place, _), reply in zip(alike, answers, strict=True):
                replies[name][place] = reply

    ask(Words, lambda some: answerer.answer_words(some, sampling))
    if answerer.can_choose:
        ask((Choice, ClipChoice) if answerer.can_demonstrate else Choice, answerer.answer_choices)
    if answerer.can_demonstrate:
        ask(Poses, lambda some: answerer.answer_poses(some, sampling))
    return replies
