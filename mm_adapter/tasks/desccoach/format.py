"""Descriptive action coaching (TechCoach): done well and to improve per TechPoint, overall commentary, score."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_adapter.tasks.desccoach.files import DIMENSIONS, known_dimension
from mm_data.conversation import Conversation, Message, said
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.tasks.numbers import NO_SCORE, SEVERAL, Reading, quantiles, read_score
from mm_data.tasks.questions import Dialogue, ScoreSlot, ask_for_words
from mm_data.tasks.task import TaskFormat

OUTPUTS = ("full", "commentary")
WELL, IMPROVE, OVERALL, SCORE = "Done well", "To improve", "Overall", "Score"
ASK = {
    "full": f'For every technical point that matters say under its name "{WELL}:" and "{IMPROVE}:", '
    f'then "{OVERALL}:" in a few sentences, then "{SCORE}:" from 0 to 10.',
    "commentary": "Say in a paragraph what is done well and what can be improved.",
}
ASK_SHORT = "What needs improvement, and how good is it from 0 to 10?"


@dataclass(frozen=True)
class DescCoachOptions:
    """Switches of the task.

    Attributes:
        output: ``full`` (TechPoints, overall commentary, score) or ``commentary`` (that alone).
        techpoints: Show the general TechPoints of the task.
        hint: Name the dimensions that the truth talks about, as the paper does for every method: a hint at the answer.
    """

    output: str = "full"
    techpoints: bool = True
    hint: bool = False

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an unknown output."""
        if self.output not in OUTPUTS:
            raise ValueError(f"output is {self.output!r}; choose {' or '.join(OUTPUTS)}.")


class DescCoachFormat(TaskFormat):
    """The task's way of teaching, asking and reading.

    Args:
        knowledge: ``lowest`` and ``highest`` score, ``scores`` of the training items.
        options: Switches of the task.
    """

    max_new_tokens = 320

    def __init__(self, knowledge: Mapping[str, Any], options: DescCoachOptions) -> None:
        self.lowest, self.highest, self.scores = knowledge["lowest"], knowledge["highest"], knowledge["scores"]
        self.options = options
        self.inputs = [
            "task: told",
            f"output: {options.output}",
            f"TechPoints: {'shown' if options.techpoints else 'not shown'}",
            "mentioned dimensions: told (a hint at the truth)" if options.hint else "mentioned dimensions: not told",
        ]

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Asks for the structured answer, or the commentary alone, and gives it."""
        commentary = item.references[reference]
        answer = commentary
        if self.options.output == "full":
            answer = structured(item.facts["commentary"], commentary, item.truth.score)
        return Conversation(f"{item.item_id}#{reference}", [*self._asked(item), said("assistant", answer)], (2,))

    def short(self, item: TaskItem) -> Conversation:
        """Asks what to improve, and for the score; without TechPoints and hint, which would make it long."""
        improve = [f"{name}: {mend}" for name, (_, mend) in item.facts["commentary"].items() if mend]
        facts = improve or ["Nothing"]
        if item.truth.score is not None:
            facts.append(f"{SCORE}: {score_text(item.truth.score)}")
        messages = [_system(item), said("user", item.part, ASK_SHORT), said("assistant", "\n".join(facts))]
        return Conversation(f"{item.item_id}#short", messages, (2,))

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks for the structured answer or the commentary alone, and for the scores that could stand in it."""
        return ask_for_words(self._asked(item), self.max_new_tokens, self.score_slot)

    def _asked(self, item: TaskItem) -> list[Message]:
        lines = []
        if self.options.techpoints and item.facts["techpoints"]:
            points = (f"{name}: {instruction}" for name, instruction in item.facts["techpoints"].items())
            lines += ["Technical points:", *points]
        if self.options.hint:
            lines.append(f"Pay attention to {', '.join(item.facts['commentary']) or 'the whole execution'}.")
        return [_system(item), said("user", item.part, "\n".join([*lines, ASK[self.options.output]]))]

    def parse(self, text: str) -> Answer:
        """Reads commentary, dimensions to improve and score; sections may come in any order."""
        if self.options.output == "commentary":
            return Answer(text=text.strip())
        read = sections(text)
        readings = {read_score(f"{SCORE}: {score}", self.lowest, self.highest) for score in read.scores}
        reading = readings.pop() if len(readings) == 1 else Reading(None, SEVERAL if readings else NO_SCORE)
        unread = [] if read.overall else [f"no {OVERALL.lower()} commentary"]
        unread += [] if read.named else ["no technical point"]
        unread += ["text under no heading"] if read.stray else []
        unread += [reading.problem] if reading.problem else []
        return Answer(
            text=read.overall,
            score=reading.score,
            findings=[name for name in DIMENSIONS if read.points.get(name, ("", ""))[1]] if read.named else None,
            unread=unread or None,
        )

    def score_slot(self, text: str) -> ScoreSlot | None:
        """Returns the answer up to its score, which is taught to stand last."""
        if self.options.output == "commentary" or not self.scores:
            return None
        lines = list(
            itertools.takewhile(lambda line: not _matches(_plain(line).partition(":")[0], SCORE), text.splitlines())
        )
        values = {score_text(value): value for value in quantiles(self.scores)}
        return ScoreSlot("\n".join([*lines, f"{SCORE}:"]), values, last=True)


