"""Descriptive action coaching (TechCoach): done well and to improve per TechPoint, overall commentary, score."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_data.conversation import Conversation, Message, said
from mm_data.tasks.answer import Answer
from mm_data.tasks.desccoach_files import DIMENSIONS, known_dimension, read_desccoach
from mm_data.tasks.nae import MAX_CANDIDATES, quantiles
from mm_data.tasks.numbers import read_score
from mm_data.tasks.task import Task, TaskItem

OUTPUTS = ("full", "commentary")
WELL, IMPROVE, OVERALL, SCORE = "Done well", "To improve", "Overall", "Score"
ASK = {
    "full": f'For every technical point that matters say under its name "{WELL}:" and "{IMPROVE}:", then "{OVERALL}:" in a few sentences, then "{SCORE}:" from 0 to 10.',
    "commentary": "Say in a paragraph what is done well and what can be improved.",
}


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


class DescCoachFormat:
    """See `mm_data.tasks.task.TaskFormat`.

    Args:
        knowledge: ``lowest`` and ``highest`` score, ``scores`` of the training items.
        options: Switches.
    """

    max_new_tokens = 320

    def __init__(self, knowledge: Mapping[str, Any], options: DescCoachOptions) -> None:
        self.lowest, self.highest, self.scores = knowledge["lowest"], knowledge["highest"], knowledge["scores"]
        self.options = options
        self.inputs = [
            f"output: {options.output}",
            f"TechPoints: {'shown' if options.techpoints else 'not shown'}",
            "mentioned dimensions: told (a hint at the truth)" if options.hint else "mentioned dimensions: not told",
        ]

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """The question and the structured answer, or the commentary alone."""
        commentary = item.references[reference]
        answer = commentary if self.options.output == "commentary" else structured(
            item.facts["commentary"], commentary, item.truth.score
        )  # fmt: skip
        return Conversation(f"{item.item_id}#{reference}", [*self.prompt(item, None), said("assistant", answer)], (2,))

    def choice(self, item: TaskItem) -> None:
        """Nothing is ranked first."""
        return

    def prompt(self, item: TaskItem, ranking: Mapping[str, float] | None) -> list[Message]:
        """The question."""
        told = []
        if self.options.techpoints and item.facts["techpoints"]:
            points = (f"{name}: {instruction}" for name, instruction in item.facts["techpoints"].items())
            told.append("\n".join(["Technical points:", *points]))
        if self.options.hint:
            told.append(f"Pay attention to {', '.join(item.facts['commentary']) or 'the whole execution'}.")
        task = item.facts["task"]
        return [said("system", f"You are an expert coach. The learner practises: {task}."), said("user", item.part, *told, ASK[self.options.output])]  # fmt: skip

    def parse(self, text: str) -> Answer:
        """Commentary, dimensions to improve and score; sections may come in any order."""
        if self.options.output == "commentary":
            return Answer(text=text.strip())
        points, overall, score = sections(text)
        reading = read_score(f"{SCORE}: {score}", self.lowest, self.highest) if score else None
        unread = [f"no {OVERALL.lower()} commentary"] if not overall else []
        unread += [] if points else ["no technical point"]
        unread += ["no score"] if reading is None else [reading.problem] if reading.problem else []
        return Answer(
            text=overall,
            score=reading.score if reading else None,
            findings=[name for name in DIMENSIONS if points.get(name, ("", ""))[1]],
            unread=unread or None,
        )

    def score_slot(self, text: str) -> tuple[str, dict[str, float]] | None:
        """The answer up to its score, which stands last."""
        if self.options.output == "commentary" or not self.scores:
            return None
        begun = re.split(rf"^\W*{SCORE}\W*:", text, maxsplit=1, flags=re.I | re.M)[0].rstrip()
        spread = quantiles(self.scores, MAX_CANDIDATES)
        return f"{begun}\n{SCORE}:".lstrip(), {f"{value:g}": value for value in spread}


def structured(points: Mapping[str, tuple[str, str] | list[str]], overall: str, score: float | None) -> str:
    """An answer as it is taught.

    Args:
        points: Dimension to what is done well and what can be improved, either may be empty.
        overall: The commentary.
        score: From 0 to 10, or None where nobody gave one.
    """
    lines = []
    for name in DIMENSIONS:
        well, improve = points.get(name, ("", ""))
        if well or improve:
            lines.append(name)
            lines += [f"{WELL}: {well}"] if well else []
            lines += [f"{IMPROVE}: {improve}"] if improve else []
    lines.append(f"{OVERALL}: {overall}")
    return "\n".join([*lines, *([] if score is None else [f"{SCORE}: {round(score, 2):g}"])])


def sections(text: str) -> tuple[dict[str, tuple[str, str]], str, str]:
    """TechPoints (done well, to improve), overall commentary and what stands behind "Score" in a structured answer."""
    points: dict[str, list[str]] = {}
    parts = {WELL: 0, IMPROVE: 1}
    overall, score = "", ""
    dimension, target = None, None
    for raw in text.splitlines():
        line = re.sub(r"[*_`]+", "", re.sub(r"^\s*(?:[>#*_•–-]+\s*|\d+[.)]\s+)+", "", raw)).strip()
        if not line:
            continue
        head, colon, rest = line.partition(":")
        named = known_dimension(head)
        key = next((k for k in (WELL, IMPROVE, OVERALL, SCORE) if _matches(head, k)), None)
        if named is not None:
            dimension, target = named, None
            points.setdefault(named, ["", ""])
            line = rest.strip()
            head, colon, rest = line.partition(":")
            key = next((k for k in (WELL, IMPROVE) if _matches(head, k)), None) if colon else None
            if not line:
                continue
        if key == SCORE:
            score, target = rest.strip(), None
        elif key == OVERALL:
            overall, target, dimension = rest.strip(), OVERALL, None
        elif key is not None and dimension is not None:
            target = key
            points[dimension][parts[key]] = rest.strip()
        elif target == OVERALL:
            overall = f"{overall} {line}".strip()
        elif target in parts and dimension is not None:
            points[dimension][parts[target]] += f" {line}"
    empty = re.compile(r"(?:none|nothing|n/a|not mentioned|-)\W*", re.I)
    kept = {n: tuple("" if empty.fullmatch(t.strip()) else t.strip() for t in texts) for n, texts in points.items()}
    return {n: (t[0], t[1]) for n, t in kept.items() if any(t)}, overall, score


def _matches(head: str, key: str) -> bool:
    words = {
        WELL: r"(?:what (?:is|was) )?done well|strengths?|good",
        IMPROVE: r"(?:what (?:can|could) be )?improved?|to improve|weakness(?:es)?|needs? improvement",
        OVERALL: r"overall(?: commentary| comments?)?|summary",
        SCORE: r"(?:overall |final )?score|rating",
    }
    return re.fullmatch(words[key], head.strip().lower()) is not None


DESCCOACH = Task("desccoach", read_desccoach, DescCoachOptions, DescCoachFormat)
