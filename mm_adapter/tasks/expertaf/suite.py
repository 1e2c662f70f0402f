"""ExpertAF's three functions scored together, with the rows that keep the numbers honest: chance, constant, shuffled, nearest neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_adapter.tasks.expertaf.commentary import commentary_table, release_table
from mm_adapter.tasks.expertaf.demonstration import pose_table, retrieval_table
from mm_adapter.tasks.expertaf.inputs import Inputs, Table
from mm_adapter.tasks.expertaf.tables import COLUMNS, comparison_table, detail_tables
from mm_eval.answers.baselines import SHUFFLED, with_baselines
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.retrieval import chance_recall
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.metric import Metric
from mm_eval.suites.suite import AnsweredRun, Run
from mm_eval.tables import Column, ScoreTable
from mm_eval.tables.tiles import Tile, strongest

RECALL = "recall@5"
_NAMING = (
    "“names the error” counts a text only if it names at least one error and every error it names was really injected. Pairs of learner "
    "and expert are mined by pose similarity, so pose-nearest-neighbour retrieval is a ceiling rather than a baseline. Poses are compared "
    "with the raw expert joints, not with decoded ones."
)


def evaluate(inputs: Inputs, bert: BertModel | None = None, seed: int = 0) -> tuple[dict[str, Any], list[TestItem]]:
    """Scores a system and the rows that need none.

    A system that ranks nothing or generates no poses has no such table.

    Args:
        inputs: The run.
        bert: Weights of BERTScore.
        seed: Seed of shuffling and drawing.

    Returns:
        All tables, JSON-ready; and the test items with every system's commentary.
    """
    rng = np.random.default_rng(seed)
    items = with_baselines(inputs.items, inputs.training, seed)
    commentary, notes = commentary_table(inputs, items, bert)
    release, release_notes = release_table(inputs, items)
    tables: dict[str, Table] = {"commentary": commentary, "commentary_release": release}
    result: dict[str, Any] = {"chance": {}}
    if inputs.ranked:
        tables["retrieval"], sizes = retrieval_table(inputs, rng)
        recalls = [name for name in tables["retrieval"]["ours"] if name.startswith("recall@")]
        chance = {name: chance_recall(sizes, int(name.removeprefix("recall@"))) for name in recalls}
        result["chance"] = chance | {"median_rank": float(np.median((sizes + 1) / 2))}
        result["gallery_size"] = float(np.median(sizes))
    if inputs.generated is not None and inputs.posed:
        tables["pose"] = pose_table(inputs, rng)
    records = {
        name: {row: {metric: value.to_json() for metric, value in metrics.items()} for row, metrics in table.items()}
        for name, table in tables.items()
    }
    different = len({item.answers["ours"].text for item in inputs.items})
    return result | {"tables": records, "notes": notes + release_notes, "different_remarks": different}, items


@dataclass(frozen=True)
class CoachingSuite:
    """Commentary, retrieval and corrected poses (`mm_eval.suites.suite.Suite`)."""

    columns: tuple[Column, ...] = COLUMNS

    def score(self, run: AnsweredRun, bert: BertModel | None) -> tuple[list[TestItem], dict[str, Any]]:
        """Scores the three functions, as far as the run has answers to them."""
        result, items = evaluate(Inputs(run.items, run.training, run.clips), bert)
        inputs = [f"Inputs beside the clip: {'; '.join(run.about.inputs)}."] if run.about.inputs else []
        named = [_NAMING] if "error_named" in result["tables"]["commentary"]["ours"] else []
        return items, result | {"notes": [*result["notes"], *named, *inputs, *run.about.notes]}

    def table(self, runs: Sequence[Run], footnotes: Sequence[str], published: Sequence[str] | None) -> ScoreTable:
        """Puts runs against each other."""
        return comparison_table(runs, footnotes, published)

    def details(self, run: Run) -> list[ScoreTable]:
        """Puts one run into a table per function."""
        return detail_tables(run)

    def tiles(self, run: Run) -> list[Tile]:
        """Says how often the error is named, how often the expert is found, and how far the corrected pose is off."""
        tiles, tables = [], run.tables
        if "error_named" in tables["commentary"]["ours"]:
            rows = tables["commentary"]
            shuffled = f"our own texts shuffled {rows[SHUFFLED]['error_named'].value:.0%}"
            beside = f"of clips. Without a model: {_rivals(rows, 'error_named', '{:.0%}')}; {shuffled}"
            tiles.append(Tile("Names the learner's error", f"{rows['ours']['error_named'].value:.0%}", beside))
        if "retrieval" in tables:
            rows = tables["retrieval"]
            beside = (
                f"among {run.result['gallery_size']:.0f} clips. Without a model: {_rivals(rows, RECALL, '{:.0%}')}, "
            )
            beside += f"chance {run.result['chance'][RECALL]:.0%}"
            beside += _bound(
                rows, "pose nearest neighbour (ceiling)", RECALL, "; ceiling (pairs are mined by pose) {:.0%}"
            )
            tiles.append(Tile("Finds the expert clip in five tries", f"{rows['ours'][RECALL].value:.0%}", beside))
        if "pose" in tables:
            rows = tables["pose"]
            error = rows["ours"]["pa_mpjpe"]
            beside = f"Without a model: {_rivals(rows, 'pa_mpjpe', '{:.0f}', higher=False)}"
            beside += _bound(rows, "tokenizer round trip (floor)", "pa_mpjpe", "; tokenizer's floor {:.0f} mm")
            tiles.append(Tile("Corrected pose is off by", f"{error.value:.0f} mm" if error.n else "no pose", beside))
        return tiles


def _rivals(rows: Mapping[str, Mapping[str, Metric]], metric: str, form: str, higher: bool = True) -> str:
    """Lists the two strongest rows that need no model."""
    return ", ".join(f"{name} {form.format(value)}" for name, value in strongest(rows, metric, higher)[:2])


def _bound(rows: Mapping[str, Mapping[str, Metric]], row: str, metric: str, form: str) -> str:
    """Says what bounds a metric, where the run has the bound."""
    return form.format(rows[row][metric].value) if row in rows and rows[row][metric].n else ""
