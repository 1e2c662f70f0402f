"""Narrative action evaluation (PGMI, CVPR 2024): a narrative that states the actions and the score."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mm_data.conversation import Conversation, Message, said
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.tasks.numbers import in_digits, in_words, named_actions, quantiles, read_score
from mm_data.tasks.questions import Dialogue, ScoreSlot, ask_for_words
from mm_data.tasks.task import TaskFormat

SYSTEM = "You are a judge who comments on a performance."
ASK = "Describe the performance: which actions it shows, how well they are done, and the score."
ASK_SHORT = "Which actions does it show, and what is the score?"

_NOT_ACTIONS = re.compile(
    r"\b(?:the|his|her|their|its|a|straight|flat|arched|lower|upper)\s+back\b(?!\s+(?:dive|somersault|take|entry|\d))"
    r"|\b(?:lean|mov|step|fall|look|com|push|carr|travel|tip|drift)\w*\s+(?:\w+\s+)?(?:forwards?|backwards?|back)\b",
    re.I,
)
"""Parts of the body and ways of moving that are called like directions of a dive."""


@dataclass(frozen=True)
class NaeOptions:
    """Switches of the task.

    Attributes:
        difficulty: Tell the difficulty of the dive, which published code does at test time too.
        score_intervals: Number of score intervals that the question lists (PGMI §4.2, Eq. 5 and 6); 0 for none.
        category: Tell the kind of performance, which is one of the actions that the answer should name: a hint at the truth.
    """

    difficulty: bool = False
    score_intervals: int = 0
    category: bool = False

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a negative number."""
        if self.score_intervals < 0:
            raise ValueError(f"score_intervals is {self.score_intervals}; give 0 for none.")


class NaeFormat(TaskFormat):
    """The task's way of teaching, asking and reading.

    Args:
        knowledge: ``lowest`` and ``highest`` score, ``scores`` of the training items, ``actions`` (phrase to action).
        options: Switches of the task.
    """

    max_new_tokens = 160

    def __init__(self, knowledge: Mapping[str, Any], options: NaeOptions) -> None:
        self.lowest, self.highest = knowledge["lowest"], knowledge["highest"]
        self.scores, self.actions = sorted(knowledge["scores"]), knowledge["actions"]
        self.options = options
        self.inputs = [
            "difficulty: told" if options.difficulty else "difficulty: not told",
            f"score intervals: {options.score_intervals or 'none'}",
            *(["category: told (a hint at the truth)"] if options.category else []),
        ]

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Asks for a narrative and gives one of the item's."""
        messages = [*self._asked(item, ASK), said("assistant", item.references[reference])]
        return Conversation(f"{item.item_id}#{reference}", messages, (2,))

    def short(self, item: TaskItem) -> Conversation:
        """Asks for and gives actions and score alone."""
        assert item.truth.score is not None
        facts = f"{', '.join(item.truth.actions or [])}: {item.truth.score:g} points"
        messages = [*self._asked(item, ASK_SHORT), said("assistant", facts)]
        return Conversation(f"{item.item_id}#short", messages, (2,))

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks for the narrative, and for the scores that could stand in it."""
        return ask_for_words(self._asked(item, ASK), self.max_new_tokens, self.score_slot)

    def _asked(self, item: TaskItem, question: str) -> list[Message]:
        lines = [f"The event: {item.category}."] if self.options.category else []
        if self.options.difficulty:
            if item.facts.get("difficulty") is None:
                raise ValueError(f"{item.item_id} has no difficulty; leave --difficulty out.")
            lines.append(f"Its difficulty is {item.facts['difficulty']:g}.")
        if self.options.score_intervals:
            bounds = score_intervals(self.scores, self.options.score_intervals)
            listed = "; ".join(f"{in_words(low)} to {in_words(high)}" for low, high in bounds)
            lines.append(f"Scores lie in one of these intervals: {listed}.")
        return [said("system", SYSTEM), said("user", item.part, "\n".join([*lines, question]))]

    def parse(self, text: str) -> Answer:
        """Reads score and actions."""
        reading = read_score(text, self.lowest, self.highest)
        actions = named_actions(_NOT_ACTIONS.sub(" ", text), self.actions)
        unread = ([reading.problem] if reading.problem else []) + ([] if actions else ["no action"])
        return Answer(text=text, score=reading.score, actions=actions or None, unread=unread or None)

    def score_slot(self, text: str) -> ScoreSlot:
        """Returns the narrative up to its score and the word behind it; where it has none, a sentence that states one is begun.

        Every candidate goes on as the narrative does. A full stop alone would not end a number: "90." is a beginning of "90.5".
        """
        before, after = around_score(text, self.parse(text).score)
        values = {f"{value:g}{after}": value for value in quantiles(self.scores)}
        return ScoreSlot(before, values, last=not re.search(r"\w", after))


def around_score(text: str, score: float | None) -> tuple[str, str]:
    """Cuts a text up to where this score stands last, in digits or words, and what follows it up to its next word or its end.

    Where it does not stand anywhere: all of the text with a new sentence, and what that sentence goes on with.
    """
    if score is not None:
        words = re.escape(in_words(score)).replace("\\-", "[- ]").replace("\\ ", " ")
        shortest = f"{score:g}"
        digits = rf"(?<![\d.]){re.escape(shortest)}{'0*' if '.' in shortest else '(?:[.]0+)?'}"
        matches = re.finditer(rf"{digits}(?![\d.]*\d)(?!\s*(?:somersault|twist))|\b{words}\b", text, re.I)
        if last := list(matches)[-1:]:
            following = re.match(r"\W*\w*", text[last[0].end() :].rstrip())
            assert following is not None
            return text[: last[0].start()].rstrip(), following[0]
    return f"{text.rstrip()} The score is".lstrip(), " points"


def score_intervals(scores: Sequence[float], count: int) -> list[tuple[float, float]]:
    """Returns bounds of intervals with equally many training scores (Eq. 5 and 6)."""
    ordered = sorted(scores)
    at = [ordered[(len(ordered) - 1) * r // count] for r in range(count + 1)]
    return list(pairwise(at))


def altered(before: Answer, text: str, form: NaeFormat) -> str | None:
    """Finds what a new narrative changed of the actions and the score of another one: the check of a re-annotation.

    Args:
        before: Actions and score that have to survive.
        text: The new narrative.
        form: Format that reads narratives.

    Returns:
        What changed, or None.
    """
    after = form.parse(text)
    if after.score != before.score:
        return f"score {after.score if after.score is not None else (after.unread or ['missing'])[0]} instead of {before.score}"
    if sorted(after.actions or []) != sorted(before.actions or []):
        return f"actions {after.actions or []} instead of {before.actions or []}"
    numbers = set(re.findall(r"\d+\.\d+", in_digits(text))) - {f"{before.score:g}", str(before.score)}
    named = {number for action in before.actions or [] for number in re.findall(r"\d+\.\d+", action)}
    return f"numbers {sorted(numbers - named)} that were not there" if numbers - named else None
