"""One number of a report's first line, beside what it has to be compared with."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_eval.statistics.metric import Metric

OURS = "ours"
_BOUNDS = ("ceiling", "floor")
"""Words in the names of rows that bound a metric."""


@dataclass(frozen=True)
class Tile:
    """One number of the first line.

    Attributes:
        title: Statement that the number completes.
        value: Number with its unit.
        beside: What it has to be compared with.
    """

    title: str
    value: str
    beside: str


def strongest(rows: Mapping[str, Mapping[str, Metric]], metric: str, higher: bool = True) -> list[tuple[str, float]]:
    """Returns the rows that need no model with their values, the best first, without bounds and rows without a value.

    Args:
        rows: Row to name to metric.
        metric: Name of the metric that they are compared by.
        higher: Whether more is better.

    Returns:
        Names and values.
    """
    without_a_model = [
        (name, row[metric].value)
        for name, row in rows.items()
        if not name.startswith(OURS) and not any(word in name for word in _BOUNDS) and metric in row
    ]
    scored = [(name, value) for name, value in without_a_model if value == value]
    return sorted(scored, key=lambda entry: entry[1], reverse=higher)
