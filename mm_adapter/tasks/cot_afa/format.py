"""Action form assessment with a chain of thought (CoT-AFA): class, verdict, and step → observed outcome → solution."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mm_adapter.tasks.cot_afa.files import NON_STANDARD, STANDARD, stated_verdict
from mm_data.conversation import Conversation, Message, said
from mm_data.ground.digests import uniform
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.tasks.numbers import named_actions
from mm_data.tasks.questions import CANNOT, Choice, Dialogue, ask_for_words
from mm_data.tasks.task import TaskFormat

SYSTEM = "You are a fitness coach who judges how well an exercise is done."
ASK_CLASS = "Which action is this?"
ASK = "Is it done to standard? Explain step by step what happens and how to mend it."
ASK_SHORT = "Which action is this, and is it done to standard?"
STEPS = ("predicted", "retrieved", "ground-truth", "none")
NO_ACTION, CUT_OFF = "no known action", "cut off before a solution"
RETRIEVED = 3
"""Actions whose steps are shown where they are retrieved."""

_CAUSAL = re.compile(
    r"\b(?:because|therefore|thus|hence|consequently|as a result|due to|since|which (?:leads|causes)|leading to|so that)\b"
)
_CORRECTIVE = re.compile(
    r"\b(?:should|solution|try to|need(?:s)? to|must|make sure|ensure|focus on|avoid|instead|correct(?:ed)? by|"
    r"to (?:fix|improve|correct|mend))\b"
)


@dataclass(frozen=True)
class CotAfaOptions:
    """Switches of the task.

    Attributes:
        steps: Whose steps the explanation is given: ``predicted``, those of the class that the coach holds likeliest in a first
            pass; ``retrieved``, those of the three likeliest; ``none``; or ``ground-truth``, as published code does at
            test time too, which tells the class: a leak, only for comparison with the paper.
    """

    steps: str = "predicted"

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for unknown steps."""
        if self.steps not in STEPS:
            raise ValueError(f"steps is {self.steps!r}; choose from {', '.join(STEPS)}.")


@dataclass(frozen=True)
class ChainStep:
    """One link of an explanation.

    Attributes:
        step: Its number.
        outcome: What was seen.
        solution: How to mend it; empty where nothing is wrong.
    """

    step: int
    outcome: str
    solution: str


def explanation(action: str, verdict: str, chain: Sequence[ChainStep]) -> str:
    """Writes a chain as text, in the words of the published texts' first sentence."""
    lines = [f"The {action} action in this video is {'good' if verdict == STANDARD else 'bad'}."]
    for link in chain:
        lines.append(f"Step {link.step}: {link.outcome.rstrip('.')}.")
        if link.solution:
            lines.append(f"Solution: {link.solution.rstrip('.')}.")
    return " ".join(lines)


_ARROWS = " -–—→"
_SOLUTION = re.compile(r"(?<!\w)solutions?\s*(?::|\s[-–—→](?=\s|$)|→)|(?<=[.!?;→])\s*solutions?\s*$", re.I)
"""Heading of a solution, also one behind which the text is cut off; "resolution:" is none."""

_NOTHING = re.compile(r"(?:none|nothing|n/a|not? (?:needed|necessary|required|applicable|correction.*)|-)?\W*", re.I)
"""A solution that says that there is none."""


def read_chain(text: str) -> list[ChainStep]:
    """Reads the links of an explanation that numbers its steps; empty for one that does not."""
    plain = re.sub(r"[*_`#>]+", "", text)
    chain = []
    for part in re.split(r"(?=\bstep\s+\d+\s*[:.)\-–—])", plain, flags=re.I)[1:]:
        head = re.match(r"step\s+(\d+)\s*[:.)\-–—]+\s*", part, re.I)
        assert head is not None
        outcome, *rest = _SOLUTION.split(re.sub(r"\s+", " ", part[head.end() :]).strip(), maxsplit=1)
        outcome = re.sub(r"^(?:observed\s+)?outcome:\s*", "", outcome.strip(_ARROWS), flags=re.I)
        solution = rest[0].strip(_ARROWS) if rest else ""
        solution = "" if _NOTHING.fullmatch(solution) else solution
        chain.append(ChainStep(int(head[1][:6]), outcome.strip(_ARROWS), solution))
    return chain


