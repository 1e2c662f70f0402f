"""ExpertAF's Table 1: systems against each other on one test set, with intervals and cost, the paper's rows beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mm_eval.published import EXPERTAF_TABLE_1

COLUMNS = (
    ("commentary", "error_named", "names the error, %", 100.0),
    ("commentary", "bleu4", "B@4", 100.0),
    ("commentary", "meteor", "METEOR", 100.0),
    ("commentary", "rouge_l", "ROUGE-L", 100.0),
    ("retrieval", "recall@5", "R@5, %", 100.0),
    ("retrieval", "median_rank", "medR ↓", 1.0),
    ("pose", "pa_mpjpe", "PA-MPJPE, mm ↓", 1.0),
)
"""(table, metric, heading, factor)."""


@dataclass(frozen=True)
class TableRow:
    """One system.

    Attributes:
        name: Of the row.
        result: What `expertaf.evaluate` gave, or None where it could not be run.
        cost: Training and evaluation minutes, trained parameters.
        note: Below the table; for a row without a result, why.
    """

    name: str
    result: dict[str, Any] | None
    cost: str
    note: str = ""


def expertaf_table(rows: Sequence[TableRow], published: Sequence[str]) -> str:
    """The table as Markdown.

    Args:
        rows: Ours, in order.
        published: Names of the paper's rows to print beneath.
    """
    done = [row for row in rows if row.result is not None]
    columns = [c for c in COLUMNS if any(_metric(row, c) is not None for row in done)]
    lines = []
    if done:
        first = done[0].result
        assert first is not None
        lines.append(
            f"{'**Synthetic data.** ' if first['synthetic_data'] else ''}{first['items']} test tuples of {first['takes']} takes; gallery: {first['gallery']}, "
            f"{first['summary']['retrieval/gallery_size']:.0f} clips (R@5 by chance {first['chance']['recall@5']:.0%}). "
            "In brackets: 95 % intervals by take. Scores are × 100."
        )
    lines += ["", f"| | {' | '.join(c[2] for c in columns)} | cost |", f"|---|{'---:|' * len(columns)}---|"]
    notes: list[str] = []
    for row in rows:
        mark = ""
        if row.note:
            notes.append(row.note)
            mark = f" [{len(notes)}]"
        cells = " | ".join(_cell(_metric(row, c), c[3]) for c in columns)
        lines.append(f"| {row.name}{mark} | {cells} | {row.cost} |")
    lines += _controls(done, columns)
    lines += ["", *(f"[{number}] {note}" for number, note in enumerate(notes, start=1))]
    lines += ["", "Published, different data (ExpertAF, CVPR 2025, Table 1; gallery and test set are not ours):", ""]
    lines += ["| | B@4 | METEOR | ROUGE-L | R@50, % | medR ↓ | PA-MPJPE, mm ↓ |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name in published:
        lines.append(f"| {name} | {' | '.join('–' if v is None else f'{v:g}' for v in EXPERTAF_TABLE_1[name])} |")
    return "\n".join(lines) + "\n"


def _controls(done: Sequence[TableRow], columns: Sequence[tuple[str, str, str, float]]) -> list[str]:
    """Constant, shuffled and chance rows of the system that has all three functions, or of the first."""
    if not done:
        return []
    owner = next((row for row in done if row.name == "ExpertAF"), done[0])
    assert owner.result is not None
    tables = owner.result["tables"]
    named = {
        f"{owner.name}, shuffled within activity": dict.fromkeys(tables, "shuffled within activity"),
        "constant": {
            "commentary": "constant per activity",
            "retrieval": "constant (mean score of each clip)",
            "pose": "mean pose of the activity",
        },
        "pose nearest neighbour (pairs are mined with it)": {
            "commentary": "pose nearest neighbour",
            "retrieval": "pose nearest neighbour (ceiling)",
            "pose": "learner's own pose",
        },
    }
    lines = []
    for name, rows in named.items():
        cells = [_cell(tables[t].get(rows[t], {}).get(metric), factor) for t, metric, _, factor in columns]
        lines.append(f"| *{name}* | {' | '.join(cells)} | |")
    return lines


def _metric(row: TableRow, column: tuple[str, str, str, float]) -> dict[str, Any] | None:
    return None if row.result is None else row.result["tables"][column[0]]["ours"].get(column[1])


def _cell(metric: dict[str, Any] | None, factor: float) -> str:
    if metric is None or metric["value"] != metric["value"]:
        return "–"
    text = f"{metric['value'] * factor:.1f}"
    if metric["interval"] is not None:
        text += f" ({metric['interval'][0] * factor:.1f}–{metric['interval'][1] * factor:.1f})"
    if metric["n_failed"]:
        text += f", {metric['n_failed']} failed"
    return text
