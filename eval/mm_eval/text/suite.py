"""What every suite of text metrics gives and checks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mm_eval.metric import Metric

EMPTY = "emptyanswer"
"""Stands for an empty candidate: a word that no reference holds scores 0 everywhere, where "" would crash."""


class NotComputed(RuntimeError):
    """A metric whose tools are missing. It is never replaced by another one under the same name."""


@dataclass(frozen=True)
class Suite:
    """Scores of several systems.

    Attributes:
        rows: Metrics by system and name.
        notes: What was not computed, and why.
    """

    rows: dict[str, dict[str, Metric]]
    notes: list[str] = field(default_factory=list)

    def compute(self, what: str, work: Callable[[], dict[str, dict[str, Metric]]]) -> None:
        """Adds metrics, or a note where their tools are missing."""
        try:
            for system, metrics in work().items():
                self.rows[system] |= metrics
        except NotComputed as reason:
            self.notes.append(f"{what}: not computed: {reason}")


def checked(systems: dict[str, list[str]], references: list[str], clusters: list[str]) -> Suite:
    """An empty suite.

    Raises:
        ValueError: The lists differ in length.
    """
    for name, texts in systems.items():
        if not len(texts) == len(references) == len(clusters):
            raise ValueError(
                f"{name}: {len(texts)} candidates, {len(references)} references, {len(clusters)} clusters; they must match."
            )
    return Suite({name: {} for name in systems})


def one_line(text: str) -> str:
    """Any white space as one space; line separators inside a text would shift every later one in a tokenizer's output."""
    return " ".join(text.split())
