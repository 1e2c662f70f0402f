"""What a text says about one clip, taken apart: the truth's, a coach's or a baseline's."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a system, or the truth, says about one item.

    Attributes:
        text: The words that text metrics and judges compare.
        score: A number on the task's scale.
        label: The right candidate of a choice: the class of the action, or the id of an expert's clip.
        verdict: Such as "standard".
        actions: Actions that are named.
        findings: What is said to need improvement: dimensions or steps.
        counts: How much of something the text holds, such as reasoning steps.
        ranking: Candidate to score: the higher, the likelier.
        poses: Joints ``[T, 17, 3]`` in metres, as nested lists.
        confidence: Mean log-probability.
        unread: What could not be read from the text, and why; empty where everything could.
    """

    text: str = ""
    score: float | None = None
    label: str | None = None
    verdict: str | None = None
    actions: list[str] | None = None
    findings: list[str] | None = None
    counts: dict[str, int] | None = None
    ranking: dict[str, float] | None = None
    poses: list[Any] | None = None
    confidence: float | None = None
    unread: list[str] | None = None

    def stated(self) -> dict[str, str]:
        """Returns what is said beside the words, for people: name to text."""
        return {
            name: _printed(getattr(self, field)) for field, name in _NAMES.items() if getattr(self, field) is not None
        }


_NAMES = {"score": "score", "label": "class", "verdict": "verdict", "actions": "actions", "findings": "to improve"}


def _printed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)
