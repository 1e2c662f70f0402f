"""Runs in one table, baselines, and two runs compared item by item."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mm_adapter.cli import main
from mm_adapter.tasks.cot_afa.suite import ASSESSMENTS
from mm_adapter.tasks.desccoach.suite import COMMENTARY
from mm_adapter.tasks.nae.suite import NARRATIVES
from mm_data.tasks import Answer
from mm_eval.answers.baselines import CONSTANT, RANDOM, SHUFFLED, unseen_categories, with_baselines
from mm_eval.answers.test_sets import TRAINING, TestItem, write_answers
from mm_eval.judge.judging import digest_of
from mm_eval.statistics.metric import Metric, item_metric
from mm_eval.statistics.storage import write_metrics
from mm_eval.suites.runs import open_run, runs_table
from mm_eval.suites.tasks import evaluate_answers
from mm_eval.tables import RENDERERS, Column, Row, ScoreTable

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")

DIVES = ["forward dive", "back dive", "twist"]


def truth(i: int) -> Answer:
    kind = DIVES[i % 3]
    return Answer(
        f"A {kind} number {i % 4} with a splash of {i % 5}; the score is {60 + i}.",
        60.0 + i,
        kind,
        "standard" if i % 2 else "non-standard",
        [kind, f"entry {i % 2}"],
    )


def test_set(good: bool) -> list[TestItem]:
    """Twelve dives in six videos; a good system is off by a point, a bad one says the same of all."""
    items = []
    for i in range(12):
        t = truth(i)
        ranking = {kind: float(kind == t.label) for kind in DIVES}
        ours = replace(t, score=61.0 + i, ranking=ranking, actions=t.actions if i else None)
        flat = Answer("A dive.", 66.0, "twist", "standard", [], ranking=dict.fromkeys(DIVES, 0.0))
        items.append(
            TestItem(
                f"dive {i}",
                f"video {i // 2}",
                DIVES[i % 3],
                t,
                {"ours": ours if good else flat},
                nearest={"video": f"train {i % 9}"},
            )
        )
    return items


test_set.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("runs")
    training = [TestItem(f"train {i}", f"other {i}", DIVES[i % 3], truth(i + 1)) for i in range(9)]
    for name, good in (("good", True), ("bad", False)):
        write_answers(root / name, test_set(good))
        write_answers(root / name, training, TRAINING)
    return root / "good", root / "bad"


def test_a_table_defends_itself(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = folders
    command = ["eval", f"A & B={good}", str(bad), "--task", "nae", "--out", str(tmp_path)]
    assert main(command) == 0
    text = (tmp_path / "table.md").read_text()
    for row in (
        "A & B",
        "bad",
        "*shuffled*",
        "*constant per category*",
        "*random of the category*",
        "*video nearest neighbour*",
    ):
        assert f"| {row} |" in text, row
    assert "12 test items in 6 clusters" in text and "Published, different data (PGMI" in text
    assert "range:split [60, 71]" in text and "unparsed:1, wrong" in text, "signatures stand below"
    assert "Different from A & B (swaps by cluster, Holm over" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    exact = {(r["row"], r["metric"]): float(r["value"]) for r in rows}
    assert exact["A & B", "spearman"] == pytest.approx(1) and math.isnan(exact["bad", "spearman"])
    assert exact["A & B", "relative_l2"] == pytest.approx((1 / 11) ** 2)
    assert exact["A & B", "action_accuracy"] == pytest.approx(11 / 12)
    assert exact["A & B", "nae_map"] > exact["*random of the category*".strip("*"), "nae_map"]
    tex = (tmp_path / "table.tex").read_text()
    assert r"A \& B" in tex and r"\toprule" in tex and r"$\rho$" in tex
    assert "A &amp; B" in (tmp_path / "table.html").read_text()
    assert json.loads((good / "metrics.json").read_text(), parse_constant=pytest.fail)["tables"]["answers"]["ours"]


def test_classes_and_verdicts(folders: tuple[Path, Path]) -> None:
    items = test_set(True)
    rows, notes = evaluate_answers(ASSESSMENTS, [replace(i, answers=i.answers | {"flat": test_set(False)[0].answers["ours"]}) for i in items])  # fmt: skip
    assert rows["ours"]["top1"].value == 1 and rows["ours"]["verdict_accuracy"].value == 1
    assert rows["flat"]["top1"].value == 0, "the same score for every class names none"
    assert rows["flat"]["verdict_accuracy"].value == 0.5 and notes == []
    assert {name: metric.value for name, metric in rows["chance"].items()} == {
        "top1": 1 / 3,
        "top5": 1,
        "verdict_accuracy": 0.5,
    }
    unread = [replace(items[0], answers={"ours": replace(items[0].answers["ours"], ranking=None)}), *items[1:]]
    wrong = evaluate_answers(ASSESSMENTS, unread)[0]["ours"]["top1"]
    assert wrong.value == pytest.approx(11 / 12) and "unparsed:1, wrong" in wrong.signature
    partial = [
        replace(items[0], answers={"ours": replace(items[0].answers["ours"], ranking={"twist": 1.0})}),
        *items[1:],
    ]
    with pytest.raises(ValueError, match="item 'dive 0' ranks 1 of 3 classes"):
        evaluate_answers(ASSESSMENTS, partial)
    scores, notes = evaluate_answers(COMMENTARY, items)
    assert "range:[0, 10]" in scores["ours"]["relative_l2"].signature
    assert any(note.startswith("BERTScore: not computed") for note in notes)


def test_a_judge_joins_the_table_unless_it_withholds(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders[0], run)
    items = test_set(True)
    judged = items[:6]
    settings = {
        "item_ids": [i.item_id for i in judged],
        "systems": ["ours"],
        "against": None,
        "digest": digest_of(judged, ["ours"]),
    }
    metric = item_metric([0.5, 0.25] * 3, [i.cluster for i in judged], "0-1", "judge:m").to_json()
    for name, withheld in (("judge_a", False), ("judge_b", True)):
        (run / name).mkdir()
        scores = {"ours": {"withheld": withheld, "failed_share": 0.03, "metrics": {"gpt_m": metric}}}
        write_metrics(run / name, {"settings": settings, "systems": scores})
    opened = open_run(f"one={run}", COMMENTARY)
    table = runs_table([opened, replace(opened, name="two")], COMMENTARY)
    assert table.rows[0].cells["judge", "gpt_m"].value == 0.375, "half of the items were judged, and can be compared"
    assert "judge_b: ours's headline is withheld, 3.0% of the judgements failed" in table.footnotes
    shutil.copytree(run / "judge_a", run / "judge_c")
    with pytest.raises(ValueError, match=r"judge_c and another judge in .* both give gpt_m of 'ours'"):
        open_run(str(run), COMMENTARY)
    write_answers(run, [replace(i, answers={"ours": Answer("Other.")}) for i in items])
    with pytest.raises(ValueError, match="judge_a judged other texts than"):
        open_run(str(run), COMMENTARY)


def test_diff_shows_what_changed(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = folders
    assert (
        main(["eval", "diff", str(bad), str(good), "--task", "nae", "--out", str(tmp_path), "--by", "relative_l2"]) == 0
    )
    text = (tmp_path / "diff.md").read_text()
    assert "12 items in 6 clusters" in text and "items are better in R-ℓ2" in text
    wins, losses = text.split("## Biggest losses")
    assert "dive 11" in wins and "dive 6" in losses  # the constant 66 is right on dive 6 alone
    assert re.search(r"\| R-ℓ2 ↓ \| .* \| -\d", text)
    assert main(["eval", "diff", str(bad), "--task", "nae"]) == 2
    assert "`eval diff` compares two runs, 1 were given" in capsys.readouterr().err
    assert main(["eval", "diff", str(bad), str(good), "--task", "nae", "--by", "charm"]) == 2
    assert "--by charm: choose from" in capsys.readouterr().err


def test_a_run_is_compared_with_its_own_baselines(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, nearest = str(folders[0]), "video nearest neighbour"
    command = ["eval", "diff", good, "--task", "nae", "--by", "relative_l2"]
    assert main([*command, "--against", nearest, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "diff.md").read_text()
    assert f"good against {nearest}, 12 items in 6 clusters" in text
    table = open_run(good, NARRATIVES).tables["answers"]
    row = next(line for line in text.splitlines() if line.startswith("| ρ"))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:4] == [f"{table[nearest]['spearman'].value:.3f}", f"{table['ours']['spearman'].value:.3f}"]
    assert "3 items are better" in text and f"- first: {truth(3).text}\n- second: {truth(11).text}" in text
    assert main([*command, "--against", "swinbert"]) == 2
    said = capsys.readouterr().err
    assert "good has no system 'swinbert'; choose from" in said and nearest in said
    assert main(["eval", "diff", good, str(folders[1]), "--task", "nae", "--against", nearest]) == 2
    assert "compares one run with --against, 2 were given" in capsys.readouterr().err
    assert main(["eval", good, "--task", "nae", "--against", nearest]) == 2
    assert "Unknown option: --against" in capsys.readouterr().err, "a table holds baselines anyhow"


def test_runs_of_other_items_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "fewer", test_set(True)[:-1])
    assert main(["eval", str(folders[0]), str(tmp_path / "fewer"), "--task", "nae"]) == 2
    assert "1 are only in one of them, such as 'dive 11'" in capsys.readouterr().err
    assert main(["eval", str(folders[0])]) == 2
    assert "does not say which task it answers; give --task (expertaf, nae," in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "nowhere")]) == 2
    assert "answers.jsonl is not there" in capsys.readouterr().err


def test_what_is_not_defined_or_measured_otherwise_is_not_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    good, bad = (open_run(str(folder), NARRATIVES) for folder in folders)
    lines = runs_table([good, bad], NARRATIVES).footnotes
    assert not any("nan" in line for line in lines)
    other = {"answers": {"ours": {"bleu4": replace(bad.tables["answers"]["ours"]["bleu4"], signature="bleu4|tok:13a")}}}
    lines = runs_table([good, replace(bad, tables=other)], NARRATIVES).footnotes
    assert "bad: BLEU-4 was measured otherwise than good's and is not compared; see the signatures." in lines


def test_names_of_runs(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "lr=0.1"
    shutil.copytree(folders[0], odd)
    assert open_run(str(odd), NARRATIVES).name == "lr=0.1" and open_run(f"A={odd}", NARRATIVES).name == "A"
    assert main(["eval", str(folders[0]), f"good={odd}", "--task", "nae"]) == 2
    assert "Two runs have the same name" in capsys.readouterr().err
    write_answers(odd, [replace(i, answers={"swinbert": i.truth}) for i in test_set(True)])
    assert main(["eval", str(odd), "--task", "nae"]) == 2
    assert (
        "the run's own answers stand under 'ours', and 'dive 0' has none (12 of 12); systems there: swinbert"
        in capsys.readouterr().err
    )


def test_baselines_need_no_model() -> None:
    items, training = test_set(True), [TestItem(f"train {i}", "t", DIVES[i % 3], truth(i)) for i in range(9)]
    shown = with_baselines(items, training)
    assert list(shown[0].answers)[1:] == [
        SHUFFLED,
        "shuffled within category",
        CONSTANT,
        RANDOM,
        "video nearest neighbour",
    ]
    constant = shown[0].answers[CONSTANT]
    assert constant.score == pytest.approx((60 + 63 + 66) / 3) and constant.label == "forward dive"
    assert shown[4].answers["video nearest neighbour"] == truth(4)
    for item in shown:
        assert item.answers["shuffled within category"].label == item.truth.label
        assert (
            item.answers["shuffled within category"] != item.answers["ours"]
            and item.answers[RANDOM].label == item.category
        )
    assert with_baselines(items, training) == shown
    without = [replace(t, category="other") if t.category == "twist" else t for t in training]
    twist = next(number for number, item in enumerate(items) if item.category == "twist")
    assert with_baselines(items, without)[twist].answers[CONSTANT].score == pytest.approx(
        np.mean([t.truth.score or 0.0 for t in training])
    )
    note = unseen_categories(items, without)
    assert note is not None and "1 categories without a training item, such as 'twist'" in note
    assert unseen_categories(items, training) is None
    with pytest.raises(ValueError, match="There is no training item"):
        with_baselines(items, [])
    with pytest.raises(ValueError, match="its video neighbour 'train 8' is no training item"):
        with_baselines(items, training[:8])


def test_every_format_shows_gaps_and_notes() -> None:
    fine, broken = Metric(0.5, None, 3, 0, "0-1", "s|x", (0.4, 0.6)), Metric(math.nan, None, 0, 3, "0-1", "s|x")
    columns = (Column("t", "a", "A"), Column("t", "b", "B", higher=False), Column("t", "unused", "never"))
    rows = (Row("one", {("t", "a"): fine}, note="why"), Row("two", {("t", "b"): broken, ("t", "a"): fine}, True))
    table = ScoreTable("T", "Lead.", columns, rows, ("foot",), published=NARRATIVES.published)
    text = {ending: render(table) for ending, render in RENDERERS.items()}
    assert (
        "| one [1] | 50.0 (40.0–60.0) | – |" in text["md"]
        and "| *two* | 50.0 (40.0–60.0) | –, 3 failed |" in text["md"]
    )
    assert "- [1] why" in text["md"] and "- foot" in text["md"] and "never" not in "".join(text.values())
    assert r"one [1] & 50.0 {\scriptsize (40.0--60.0)} & -- \\" in text["tex"] and r"\midrule" in text["tex"]
    assert 'title="s|x"' in text["html"] and "foot" in text["html"] and "PGMI" in text["html"]
    assert text["csv"].count("\n") == 4
