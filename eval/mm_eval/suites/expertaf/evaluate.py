"""The three functions scored together, with the rows that keep the numbers honest: chance, constant, shuffled, nearest neighbours."""

from typing import Any

import numpy as np

from mm_eval.answers.baselines import SHUFFLED, with_baselines
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.retrieval import chance_recall
from mm_eval.metrics.text import BertModel
from mm_eval.suites.expertaf.commentary import commentary_table, release_table
from mm_eval.suites.expertaf.demonstration import pose_table, retrieval_table
from mm_eval.suites.expertaf.inputs import Inputs, Table

_SUMMARISED = ("error_named", "bleu4", "meteor", "rouge_l", "cider")


def evaluate(inputs: Inputs, bert: BertModel | None = None, seed: int = 0) -> tuple[dict[str, Any], list[TestItem]]:
    """Scores a system and the rows that need none.

    A system that ranks nothing or generates no poses has no such table.

    Args:
        inputs: Test tuples with the system's answers.
        bert: Weights of BERTScore.
        seed: Seed of shuffling and drawing.

    Returns:
        All tables and the flat summary, JSON-ready; and the test items with every system's commentary.
    """
    rng = np.random.default_rng(seed)
    items = with_baselines(inputs.test_items(), inputs.training_items(), seed)
    commentary, notes = commentary_table(inputs, items, bert)
    release, release_notes = release_table(inputs, items)
    tables = {"commentary": commentary, "commentary_release": release}
    summary, chance = _of_commentary(commentary), {}
    if inputs.ranked:
        tables["retrieval"], gallery = retrieval_table(inputs, rng)
        chance = {
            name: chance_recall(gallery, int(name.removeprefix("recall@")))
            for name in tables["retrieval"]["ours"]
            if name.startswith("recall@")
        }
        summary |= _of_retrieval(tables["retrieval"], gallery, chance)
    if inputs.generated is not None:
        tables["pose"] = pose_table(inputs, rng)
        summary |= _of_poses(tables["pose"])
    return {
        "summary": {name: None if value is None or np.isnan(value) else value for name, value in summary.items()},
        "tables": {
            name: {
                row: {metric: value.to_json() for metric, value in metrics.items()} for row, metrics in table.items()
            }
            for name, table in tables.items()
        },
        "chance": chance,
        "notes": notes + release_notes,
        "items": len(inputs.tuples),
        "takes": len({t.learner.take_uid for t in inputs.tuples}),
        "different_remarks": len({prediction["commentary"] for prediction in inputs.predictions}),
        "participants": sorted({t.learner.participant for t in inputs.tuples}),
    }, items


def _value(table: Table, row: str, metric: str) -> float | None:
    return table[row][metric].value if row in table and metric in table[row] else None


def _of_commentary(table: Table) -> dict[str, float | None]:
    rows = (("", table["ours"]), ("_shuffled", table[SHUFFLED]))
    return {
        f"commentary/{name}{ending}": row[name].value for ending, row in rows for name in _SUMMARISED if name in row
    }


def _of_retrieval(table: Table, gallery: np.ndarray, chance: dict[str, float]) -> dict[str, float | None]:
    video, pose = "video nearest neighbour", "pose nearest neighbour (ceiling)"
    return {
        "retrieval/recall@5_within_activity": _value(table, "ours", "recall@5"),
        "retrieval/chance@5_within_activity": chance["recall@5"],
        "retrieval/recall@5_video_nn": _value(table, video, "recall@5"),
        "retrieval/recall@5_pose_nn_ceiling": _value(table, pose, "recall@5"),
        "retrieval/median_rank": _value(table, "ours", "median_rank"),
        "retrieval/median_rank_video_nn": _value(table, video, "median_rank"),
        "retrieval/median_rank_chance": float(np.median((gallery + 1) / 2)),
        "retrieval/gallery_size": float(np.median(gallery)),
    }


def _of_poses(table: Table) -> dict[str, float | None]:
    rows = {
        "pose/pa_mpjpe_mm": "ours",
        "pose/pa_mpjpe_random_expert_mm": "random expert of the activity",
        "pose/pa_mpjpe_mean_pose_mm": "mean pose of the activity",
        "pose/pa_mpjpe_learner_mm": "learner's own pose",
        "pose/pa_mpjpe_tokenizer_floor_mm": "tokenizer round trip (floor)",
    }
    errors = {name: _value(table, row, "pa_mpjpe") for name, row in rows.items()}
    return errors | {"pose/well_formed": 1 - table["ours"]["malformed"].value}
