"""A remark on a clip and, where the table has scores, a score."""

from collections.abc import Mapping
from typing import Any

from mm_data.conversation import Conversation, Message, said
from mm_data.tasks import Answer, ScoreSlot, TaskFormat, TaskItem
from mm_data.tasks.numbers import quantiles, read_score
from mm_data.tasks.questions import Dialogue, ask_for_words

SYSTEM = "You are an expert coach."
ASK, ASK_SHORT, SCORE = "What should be improved?", "Which score?", "Score:"


class TableFormat(TaskFormat):
    """The task's way of teaching, asking and reading.

    Args:
        knowledge: ``scores`` of the training items, with the ``lowest`` and the ``highest``; without any, none is asked for.
        options: No switches.
    """

    max_new_tokens = 96

    def __init__(self, knowledge: Mapping[str, Any], options: Any) -> None:
        self.scores = knowledge["scores"]
        self.scale = (knowledge["lowest"], knowledge["highest"]) if self.scores else None
        self.inputs = [] if self.scale is None else ["score: from {:g} to {:g}".format(*self.scale)]

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Asks for the remark and gives one of the item's, its score behind it."""
        answer = item.references[reference]
        if item.truth.score is not None:
            answer += f" {SCORE} {item.truth.score:g}"
        return Conversation(f"{item.item_id}#{reference}", [*self._asked(item), said("assistant", answer)], (2,))

    def short(self, item: TaskItem) -> Conversation:
        """Asks for and gives the score alone, or the remark where there is none."""
        if item.truth.score is None:
            return self.conversation(item, 0)
        messages = [said("system", SYSTEM), said("user", item.part, ASK_SHORT)]
        answer = said("assistant", f"{SCORE} {item.truth.score:g}")
        return Conversation(f"{item.item_id}#short", [*messages, answer], (2,))

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks for the remark, and for the scores that could stand behind it."""
        return ask_for_words(self._asked(item), self.max_new_tokens, self._score_slot)

    def parse(self, text: str) -> Answer:
        """Reads remark and score."""
        remark, _, score = text.partition(SCORE)
        if self.scale is None:
            return Answer(text.strip())
        reading = read_score(f"score {score}", *self.scale)
        return Answer(remark.strip(), score=reading.score, unread=[reading.problem] if reading.problem else None)

    def _asked(self, item: TaskItem) -> list[Message]:
        scale = "" if self.scale is None else " End with a score from {:g} to {:g}.".format(*self.scale)
        return [said("system", SYSTEM), said("user", item.part, ASK + scale)]

    def _score_slot(self, text: str) -> ScoreSlot | None:
        if self.scale is None:
            return None
        before = f"{text.partition(SCORE)[0].strip()} {SCORE}".strip()
        return ScoreSlot(before, {f"{value:g}": value for value in quantiles(self.scores)}, last=True)
