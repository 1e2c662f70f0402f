"""Every column of the tasks' tables from answers made by hand, and the rows that need no model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mm_eval.suites.tasks as suites
from mm_adapter.tasks import Task
from mm_adapter.tasks.cot_afa.suite import ASSESSMENTS
from mm_adapter.tasks.desccoach.suite import COMMENTARY
from mm_adapter.tasks.known import find_task
from mm_adapter.tasks.nae.files import read_nae
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions
from mm_adapter.tasks.nae.suite import NARRATIVES
from mm_data.tasks import Answer
from mm_eval.answers.baselines import (
    CONSTANT,
    NEAREST,
    RANDOM,
    SHUFFLED,
    SHUFFLED_WITHIN,
    derangement,
    unseen_categories,
    with_baselines,
)
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.scores import SPLIT
from mm_eval.metrics.text.corpus import TextScores
from mm_eval.statistics.metric import Metric, item_metric
from mm_eval.suites.suite import Run
from mm_eval.suites.tasks import CHANCE, GENERAL, TaskSuite, evaluate_answers, judged_scores, unread_parts
from mm_eval.tables.tiles import strongest

NAN = float("nan")
CIDER = {"good": 0.3, "fair": 0.12}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Text metrics that cost nothing: CIDEr by what a text says, BERTScore 0.5 throughout; keeps what was asked for."""
    calls: list[tuple[str, Any]] = []

    def coco(systems: dict[str, list[str]], references: list[Any], clusters: list[str]) -> TextScores:
        calls.append(("coco", references))
        rows = {}
        for name, texts in systems.items():
            values = [CIDER.get(text, 0.0) for text in texts]
            rows[name] = {"cider": item_metric(values, clusters, "0-10", "cider")}
        return TextScores(rows, ["a note"])

    def modern(systems: dict[str, list[str]], references: list[Any], clusters: list[str], bert: Any) -> TextScores:
        calls.append(("modern", bert))
        rows = {
            name: {"bertscore": item_metric([0.5] * len(texts), clusters, "0-1", "b")}
            for name, texts in systems.items()
        }
        return TextScores(rows, ["a note", "another"])

    monkeypatch.setattr(suites, "coco_scores", coco)
    monkeypatch.setattr(suites, "modern_scores", modern)
    return calls


def items(truths: Sequence[Answer], **systems: Sequence[Answer]) -> list[TestItem]:
    """Items in categories a, b, a, b, ..., the first two of one take and the others of a take each."""
    return [
        TestItem(
            f"item {i}",
            f"take {max(i, 1)}",
            "ab"[i % 2],
            truth,
            {name: answers[i] for name, answers in systems.items()},
        )
        for i, truth in enumerate(truths)
    ]


def items_of(metric: Metric) -> list[float]:
    assert metric.per_item is not None
    return list(metric.per_item)


def values_of(metric: Metric) -> tuple[float, list[float], int, int]:
    return metric.value, items_of(metric), metric.n, metric.n_failed


# --- NAE -------------------------------------------------------------------------------------------------------------

JUDGED = [60.0, 70.0, 80.0, 90.0, 100.0]
TRUE_ACTIONS = [["a", "b"], ["a"], ["a", "a"], ["c"], None]
NARRATED = [
    Answer("good", 60.0, actions=["b", "a"], confidence=-2.0),
    Answer("fair", 72.0, actions=["a", "b"], confidence=-3.0),
    Answer("good", 71.2, actions=["a"], confidence=-1.0),
    Answer("good", None, confidence=-4.0, unread=["no score", "no actions"]),
    Answer("good", 95.0, actions=["a"], confidence=-0.5),
]


def dives(**systems: Sequence[Answer]) -> list[TestItem]:
    truths = [Answer("t", score, actions=actions) for score, actions in zip(JUDGED, TRUE_ACTIONS, strict=True)]
    return items(truths, **systems)


