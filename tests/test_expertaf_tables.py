"""ExpertAF's tables from six tuples made by hand: every row and column has the value that pencil and paper give."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from six_tuples import (
    ANKLE,
    BASKETBALL,
    CLIMBING,
    LEFT_SHOULDER,
    NAMED,
    NAMED_ROWS,
    NAN,
    NEAREST,
    NOSE,
    RANKS,
    RIGHT_SHOULDER,
    SOCCER,
    TRAINING,
    WRIST,
    alike,
    body,
    clip_id,
    of_people,
    rigid,
    rows_of_poses,
    similar,
    six_tuples,
    with_answers,
    with_poses,
    without_video,
)

import mm_adapter.tasks.expertaf.commentary as commentary
from mm_adapter.tasks.expertaf.demonstration import pose_table, retrieval_table
from mm_adapter.tasks.expertaf.inputs import NO_POSES, Inputs
from mm_eval.answers.baselines import CONSTANT, RANDOM, SHUFFLED, SHUFFLED_WITHIN, with_baselines
from mm_eval.answers.clips import AnsweredClip, read_clips, write_clips
from mm_eval.answers.test_sets import ClipFile
from mm_eval.metrics.pose import POSE_ERRORS
from mm_eval.statistics.metric import Metric


@pytest.fixture
def inputs() -> Inputs:
    return six_tuples()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco_scores", "modern_scores", "release_scores"):
        monkeypatch.setattr(commentary, name, alike)


def items_of(metric: Metric) -> list[float]:
    assert metric.per_item is not None
    return list(metric.per_item)


# --- nearest neighbours and items ------------------------------------------------------------------------------------


def test_a_run_says_what_it_holds(inputs: Inputs) -> None:
    nearest = inputs.nearest_training("video")
    assert nearest is not None and [item.item_id for item in nearest] == NEAREST
    assert without_video(inputs).nearest_training("video") is None and without_video(inputs).vectors is None
    assert inputs.clusters == ["person s1", "person s1", "person b1", "person b2", "person c1", "person c1"]
    assert inputs.activities == [SOCCER, SOCCER, BASKETBALL, BASKETBALL, CLIMBING, CLIMBING]
    assert inputs.ranked and not with_answers(inputs, ranking=None).ranked
    assert inputs.generated is not None and inputs.generated[1] is None, "nothing usable was generated"
    assert with_answers(inputs, poses=None, unread=None).generated is None, "nothing was asked for"
    assert with_answers(inputs, poses=None, unread=[NO_POSES]).generated == [None] * 6, "nothing came"
    assert inputs.posed and not with_poses(replace(inputs, clips={**inputs.clips, "new": AnsweredClip()}), {}).posed
    with pytest.raises(ValueError, match="The run holds no poses of clip 'elsewhere'; answer the items again"):
        inputs.poses("elsewhere")


def test_clips_are_kept_beside_the_answers(inputs: Inputs, tmp_path: Path) -> None:
    assert read_clips(tmp_path) == {}
    filmed = AnsweredClip({"exo": ClipFile("a.mp4", 1.5, 2.25), "ego": ClipFile("b.mp4", 0.0, 4.0)})
    write_clips(tmp_path, {**inputs.clips, "filmed": filmed})
    kept = read_clips(tmp_path)
    assert list(kept) == [*inputs.clips, "filmed"] and kept["filmed"] == filmed
    for name, clip in inputs.clips.items():
        for field in ("poses", "decoded", "vector"):
            mine, read = getattr(clip, field), getattr(kept[name], field)
            assert (mine is None) == (read is None), (name, field)
            if mine is not None:
                np.testing.assert_array_equal(read, mine.astype(np.float32))


def test_a_right_clip_that_is_not_ranked_is_refused(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match=r"test 0: the right clip 'x0:0-60' is not among the 1 that are ranked"):
        retrieval_table(with_answers(inputs, ranking={"x1:0-60": 1.0}), np.random.default_rng(0))


# --- commentary ------------------------------------------------------------------------------------------------------


def test_an_error_is_named_where_all_that_is_named_is_shown(inputs: Inputs, quick: None) -> None:
    items = with_baselines(inputs.items, inputs.training)
    table, notes = commentary.commentary_table(inputs, items, None)
    assert list(table) == NAMED_ROWS
    for row, expected in NAMED.items():
        assert items_of(table[row]["error_named"]) == expected, row
        assert table[row]["error_named"].value == pytest.approx(sum(expected) / 6)
    assert set(table[commentary.CEILING]) == {"error_named"}
    assert items_of(table[CONSTANT]["bleu4"]) == [0, 0, 0, 1, 1, 0] and table["ours"]["bleu4"].value == 0
    assert table["ours"]["error_named"].signature == "every named error was injected, at least one|n:6|clusters:4"
    assert table["ours"]["error_named"].scale == table[commentary.CEILING]["error_named"].scale == "0 or 1"
    assert table[commentary.CEILING]["error_named"].signature == "the expert's own remark|n:6|clusters:4"
    assert notes == ["the same note", "empty commentary (floor): not computed"], "each note once"


def test_shuffled_texts_are_other_items_texts(inputs: Inputs) -> None:
    items = with_baselines(inputs.items, inputs.training)
    ours = [item.answers["ours"].text for item in items]
    shuffled = [item.answers[SHUFFLED].text for item in items]
    assert sorted(shuffled) == sorted(ours) and all(a != b for a, b in zip(shuffled, ours, strict=True))
    assert [item.answers[SHUFFLED_WITHIN].text for item in items] == [ours[i] for i in (1, 0, 3, 2, 5, 4)]
    remarks = {activity: {row[3] for row in TRAINING if row[1] == activity} for activity in inputs.activities}
    assert all(item.answers[RANDOM].text in remarks[item.category] for item in items)


def test_without_a_sidecar_no_error_is_named(inputs: Inputs, quick: None) -> None:
    real = of_people(inputs)
    table, _ = commentary.commentary_table(real, with_baselines(real.items, real.training), None)
    assert commentary.CEILING not in table and not any("error_named" in row for row in table.values())


def test_the_released_scorer_has_a_floor(inputs: Inputs, quick: None) -> None:
    items = inputs.items
    rows, notes = commentary.release_table(inputs, items)
    assert list(rows) == ["ours", commentary.FLOOR]
    assert items_of(rows[commentary.FLOOR]["bleu4"]) == [0] * 6
    assert notes == ["ExpertAF's release recipe: the same note"], "that the floor says nothing is no news"
    assert commentary.FLOOR not in items[0].answers


# --- retrieval -------------------------------------------------------------------------------------------------------


def test_ranks_of_every_row(inputs: Inputs) -> None:
    table, sizes = retrieval_table(inputs, np.random.default_rng(0))
    assert sizes.tolist() == [4, 4, 2, 2, 6, 6] and set(table) == set(RANKS)
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
    sign = "gallery:4 (median)|ties:mean|chance of the mean rank:2.5|n:6|clusters:4"
    assert ours["recall@5"].signature == f"R@5|{sign}" and ours["recall@5"].scale == "0 or 1"
    assert ours["median_rank"].signature == f"medR|{sign}" and ours["mean_rank"].signature == f"meanR|{sign}"
    assert ours["median_rank"].scale == ours["mean_rank"].scale == "rank"
    assert set(retrieval_table(without_video(inputs), np.random.default_rng(0))[0]) == set(RANKS) - {"video nearest neighbour"}  # fmt: skip


def test_the_constant_row_averages_what_is_known_of_a_clip(inputs: Inputs) -> None:
    known = [{"x0": -1.0, "x1": -2.0, "x2": NAN, "x3": -1.5}, {"x0": -1.0, "x1": -2.0, "x2": NAN, "x3": NAN}]
    for item, scores in zip(inputs.items, known, strict=False):
        item.answers["ours"] = replace(item.answers["ours"], ranking={clip_id(n): score for n, score in scores.items()})
    table, _ = retrieval_table(inputs, np.random.default_rng(0))
    # x0 has -1, x3 -1.5, x1 -2, and of x2 nothing is known.
    assert items_of(table["constant (mean score of each clip)"]["mean_rank"])[:2] == [1, 3]


def test_an_activity_that_nobody_trained_on_gets_everybodys_poses(inputs: Inputs) -> None:
    others = replace(inputs, training=[item for item in inputs.training if item.category != CLIMBING])
    mean = pose_table(others, np.random.default_rng(0))["mean pose of the activity"]["pa_mpjpe_rigid"]
    # Soccer's three and basketball's one: heights 1, 3, 3 and 1.1.
    assert items_of(mean)[4:] == pytest.approx([rigid(8.1 / 4, 1.1), rigid(8.1 / 4, 1.6)])


# --- poses -----------------------------------------------------------------------------------------------------------


def test_pose_errors_of_every_row(inputs: Inputs) -> None:
    table = pose_table(inputs, np.random.default_rng(0))
    expected = rows_of_poses()
    assert set(table) == {*expected, "random expert of the activity"}
    # Of ours nothing is left of the second window of s1 and of b1; of the shuffled ones of the first window and of b2.
    people = {"ours": 3, "shuffled within activity": 3}
    for row, values in expected.items():
        found = table[row]["pa_mpjpe"]
        assert items_of(found) == pytest.approx(values, abs=1e-6, nan_ok=True), row
        assert found.value == pytest.approx(np.nanmean(values)) and found.n_failed == int(np.isnan(values).sum())
        assert found.signature == (
            f"pa_mpjpe|per frame, similarity, raw joints|n:{6 - found.n_failed}|clusters:{people.get(row, 4)}"
        )
        assert {*POSE_ERRORS, "pa_mpjpe_decoded_truth"} <= set(table[row]) and found.scale == "mm"
    assert items_of(table["ours"]["malformed"]) == [0, 1, 0, 0, 0, 0], "a point decodes, though it is no body"
    assert table["ours"]["malformed"].signature == "sequences that do not decode to the frames asked for|n:6|clusters:4"
    assert table["ours"]["malformed"].scale == "0 or 1"
    assert not any("malformed" in metrics for row, metrics in table.items() if row != "ours")


def test_a_joint_that_no_training_expert_shows_does_not_count(inputs: Inputs) -> None:
    """The only training expert of basketball is as tall as the first test expert, and lacks a joint that the latter has."""
    missing = {"te2:0-60": body(1.1, missing=[NOSE])}
    mean = pose_table(with_poses(inputs, missing), np.random.default_rng(0))["mean pose of the activity"]
    for variant in POSE_ERRORS:
        assert items_of(mean[variant])[2] == pytest.approx(0, abs=1e-6), variant
    # The joints that are left: of climbing's two experts, one shows the wrist and none a nose.
    missing = {"te3:0-60": body(1.1, missing=[NOSE, WRIST]), "te4:0-60": body(1.3, missing=[NOSE])}
    mean = pose_table(with_poses(inputs, missing), np.random.default_rng(0))["mean pose of the activity"]
    assert items_of(mean["mpjpe_root"])[4:] == pytest.approx([1000 * 0.1 / 6, 1000 * 0.4 / 6])


def test_the_mean_pose_weighs_by_how_visible_a_joint_is(inputs: Inputs) -> None:
    poses = {"te3:0-60": body(1.1) * [1, 1, 1, 0.25], "te4:0-60": body(1.3) * [1, 1, 1, 0.75]}
    mean = pose_table(with_poses(inputs, poses), np.random.default_rng(0))["mean pose of the activity"]
    assert items_of(mean["pa_mpjpe_rigid"])[4:] == pytest.approx([rigid(1.25, 1.1), rigid(1.25, 1.6)])


def test_a_mean_pose_without_joints_has_failed(inputs: Inputs) -> None:
    missing = {"te2:0-60": body(1.1, missing=[NOSE, ANKLE, WRIST, LEFT_SHOULDER, RIGHT_SHOULDER])}
    mean = pose_table(with_poses(inputs, missing), np.random.default_rng(0))["mean pose of the activity"]
    assert np.isnan(items_of(mean["pa_mpjpe"])).tolist() == [False, False, True, True, False, False]
    assert mean["pa_mpjpe"].n_failed == 2


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
        "pa_mpjpe|per frame, similarity, truth decoded from its tokens (ExpertAF's release)|n:4|clusters:3"
    )
    undecoded = replace(inputs, clips={name: replace(clip, decoded=None) for name, clip in inputs.clips.items()})
    without = pose_table(without_video(undecoded), np.random.default_rng(0))
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


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")
def test_java_text_metrics_stand_in_the_same_rows(inputs: Inputs) -> None:
    """A text that is the true one scores 1 by every measure, one without a common word 0."""
    table, _ = commentary.commentary_table(inputs, with_baselines(inputs.items, inputs.training), None)
    constant = {name: items_of(metric) for name, metric in table[CONSTANT].items()}
    for name in ("meteor", "rouge_l", "rouge_l_f1"):
        assert constant[name][3:5] == pytest.approx([1, 1]), name
        assert items_of(table["ours"][name])[4:] == [0, 0], name
    assert items_of(table["ours"]["error_named"]) == NAMED["ours"]
    rows, _ = commentary.release_table(inputs, inputs.items)
    floor, ours = rows[commentary.FLOOR]["rouge_l"], rows["ours"]["rouge_l"]
    assert floor.value > 0.6 and items_of(ours)[4] == items_of(floor)[4], "the constant prefix alone"
