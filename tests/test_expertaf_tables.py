"""ExpertAF's tables from six tuples made by hand: every row and column has the value that pencil and paper give."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from six_tuples import BASKETBALL, CLIMBING, HEIGHTS, NAN, ROWS, SOCCER, TRAINING, clip, rigid, similar, six_tuples

import mm_eval.expertaf.commentary as commentary
from mm_eval.answers import ClipFile
from mm_eval.baselines import CONSTANT, RANDOM, SHUFFLED, SHUFFLED_WITHIN, with_baselines
from mm_eval.expertaf import Inputs, collect_examples, evaluate
from mm_eval.expertaf.demonstration import pose_table, retrieval_table
from mm_eval.expertaf.table import System, comparison_table, detail_tables, records_of
from mm_eval.metric import Metric, item_metric
from mm_eval.pose import POSE_ERRORS
from mm_eval.text.suite import Suite


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return six_tuples(tmp_path)


def items_of(metric: Metric) -> list[float]:
    assert metric.per_item is not None
    return list(metric.per_item)


# --- nearest neighbours and items ------------------------------------------------------------------------------------


def test_the_nearest_training_tuple_is_the_nearest(inputs: Inputs) -> None:
    assert inputs.video is not None
    nearest = inputs.nearest_training(inputs.video)
    assert [t.tuple_id for t in nearest] == ["train 0", "train 1", "train 3", "train 3", "train 0", "train 0"]
    assert inputs.clusters == ["s1", "s1", "b1", "b2", "c1", "c2"]
    assert inputs.activities == [SOCCER, SOCCER, BASKETBALL, BASKETBALL, CLIMBING, CLIMBING]


def test_items_carry_truth_answer_clips_and_neighbours(inputs: Inputs) -> None:
    items = inputs.test_items()
    # Every learner is of height 1, and the nearest training learner of height 1.2: what a joint that is not there holds does not count.
    assert [item.nearest for item in items] == [{"pose": "train 1", "video": f"train {i}"} for i in (0, 1, 3, 3, 0, 0)]
    assert [item.item_id for item in items] == [f"test {i}" for i in range(6)]
    assert [(i.cluster, i.category, i.truth.text, i.answers["ours"].text) for i in items] == [
        (take, activity, remark, ours) for take, _, activity, _, remark, ours in ROWS
    ]
    assert items[1].clips == {
        "exo": ClipFile("videos/s1_exo.mp4", 100 / 30, 160 / 30),
        "ego": ClipFile("videos/s1_ego.mp4", 100 / 30, 160 / 30),
    }
    assert all(item.synthetic for item in items)
    real = replace(inputs, truth=None, video=None).test_items()
    assert not any(item.synthetic for item in real) and real[0].nearest == {"pose": "train 1"}
    training = inputs.training_items()
    assert [(i.item_id, i.cluster, i.category, i.truth.text) for i in training] == [
        (f"train {i}", take, activity, remark) for i, (take, activity, _, remark) in enumerate(TRAINING)
    ]


# --- commentary ------------------------------------------------------------------------------------------------------


def alike(systems: dict[str, list[str]], references: list[str], clusters: list[str], *more: Any) -> Suite:
    """Stands for the text metrics: whether a text is the true one, under the names of all suites."""
    rows = {}
    for name, texts in systems.items():
        same = [float(text == true) for text, true in zip(texts, references, strict=True)]
        rows[name] = {metric: item_metric(same, clusters, "0-1", metric) for metric in ("bleu4", "meteor")}
    return Suite(rows, ["the same note", "empty commentary (floor): not computed"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco_suite", "modern_suite", "release_suite"):
        monkeypatch.setattr(commentary, name, alike)


NAMED_ROWS = [
    "ours", SHUFFLED, SHUFFLED_WITHIN, CONSTANT, RANDOM, "pose nearest neighbour", "video nearest neighbour", commentary.CEILING
]  # fmt: skip
NAMED = {
    "ours": [1, 0, 1, 0, 0, 0],  # wrong moment of the take; one error too many; nothing said; nothing named
    SHUFFLED_WITHIN: [1, 0, 0, 0, 0, 0],
    CONSTANT: [0, 0, 1, 1, 1, 0],
    "video nearest neighbour": [0, 1, 1, 1, 1, 0],
    "pose nearest neighbour": [0, 1, 0, 0, 0, 0],
    commentary.CEILING: [1, 1, 1, 1, 1, 0],
}


def test_an_error_is_named_where_all_that_is_named_is_shown(inputs: Inputs, quick: None) -> None:
    items = with_baselines(inputs.test_items(), inputs.training_items())
    table, notes = commentary.commentary_table(inputs, items, None)
    assert list(table) == NAMED_ROWS
    for row, expected in NAMED.items():
        assert items_of(table[row]["error_named"]) == expected, row
        assert table[row]["error_named"].value == pytest.approx(sum(expected) / 6)
    assert set(table[commentary.CEILING]) == {"error_named"}
    assert items_of(table[CONSTANT]["bleu4"]) == [0, 0, 0, 1, 1, 0] and table["ours"]["bleu4"].value == 0
    assert table["ours"]["error_named"].signature == "every named error was injected, at least one|n:6"
    assert table["ours"]["error_named"].scale == table[commentary.CEILING]["error_named"].scale == "0-1"
    assert table[commentary.CEILING]["error_named"].signature == "the expert's own remark|n:6"
    assert notes == ["the same note", "empty commentary (floor): not computed"], "each note once"


def test_shuffled_texts_are_other_items_texts(inputs: Inputs) -> None:
    items = with_baselines(inputs.test_items(), inputs.training_items())
    ours = [item.answers["ours"].text for item in items]
    shuffled = [item.answers[SHUFFLED].text for item in items]
    assert sorted(shuffled) == sorted(ours) and all(a != b for a, b in zip(shuffled, ours, strict=True))
    assert [item.answers[SHUFFLED_WITHIN].text for item in items] == [ours[i] for i in (1, 0, 3, 2, 5, 4)]
    remarks = {activity: {row[3] for row in TRAINING if row[1] == activity} for activity in inputs.activities}
    assert all(item.answers[RANDOM].text in remarks[item.category] for item in items)


def test_without_a_sidecar_no_error_is_named(inputs: Inputs, quick: None) -> None:
    real = replace(inputs, truth=None)
    table, _ = commentary.commentary_table(real, with_baselines(real.test_items(), real.training_items()), None)
    assert commentary.CEILING not in table and not any("error_named" in row for row in table.values())


def test_the_released_scorer_has_a_floor(inputs: Inputs, quick: None) -> None:
    items = inputs.test_items()
    rows, notes = commentary.release_table(inputs, items)
    assert list(rows) == ["ours", commentary.FLOOR]
    assert items_of(rows[commentary.FLOOR]["bleu4"]) == [0] * 6
    assert notes == ["ExpertAF's release recipe: the same note"], "that the floor says nothing is no news"
    assert commentary.FLOOR not in items[0].answers


# --- retrieval -------------------------------------------------------------------------------------------------------

RANKS = {
    "ours": [1, 1.5, 2, 1.5, 6, 1],
    "ours without the prior (raw likelihood)": [3, 1, 1, 2, 1, 3],
    "shuffled within activity": [1.5, 2, 1.5, 1, 5, 1],
    "constant (mean score of each clip)": [1, 2, 2, 1, 6, 1],
    "pose nearest neighbour (ceiling)": [2, 1, 1, 2, 1, 6],
    "video nearest neighbour": [2, 3, 1, 2, 1.5, 6],
}


def test_ranks_of_every_row(inputs: Inputs) -> None:
    table, sizes = retrieval_table(inputs, np.random.default_rng(0))
    assert sizes.tolist() == [3, 3, 2, 2, 6, 6] and set(table) == set(RANKS)
    for row, expected in RANKS.items():
        metrics, ranks = table[row], np.array(expected)
        assert set(metrics) == {"recall@1", "recall@5", "recall@10", "median_rank", "mean_rank"}, (
            "50 is more than there are"
        )
        assert items_of(metrics["mean_rank"]) == items_of(metrics["median_rank"]) == expected, row
        assert metrics["mean_rank"].value == pytest.approx(ranks.mean())
        assert metrics["median_rank"].value == np.median(ranks)
        for k in (1, 5, 10):
            assert items_of(metrics[f"recall@{k}"]) == (ranks <= k).tolist(), (row, k)
    ours = table["ours"]
    assert (ours["recall@1"].value, ours["recall@5"].value, ours["recall@10"].value) == pytest.approx((2 / 6, 5 / 6, 1))
    sign = "gallery:3 (median)|ties:mean|chance of the mean rank:2.33333|n:6"
    assert ours["recall@5"].signature == f"R@5|{sign}" and ours["recall@5"].scale == "0-1"
    assert ours["median_rank"].signature == f"medR|{sign}" and ours["mean_rank"].signature == f"meanR|{sign}"
    assert ours["median_rank"].scale == ours["mean_rank"].scale == "rank"
    assert set(retrieval_table(replace(inputs, video=None), np.random.default_rng(0))[0]) == set(RANKS) - {"video nearest neighbour"}  # fmt: skip


# --- poses -----------------------------------------------------------------------------------------------------------


def rows_of_poses() -> dict[str, list[float]]:
    """PA-MPJPE of every item against the expert's raw joints; the fourth expert's wrist is missing."""
    ours = [similar(1, 2) / 2, NAN, NAN, 0, 0, 0]
    return {
        "ours": ours,
        "shuffled within activity": [NAN, (similar(1, 1.2) + similar(2, 1.2)) / 2, similar(1.5, 1.1), NAN, similar(1.6, 1.1), similar(1.1, 1.6)],
        "mean pose of the activity": [similar(7 / 3, 2), similar(7 / 3, 1.2), 0, similar(1.1, 1.5, 6), similar(1.2, 1.1), similar(1.2, 1.6)],
        "learner's own pose": [similar(1, 2), similar(1, 1.2), similar(1, 1.1, 6), similar(1, 1.5, 6), similar(1, 1.1), similar(1, 1.6)],
        "video nearest neighbour": [similar(1, 2, 6), similar(3, 1.2), 0, similar(1.1, 1.5, 6), similar(1, 1.1, 6), similar(1, 1.6, 6)],
        "tokenizer round trip (floor)": [similar(2.3, 2), 0, 0, similar(1.6, 1.5, 6), 0, 0],
    }  # fmt: skip


def test_pose_errors_of_every_row(inputs: Inputs) -> None:
    table = pose_table(inputs, np.random.default_rng(0))
    expected = rows_of_poses()
    assert set(table) == {*expected, "random expert of the activity"}
    for row, values in expected.items():
        found = table[row]["pa_mpjpe"]
        assert items_of(found) == pytest.approx(values, abs=1e-6, nan_ok=True), row
        assert found.value == pytest.approx(np.nanmean(values)) and found.n_failed == int(np.isnan(values).sum())
        assert found.signature == f"pa_mpjpe|per frame, similarity, raw joints|n:{6 - found.n_failed}"
        assert {*POSE_ERRORS, "pa_mpjpe_decoded_truth"} <= set(table[row]) and found.scale == "mm"
    assert items_of(table["ours"]["malformed"]) == [0, 1, 0, 0, 0, 0], "a point decodes, though it is no body"
    assert table["ours"]["malformed"].signature == "sequences that do not decode to the frames asked for|n:6"
    assert table["ours"]["malformed"].scale == "0-1"
    assert not any("malformed" in metrics for row, metrics in table.items() if row != "ours")


def test_other_pose_errors_of_the_same_rows(inputs: Inputs) -> None:
    table = pose_table(inputs, np.random.default_rng(0))
    rigid_error = items_of(table["mean pose of the activity"]["pa_mpjpe_rigid"])
    expected = [rigid(7 / 3, 2), rigid(7 / 3, 1.2), 0, rigid(1.1, 1.5, 6), rigid(1.2, 1.1), rigid(1.2, 1.6)]
    assert rigid_error == pytest.approx(expected, abs=1e-6), "a mean of experts is as large as they are"
    # Ours: two heights in one sequence; twice as large and elsewhere; a quarter turn of heading.
    ours = {name: items_of(metric) for name, metric in table["ours"].items()}
    scale = (4 + 2 * 1 + 2 * 2) / (4 + 1 + 4)
    whole = 1000 * (4 * abs(scale - 1) + abs(scale - 2) + abs(2 * scale - 2)) / 7
    assert ours["pa_mpjpe_sequence"][0] == pytest.approx(whole)
    assert ours["mpjpe_root"][0] == pytest.approx(rigid(1, 2) / 2) == ours["mpjpe_root_yaw"][0]
    assert ours["mpjpe_root"][3] == pytest.approx(2000 * (1 + 1 + 1.5) / 6)
    assert ours["mpjpe_root"][4] == pytest.approx(4000 * np.sqrt(2) / 7)
    assert ours["mpjpe_root_yaw"][4] == pytest.approx(0, abs=1e-9)
    assert np.isnan(ours["mpjpe_root"][1]) and np.isnan(ours["pa_mpjpe_sequence"][2])


def test_the_decoded_truth_is_the_tokenizers(inputs: Inputs) -> None:
    """ExpertAF's release measures against its own round trip: all seventeen joints of it, and 0 for the tokenizer itself."""
    table = pose_table(inputs, np.random.default_rng(0))
    found = {row: metrics["pa_mpjpe_decoded_truth"] for row, metrics in table.items()}
    first = (similar(1, 2.3, 17) + similar(2, 2.3, 17)) / 2
    assert items_of(found["ours"]) == pytest.approx(
        [first, NAN, NAN, similar(1.5, 1.6, 17), 0, 0], abs=1e-6, nan_ok=True
    )
    assert items_of(found["tokenizer round trip (floor)"]) == pytest.approx([0] * 6, abs=1e-6)
    learner = [similar(1, 2.3), similar(1, 1.2), similar(1, 1.1, 6), similar(1, 1.6), similar(1, 1.1), similar(1, 1.6)]
    assert items_of(found["learner's own pose"]) == pytest.approx(learner)
    assert found["ours"].scale == "mm"
    assert found["ours"].signature == (
        "pa_mpjpe|per frame, similarity, truth decoded from its tokens (ExpertAF's release)|n:4"
    )
    without = pose_table(replace(inputs, reconstructed=None, video=None), np.random.default_rng(0))
    assert "pa_mpjpe_decoded_truth" not in without["ours"]
    assert set(table) - set(without) == {"tokenizer round trip (floor)", "video nearest neighbour"}