def test_every_column_of_nae() -> None:
    rows, notes = evaluate_answers(NARRATIVES, dives(ours=NARRATED))
    found = rows["ours"]
    assert set(found) == {
        "cider", "spearman", "relative_l2", "action_accuracy", "nae_map", "nae_map_strict", "nae_map_ranked", "unread"
    }  # fmt: skip
    assert found["spearman"].value == pytest.approx(0.8) and (found["spearman"].n, found["spearman"].n_failed) == (4, 1)
    errors = [0, (2 / 40) ** 2, (8.8 / 40) ** 2, NAN, (5 / 40) ** 2]
    assert items_of(found["relative_l2"]) == pytest.approx(errors, nan_ok=True)
    assert found["relative_l2"].value == pytest.approx(np.nanmean(errors)) and found["relative_l2"].n_failed == 1
    # Order does not matter, surplus and missing actions do; what could not be read is wrong, what nobody knows is left out.
    assert items_of(found["action_accuracy"]) == pytest.approx([1, 1 / 2, 1 / 2, 0, NAN], nan_ok=True)
    assert found["action_accuracy"].value == 0.5 and found["action_accuracy"].n_failed == 1
    assert found["action_accuracy"].signature == "actions|common over longer list|unparsed:1, wrong|n:4|clusters:3"
    # All thresholds; 2 of 5 on CIDEr and 2 of 4 on actions; an error too large; no score; no truth.
    assert items_of(found["nae_map"]) == pytest.approx([1, 0.2, 0, 0, NAN], nan_ok=True)
    assert items_of(found["nae_map_strict"]) == pytest.approx([0.75, 0.1, 0, 0, NAN], nan_ok=True)
    assert (found["nae_map"].value, found["nae_map_strict"].value) == pytest.approx((0.3, 0.2125))
    # By confidence: a miss, the best one at a precision of 1/2, the second at 2/3 of a fifth of the thresholds.
    assert found["nae_map_ranked"].value == pytest.approx((1 / 2 + 0.2 * 2 / 3) / 4) and found["nae_map_ranked"].n == 4
    assert values_of(found["unread"]) == (pytest.approx(0.2), [0, 0, 0, 1, 0], 5, 0)
    assert {name: values.value for name, values in rows[CHANCE].items()} == {"spearman": 0} and notes == ["a note"]
    assert (rows[CHANCE]["spearman"].n, rows[CHANCE]["spearman"].signature) == (5, "chance")


def test_what_nobody_answered_or_judged_has_no_column() -> None:
    mute = [Answer("good") for _ in JUDGED]
    lost = [Answer("good", unread=["no score"]) for _ in JUDGED]
    unsure = [replace(answer, confidence=None if i else -1.0) for i, answer in enumerate(NARRATED)]
    rows, _ = evaluate_answers(NARRATIVES, dives(mute=mute, lost=lost, unsure=unsure))
    assert set(rows["mute"]) == {"cider", "action_accuracy", "unread"}, "it was never asked for a score"
    assert np.isnan(rows["lost"]["spearman"].value) and rows["lost"]["relative_l2"].n_failed == 5
    assert rows["lost"]["nae_map"].value == 0 and rows["lost"]["unread"].value == 1
    assert "nae_map_ranked" not in rows["unsure"] and "nae_map" in rows["unsure"]
    plain = items([Answer("t")] * 3, ours=[Answer("good", 1.0, actions=["a"])] * 3)
    rows, _ = evaluate_answers(NARRATIVES, plain)
    assert set(rows) == {"ours"} and set(rows["ours"]) == {"cider", "unread"}


def test_scores_that_are_all_equal_have_no_range_of_their_own() -> None:
    same = items([Answer("t", 5.0)] * 3, ours=[Answer("x", 4.0), Answer("x", 5.0), Answer("x", 7.0)])
    assert set(judged_scores(SPLIT)(same, "ours", {})) == {"spearman"}
    found = judged_scores((0.0, 10.0))(same, "ours", {})
    assert items_of(found["relative_l2"]) == pytest.approx([0.01, 0, 0.04])
    half = [replace(same[0], truth=Answer("t")), replace(same[1], truth=Answer("t", 7.0)), same[2]]
    assert items_of(judged_scores(SPLIT)(half, "ours", {})["relative_l2"]) == pytest.approx([NAN, 1, 1], nan_ok=True)


# --- findings: DescCoach, and steps to mend of CoT-AFA ---------------------------------------------------------------

FOUND: list[tuple[list[str] | None, list[str] | None, float]] = [
    ([], [], 1.0),
    ([], ["x"], 0.0),
    (["x"], [], 0.0),
    (["x", "y"], ["x"], 2 / 3),
    (["x"], None, 0.0),
    (None, ["x"], NAN),
    (["x", "y"], ["x", "x", "y", "z"], 0.8),
]
"""What needs improvement, what is said to, and what that is worth."""


