"""Counts what a stage kept and dropped, by reason, and stops a run that drops too much."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EXAMPLES = 5


class Funnel:
    """Bookkeeping of one stage: nothing leaves it without a reason.

    Args:
        stage: Name printed in reports and errors.
        max_drop_rate: Share of rows that may be dropped before `check` refuses to go on.
    """

    def __init__(self, stage: str, max_drop_rate: float) -> None:
        self.stage = stage
        self.max_drop_rate = max_drop_rate
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self._lost = 0
        self.noted: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def keep(self, count: int = 1) -> None:
        """Counts rows that pass."""
        self.kept += count

    def drop(self, reason: str, example: str, expected: bool = False) -> None:
        """Counts a row that does not pass; the first five examples of each reason are remembered.

        Args:
            reason: Why the row does not pass.
            example: Name of the row.
            expected: The row was sorted out on purpose; it does not count towards the threshold.
        """
        self.dropped[reason] += 1
        self._lost += not expected
        self._remember(reason, example)

    def note(self, what: str, example: str, count: int = 1) -> None:
        """Counts an irregularity that was read without losing the row (a fallback that the format documents)."""
        if count:
            self.noted[what] += count
            self._remember(what, example)

    def _remember(self, reason: str, example: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(example)

    def check(self) -> None:
        """Raises ``ValueError`` when nothing was kept or the drop rate exceeds the stage's threshold."""
        total = self.kept + sum(self.dropped.values())
        if self.kept and self._lost <= self.max_drop_rate * (self.kept + self._lost):
            return
        reasons = "; ".join(
            f"{count} × {reason} (for example {', '.join(self.examples[reason])})"
            for reason, count in self.dropped.most_common()
        )
        raise ValueError(
            f"Stage '{self.stage}' kept {self.kept} of {total} rows; at most {self.max_drop_rate:.0%} may be dropped. "
            f"Reasons: {reasons or 'there was no input'}. "
            "Mend the data, or raise the stage's threshold if this is expected."
        )

    def summary(self) -> dict[str, Any]:
        """Returns JSON-ready counts; ``kept + sum(dropped) = read`` always holds."""
        return {
            "stage": self.stage,
            "read": self.kept + sum(self.dropped.values()),
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "noted": dict(self.noted),
            "examples": self.examples,
        }


@contextmanager
def open_stage(funnels: list[Funnel], max_drop_rate: float, stage: str) -> Iterator[Funnel]:
    """Opens the bookkeeping of a stage and checks it when the stage ends.

    Args:
        funnels: Bookkeeping of the stages so far; receives the new one.
        max_drop_rate: Share of rows that the stage may drop.
        stage: Name of the stage.

    Yields:
        The funnel in which the stage counts.
    """
    funnel = Funnel(stage, max_drop_rate)
    funnels.append(funnel)
    yield funnel
    funnel.check()