def test_random_experts_are_twenty_of_the_activity(inputs: Inputs) -> None:
    found = pose_table(inputs, np.random.default_rng(0))["random expert of the activity"]["pa_mpjpe"]
    # Soccer has one expert of height 1 without a wrist and two of height 3; climbing one of 1.1 and one of 1.3.
    pools = [((1, 6), (3, 7)), ((1, 6), (3, 7)), None, None, ((1.1, 7), (1.3, 7)), ((1.1, 7), (1.3, 7))]
    truths = [2, 1.2, 1.1, 1.5, 1.1, 1.6]
    drawn = []
    for value, pool, v in zip(items_of(found), pools, truths, strict=True):
        if pool is None:
            continue
        a, b = (similar(height, v, count) for height, count in pool)
        share = (value - b) / (a - b)
        assert round(20 * share) == pytest.approx(20 * share, abs=1e-6) and 0 < share < 1
        drawn.append(round(20 * share))
    assert items_of(found)[2:4] == pytest.approx([0, similar(1.1, 1.5, 6)], abs=1e-6), (
        "there is one expert of basketball"
    )
    assert len(set(drawn)) > 1, "drawn anew for each item"
    again = pose_table(inputs, np.random.default_rng(0))["random expert of the activity"]["pa_mpjpe"]
    assert again == found