def test_every_column_of_desccoach(asked: list[tuple[str, Any]]) -> None:
    truths = [Answer("t", float(i), findings=true) for i, (true, _, _) in enumerate(FOUND)]
    ours = [
        Answer("good", i + 1.0, findings=said, unread=["no findings"] if said is None else None)
        for i, (_, said, _) in enumerate(FOUND)
    ]
    rows, notes = evaluate_answers(COMMENTARY, items(truths, ours=ours))
    found = rows["ours"]
    assert set(found) == {"cider", "bertscore", "spearman", "relative_l2", "findings_f1", "unread"}
    expected = [worth for _, _, worth in FOUND]
    assert items_of(found["findings_f1"]) == pytest.approx(expected, nan_ok=True)
    assert found["findings_f1"].value == pytest.approx((1 + 2 / 3 + 0.8) / 6)
    assert (found["findings_f1"].n, found["findings_f1"].n_failed) == (6, 1), "what is unread counts, and counts 0"
    assert found["findings_f1"].signature == "findings|F1 per item|unparsed:1, wrong|n:6|clusters:5"
    assert found["relative_l2"].value == pytest.approx(0.01) and "range:[0, 10]" in found["relative_l2"].signature
    assert found["spearman"].value == pytest.approx(1) and found["bertscore"].value == 0.5
    assert values_of(found["unread"])[0] == pytest.approx(1 / 7)
    assert notes == ["a note", "another"] and [name for name, _ in asked] == ["coco", "modern"]


def test_findings_of_who_was_never_asked_are_no_column() -> None:
    truths = [Answer("t", findings=["x"])] * 3
    rows, _ = evaluate_answers(COMMENTARY, items(truths, mute=[Answer("good")] * 3, lost=[Answer("good", unread=["it"])] * 3))  # fmt: skip
    assert "findings_f1" not in rows["mute"] and rows["lost"]["findings_f1"].value == 0
    rows, _ = evaluate_answers(COMMENTARY, items([Answer("t")] * 3, ours=[Answer("good", findings=[])] * 3))
    assert "findings_f1" not in rows["ours"]


# --- CoT-AFA ---------------------------------------------------------------------------------------------------------

CLASSES = [f"class {i}" for i in range(8)]


def ranking(*best: int) -> dict[str, float]:
    """Scores by which these classes come first, in this order, and the others are equally far behind."""
    return {name: 8.0 - best.index(i) if i in best else 0.0 for i, name in enumerate(CLASSES)}


# The true class's rank: 1; 3; 5; 6; unread; 2.5 as two are equal behind the first.
RANKINGS = [
    ranking(0), ranking(5, 6, 1), ranking(7, 6, 5, 4, 2), ranking(0, 1, 2, 4, 5, 3), None, ranking(0) | {"class 5": 1.0, "class 6": 1.0}
]  # fmt: skip
TRUE_VERDICTS = ["standard", "non-standard", "standard", None, "standard", "non-standard"]
OUR_VERDICTS = ["standard", "standard", None, "standard", "standard", "non-standard"]
COUNTS = [
    {"reasoning_steps": 3, "suggestions": 1},
    {"reasoning_steps": 2},
    {"suggestions": 3},
    {},
    None,
    {"reasoning_steps": 1},
]


def exercises(**systems: Sequence[Answer]) -> list[TestItem]:
    truths = [Answer("t", label=CLASSES[i], verdict=TRUE_VERDICTS[i], findings=["1"]) for i in range(6)]
    return items(truths, **systems)