class CotAfaFormat(TaskFormat):
    """The task's way of teaching, asking and reading.

    Args:
        knowledge: ``steps`` of every class, the general instruction last.
        options: Switches of the task.
    """

    max_new_tokens = 256

    def __init__(self, knowledge: Mapping[str, Any], options: CotAfaOptions) -> None:
        self.steps: dict[str, list[str]] = knowledge["steps"]
        self.options = options
        leak = " (leak: tells the class)" if options.steps == "ground-truth" else ""
        self.inputs = [f"steps: {options.steps}{leak}"]
        self._labels = {label: label for label in self.steps}

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Asks for class, then explanation, and gives both; both are supervised."""
        label = item.truth.label
        assert label is not None
        labels = [label]
        if self.options.steps == "retrieved":
            others = (name for name in self.steps if name != label)
            labels += sorted(others, key=lambda name: uniform(f"{item.item_id}/{name}"))[: RETRIEVED - 1]
            labels.sort(key=lambda name: uniform(f"{item.item_id}/order/{name}"))
        messages = [*self._messages(item, label, labels), said("assistant", item.references[reference])]
        return Conversation(f"{item.item_id}#{reference}", messages, (2, 4))

    def short(self, item: TaskItem) -> Conversation:
        """Asks for and gives the class, what is seen of the steps to mend as far as the explanation numbers them, and the verdict.

        What is seen comes first: its words belong to one fault of one class, the verdict's to all, so mappers learn from them.
        """
        outcomes = [
            f"{link.outcome.rstrip('.')} in step {link.step}, so "
            for link in read_chain(item.references[0])
            if link.solution
        ]
        facts = f"{item.truth.label}: {''.join(outcomes)}{item.truth.verdict}"
        messages = [said("system", SYSTEM), said("user", item.part, ASK_SHORT), said("assistant", facts)]
        return Conversation(f"{item.item_id}#short", messages, (2,))

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks which class it is, out of all, then for the explanation, with the steps of the class that is held likeliest."""
        (likely,) = yield [Choice([said("system", SYSTEM), said("user", item.part, ASK_CLASS)], list(self.steps))]
        if likely is CANNOT:
            raise ValueError("This system cannot say how likely a class is, which the first question asks.")
        ranking = dict(zip(self.steps, likely.total.tolist(), strict=True))
        record = yield from ask_for_words(self.explain(item, ranking), self.max_new_tokens)
        return {**record, "ranking": ranking}

    def explain(self, item: TaskItem, ranking: Mapping[str, float]) -> list[Message]:
        """Returns the second question: the class that is held likeliest, and steps."""
        likeliest = sorted(ranking, key=lambda name: -ranking[name])
        if self.options.steps == "ground-truth":
            assert item.truth.label is not None
            likeliest = [item.truth.label]
        return self._messages(item, likeliest[0], likeliest[: RETRIEVED if self.options.steps == "retrieved" else 1])

    def read(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Reads the explanation; the class is the one that was held likeliest, whatever the text calls the action."""
        answer, ranking = super().read(record, shared), record["ranking"]
        unread = [part for part in answer.unread or () if part != NO_ACTION]
        return replace(answer, ranking=ranking, label=max(ranking, key=ranking.__getitem__), unread=unread or None)

    def parse(self, text: str) -> Answer:
        """Reads class, verdict, faulty steps and counts."""
        verdict, chain = stated_verdict(text), read_chain(text)
        named = named_actions(text.split(".")[0], self._labels) or named_actions(text, self._labels)
        label = named[0] if named else None
        unread = [what for what, value in (("no verdict", verdict), (NO_ACTION, label)) if value is None]
        unread += [CUT_OFF] if re.search(r"(?<!\w)solutions?\W*$", text, re.I) and chain else []
        lower = text.lower()
        return Answer(
            text=text,
            label=label,
            verdict=verdict,
            findings=[f"step {link.step}" for link in chain if link.solution] if chain else None,
            counts={
                "reasoning_steps": len(_CAUSAL.findall(lower)),
                "suggestions": sum(bool(_CORRECTIVE.search(s)) for s in re.split(r"(?<=[.!?])\s+", lower)),
                "chain_links": len(chain),
            },
            unread=unread or None,
        )

    def _messages(self, item: TaskItem, label: str, labels: Sequence[str]) -> list[Message]:
        steps = [] if self.options.steps == "none" else [self._listed(name) for name in labels]
        return [
            said("system", SYSTEM),
            said("user", item.part, ASK_CLASS),
            said("assistant", label),
            said("user", "\n".join([*steps, ASK])),
        ]

    def _listed(self, label: str) -> str:
        *steps, general = self.steps[label]
        lines = [f"How {label} is done:", *(f"{number}. {step}" for number, step in enumerate(steps, start=1)), general]
        return "\n".join(lines)


def inconsistencies(answer: Answer, verdict: str, chain: Sequence[ChainStep], steps: Sequence[str]) -> list[str]:
    """Finds what is wrong with an explanation's logic: the check that the annotation pipeline makes before people look.

    Args:
        answer: The explanation as parsed.
        verdict: The label of the clip.
        chain: Links of the explanation.
        steps: The action's steps, the general instruction last.

    Returns:
        One sentence per problem.
    """
    problems = []
    if answer.verdict != verdict:
        problems.append(f"says {answer.verdict}, the label is {verdict}")
    mended = [link.step for link in chain if link.solution]
    if verdict == STANDARD and mended:
        problems.append(f"standard, but mends step {mended[0]}")
    if verdict == NON_STANDARD and not mended:
        problems.append("non-standard, but mends no step")
    if strange := [link.step for link in chain if not 1 <= link.step < len(steps)]:
        problems.append(f"step {strange[0]} is none of the {len(steps) - 1}")
    numbers = [link.step for link in chain]
    if len(set(numbers)) < len(numbers):
        problems.append("a step occurs twice")
    return problems