# --- all of it -------------------------------------------------------------------------------------------------------


def test_the_summary_and_chance(inputs: Inputs, quick: None) -> None:
    result, items = evaluate(inputs)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [i.answers["ours"].text for i in items] == [row[5] for row in ROWS] and SHUFFLED in items[0].answers
    assert set(result["tables"]) == {"commentary", "commentary_release", "retrieval", "pose"}
    assert result["chance"] == pytest.approx({"recall@1": 1 / 3, "recall@5": 17 / 18, "recall@10": 1})
    assert (result["items"], result["takes"]) == (6, 5)
    assert result["participants"] == [f"person {take}" for take in ("b1", "b2", "c1", "c2", "s1")]
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
        "retrieval/median_rank": 1.5, "retrieval/median_rank_video_nn": 2, "retrieval/median_rank_chance": 2,
        "retrieval/gallery_size": 3,
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
    assert table.lead == "Synthetic data. 6 test tuples of 5 takes. Gallery: within activity, 3 clips."
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
    assert chance == pytest.approx({"recall@1": 1 / 3, "recall@5": 17 / 18, "recall@10": 1, "median_rank": 2})
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
    assert alone.lead == "6 test tuples of 5 takes." and alone.rows[-1].name != "chance"
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
    heading = {c.heading: (c.metric, c.factor, c.higher) for c in pose.columns}
    assert heading["malformed, %"] == ("malformed", 100.0, False) and heading["PA-MPJPE"] == ("pa_mpjpe", 1.0, False)