def test_every_column_of_cot_afa() -> None:
    ours = [
        Answer("good", verdict=OUR_VERDICTS[i], findings=["1"], counts=COUNTS[i], ranking=RANKINGS[i]) for i in range(6)
    ]
    named = [Answer("x", label=label) for label in ("class 0", "class 1", "class 0", None, "class 4", "class 9")]
    rows, _ = evaluate_answers(ASSESSMENTS, exercises(ours=ours, named=named))
    found = rows["ours"]
    assert set(found) == {
        "cider", "verdict_accuracy", "top1", "top5", "findings_f1", "reasoning_steps", "suggestions", "unread"
    }  # fmt: skip
    assert values_of(found["top1"]) == (pytest.approx(1 / 6), [1, 0, 0, 0, 0, 0], 6, 0)
    assert values_of(found["top5"]) == (pytest.approx(4 / 6), [1, 1, 1, 0, 0, 1], 6, 0)
    assert found["top5"].signature == "top-5|classes:8|ties:mean rank|unparsed:1, wrong|n:6|clusters:5"
    assert items_of(found["verdict_accuracy"]) == pytest.approx([1, 0, 0, NAN, 1, 1], nan_ok=True)
    assert found["verdict_accuracy"].value == pytest.approx(3 / 5)
    assert found["verdict_accuracy"].signature == "accuracy|unparsed:1, wrong|n:5|clusters:4"
    assert items_of(found["reasoning_steps"]) == pytest.approx([3, 2, 0, 0, NAN, 1], nan_ok=True)
    assert items_of(found["suggestions"]) == pytest.approx([1, 0, 3, 0, NAN, 0], nan_ok=True)
    assert (found["reasoning_steps"].value, found["suggestions"].value) == pytest.approx((1.2, 0.8))
    assert (
        found["suggestions"].signature == "suggestions|by keywords|n:5|clusters:4"
        and found["suggestions"].scale == "count"
    )
    assert found["findings_f1"].value == 1
    assert values_of(rows["named"]["top1"]) == (pytest.approx(3 / 6), [1, 1, 0, 0, 1, 0], 6, 0)
    assert "top5" not in rows["named"] and not {"reasoning_steps", "findings_f1"} & set(rows["named"])
    chance = {name: metric.value for name, metric in rows[CHANCE].items()}
    assert chance == pytest.approx({"top1": 1 / 8, "top5": 5 / 8, "verdict_accuracy": 1 / 2})
    one = [replace(item, truth=replace(item.truth, verdict="standard")) for item in exercises(ours=named)]
    assert evaluate_answers(ASSESSMENTS, one)[0][CHANCE]["verdict_accuracy"].value == 1
    few = [replace(answer, ranking={name: 0.0 for name in CLASSES[:3]}) for answer in ours[:3]]
    top5 = evaluate_answers(ASSESSMENTS, exercises(ours=[*few, *few])[:3])[0][CHANCE]["top5"]
    assert top5.value == 1, "three classes are among any five"


def test_baselines_that_are_told_the_class_get_no_top1() -> None:
    answers = {
        name: [Answer("x", label=CLASSES[i]) for i in range(6)]
        for name in (SHUFFLED_WITHIN, CONSTANT, RANDOM, SHUFFLED)
    }
    told = [replace(item, category=str(item.truth.label)) for item in exercises(**answers)]
    rows, _ = evaluate_answers(ASSESSMENTS, told)
    assert {name for name, row in rows.items() if "top1" in row} == {SHUFFLED}
    assert all("verdict_accuracy" in rows[name] for name in answers), "the verdict is not what they are told"
    rows, _ = evaluate_answers(ASSESSMENTS, [*told[:5], replace(told[5], category="other")])
    assert all("top1" in rows[name] for name in answers), "categories are not the classes here"
    unlabelled = [*told[:5], replace(told[5], truth=Answer("t"))]
    assert not any("top1" in row for row in evaluate_answers(ASSESSMENTS, unlabelled)[0].values())


def test_rankings_have_to_hold_every_class() -> None:
    ours = [Answer("x", ranking=ranking(i)) for i in range(6)]
    missing = [replace(a, ranking={n: s for n, s in (a.ranking or {}).items() if n != "class 3"}) for a in ours]
    with pytest.raises(ValueError, match="ours: no item ranks the class 'class 3'; every class needs a score"):
        evaluate_answers(ASSESSMENTS, exercises(ours=missing))
    with pytest.raises(ValueError, match="ours: item 'item 2' ranks 7 of 8 classes"):
        evaluate_answers(ASSESSMENTS, exercises(ours=[*ours[:2], missing[2], *ours[3:]]))


# --- around the columns ----------------------------------------------------------------------------------------------


def test_several_references_are_handed_on(asked: list[tuple[str, Any]]) -> None:
    given = dives(ours=NARRATED)
    given[1] = replace(given[1], references=["one", "two"])
    evaluate_answers(NARRATIVES, given)
    assert asked == [("coco", ["t", ["one", "two"], "t", "t", "t"])], "BERTScore is no column of NAE"


