"""Tables of scores as Markdown, LaTeX, CSV and HTML."""

import csv
import html
import io
import math
from collections.abc import Callable

from mm_eval.statistics.metric import Metric
from mm_eval.tables.model import Column, Row, ScoreTable
from mm_eval.tables.published import Published

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


def to_markdown(table: ScoreTable) -> str:
    """For people to read in a terminal and a repository."""
    extra = [table.extra] if table.extra else []
    lines = [f"{table.lead} {table.about_intervals}".strip(), ""]
    lines += [_pipes(["", *(c.heading + c.arrow for c in table.shown), *extra])]
    lines += ["|---|" + "---:|" * len(table.shown) + "---|" * len(extra)]
    for row, mark in _marked(table):
        name = f"*{row.name}*" if row.baseline else row.name
        lines.append(_pipes([f"{name}{mark}", *(_cell(row, c) for c in table.shown), *([row.extra] if extra else [])]))
    lines += ["", *(f"- {note}" for note in _notes(table))]
    if table.published:
        lines += ["", f"Published, different data ({table.published.source}):", ""]
        lines += [_pipes(["", *table.published.headings]), "|---|" + "---:|" * len(table.published.headings)]
        lines += [_pipes([name, *map(_published, values)]) for name, values in table.published.rows.items()]
    lines += ["", "Signatures:", "", *(f"- `{signature}`" for signature in table.signatures())]
    return "\n".join(lines) + "\n"


def to_latex(table: ScoreTable) -> str:
    """For a paper, with booktabs."""
    extra = [table.extra] if table.extra else []
    lines = [f"% {line}" for line in (table.title, table.lead, table.about_intervals, *table.signatures()) if line]
    lines += [
        r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * len(table.shown)}{'l' * len(extra)}}}", r"\toprule",
    ]  # fmt: skip
    lines += [
        _ampersands(["", *(_tex(c.heading) + _tex_arrow(c) for c in table.shown), *map(_tex, extra)]),
        r"\midrule",
    ]
    for position, (row, mark) in enumerate(_marked(table)):
        if row.baseline and position and not table.rows[position - 1].baseline:
            lines.append(r"\midrule")
        cells = [_tex_cell(row, c) for c in table.shown]
        lines.append(_ampersands([_tex(row.name + mark), *cells, *([_tex(row.extra)] if extra else [])]))
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_tex(table.title)} {_tex(table.lead)}}}", r"\end{table}"]
    lines += [f"% {note}" for note in _notes(table)]
    if table.published:
        lines += [f"% Published, different data: {table.published.source}"]
        lines += [f"% {name} & {' & '.join(map(_published, v))}" for name, v in table.published.rows.items()]
    return "\n".join(lines) + "\n"


def to_csv(table: ScoreTable) -> str:
    """For programs: a line per row and metric, nothing rounded."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["row", "kind", "table", "metric", "value", "low", "high", "n", "n_failed", "clusters", "scale", "signature"]
    )
    for row in table.rows:
        for column in table.shown:
            metric = row.cells.get((column.table, column.metric))
            if metric is not None:
                low, high = metric.interval or ("", "")
                kind = "baseline" if row.baseline else "system"
                writer.writerow([row.name, kind, column.table, column.metric, metric.value, low, high, metric.n, metric.n_failed, metric.clusters, metric.scale, metric.signature])  # fmt: skip
    return out.getvalue()


def to_html(table: ScoreTable) -> str:
    """A fragment for a page with the classes of the report; the signature is each number's tooltip."""
    head = "".join(f"<th>{html.escape(c.heading + c.arrow)}</th>" for c in table.shown)
    head += f"<th>{html.escape(table.extra)}</th>" if table.extra else ""
    body = ""
    for row, mark in _marked(table):
        cells = "".join(f"<td>{_html_cell(row, c)}</td>" for c in table.shown)
        cells += f"<td>{html.escape(row.extra)}</td>" if table.extra else ""
        body += (
            f"<tr class='{'baseline' if row.baseline else 'ours'}'><th>{html.escape(row.name + mark)}</th>{cells}</tr>"
        )
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in _notes(table))
    return (
        f"<h2>{html.escape(table.title)}</h2><p class='note'>{html.escape(f'{table.lead} {table.about_intervals}'.strip())}</p>"
        f"<div class='scroll'><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>{notes}"
        + (_html_published(table.published) if table.published else "")
    )