def test_examples_are_evenly_spaced_takes_with_their_numbers(inputs: Inputs) -> None:
    clips = {f"{name}:0-60": clip(name) for name in HEIGHTS}
    shown = collect_examples(inputs, clips, Path("v"))
    assert [e["tuple_id"] for e in shown] == ["test 0", "test 2", "test 3", "test 4", "test 5"], "one per take"
    assert [e["rank"] for e in shown] == [1, 2, 1.5, 6, 1] and [e["gallery_size"] for e in shown] == [3, 2, 2, 6, 6]
    assert [e["retrieved_is_positive"] for e in shown] == [True, False, False, False, True]
    assert [e["retrieved"]["clip_id"][:2] for e in shown] == ["x0", "y1", "y0", "z5", "z5"]
    assert shown[0]["pa_mpjpe_mm"] == pytest.approx(similar(1, 2) / 2) and np.isnan(shown[1]["pa_mpjpe_mm"])
    assert [e["learner_pa_mpjpe_mm"] for e in shown] == pytest.approx([rows_of_poses()["learner's own pose"][i] for i in (0, 2, 3, 4, 5)])  # fmt: skip
    assert (shown[1]["injected"], shown[1]["named"]) == (
        ["elbow_flare", "straight_knees"],
        ["elbow_flare", "straight_knees"],
    )
    assert (shown[2]["injected"], shown[2]["named"]) == (["elbow_flare"], ["elbow_flare", "narrow_base"])
    assert shown[0]["learner"] == {
        "clip_id": "s1:0-60", "skill": "Novice", "seconds": [0, 2], "ego": "v/s1_ego.mp4", "exo": "v/s1_exo.mp4"
    }  # fmt: skip
    assert shown[0]["expert"]["clip_id"] == "x0:0-60" and np.array(shown[0]["poses"]["generated"]).shape == (2, 17, 3)
    assert (shown[0]["expert_remark"], shown[0]["our_remark"]) == (ROWS[0][4], ROWS[0][5])
    three = collect_examples(inputs, clips, Path("v"), count=3)
    assert [e["tuple_id"] for e in three] == ["test 0", "test 3", "test 5"]
    gap = collect_examples(replace(inputs, generated=[None] * 6, truth=None), clips, Path("v"))
    assert gap[0]["pa_mpjpe_mm"] is None and gap[0]["poses"]["generated"] is None and "injected" not in gap[0]
    assert collect_examples(replace(inputs, generated=None), clips, Path("v")) == []
    silent = [{"commentary": p["commentary"]} for p in inputs.predictions]
    assert collect_examples(replace(inputs, predictions=silent), clips, Path("v")) == []


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")
def test_java_text_metrics_stand_in_the_same_rows(inputs: Inputs) -> None:
    """A text that is the true one scores 1 by every measure, one without a common word 0."""
    table, _ = commentary.commentary_table(inputs, with_baselines(inputs.test_items(), inputs.training_items()), None)
    constant = {name: items_of(metric) for name, metric in table[CONSTANT].items()}
    for name in ("meteor", "rouge_l", "rouge_l_f1"):
        assert constant[name][3:5] == pytest.approx([1, 1]), name
        assert items_of(table["ours"][name])[4:] == [0, 0], name
    assert items_of(table["ours"]["error_named"]) == NAMED["ours"]
    rows, _ = commentary.release_table(inputs, inputs.test_items())
    floor, ours = rows[commentary.FLOOR]["rouge_l"], rows["ours"]["rouge_l"]
    assert floor.value > 0.6 and items_of(ours)[4] == items_of(floor)[4], "the constant prefix alone"