def test_what_could_not_be_read_is_counted_by_part() -> None:
    unread = [["no score"], ["no score", "no verdict"], None, []]
    given = items([Answer("t")] * 4, ours=[Answer("x", unread=parts) for parts in unread], fine=[Answer("x")] * 4)
    assert unread_parts(given) == ["ours: not readable of 4 answers: no score 2, no verdict 1."]


COLUMNS = {
    "desccoach": [
        ("bleu1", "BLEU-1", 100, 1, True), ("meteor", "METEOR", 100, 1, True), ("cider", "CIDEr", 100, 1, True),
        ("bertscore", "BERTScore", 100, 1, True), ("gpt_m", "GPT-M, %", 100, 1, True), ("gpt_q", "GPT-Q, %", 100, 1, True),
        ("spearman", "ρ", 100, 1, True), ("relative_l2", "R-ℓ2", 100, 2, False), ("findings_f1", "to improve, F1", 1, 3, True),
        ("unread", "unread, %", 100, 1, False),
    ],
    "nae": [
        ("nae_map", "mAP", 1, 3, True), ("nae_map_strict", "mAP, strict", 1, 3, True), ("nae_map_ranked", "mAP, ranked", 1, 3, True),
        ("spearman", "ρ", 1, 3, True), ("relative_l2", "R-ℓ2", 100, 3, False), ("bleu4", "BLEU-4", 100, 1, True),
        ("meteor", "METEOR", 100, 1, True), ("cider", "CIDEr", 100, 1, True), ("action_accuracy", "Acc", 1, 3, True),
        ("unread", "unread, %", 100, 1, False),
    ],
    "cot-afa": [
        ("bleu1", "BLEU-1", 100, 1, True), ("meteor", "METEOR", 100, 1, True), ("cider", "CIDEr", 100, 1, True),
        ("rouge_l", "ROUGE-L", 100, 1, True), ("top1", "top-1", 1, 3, True), ("top5", "top-5", 1, 3, True),
        ("verdict_accuracy", "Acc", 1, 3, True), ("findings_f1", "steps to mend, F1", 1, 3, True),
        ("reasoning_steps", "reasoning steps", 1, 2, None), ("suggestions", "suggestions", 1, 2, None), ("unread", "unread, %", 100, 1, False),
    ],
}  # fmt: skip
"""As the papers print them, metric, heading, factor, digits and whether more is better."""


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_print_what_the_papers_print(name: str) -> None:
    suite = find_task(name).suite
    assert isinstance(suite, TaskSuite)
    assert [(c.metric, c.heading, c.factor, c.digits, c.higher) for c in suite.columns] == COLUMNS[name]
    assert {c.table for c in suite.columns if not c.metric.startswith("gpt")} == {"answers"}
    assert suite.bert == (name == "desccoach") and suite.published is not None


def test_a_task_that_names_no_suite_is_scored_by_what_its_answers_have() -> None:
    assert Task("own", read_nae, NaeOptions, NaeFormat).suite is GENERAL
    rows, _ = evaluate_answers(GENERAL, dives(ours=NARRATED))
    assert {"cider", "spearman", "relative_l2", "unread"} <= rows["ours"].keys() and "top1" not in rows["ours"]
    nae, _ = evaluate_answers(NARRATIVES, dives(ours=NARRATED))
    same = [row["ours"]["spearman"] for row in (rows, nae)]
    assert same[0].value == same[1].value and same[0].signature == same[1].signature, (
        "the same number by the same scorer"
    )


def test_unknown_tasks_have_no_suite() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown task 'golf'; choose from expertaf, nae, cot-afa, desccoach, table, or"
    ):
        find_task("golf")


# --- rows that need no model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_everybody_moves_and_nobody_leaves_their_group(seed: int) -> None:
    groups = list("abacabbdba")
    order = derangement(groups, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(10)), "everybody once"
    assert all(groups[i] == groups[order[i]] for i in range(10))
    assert [i for i in range(10) if order[i] == i] == [3, 7], "only who is alone stays"
    assert len({tuple(derangement(groups, np.random.default_rng(s)).tolist()) for s in range(20)}) > 5