def _system(item: TaskItem) -> Message:
    return said("system", f"You are an expert coach. The learner practises: {item.facts['task']}.")


def score_text(score: float) -> str:
    """Writes a score as it is taught."""
    return f"{round(score, 2):g}"


def structured(points: Mapping[str, tuple[str, str] | list[str]], overall: str, score: float | None) -> str:
    """Writes an answer as it is taught.

    Args:
        points: Dimension to what is done well and what can be improved, either may be empty.
        overall: The commentary.
        score: From 0 to 10, or None where nobody gave one.

    Returns:
        The text.
    """
    lines = []
    for name in DIMENSIONS:
        well, improve = points.get(name, ("", ""))
        if well or improve:
            lines.append(name)
            lines += [f"{WELL}: {well}"] if well else []
            lines += [f"{IMPROVE}: {improve}"] if improve else []
    lines.append(f"{OVERALL}: {overall}")
    return "\n".join([*lines, *([] if score is None else [f"{SCORE}: {score_text(score)}"])])


@dataclass
class Sections:
    """What a structured answer holds.

    Attributes:
        points: Dimension to what is done well and what can be improved.
        overall: The commentary.
        scores: What stands behind "Score", as often as it does.
        named: Dimensions that are spoken about, if only to say that there is nothing.
        stray: Text that stands under no heading.
    """

    points: dict[str, tuple[str, str]]
    overall: str
    scores: list[str]
    named: list[str]
    stray: list[str]


def sections(text: str) -> Sections:
    """Takes a structured answer apart; sections may come in any order, repeat, and be dressed in Markdown."""
    sides: dict[str, dict[str, list[str]]] = {}
    overall, scores, stray = [], [], []
    dimension, section = None, stray
    for line in map(_plain, text.splitlines()):
        head, colon, rest = line.partition(":")
        if name := known_dimension(head):
            dimension, section = sides.setdefault(name, {WELL: [], IMPROVE: []}), stray
            line = rest.strip()
            head, colon, rest = line.partition(":")
        key = next((key for key in (WELL, IMPROVE, OVERALL, SCORE) if _matches(head, key)), None)
        if key == SCORE and colon:
            scores.append(rest.strip())
            section, line = stray, ""
        elif key == OVERALL:
            section, line, dimension = overall, rest.strip(), None
        elif key in (WELL, IMPROVE) and dimension is not None:
            section, line = dimension[key], rest.strip()
        if line:
            section.append(line)
    points = {name: (_words(texts[WELL]), _words(texts[IMPROVE])) for name, texts in sides.items()}
    return Sections(
        points={name: texts for name, texts in points.items() if any(texts)},
        overall=" ".join(overall),
        scores=scores,
        named=[name for name, texts in sides.items() if any(texts.values())],
        stray=stray,
    )


def _words(texts: Sequence[str]) -> str:
    """Texts in one line, without those that say nothing."""
    return " ".join(text for text in texts if not _NOTHING.fullmatch(text))


def _plain(line: str) -> str:
    """A line without bullets and Markdown."""
    return re.sub(r"[*_`]+", "", re.sub(r"^\s*(?:[>#*_•–-]+\s*|\d+[.)]\s+)+", "", line)).strip()


_NOTHING = re.compile(r"(?:none|nothing|n/a|not mentioned|-)\W*", re.I)


def _matches(head: str, key: str) -> bool:
    words = {
        WELL: r"(?:what (?:is|was) )?done well|strengths?|good",
        IMPROVE: r"(?:what (?:can|could) be )?improved?|to improve|weakness(?:es)?|needs? improvement",
        OVERALL: r"overall(?: commentary| comments?)?|summary",
        SCORE: r"(?:overall |final )?score|rating",
    }
    return re.fullmatch(words[key], head.strip().lower()) is not None
