"""What a table of scores is, before it is written in one format or another."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_eval.statistics.intervals import FEW_CLUSTERS, FEWEST_CLUSTERS
from mm_eval.statistics.metric import Metric
from mm_eval.tables.published import Published


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        table: Which of a run's tables it stands in.
        metric: Its name there.
        heading: What is printed, without an arrow.
        factor: What the value is multiplied with.
        digits: Behind the point.
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
        """Direction that is better."""
        return "" if self.higher is None else " ↑" if self.higher else " ↓"


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        name: What is printed.
        cells: (table, metric) to its record.
        baseline: Whether it needs no model.
        extra: Text in the last column, such as what training cost.
        note: Printed below the table.
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
        title: What is compared.
        lead: On what, and what is made up.
        columns: All that may be shown; those without any value are left out.
        rows: Systems, then baselines.
        footnotes: Printed below.
        extra: Heading of the last column, or "" for none.
        published: The paper's own figures.
    """

    title: str
    lead: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...] = ()
    extra: str = ""
    published: Published | None = None

    @property
    def shown(self) -> tuple[Column, ...]:
        """Columns that some system has."""
        there = {key for row in self.rows for key in row.cells}
        return tuple(column for column in self.columns if (column.table, column.metric) in there)

    @property
    def about_intervals(self) -> str:
        """What the brackets are: how many clusters stand behind them, with a warning where these are few."""
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
        """``heading: signature`` of every shown column; several where rows differ in theirs."""
        lines = []
        for column in self.shown:
            found = [row.cells[column.table, column.metric].signature for row in self.rows if (column.table, column.metric) in row.cells]  # fmt: skip
            lines += [f"{column.heading}: {signature}" for signature in dict.fromkeys(found)]
        return lines


def cells_of(
    tables: Mapping[str, Mapping[str, Mapping[str, Metric]]], rows: Mapping[str, str]
) -> dict[tuple[str, str], Metric]:
    """A row's cells out of a run's tables.

    Args:
        tables: Table to row to metric to record.
        rows: Which row of each table.
    """
    return {
        (table, name): metric
        for table, row in rows.items()
        for name, metric in tables.get(table, {}).get(row, {}).items()
    }
