"""ExpertAF's tables: systems against each other on one test set, with intervals and cost, the paper's rows beneath."""

from collections.abc import Sequence
from pathlib import Path

from mm_eval.answers.baselines import CONSTANT, NEAREST, RANDOM, SHUFFLED_WITHIN
from mm_eval.statistics.metric import Metric
from mm_eval.suites.suite import Run
from mm_eval.tables import Column, Row, ScoreTable, cells_of
from mm_eval.tables.published import Published

EXPERTAF = Published.read(Path(__file__).with_name("published.yaml"))

COLUMNS = (
    Column("commentary", "error_named", "names the error, %"),
    Column("commentary", "bleu4", "B@4"),
    Column("commentary", "meteor", "METEOR"),
    Column("commentary", "rouge_l", "ROUGE-L"),
    Column("judge", "gpt_m", "GPT-M, %"),
    Column("judge", "gpt_q", "GPT-Q, %"),
    Column("retrieval", "recall@5", "R@5, %"),
    Column("retrieval", "recall@50", "R@50, %"),
    Column("retrieval", "median_rank", "medR", 1.0, higher=False),
    Column("pose", "pa_mpjpe", "PA-MPJPE, mm", 1.0, higher=False),
)
"""Columns of the table that compares systems. Scores of texts are × 100."""

_BASELINES: dict[str, dict[str, str]] = {
    "shuffled within activity": {
        "commentary": SHUFFLED_WITHIN,
        "retrieval": "shuffled within activity",
        "pose": "shuffled within activity",
    },
    "constant": {
        "commentary": CONSTANT,
        "retrieval": "constant (mean score of each clip)",
        "pose": "mean pose of the activity",
    },
    "random of the activity": {"commentary": RANDOM, "pose": "random expert of the activity"},
    "video nearest neighbour": {name: "video nearest neighbour" for name in ("commentary", "retrieval", "pose")},
    "pose nearest neighbour (pairs are mined with it)": {
        "commentary": NEAREST.format("pose"),
        "retrieval": "pose nearest neighbour (ceiling)",
        "pose": "learner's own pose",
    },
}


def _columns(table: str, headings: dict[str, str], factor: float = 100.0, higher: bool = True) -> tuple[Column, ...]:
    return tuple(Column(table, metric, heading, factor, higher=higher) for metric, heading in headings.items())


_TEXTS = {"bleu4": "B@4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr"}
_WORDS = {"bleu1": "BLEU-1", **_TEXTS, "bleu4": "BLEU-4", "rouge_l_f1": "ROUGE-L F1", "bertscore": "BERTScore"}
_RECALLS = {f"recall@{k}": f"R@{k}, %" for k in (1, 5, 10, 50)}
_RANKS = {"median_rank": "median rank", "mean_rank": "mean rank"}
_ERRORS = {
    "pa_mpjpe": "PA-MPJPE",
    "pa_mpjpe_rigid": "rigid",
    "pa_mpjpe_sequence": "per sequence",
    "mpjpe_root_yaw": "MPJPE root, yaw",
    "pa_mpjpe_decoded_truth": "PA-MPJPE to decoded truth",
}
_DETAILS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "commentary": ("Commentary", (*COLUMNS[:1], *_columns("commentary", _WORDS))),
    "retrieval": (
        "Expert retrieval",
        _columns("retrieval", _RECALLS) + _columns("retrieval", _RANKS, 1.0, higher=False),
    ),
    "pose": (
        "Corrected pose, mm",
        (*_columns("pose", _ERRORS, 1.0, higher=False), Column("pose", "malformed", "malformed, %", higher=False)),
    ),
    "commentary_release": (
        "Commentary by ExpertAF's released scorer (for comparison with its Table 1 alone)",
        _columns("commentary_release", _TEXTS),
    ),
}


def comparison_table(runs: Sequence[Run], footnotes: Sequence[str], published: Sequence[str] | None) -> ScoreTable:
    """Puts runs into a table with baselines and chance, which are those of the first run that has all three functions, or of the first.

    Args:
        runs: Runs in the order of their rows.
        footnotes: Texts below the table.
        published: Names of the paper's rows to print beneath; None for all.

    Returns:
        The table.
    """
    rows = [Row(run.name, cells_of(run.tables, dict.fromkeys(run.tables, run.system)), extra=run.cost) for run in runs]
    owner = next((run for run in runs if {"retrieval", "pose"} <= set(run.tables)), runs[0])
    rows += [Row(name, cells, True) for name, named in _BASELINES.items() if (cells := cells_of(owner.tables, named))]
    rows += [Row("chance", chance, True)] if (chance := _chance(owner)) else []
    cost = "cost" if any(run.cost for run in runs) else ""
    return ScoreTable("ExpertAF", _lead(owner), COLUMNS, tuple(rows), tuple(footnotes), cost, EXPERTAF.only(published))


def detail_tables(run: Run) -> list[ScoreTable]:
    """Puts one run into a table per function, with every baseline."""
    tables, chance = [], _chance(run)
    for name, (title, columns) in _DETAILS.items():
        if name not in run.tables:
            continue
        rows = [Row(row, cells_of(run.tables, {name: row}), row != "ours") for row in run.tables[name]]
        of_chance = {key: metric for key, metric in chance.items() if key[0] == name}
        rows += [Row("chance", of_chance, True)] if of_chance else []
        tables.append(ScoreTable(title, _lead(run), columns, tuple(rows)))
    return tables


def _lead(run: Run) -> str:
    """Says what was scored, among how many candidates, and whether it is made up."""
    synthetic = "Synthetic data. " if any(item.synthetic for item in run.items) else ""
    gallery = f" {run.result['gallery_size']:.0f} expert clips are ranked." if "gallery_size" in run.result else ""
    takes = len({item.clip_id.partition(":")[0] for item in run.items})
    return f"{synthetic}{len(run.items)} test items of {takes} takes by {len(set(run.clusters))} people.{gallery}"


def _chance(run: Run) -> dict[tuple[str, str], Metric]:
    """Returns what guessing gives on average."""
    values = run.result["chance"]
    return {("retrieval", name): Metric(value, None, len(run.items), 0, "", "chance") for name, value in values.items()}
