"""What a table says of clips, asked one after the other: which movement it is, how well it is done, what to improve, and the score."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mm_data.conversation import Conversation, Message, said
from mm_data.tasks import Answer, ScoreSlot, TaskFormat, TaskItem
from mm_data.tasks.numbers import quantiles, read_score
from mm_data.tasks.questions import CANNOT, Choice, Dialogue, Words, ask_for_words

SYSTEM = "You are an expert coach."
ASK_LABEL, ASK_VERDICT = "Which movement is this?", "How well is it done?"
ASK, ASK_SCORE = "What should be improved?", "Which score?"
FINDINGS, SCORE, NOTHING = "To improve:", "Score:", "nothing"
_NAME_TOKENS = 24


class TableFormat(TaskFormat):
    """The task's way of teaching, asking and reading. What the table does not say is not asked.

    Label and verdict are choices: the likeliest is what the next question goes on from. Findings, remark and score are one answer in words.

    Args:
        knowledge: ``scores`` of training with ``lowest`` and ``highest``; ``labels``, ``verdicts`` and ``findings``; whether there are
            ``remarks``.
        options: No switches.
    """

    max_new_tokens = 96

    def __init__(self, knowledge: Mapping[str, Any], options: Any) -> None:
        self.scores: list[float] = knowledge["scores"]
        self.scale = (knowledge["lowest"], knowledge["highest"]) if self.scores else None
        self.remarks: bool = knowledge["remarks"]
        self.findings: list[str] = knowledge["findings"]
        named = {"label": (ASK_LABEL, knowledge["labels"]), "verdict": (ASK_VERDICT, knowledge["verdicts"])}
        self.choices = {part: (question, names) for part, (question, names) in named.items() if len(names) > 1}
        self.inputs = [f"{part}s: {len(names)} to choose from" for part, (_, names) in self.choices.items()]
        self.inputs += [] if self.scale is None else ["score: from {:g} to {:g}".format(*self.scale)]

    @property
    def in_words(self) -> bool:
        """Whether anything is asked that is answered in words."""
        return self.remarks or self.scale is not None or bool(self.findings)

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Asks what the table says of the item, and answers with one of its remarks."""
        remark = item.references[reference] if item.references else ""
        return Conversation(f"{item.item_id}#{reference}", *self._told(item, self._words(item, remark)))

    def short(self, item: TaskItem) -> Conversation:
        """Leaves out the remark, unless there is nothing else."""
        words = self._words(item, "")
        facts = words or any(getattr(item.truth, part) for part in self.choices)
        return Conversation(f"{item.item_id}#short", *self._told(item, words)) if facts else self.conversation(item, 0)

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks for label and verdict by likelihood, then for the words, and for the scores that could stand behind them."""
        messages, record = [said("system", SYSTEM)], {"text": "", "confidence": None, "expected": None}
        for part, (question, names) in self.choices.items():
            messages = [*messages, self._ask(question, messages, item)]
            record[part] = yield from _choose(messages, names)
            messages = [*messages, said("assistant", record[part]["name"] or names[0])]
        if self.in_words:
            asked = [*messages, self._ask(self._ask_words(), messages, item)]
            record |= yield from ask_for_words(asked, self.max_new_tokens, self._score_slot)
        return record

    def read(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Reads words and choices."""
        answer = super().read(record, shared)
        unread = [*(answer.unread or ()), *(f"no known {part}" for part in self.choices if not record[part]["name"])]
        named = {part: record[part]["name"] or None for part in self.choices}
        ranking = record["label"]["ranking"] if "label" in self.choices else None
        return replace(answer, **named, ranking=ranking, unread=unread or None)

    def parse(self, text: str) -> Answer:
        """Reads remark, findings and score."""
        before, _, score = text.partition(SCORE)
        remark, _, listed = before.partition(FINDINGS)
        unread, answer = [], Answer(remark.strip())
        if self.findings:
            names = {name.casefold(): name for name in self.findings}
            parts = [part.strip(" .").casefold() for part in listed.split(",")]
            answer = replace(answer, findings=list(dict.fromkeys(names[part] for part in parts if part in names)))
            strange = any(part and part not in names and part != NOTHING for part in parts)
            unread += (
                ["findings that the table does not have"] if strange else [] if listed.strip() else ["no findings"]
            )
        if self.scale is not None:
            reading = read_score(f"score {score}", *self.scale)
            answer = replace(answer, score=reading.score)
            unread += [reading.problem] if reading.problem else []
        return replace(answer, unread=unread or None)

    def truth(self, item: TaskItem) -> Answer:
        """Returns what the table says."""
        return item.truth

    def taught(self, item: TaskItem) -> Answer:
        """Returns what the table says."""
        return item.truth

    def _ask(self, question: str, before: Sequence[Message], item: TaskItem) -> Message:
        """Returns a question; the first one shows the clip."""
        return said("user", item.part, question) if len(before) == 1 else said("user", question)

    def _told(self, item: TaskItem, words: str) -> tuple[list[Message], tuple[int, ...]]:
        """Returns questions and true answers, and the places of the answers."""
        messages = [said("system", SYSTEM)]
        for part, (question, _) in self.choices.items():
            if (name := getattr(item.truth, part)) is not None:
                messages += [self._ask(question, messages, item), said("assistant", name)]
        if words:
            messages += [self._ask(self._ask_words(), messages, item), said("assistant", words)]
        return messages, tuple(range(2, len(messages), 2))

    def _ask_words(self) -> str:
        scale = "" if self.scale is None else " End with a score from {:g} to {:g}.".format(*self.scale)
        return ASK + scale if self.remarks or self.findings else ASK_SCORE + scale

    def _words(self, item: TaskItem, remark: str) -> str:
        parts, truth = [remark] if remark else [], item.truth
        if self.findings and truth.findings is not None:
            parts.append(f"{FINDINGS} {', '.join(truth.findings) or NOTHING}.")
        if truth.score is not None:
            parts.append(f"{SCORE} {truth.score:g}")
        return " ".join(parts)

    def _score_slot(self, text: str) -> ScoreSlot | None:
        if self.scale is None:
            return None
        before = f"{text.partition(SCORE)[0].strip()} {SCORE}".strip()
        return ScoreSlot(before, {f"{value:g}": value for value in quantiles(self.scores)}, last=True)


def _choose(messages: list[Message], names: Sequence[str]) -> Generator[Sequence[Any], Sequence[Any], dict[str, Any]]:
    """Returns the name that is held likeliest with all log-likelihoods; of a system that has none, the name that it writes."""
    (likely,) = yield [Choice(messages, names)]
    if likely is not CANNOT:
        ranking = dict(zip(names, likely.total.tolist(), strict=True))
        return {"name": max(ranking, key=ranking.__getitem__), "ranking": ranking}
    (text,) = yield [Words(messages, _NAME_TOKENS)]
    written = {name.casefold(): name for name in names}
    return {"name": written.get(text.strip(" .\n").casefold(), ""), "ranking": None}
