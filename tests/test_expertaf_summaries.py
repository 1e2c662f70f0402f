"""ExpertAF's summary, printed tables and examples of the same six tuples take each number from its row."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from six_tuples import (
    NAMED,
    NAMED_ROWS,
    RANKS,
    ROWS,
    alike,
    of_people,
    rows_of_poses,
    similar,
    six_tuples,
    with_answers,
    without_video,
)

import mm_adapter.tasks.expertaf.commentary as commentary
from mm_adapter.tasks.expertaf.inputs import NO_POSES, Inputs
from mm_adapter.tasks.expertaf.suite import CoachingSuite, evaluate
from mm_adapter.tasks.expertaf.tables import COLUMNS
from mm_eval.answers.baselines import CONSTANT, SHUFFLED
from mm_eval.answers.clips import AnsweredClip
from mm_eval.answers.test_sets import About
from mm_eval.pages.cards import cards
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.suites.suite import AnsweredRun, Run
from mm_eval.tables import Column

SUITE = CoachingSuite()


@pytest.fixture
def inputs() -> Inputs:
    return six_tuples()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco_scores", "modern_scores", "release_scores"):
        monkeypatch.setattr(commentary, name, alike)


# --- all of it -------------------------------------------------------------------------------------------------------


def run_of(inputs: Inputs, name: str = "mine", **more: Any) -> Run:
    """The run as `mm-coach eval` opens it."""
    items, result = SUITE.score(
        AnsweredRun(inputs.items, inputs.training, dict(inputs.clips), About("expertaf", ["told"], ["noted"])), None
    )
    return Run(name, items, records_of(result), result, result["notes"], **more)


def texts_alone(inputs: Inputs) -> Inputs:
    """The same of a system that ranks nothing, shows no poses and knows no simulated error."""
    plain = with_answers(of_people(inputs), ranking=None, poses=None, unread=None)
    return replace(plain, items=[replace(i, answers={"ours": i.answers["ours"]}) for i in plain.items])


def test_all_tables_and_chance(inputs: Inputs, quick: None) -> None:
    result, items = evaluate(inputs)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [i.answers["ours"].text for i in items] == [row[5] for row in ROWS] and SHUFFLED in items[0].answers
    assert set(result["tables"]) == {"commentary", "commentary_release", "retrieval", "pose"}
    assert result["chance"] == pytest.approx(
        {"recall@1": 11 / 36, "recall@5": 17 / 18, "recall@10": 1, "median_rank": 2.5}
    )
    assert result["gallery_size"] == 4 and result["different_remarks"] == 6
    assert result["notes"] == [
        "the same note", "empty commentary (floor): not computed", "ExpertAF's release recipe: the same note"
    ]  # fmt: skip
    assert evaluate(inputs)[0] == result, "the same seed, the same numbers"
    scored = run_of(inputs)
    assert scored.notes[:3] == result["notes"] and scored.notes[4:] == ["Inputs beside the clip: told.", "noted"]
    assert scored.notes[3].startswith("“names the error” counts a text only if")


def test_what_a_system_does_not_do_has_no_table(inputs: Inputs, quick: None) -> None:
    result, _ = evaluate(texts_alone(inputs))
    assert set(result["tables"]) == {"commentary", "commentary_release"} and result["chance"] == {}
    assert "gallery_size" not in result
    nothing, _ = evaluate(with_answers(inputs, poses=None, unread=[NO_POSES]))
    ours = records_of(nothing)["pose"]["ours"]
    assert (ours["pa_mpjpe"].n, ours["pa_mpjpe"].n_failed, ours["malformed"].value) == (0, 6, 1)
    json.dumps(nothing, allow_nan=False)
    blind, _ = evaluate(without_video(inputs))
    assert not any("video nearest neighbour" in rows for rows in blind["tables"].values())
    unposed = replace(inputs, clips={name: replace(clip, poses=None) for name, clip in inputs.clips.items()})
    tables = evaluate(unposed)[0]["tables"]
    assert "pose" not in tables and "pose nearest neighbour (ceiling)" not in tables["retrieval"], (
        "nothing to compare with"
    )
    one = replace(inputs.items[3], answers={"ours": replace(inputs.items[3].answers["ours"], ranking=None)})
    assert not replace(inputs, items=[*inputs.items[:3], one, *inputs.items[4:]]).ranked and inputs.ranked


def test_the_first_line_of_the_page_has_the_strongest_rows_beside_each_number(inputs: Inputs, quick: None) -> None:
    named, found, corrected = SUITE.tiles(run_of(inputs))
    rows = {name: sum(values) / 6 for name, values in NAMED.items()}
    assert (named.title, named.value) == ("Names the learner's error", "33%")
    assert (
        f"video nearest neighbour {rows['video nearest neighbour']:.0%}, constant per category {rows[CONSTANT]:.0%}"
        in named.beside
    )
    assert named.beside.startswith("of clips. Without a model: ") and "our own texts shuffled" in named.beside
    assert (found.title, found.value) == ("Finds the expert clip in five tries", "83%")
    assert found.beside.startswith("among 4 clips. Without a model: ") and "chance 94%" in found.beside
    assert found.beside.endswith("ceiling (pairs are mined by pose) 83%") and "raw likelihood" not in found.beside
    poses = rows_of_poses()
    assert (corrected.title, corrected.value) == ("Corrected pose is off by", f"{np.nanmean(poses['ours']):.0f} mm")
    floor = np.mean(poses["tokenizer round trip (floor)"])
    assert (
        corrected.beside.endswith(f"tokenizer's floor {floor:.0f} mm")
        and "mean pose of the activity" in corrected.beside
    )
    assert SUITE.tiles(run_of(texts_alone(inputs))) == []
    nothing = SUITE.tiles(run_of(with_answers(inputs, poses=None, unread=[NO_POSES])))
    assert nothing[2].value == "no pose"


def test_the_table_of_systems_takes_each_cell_from_its_row(inputs: Inputs, quick: None) -> None:
    texts, whole = run_of(texts_alone(inputs), "texts"), run_of(inputs, "all", cost="3 min")
    judged = replace(
        whole, tables=whole.tables | {"judge": {"ours": {"gpt_m": Metric(0.25, None, 6, 0, "0-1", "judge")}}}
    )
    table = SUITE.table([texts, judged], ["foot"], None)
    assert table.lead == "Synthetic data. 6 test items of 5 takes by 4 people. 4 expert clips are ranked."
    assert table.title == "ExpertAF" and table.extra == "cost" and table.footnotes == ("foot",)
    assert [(row.name, row.baseline) for row in table.rows] == [
        ("texts", False), ("all", False), ("shuffled within activity", True), ("constant", True), ("random of the activity", True),
        ("video nearest neighbour", True), ("pose nearest neighbour (pairs are mined with it)", True), ("chance", True),
    ]  # fmt: skip
    rows = {row.name: row for row in table.rows}
    assert {name for name, _ in rows["texts"].cells} == {"commentary", "commentary_release"}
    assert rows["all"].extra == "3 min" and rows["all"].cells["judge", "gpt_m"].value == 0.25
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
    texts, whole = run_of(texts_alone(inputs), "texts"), run_of(inputs, "all")
    table = SUITE.table([texts, whole], ["foot"], ["ExpertAF"])
    assert "retrieval" in {name for name, _ in table.rows[2].cells} and table.rows[-1].name == "chance"
    assert table.lead.startswith("Synthetic data. 6") and table.footnotes == ("foot",) and table.extra == ""
    assert table.published is not None and list(table.published.rows) == ["ExpertAF"]
    alone = SUITE.table([texts], [], None)
    assert alone.lead == "6 test items of 5 takes by 4 people." and alone.rows[-1].name != "chance"
    assert alone.published is not None and len(alone.published.rows) == 13


def test_detail_tables_have_every_row(inputs: Inputs, quick: None) -> None:
    commented, retrieval, pose, release = SUITE.details(run_of(inputs))
    assert [t.title.split(" by ")[0] for t in (commented, retrieval, pose, release)] == [
        "Commentary", "Expert retrieval", "Corrected pose, mm", "Commentary"
    ]  # fmt: skip
    assert [row.name for row in commented.rows] == NAMED_ROWS and commented.rows[0].cells["commentary", "error_named"].value == 2 / 6  # fmt: skip
    assert [row.name for row in release.rows] == [*NAMED_ROWS[:-1], commentary.FLOOR]
    assert {row.name for row in retrieval.rows} == {*RANKS, "chance"} and retrieval.rows[-1].name == "chance"
    for row in retrieval.rows[:-1]:
        assert row.cells["retrieval", "mean_rank"].value == pytest.approx(np.mean(RANKS[row.name]))
        assert row.baseline == (row.name != "ours")
    assert pose.rows[-1].name != "chance", "guessing poses has no value"
    assert retrieval.rows[-1].baseline and not commented.rows[0].baseline and commented.rows[1].baseline
    assert [table.columns[-1].metric for table in SUITE.details(run_of(texts_alone(inputs)))] == ["bertscore", "cider"]


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

    for name, table in zip(COLUMNS_OF, SUITE.details(run_of(inputs)), strict=True):
        assert {column.table for column in table.columns} == {name} and printed(table.columns) == COLUMNS_OF[name]
    assert printed(COLUMNS) == SYSTEM_COLUMNS


def test_cards_are_evenly_spaced_takes_with_their_numbers(inputs: Inputs, quick: None) -> None:
    run, clips = run_of(inputs), dict(inputs.clips)
    shown = cards(run, SUITE, clips)
    assert [card["item_id"] for card in shown] == ["test 0", "test 2", "test 3", "test 4", "test 5"], "one per take"
    assert [card["rank_text"] for card in shown] == [
        "the expert clip it was paired with", "paired clip is at rank 2 of 2", "paired clip is at rank 1.5 of 2",
        "paired clip is at rank 6 of 6", "the expert clip it was paired with",
    ]  # fmt: skip
    assert shown[0]["pose_error"] == f"{similar(1, 2) / 2:.0f} mm" and "pose_error" not in replace_poses(run, clips)[0]
    learners = [rows_of_poses()["learner's own pose"][i] for i in (0, 3, 4, 5)]
    assert [c["learner_error"] for c in shown if c["item_id"] != "test 2"] == [f"{error:.0f} mm" for error in learners]
    assert shown[1]["pose_error"] == "not comparable", "a point is no body"
    assert shown[1]["hidden"] == {"simulated activity": "basketball", "injected errors": "elbow_flare, straight_knees"}
    assert dict(shown[0]["scores"])["names the error, %"] == "100.0" and dict(shown[1]["scores"])["medR"] == "2.0"
    assert (shown[0]["truth"], shown[0]["answer"], shown[0]["facts"]) == (ROWS[0][4], ROWS[0][5], [])
    assert np.array(shown[0]["poses"]["generated"]).shape == (2, 17, 3)
    assert np.array(shown[0]["poses"]["expert"]).shape == (2, 17, 4)
    assert [card["item_id"] for card in cards(run, SUITE, clips, 3)] == ["test 0", "test 3", "test 5"]
    plain = run_of(texts_alone(inputs))
    (first, *_) = cards(plain, SUITE, {})
    assert first["poses"] == {"learner": None, "generated": None, "expert": None}
    assert "rank_text" not in first and first["hidden"] == {}


def replace_poses(run: Run, clips: dict[str, AnsweredClip]) -> list[dict[str, Any]]:
    """Cards of a run that shows no poses."""
    items = [replace(i, answers={**i.answers, "ours": replace(i.answers["ours"], poses=None)}) for i in run.items]
    return cards(replace(run, items=items), SUITE, clips)
