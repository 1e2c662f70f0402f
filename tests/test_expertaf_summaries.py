"""ExpertAF's summary, printed tables and examples of the same six tuples take each number from its row."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mm_adapter.tasks.expertaf.scoring.commentary as commentary
import numpy as np
import pytest
from mm_adapter.tasks.expertaf.scoring import Inputs, collect_examples, evaluate
from six_tuples import (
    HEIGHTS,
    NAMED_ROWS,
    RANKS,
    ROWS,
    alike,
    clip,
    rows_of_poses,
    similar,
    six_tuples,
)

from mm_adapter.tasks.expertaf.tables import COLUMNS, System, comparison_table, detail_tables
from mm_eval.answers.baselines import SHUFFLED
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.tables import Column


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return six_tuples(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco_scores", "modern_scores", "release_scores"):
        monkeypatch.setattr(commentary, name, alike)


# --- all of it -------------------------------------------------------------------------------------------------------


def test_the_summary_and_chance(inputs: Inputs, quick: None) -> None:
    result, items = evaluate(inputs)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [i.answers["ours"].text for i in items] == [row[5] for row in ROWS] and SHUFFLED in items[0].answers
    assert set(result["tables"]) == {"commentary", "commentary_release", "retrieval", "pose"}
    assert result["chance"] == pytest.approx({"recall@1": 11 / 36, "recall@5": 17 / 18, "recall@10": 1})
    assert (result["items"], result["takes"]) == (6, 5), "and four people"
    assert result["participants"] == [f"person {take}" for take in ("b1", "b2", "c1", "s1")]
    assert result["notes"] == [
        "the same note", "empty commentary (floor): not computed", "ExpertAF's release recipe: the same note"
    ]  # fmt: skip
    shuffled = records_of(result)["commentary"][SHUFFLED]
    poses = rows_of_poses()
    random = records_of(result)["pose"]["random expert of the activity"]["pa_mpjpe"].value
    assert result["summary"] == pytest.approx({
        "commentary/error_named": 2 / 6, "commentary/bleu4": 0, "commentary/meteor": 0,
        "commentary/error_named_shuffled": shuffled["error_named"].value, "commentary/bleu4_shuffled": 0,
        "commentary/meteor_shuffled": 0,
        "retrieval/recall@5_within_activity": 5 / 6, "retrieval/chance@5_within_activity": 17 / 18,
        "retrieval/recall@5_video_nn": 5 / 6, "retrieval/recall@5_pose_nn_ceiling": 5 / 6,
        "retrieval/median_rank": 1.5, "retrieval/median_rank_video_nn": 2, "retrieval/median_rank_chance": 2.5,
        "retrieval/gallery_size": 4,
        "pose/pa_mpjpe_mm": np.nanmean(poses["ours"]), "pose/pa_mpjpe_random_expert_mm": random,
        "pose/pa_mpjpe_mean_pose_mm": np.mean(poses["mean pose of the activity"]),
        "pose/pa_mpjpe_learner_mm": np.mean(poses["learner's own pose"]),
        "pose/pa_mpjpe_tokenizer_floor_mm": np.mean(poses["tokenizer round trip (floor)"]), "pose/well_formed": 5 / 6,
    })  # fmt: skip
    assert evaluate(inputs)[0] == result, "the same seed, the same numbers"


def test_what_a_system_does_not_do_has_no_table(inputs: Inputs, quick: None) -> None:
    silent = [{"commentary": p["commentary"]} for p in inputs.predictions]
    result, _ = evaluate(replace(inputs, predictions=silent, generated=None, reconstructed=None))
    assert set(result["tables"]) == {"commentary", "commentary_release"} and result["chance"] == {}
    assert all(name.startswith("commentary/") for name in result["summary"])
    nothing, _ = evaluate(replace(inputs, generated=[None] * 6, reconstructed=None, video=None))
    assert nothing["summary"]["pose/pa_mpjpe_mm"] is None and nothing["summary"]["pose/well_formed"] == 0
    assert nothing["summary"]["pose/pa_mpjpe_tokenizer_floor_mm"] is None, "there is no tokenizer"
    assert nothing["summary"]["retrieval/recall@5_video_nn"] is None
    one = [dict(p) for p in inputs.predictions]
    del one[3]["scores"]
    assert not replace(inputs, predictions=one).ranked and inputs.ranked


def result_of(inputs: Inputs) -> dict[str, Any]:
    return evaluate(inputs)[0] | {"synthetic_data": True, "gallery": "within activity"}


def test_the_table_of_systems_takes_each_cell_from_its_row(inputs: Inputs, quick: None) -> None:
    result = result_of(inputs)
    judged = {"gpt_m": Metric(0.25, None, 6, 0, "0-1", "judge")}
    table = comparison_table([System("texts", None, note="not run"), System("all", result, "3 min", judged=judged)])
    assert table.lead == "Synthetic data. 6 test tuples of 5 takes by 4 people. Gallery: within activity, 4 clips."
    assert table.title == "ExpertAF" and table.extra == "cost"
    assert [(row.name, row.baseline) for row in table.rows] == [
        ("texts", False), ("all", False), ("shuffled within activity", True), ("constant", True), ("random of the activity", True),
        ("video nearest neighbour", True), ("pose nearest neighbour (pairs are mined with it)", True), ("chance", True),
    ]  # fmt: skip
    rows = {row.name: row for row in table.rows}
    assert not rows["texts"].cells and rows["texts"].note == "not run" and rows["all"].extra == "3 min"
    assert rows["all"].cells["judge", "gpt_m"].value == 0.25
    poses = rows_of_poses()
    expected = {
        "all": (2 / 6, RANKS["ours"], poses["ours"]),
        "shuffled within activity": (1 / 6, RANKS["shuffled within activity"], poses["shuffled within activity"]),
        "constant": (3 / 6, RANKS["constant (mean score of each clip)"], poses["mean pose of the activity"]),
        "video nearest neighbour": (4 / 6, RANKS["video nearest neighbour"], poses["video nearest neighbour"]),
        "pose nearest neighbour (pairs are mined with it)": (
            1 / 6, RANKS["pose nearest neighbour (ceiling)"], poses["learner's own pose"],
        ),
    }  # fmt: skip
    for name, (errors, ranks, values) in expected.items():
        cells = rows[name].cells
        assert cells["commentary", "error_named"].value == pytest.approx(errors), name
        assert cells["retrieval", "median_rank"].value == np.median(ranks), name
        assert cells["pose", "pa_mpjpe"].value == pytest.approx(np.nanmean(values)), name
    assert {table for table, _ in rows["random of the activity"].cells} == {"commentary", "pose"}
    chance = {metric: cell.value for (_, metric), cell in rows["chance"].cells.items()}
    assert chance == pytest.approx({"recall@1": 11 / 36, "recall@5": 17 / 18, "recall@10": 1, "median_rank": 2.5})
    assert {(c.signature, c.n, c.n_failed, c.interval) for c in rows["chance"].cells.values()} == {
        ("chance", 6, 0, None)
    }


def test_baselines_come_from_the_first_run_with_all_functions(inputs: Inputs, quick: None) -> None:
    result = result_of(inputs)
    silent = [{"commentary": p["commentary"]} for p in inputs.predictions]
    texts = result_of(replace(inputs, predictions=silent, generated=None, reconstructed=None, truth=None))
    table = comparison_table(
        [System("texts", texts | {"synthetic_data": False}), System("all", result)], ["ExpertAF"], ["foot"]
    )
    assert "retrieval" in {name for name, _ in table.rows[2].cells} and table.rows[-1].name == "chance"
    assert table.lead.startswith("Synthetic data. 6") and table.footnotes == ("foot",) and table.extra == ""
    assert table.published is not None and list(table.published.rows) == ["ExpertAF"]
    alone = comparison_table([System("texts", texts | {"synthetic_data": False})])
    assert alone.lead == "6 test tuples of 5 takes by 4 people." and alone.rows[-1].name != "chance"
    assert alone.published is not None and len(alone.published.rows) == 13
    nothing = comparison_table([System("later", None)])
    assert nothing.lead == "No row has been run." and len(nothing.rows) == 1


def test_detail_tables_have_every_row(inputs: Inputs, quick: None) -> None:
    commented, retrieval, pose, release = detail_tables(result_of(inputs))
    assert [t.title.split(" by ")[0] for t in (commented, retrieval, pose, release)] == [
        "Commentary", "Expert retrieval", "Corrected pose, mm", "Commentary"
    ]  # fmt: skip
    assert [row.name for row in commented.rows] == NAMED_ROWS and commented.rows[0].cells["commentary", "error_named"].value == 2 / 6  # fmt: skip
    assert [row.name for row in release.rows] == [*NAMED_ROWS[:-1], commentary.FLOOR]
    assert [row.name for row in retrieval.rows] == [*RANKS, "chance"]
    for row in retrieval.rows[:-1]:
        assert row.cells["retrieval", "mean_rank"].value == pytest.approx(np.mean(RANKS[row.name]))
        assert row.baseline == (row.name != "ours")
    assert pose.rows[-1].name != "chance", "guessing poses has no value"
    assert retrieval.rows[-1].baseline and not commented.rows[0].baseline and commented.rows[1].baseline
    silent = [{"commentary": p["commentary"]} for p in inputs.predictions]
    texts = result_of(replace(inputs, predictions=silent, generated=None, reconstructed=None))
    assert [table.columns[-1].metric for table in detail_tables(texts)] == ["bertscore", "cider"]


NAMED_COLUMN, PERCENT = ("error_named", "names the error, %", 100, 1, True), (100, 1, True)
COLUMNS_OF = {
    "commentary": [
        NAMED_COLUMN, ("bleu1", "BLEU-1", *PERCENT), ("bleu4", "BLEU-4", *PERCENT), ("meteor", "METEOR", *PERCENT), ("rouge_l", "ROUGE-L", *PERCENT),
        ("cider", "CIDEr", *PERCENT), ("rouge_l_f1", "ROUGE-L F1", *PERCENT), ("bertscore", "BERTScore", *PERCENT),
    ],
    "retrieval": [
        ("recall@1", "R@1, %", *PERCENT), ("recall@5", "R@5, %", *PERCENT), ("recall@10", "R@10, %", *PERCENT), ("recall@50", "R@50, %", *PERCENT),
        ("median_rank", "median rank", 1, 1, False), ("mean_rank", "mean rank", 1, 1, False),
    ],
    "pose": [
        ("pa_mpjpe", "PA-MPJPE", 1, 1, False), ("pa_mpjpe_rigid", "rigid", 1, 1, False), ("pa_mpjpe_sequence", "per sequence", 1, 1, False),
        ("mpjpe_root_yaw", "MPJPE root, yaw", 1, 1, False), ("pa_mpjpe_decoded_truth", "PA-MPJPE to decoded truth", 1, 1, False),
        ("malformed", "malformed, %", 100, 1, False),
    ],
    "commentary_release": [
        ("bleu4", "B@4", *PERCENT), ("meteor", "METEOR", *PERCENT), ("rouge_l", "ROUGE-L", *PERCENT), ("cider", "CIDEr", *PERCENT),
    ],
}  # fmt: skip
SYSTEM_COLUMNS = [
    NAMED_COLUMN, ("bleu4", "B@4", *PERCENT), ("meteor", "METEOR", *PERCENT), ("rouge_l", "ROUGE-L", *PERCENT), ("gpt_m", "GPT-M, %", *PERCENT),
    ("gpt_q", "GPT-Q, %", *PERCENT), ("recall@5", "R@5, %", *PERCENT), ("recall@50", "R@50, %", *PERCENT), ("median_rank", "medR", 1, 1, False),
    ("pa_mpjpe", "PA-MPJPE, mm", 1, 1, False),
]  # fmt: skip


def test_columns_have_their_units(inputs: Inputs, quick: None) -> None:
    def printed(columns: Sequence[Column]) -> list[tuple[str, str, float, int, bool | None]]:
        return [(c.metric, c.heading, c.factor, c.digits, c.higher) for c in columns]

    for name, table in zip(COLUMNS_OF, detail_tables(result_of(inputs)), strict=True):
        assert {column.table for column in table.columns} == {name} and printed(table.columns) == COLUMNS_OF[name]
    assert printed(COLUMNS) == SYSTEM_COLUMNS


def test_examples_are_evenly_spaced_takes_with_their_numbers(inputs: Inputs) -> None:
    clips = {f"{name}:0-60": clip(name) for name in HEIGHTS}
    shown = collect_examples(inputs, clips, Path("v"))
    assert [e["tuple_id"] for e in shown] == ["test 0", "test 2", "test 3", "test 4", "test 5"], "one per take"
    assert [e["rank"] for e in shown] == [1, 2, 1.5, 6, 1] and [e["gallery_size"] for e in shown] == [4, 2, 2, 6, 6]
    assert [e["retrieved_is_positive"] for e in shown] == [True, False, False, False, True]
    assert [e["retrieved"]["clip_id"][:2] for e in shown] == ["x0", "y1", "y0", "z5", "z5"]
    assert shown[0]["pa_mpjpe_mm"] == pytest.approx(similar(1, 2) / 2) and shown[1]["pa_mpjpe_mm"] is None
    assert [e["learner_pa_mpjpe_mm"] for e in shown] == pytest.approx([rows_of_poses()["learner's own pose"][i] for i in (0, 2, 3, 4, 5)])  # fmt: skip
    assert (shown[1]["injected"], shown[1]["named"]) == (
        ["elbow_flare", "straight_knees"],
        ["elbow_flare", "straight_knees"],
    )
    assert (shown[2]["injected"], shown[2]["named"]) == (["elbow_flare"], ["elbow_flare", "narrow_base"])
    assert shown[0]["learner"] == {
        "clip_id": "s1:0-60", "skill": "Novice", "seconds": [0, 2], "ego": "v/s1_ego.mp4", "exo": "v/s1_exo.mp4"
    }  # fmt: skip
    assert shown[2]["learner"]["seconds"] == [0.5, 2.5] and shown[2]["expert"]["seconds"] == [0, 2]
    assert shown[0]["expert"]["clip_id"] == "x0:0-60" and np.array(shown[0]["poses"]["generated"]).shape == (2, 17, 3)
    assert (shown[0]["expert_remark"], shown[0]["our_remark"]) == (ROWS[0][4], ROWS[0][5])
    three = collect_examples(inputs, clips, Path("v"), count=3)
    assert [e["tuple_id"] for e in three] == ["test 0", "test 3", "test 5"]
    four = replace(inputs, tuples=inputs.tuples[:5], predictions=inputs.predictions[:5])
    assert [e["tuple_id"] for e in collect_examples(four, clips, Path("v"), count=2)] == ["test 0", "test 4"]
    gap = collect_examples(replace(inputs, generated=[None] * 6, truth=None), clips, Path("v"))
    assert gap[0]["pa_mpjpe_mm"] is None and gap[0]["poses"]["generated"] is None and "injected" not in gap[0]
    assert collect_examples(replace(inputs, generated=None), clips, Path("v")) == []
    silent = [{"commentary": p["commentary"]} for p in inputs.predictions]
    assert collect_examples(replace(inputs, predictions=silent), clips, Path("v")) == []
