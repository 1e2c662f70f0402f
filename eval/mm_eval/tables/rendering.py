"""Tables of scores as Markdown, LaTeX, CSV and HTML."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mm_data.ground.files import write_atomically
from mm_data.ground.hand_tables import csv_text
from mm_data.ground.templates import fill_template
from mm_eval.statistics.metric import Metric
from mm_eval.tables.model import Column, ScoreTable

_NO_VALUE = "–"
_TEX_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "ρ": r"$\rho$",
        "ℓ": r"$\ell$",
        "–": "--",
        "±": r"$\pm$",
    }
)


class Cell(NamedTuple):
    """What is printed of one metric of one row.

    Attributes:
        value: Rounded value; a dash where it is not defined or the row does not have it.
        interval: Bounds of the interval, or "".
        failed: How many items failed, or "".
        signature: How the metric was measured, or None where the row does not have it.
    """

    value: str
    interval: str = ""
    failed: str = ""
    signature: str | None = None

    @property
    def small(self) -> str:
        """What stands in small print under the value."""
        return ", ".join(part for part in (self.interval, self.failed) if part)


class PrintedRow(NamedTuple):
    """One row, its name with the mark of its note."""

    name: str
    mark: str
    baseline: bool
    cells: list[Cell]
    extra: list[str]


class Printed(NamedTuple):
    """A table as text: the same cells for every format.

    Attributes:
        table: The table itself.
        lead: What it was measured on, and what brackets are.
        headings: Headings of all columns but the first.
        rows: Systems, then baselines.
        notes: Notes of rows by their marks, then footnotes.
        published: Rows of the paper; empty where there are none.
    """

    table: ScoreTable
    lead: str
    headings: list[str]
    rows: list[PrintedRow]
    notes: list[str]
    published: dict[str, list[str]]


def printed(table: ScoreTable) -> Printed:
    """Rounds and marks what a table shows."""
    extra, rows, notes = [table.extra] if table.extra else [], [], []
    for row in table.rows:
        mark = ""
        if row.note:
            mark = f" [{len(notes) + 1}]"
            notes.append(f"[{len(notes) + 1}] {row.note}")
        cells = [_cell(row.cells.get((c.table, c.metric)), c) for c in table.filled]
        rows.append(PrintedRow(row.name, mark, row.baseline, cells, [row.extra] if extra else []))
    lead = f"{table.lead} {table.about_intervals}".strip()
    headings = [*(c.heading + c.arrow for c in table.filled), *extra]
    published = table.published.rows if table.published else {}
    texts = {name: [_NO_VALUE if v is None else f"{v:g}" for v in values] for name, values in published.items()}
    return Printed(table, lead, headings, rows, [*notes, *table.footnotes], texts)


def _cell(metric: Metric | None, column: Column) -> Cell:
    if metric is None:
        return Cell(_NO_VALUE)
    failed = f"{metric.n_failed} failed" if metric.n_failed else ""
    if math.isnan(metric.value):
        return Cell(_NO_VALUE, "", failed, metric.signature)
    bounds = [f"{bound * column.factor:.{column.digits}f}" for bound in metric.interval or ()]
    return Cell(f"{metric.value * column.factor:.{column.digits}f}", "–".join(bounds), failed, metric.signature)


def to_markdown(table: ScoreTable) -> str:
    """Writes a table for people to read in a terminal and a repository."""
    text = printed(table)
    aligned = "|---|" + "---:|" * len(table.filled) + "---|" * bool(table.extra)
    lines = [text.lead, "", _pipes(["", *text.headings]), aligned]
    for row in text.rows:
        name = f"*{row.name}*" if row.baseline else row.name
        lines.append(_pipes([f"{name}{row.mark}", *map(_markdown_cell, row.cells), *row.extra]))
    lines += ["", *(f"- {note}" for note in text.notes)]
    if table.published:
        lines += ["", f"Published, different data ({table.published.source}):", ""]
        lines += [_pipes(["", *table.published.headings]), "|---|" + "---:|" * len(table.published.headings)]
        lines += [_pipes([name, *values]) for name, values in text.published.items()]
    lines += ["", "Signatures:", "", *(f"- `{signature}`" for signature in table.signatures())]
    return "\n".join(lines) + "\n"


def to_latex(table: ScoreTable) -> str:
    """Writes a table for a paper, with booktabs."""
    text, extra = printed(table), [table.extra] if table.extra else []
    comments = (table.title, table.lead, table.about_intervals, *table.signatures())
    lines = [f"% {comment}" for comment in comments if comment]
    columns = f"l{'r' * len(table.filled)}{'l' * len(extra)}"
    lines += [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    headings = [_tex(c.heading) + _tex_arrow(c) for c in table.filled]
    lines += [_ampersands(["", *headings, *map(_tex, extra)]), r"\midrule"]
    for position, row in enumerate(text.rows):
        if row.baseline and position and not text.rows[position - 1].baseline:
            lines.append(r"\midrule")
        lines.append(_ampersands([_tex(row.name + row.mark), *map(_tex_cell, row.cells), *map(_tex, row.extra)]))
    caption = rf"\caption{{{_tex(table.title)} {_tex(table.lead)}}}"
    lines += [r"\bottomrule", r"\end{tabular}", caption, r"\end{table}"]
    lines += [f"% {note}" for note in text.notes]
    if table.published:
        lines += [f"% Published, different data: {table.published.source}"]
        lines += [f"% {name} & {' & '.join(values)}" for name, values in text.published.items()]
    return "\n".join(lines) + "\n"


def to_csv(table: ScoreTable) -> str:
    """Writes a table for programs: a line per row and metric, nothing rounded."""
    numbers = ("value", "low", "high", "n", "n_failed", "clusters", "scale", "signature")
    lines: list[tuple[Any, ...]] = [("row", "kind", "table", "metric", *numbers)]
    for row in table.rows:
        kind = "baseline" if row.baseline else "system"
        for column in table.filled:
            if metric := row.cells.get((column.table, column.metric)):
                counts = (metric.n, metric.n_failed, metric.clusters, metric.scale, metric.signature)
                bounds = metric.interval or ("", "")
                lines.append((row.name, kind, column.table, column.metric, metric.value, *bounds, *counts))
    return csv_text(lines)


def to_page(tables: list[ScoreTable]) -> str:
    """Writes tables as an HTML page of their own; the signature is each number's tooltip."""
    return fill_template("mm_eval", "tables/page.html", tables=[printed(table) for table in tables])


RENDERERS: dict[str, Callable[[ScoreTable], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "csv": to_csv,
    "html": lambda table: to_page([table]),
}
"""Writers of a table by file ending."""


def write_table(out: Path, table: ScoreTable) -> None:
    """Writes a table as ``table.md``, ``.tex``, ``.csv`` and ``.html`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for ending, render in RENDERERS.items():
        write_atomically(out / f"table.{ending}", render(table))


def _markdown_cell(cell: Cell) -> str:
    interval = f" ({cell.interval})" if cell.interval else ""
    return cell.value + interval + (f", {cell.failed}" if cell.failed else "")


def _tex_cell(cell: Cell) -> str:
    small = rf" {{\scriptsize ({cell.small})}}" if cell.small else ""
    return (cell.value + small).replace("–", "--")


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _ampersands(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return text.translate(_TEX_SIGNS)


def _tex_arrow(column: Column) -> str:
    return "" if column.higher is None else r" $\uparrow$" if column.higher else r" $\downarrow$"
