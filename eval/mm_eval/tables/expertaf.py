"""ExpertAF's tables: systems against each other on one test set, with intervals and cost, the paper's rows beneath."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mm_eval.answers.baselines import CONSTANT, NEAREST, RANDOM, SHUFFLED_WITHIN
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.tables import Column, Row, ScoreTable, cells_of
from mm_eval.tables.published import EXPERTAF

Tables = Mapping[str, Mapping[str, Mapping[str, Metric]]]

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


@dataclass(frozen=True)
class System:
    """One system of a table.

    Attributes:
        name: Name of its row.
        result: Result of `mm_eval.suites.expertaf.evaluate`, or None where it could not be run.
        cost: Training and evaluation minutes, trained parameters.
        note: Text below the table; for a row without a result, the reason.
        judged: Metrics of a judge.
    """

    name: str
    result: dict[str, Any] | None
    cost: str = ""
    note: str = ""
    judged: Mapping[str, Metric] | None = None


def comparison_table(
    systems: Sequence[System], published: Sequence[str] | None = None, footnotes: Sequence[str] = ()
) -> ScoreTable:
    """Puts systems into a table with baselines and chance, which are those of the first system that has all three functions, or of the first.

    Args:
        systems: Systems in the order of their rows.
        published: Names of the paper's rows to print beneath; None for all.
        footnotes: Texts below the table.

    Returns:
        The table.
    """
    rows, done = [], []
    for system in systems:
        cells: dict[tuple[str, str], Metric] = {}
        if system.result is not None:
            records = records_of(system.result)
            done.append((system, records))
            cells = cells_of(records, dict.fromkeys(records, "ours"))
        cells |= {("judge", name): metric for name, metric in (system.judged or {}).items()}
        rows.append(Row(system.name, cells, extra=system.cost, note=system.note))
    lead, chance, footnotes = "No row has been run.", {}, [*footnotes, *_shared(systems)]
    if done:
        owner, records = next(((s, r) for s, r in done if {"retrieval", "pose"} <= set(r)), done[0])
        first = owner.result or {}
        chance = _chance(first)
        rows += [Row(name, cells, True) for name, named in _BASELINES.items() if (cells := cells_of(records, named))]
        rows += [Row("chance", chance, True)] if chance else []
        lead = _lead(first)
    chosen = EXPERTAF
    if published is not None:
        chosen = replace(EXPERTAF, rows={name: EXPERTAF.rows[name] for name in published})
    cost = "cost" if any(system.cost for system in systems) else ""
    return ScoreTable("ExpertAF", lead, COLUMNS, tuple(rows), tuple(footnotes), cost, chosen)


def detail_tables(result: dict[str, Any]) -> list[ScoreTable]:
    """Puts one system into a table per function, with every baseline."""
    records, chance = records_of(result), _chance(result)
    tables = []
    for name, (title, columns) in _DETAILS.items():
        if name not in records:
            continue
        rows = [Row(row, cells_of(records, {name: row}), row != "ours") for row in records[name]]
        of_chance = {key: metric for key, metric in chance.items() if key[0] == name}
        rows += [Row("chance", of_chance, True)] if of_chance else []
        tables.append(ScoreTable(title, _lead(result, alone=True), columns, tuple(rows)))
    return tables


def _lead(result: dict[str, Any], alone: bool = False) -> str:
    synthetic = "Synthetic data. " if result["synthetic_data"] else ""
    gallery = ""
    if "retrieval/gallery_size" in result["summary"]:
        gallery = f" Gallery: {result['gallery']}, {result['summary']['retrieval/gallery_size']:.0f} clips."
    shared = f" {result['also_in_training']['sentence']}" if alone and "also_in_training" in result else ""
    scored = f"{result['items']} test tuples of {result['takes']} takes by {len(result['participants'])} people"
    return f"{synthetic}{scored}.{gallery}{shared}"


def _shared(systems: Sequence[System]) -> list[str]:
    """Says what the systems' training shares with the test set, each sentence once."""
    named: dict[str, list[str]] = {}
    for system in systems:
        if system.result is not None and "also_in_training" in system.result:
            named.setdefault(system.result["also_in_training"]["sentence"], []).append(system.name)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in named.items()]


def _chance(result: dict[str, Any]) -> dict[tuple[str, str], Metric]:
    values = {("retrieval", name): value for name, value in result["chance"].items()}
    if "retrieval/median_rank_chance" in result["summary"]:
        values["retrieval", "median_rank"] = result["summary"]["retrieval/median_rank_chance"]
    return {key: Metric(value, None, result["items"], 0, "", "chance") for key, value in values.items()}