def to_page(tables: list[ScoreTable]) -> str:
    """Tables as a page of their own."""
    style = (
        ".scroll{overflow-x:auto}"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem;color:#1c2430}"
        "table{border-collapse:collapse;width:100%}th,td{padding:6px 10px;text-align:right;border-bottom:1px solid #e3e7ee;white-space:nowrap}"
        "th:first-child{text-align:left;white-space:normal;font-weight:500}tr.ours{font-weight:650;background:#eef4ff}"
        ".interval{display:block;font-size:11px;color:#667085;font-weight:400}.note{color:#667085;font-size:13px;margin:6px 0}"
    )
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(tables[0].title)}</title>"
        f"<style>{style}</style><main>{''.join(map(to_html, tables))}</main></html>\n"
    )


RENDERERS: dict[str, Callable[[ScoreTable], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "csv": to_csv,
    "html": lambda table: to_page([table]),
}
"""By file ending."""


def _marked(table: ScoreTable) -> list[tuple[Row, str]]:
    """Rows with the mark of their note."""
    noted = [row for row in table.rows if row.note]
    return [(row, f" [{noted.index(row) + 1}]" if row.note else "") for row in table.rows]


def _notes(table: ScoreTable) -> list[str]:
    noted = [f"[{number}] {row.note}" for number, row in enumerate((r for r in table.rows if r.note), start=1)]
    return noted + list(table.footnotes)


def _numbers(metric: Metric, column: Column) -> tuple[str, str, str]:
    """Value, interval and what failed; a value that is not defined is a dash."""
    failed = f"{metric.n_failed} failed" if metric.n_failed else ""
    if math.isnan(metric.value):
        return _NO_VALUE, "", failed
    value = f"{metric.value * column.factor:.{column.digits}f}"
    if metric.interval is None:
        return value, "", failed
    low, high = (f"{bound * column.factor:.{column.digits}f}" for bound in metric.interval)
    return value, f"{low}–{high}", failed


def _cell(row: Row, column: Column) -> str:
    metric = row.cells.get((column.table, column.metric))
    if metric is None:
        return _NO_VALUE
    value, interval, failed = _numbers(metric, column)
    return value + (f" ({interval})" if interval else "") + (f", {failed}" if failed else "")


def _tex_cell(row: Row, column: Column) -> str:
    metric = row.cells.get((column.table, column.metric))
    if metric is None:
        return "--"
    value, interval, failed = _numbers(metric, column)
    small = ", ".join(part for part in (interval, failed) if part).replace("–", "--")
    return value.replace(_NO_VALUE, "--") + (rf" {{\scriptsize ({small})}}" if small else "")


def _html_cell(row: Row, column: Column) -> str:
    metric = row.cells.get((column.table, column.metric))
    if metric is None:
        return _NO_VALUE
    value, interval, failed = _numbers(metric, column)
    small = ", ".join(part for part in (interval, failed) if part)
    return f"<span title='{html.escape(metric.signature)}'>{value}</span><span class='interval'>{small}</span>"


def _html_published(published: Published) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in published.headings)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{_published(v)}</td>' for v in values)}</tr>"
        for name, values in published.rows.items()
    )
    return (
        f"<p class='note'>Published, different data ({html.escape(published.source)}):</p>"
        f"<div class='scroll'><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _published(value: float | None) -> str:
    return _NO_VALUE if value is None else f"{value:g}"


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _ampersands(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return text.translate(_TEX_SIGNS)


def _tex_arrow(column: Column) -> str:
    return "" if column.higher is None else r" $\uparrow$" if column.higher else r" $\downarrow$"
