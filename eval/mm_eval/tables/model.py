"""A table of scores before it is written in one format or another."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_eval.statistics.intervals import FEW_CLUSTERS, FEWEST_CLUSTERS
from mm_eval.statistics.metric import Metric
from mm_eval.tables.published import Published


@dataclass(frozen=True)
class Column:
    """One metric of a table.

    Attributes:
        table: Table of the run that it stands in.
        metric: Name of the metric there.
        heading: Text of the heading, without an arrow.
        factor: Number that the value is multiplied with.
        digits: Digits behind the point.
        higher: Whether more is better; None where neither is.
    """

    table: str
    metric: str
    heading: str
    factor: float = 100.0
    digits: int = 1
    higher: bool | None = True

    @property
    def arrow(self) -> str:
        """The direction that is better, as an arrow."""
        return "" if self.higher is None else " ↑" if self.higher else " ↓"

    def printed(self, value: float) -> str:
        """Returns a value as the column prints it."""
        return f"{value * self.factor:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """One system of a table.

    Attributes:
        name: Name that is printed.
        cells: (table, metric) to metric.
        baseline: Whether it needs no model.
        extra: Text in the last column, such as what training cost.
        note: Text printed below the table.
    """

    name: str
    cells: Mapping[tuple[str, str], Metric]
    baseline: bool = False
    extra: str = ""
    note: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """Systems against each other on one test set.

    Attributes:
        title: Title of the table.
        lead: Sentences on what was scored, and what is made up.
        columns: Columns that may be printed; those without any value are left out.
        rows: Systems, then baselines.
        footnotes: Texts printed below.
        extra: Heading of the last column, or "" for none.
        published: Figures of the paper.
    """

    title: str
    lead: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...] = ()
    extra: str = ""
    published: Published | None = None

    @property
    def filled(self) -> tuple[Column, ...]:
        """The columns that some system has."""
        known = {key for row in self.rows for key in row.cells}
        return tuple(column for column in self.columns if (column.table, column.metric) in known)

    @property
    def about_intervals(self) -> str:
        """A sentence on what the brackets are: how many clusters stand behind them, with a warning where these are few."""
        printed = {(column.table, column.metric) for column in self.columns}
        counts = {
            metric.clusters
            for row in self.rows
            for key, metric in row.cells.items()
            if key in printed and metric.clusters
        }
        if not counts:
            return ""
        fewest, most = min(counts), max(counts)
        number = str(most) if fewest == most else f"{fewest} to {most}"
        text = (
            f"In brackets: 95 % intervals over {number} clusters (people, or takes where nobody says whose they are)."
        )
        if fewest < FEWEST_CLUSTERS:
            text += f" With fewer than {FEWEST_CLUSTERS} clusters there is no interval."
        if fewest < FEW_CLUSTERS:
            text += f" Fewer than {FEW_CLUSTERS} clusters: a rough guide, for other people may differ much more."
        return text

    def signatures(self) -> list[str]:
        """Returns ``heading: signature`` of every printed column; several where rows differ in theirs."""
        lines = []
        for column in self.filled:
            metrics = [row.cells.get((column.table, column.metric)) for row in self.rows]
            signatures = dict.fromkeys(metric.signature for metric in metrics if metric is not None)
            lines += [f"{column.heading}: {signature}" for signature in signatures]
        return lines


def cells_of(
    tables: Mapping[str, Mapping[str, Mapping[str, Metric]]], rows: Mapping[str, str]
) -> dict[tuple[str, str], Metric]:
    """Gathers a row's cells out of a run's tables.

    Args:
        tables: Table to row to name to metric.
        rows: Table to the row that is taken of it.

    Returns:
        (table, name) to metric.
    """
    return {
        (table, name): metric
        for table, row in rows.items()
        for name, metric in tables.get(table, {}).get(row, {}).items()
    }