def training(count: int = 4) -> list[TestItem]:
    truths = [
        Answer("rare", 1.0, "p", "yes", ["a"], ["1"]),
        Answer("often", 2.0, "q", "no", ["a", "b"], []),
        Answer("often", None, "q", "no", ["a", "b"], []),
        Answer("often", 6.0, "q", "yes", None, None),
        Answer("other", 50.0, "r", "no", ["c"], ["2"]),
    ]
    return [TestItem(f"train {i}", "t", "a" if i < 4 else "b", truth) for i, truth in enumerate(truths)][:count]


def test_the_constant_answer_is_the_commonest_of_the_category() -> None:
    ours = [Answer(f"ours {i}", float(i)) for i in range(4)]
    given = [
        replace(item, nearest={"pose": f"train {i}"}) for i, item in enumerate(items([Answer("t")] * 4, ours=ours))
    ]
    shown = with_baselines(given, training(5))
    assert shown[0].answers[CONSTANT] == shown[2].answers[CONSTANT] == Answer("often", 3.0, "q", "yes", ["a", "b"], [])
    assert shown[1].answers[CONSTANT] == Answer("other", 50.0, "r", "no", ["c"], ["2"])
    assert [s.answers[NEAREST.format("pose")].text for s in shown] == ["rare", "often", "often", "often"]
    assert [s.answers["ours"] for s in shown] == ours and shown[1].answers[RANDOM] == shown[3].answers[RANDOM]
    assert [s.answers[SHUFFLED_WITHIN].text for s in shown] == ["ours 2", "ours 3", "ours 0", "ours 1"]
    assert sorted(s.answers[SHUFFLED].text for s in shown) == [a.text for a in ours]
    assert all(s.answers[SHUFFLED] != a for s, a in zip(shown, ours, strict=True))
    assert with_baselines(given[:1], training(1))[0].answers[SHUFFLED] == ours[0], "there is no other item"
    assert with_baselines(given, training(5), 0) == shown != with_baselines(given, training(5), 1), "0 without a seed"
    drawn = {with_baselines(given, training(5), seed)[0].answers[RANDOM].score for seed in range(30)}
    assert drawn == {1.0, 2.0, None, 6.0}, "any of the category, and no other"
    nothing = with_baselines(items([Answer("t")], ours=ours[:1]), [TestItem("x", "t", "a", Answer("plain"))])
    assert nothing[0].answers[CONSTANT] == Answer("plain")


def test_unseen_categories_take_all_training_items_and_are_noted() -> None:
    given = items([Answer("t")] * 3, ours=[Answer("x")] * 3)
    shown = with_baselines(given, training(4))
    assert shown[1].answers[CONSTANT] == shown[0].answers[CONSTANT], "category b has no training item"
    note = unseen_categories(given, training(4))
    assert note == (
        "1 of 3 items are of 1 categories without a training item, such as 'b': their constant and random rows come from all training items."
    )
    assert unseen_categories(given, training(5)) is None


def test_the_first_line_of_a_page_has_three_columns_with_their_strongest_rivals() -> None:
    rows, notes = evaluate_answers(
        NARRATIVES, dives(ours=NARRATED, flat=[Answer("fair", 5.0, actions=[])] * len(NARRATED))
    )
    run = Run(
        "mine", [], {"answers": {**rows, "the floor": rows["flat"], "ours, expected score": rows["flat"]}}, {}, notes
    )
    tiles = NARRATIVES.tiles(run)
    named = [
        column for column in NARRATIVES.columns if column.metric in rows["ours"] and rows["ours"][column.metric].n
    ][:3]
    assert [tile.title for tile in tiles] == [column.heading for column in named] and len(tiles) == 3
    assert [tile.value for tile in tiles] == [column.printed(rows["ours"][column.metric].value) for column in named]
    first = named[0].metric
    assert tiles[0].beside == f"Without a model: flat {named[0].printed(rows['flat'][first].value)}", (
        "no bounds, nothing of our own"
    )
    other = {
        "a": {"x": Metric(1.0, None, 1, 0, "", "")},
        "b": {"x": Metric(3.0, None, 1, 0, "", "")},
        "c": {"x": Metric(NAN, None, 0, 1, "", "")},
    }
    assert strongest(other, "x") == [("b", 3.0), ("a", 1.0)] and strongest(other, "x", higher=False)[0] == ("a", 1.0)
