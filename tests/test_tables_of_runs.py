"""Which number stands in which cell: judges' verdicts, differences, changes and what each format prints of them."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mm_eval.suites.tasks as suites
from mm_adapter.tasks.desccoach import DESCCOACH
from mm_adapter.tasks.known import suite_of
from mm_adapter.tasks.nae import NAE
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import TRAINING, About, TestItem, write_answers
from mm_eval.judge.judging import digest_of
from mm_eval.metrics.text.corpus import TextScores
from mm_eval.statistics.comparison import compare
from mm_eval.statistics.metric import Metric, corpus_metric, item_metric
from mm_eval.statistics.storage import write_metrics
from mm_eval.suites.runs import (
    changes,
    check_same_items,
    differences,
    measured_otherwise,
    name_and_folder,
    open_run,
    runs_table,
)
from mm_eval.suites.suite import Run
from mm_eval.suites.tasks import TaskSuite
from mm_eval.tables import RENDERERS, Column, Row, ScoreTable
from mm_eval.tables.published import Published

NAN = float("nan")
TAKES = ["a", "a", "b", "c", "d", "e", "f", "g"]


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def lengths(systems: dict[str, list[str]], references: list[Any], clusters: list[str], *more: Any) -> TextScores:
        rows = {
            n: {"bleu1": item_metric([len(t) for t in texts], clusters, "0-1", "len")} for n, texts in systems.items()
        }
        return TextScores(rows)

    monkeypatch.setattr(suites, "coco_scores", lengths)
    monkeypatch.setattr(suites, "modern_scores", lengths)


def items(scores: Sequence[float | None], **more: Answer) -> list[TestItem]:
    return [
        TestItem(f"item {i}", TAKES[i], "x", Answer(f"truth {i}", float(i)), {"ours": Answer("said", score)} | more)
        for i, score in enumerate(scores)
    ]


def write_judge(
    folder: Path, judged: Sequence[TestItem], metrics: dict[str, Metric], system: str = "ours", **scores: Any
) -> None:
    folder.mkdir(parents=True)
    settings = {
        "item_ids": [item.item_id for item in judged], "systems": [system], "against": None, "digest": digest_of(judged, [system]),
    }  # fmt: skip
    found = {"withheld": False, "failed_share": 0.0, "metrics": {n: m.to_json() for n, m in metrics.items()}} | scores
    write_metrics(folder, {"settings": settings, "systems": {system: found}})


def test_verdicts_stand_at_the_items_that_were_judged(tmp_path: Path) -> None:
    """A judge that saw four of eight items, not the first ones and in another order."""
    shown = items([1.0] * 8)
    write_answers(tmp_path, shown)
    judged = [shown[i] for i in (6, 1, 4, 3)]
    takes = [item.cluster for item in judged]
    pairs = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    ratios = corpus_metric(pairs, "ratio", takes, "0-1", "q")
    write_judge(
        tmp_path / "judge", judged, {"gpt_m": item_metric([0.6, 0.1, NAN, 0.3], takes, "0-1", "m"), "gpt_q": ratios}
    )
    found = open_run(str(tmp_path), DESCCOACH.suite).tables["judge"]["ours"]
    assert found["gpt_m"].per_item == pytest.approx((NAN, 0.1, NAN, 0.3, NAN, NAN, 0.6, NAN), nan_ok=True)
    assert found["gpt_m"].value == pytest.approx(1 / 3) and (found["gpt_m"].n, found["gpt_m"].n_failed) == (3, 1)
    rows = found["gpt_q"].rows
    assert rows is not None and [rows[i] for i in (6, 1, 4, 3)] == [tuple(row) for row in pairs]
    assert [i for i in range(8) if rows[i][0] == rows[i][0]] == [1, 3, 4, 6] and found["gpt_q"].per_item is None
    assert found["gpt_q"].value == 16 / 20


def test_a_judge_of_a_baseline_and_one_that_withholds(tmp_path: Path) -> None:
    shown = items([1.0] * 4, other=Answer("else"))
    write_answers(tmp_path, shown)
    takes = [item.cluster for item in shown]
    write_judge(tmp_path / "judge_a", shown, {"gpt_m": item_metric([0.5] * 4, takes, "0-1", "m")}, "other")
    write_judge(tmp_path / "judge_b", shown, {"gpt_q": item_metric([0.2] * 4, takes, "0-1", "m")}, withheld=True, failed_share=0.125)  # fmt: skip
    run = open_run(str(tmp_path), DESCCOACH.suite)
    assert run.tables["judge"].keys() == {"other"} and run.tables["judge"]["other"]["gpt_m"].value == 0.5
    assert run.notes[-1] == "judge_b: ours's headline is withheld, 12.5% of the judgements failed"
    write_judge(tmp_path / "judge_c", shown[:2], {"gpt_m": item_metric([0.5] * 2, takes[:2], "0-1", "m")}, "other")
    with pytest.raises(ValueError, match=r"judge_c and another judge in .* both give gpt_m of 'other'; move one"):
        open_run(str(tmp_path), DESCCOACH.suite)
    write_answers(tmp_path, shown[1:])
    with pytest.raises(ValueError, match="judge_a judged other texts"):
        open_run(str(tmp_path), DESCCOACH.suite)


def test_what_answers_were_given_stands_in_signatures_and_notes(tmp_path: Path) -> None:
    shown = items([1.0, 2.0, 3.0, None], other=Answer("else"))
    write_answers(tmp_path, shown)
    plain = open_run(str(tmp_path), NAE.suite)
    assert "no baselines beyond those in answers.jsonl: training.jsonl is not there" in plain.notes
    assert plain.tables["answers"]["ours"]["bleu1"].signature == "len|n:4|clusters:3"
    About("nae", ["steps", "class"], ["mind the gap"]).write(tmp_path)
    write_answers(tmp_path, [TestItem("t", "t", "y", Answer("taught", 1.0))], TRAINING)
    told = open_run(f"named={tmp_path}", NAE.suite)
    assert told.tables["answers"]["ours"]["bleu1"].signature == "len|n:4|clusters:3|inputs:steps, class"
    assert told.tables["answers"]["other"]["bleu1"].signature == "len|n:4|clusters:3"
    assert told.notes[:1] == [
        "4 of 4 items are of 1 categories without a training item, such as 'x': their constant and random rows come from all training items."
    ]
    assert told.notes[1:3] == ["Inputs beside the clip: steps; class.", "mind the gap"] and told.name == "named"
    assert "constant per category" in told.tables["answers"] and "shuffled" in told.items[0].answers
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["notes"] == told.notes and set(written["tables"]) == {"answers"}


def test_a_folder_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "lr=0.1"
    odd.mkdir()
    assert name_and_folder(str(odd)) == ("lr=0.1", odd) and name_and_folder(f"A={odd}") == ("A", odd)
    assert name_and_folder(str(tmp_path / "new")) == ("new", tmp_path / "new")
    assert name_and_folder("A=new") == ("A", Path("new")), "which is not there yet"
    monkeypatch.chdir(odd)
    assert name_and_folder(".") == ("lr=0.1", Path("."))


def test_a_run_needs_answers_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"answers\.jsonl is not there; `mm-coach answer` writes it"):
        open_run(str(tmp_path), NAE.suite)
    write_answers(tmp_path, [replace(item, answers={"swin": Answer("x")}) for item in items([1.0] * 3)])
    with pytest.raises(ValueError, match=r"'item 0' has none \(3 of 3\); systems there: swin"):
        open_run(str(tmp_path), NAE.suite)


def test_a_run_says_which_suite_scores_it(tmp_path: Path) -> None:
    for name, task in (("a", "nae"), ("b", "nae"), ("c", "cot-afa"), ("d", "")):
        About(task).write(tmp_path / name)
        write_answers(tmp_path / name, items([1.0]))
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert suite_of([a, b]) is NAE.suite and suite_of([d], "nae") is NAE.suite and suite_of([a, d]) is NAE.suite
    for runs, task, message in (
        ([a, c], None, "The runs are of several tasks: cot-afa, nae; one table has one task"),
        ([a], "cot-afa", "several tasks: cot-afa, nae"),
        (
            [d],
            None,
            r"does not say which task it answers; give --task \(expertaf, nae, cot-afa, desccoach, table or module:NAME\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            suite_of(runs, task)


# --- two runs --------------------------------------------------------------------------------------------------------

BETTER, WORSE = Column("t", "up", "up"), Column("t", "down", "down", 1.0, 2, higher=False)


def run(name: str, up: Sequence[float], down: Sequence[float], **more: Metric) -> Run:
    metrics = {"up": item_metric(up, TAKES, "0-1", "up"), "down": item_metric(down, TAKES, "mm", "down")} | more
    return Run(
        name, [replace(i, answers={"ours": Answer(name)}) for i in items([1.0] * 8)], {"t": {"ours": metrics}}, {}, []
    )


FIRST = run("first", [0.0, 0.5, 0.5, 0.5, NAN, 0.5, 0.5, 0.5], [4.0] * 8)
SECOND = run("second", [1.0, 0.5, 0.25, 0.75, 1.0, NAN, 0.5, 0.5], [5.0, 3.0, 4.0, 1.0, 9.0, 4.0, 4.0, 4.0])


def test_changes_are_second_minus_first_with_the_largest_gain_first() -> None:
    found = changes(FIRST, SECOND, BETTER)
    assert [(c.item.item_id, c.change, c.better) for c in found] == [
        ("item 0", 1.0, True), ("item 3", 0.25, True), ("item 2", -0.25, False)
    ]  # fmt: skip
    assert (found[0].first, found[0].second) == ("first", "second")
    found = changes(FIRST, SECOND, WORSE)
    assert [(c.item.item_id, c.change, c.better) for c in found] == [
        ("item 3", -3.0, True), ("item 1", -1.0, True), ("item 0", 1.0, False), ("item 4", 5.0, False)
    ]  # fmt: skip
    for column in (Column("t", "nothing", "n"), Column("nowhere", "up", "n")):
        with pytest.raises(ValueError, match=f"{column.metric} has no value per item in both runs; choose another"):
            changes(FIRST, SECOND, column)
    whole = corpus_metric(np.ones((8, 2)), "ratio", TAKES, "", "x")
    with pytest.raises(ValueError, match="whole has no value per item"):
        changes(run("a", [0.5] * 8, [1.0] * 8, whole=whole), SECOND, Column("t", "whole", "w"))


def test_differences_pair_what_both_have() -> None:
    columns = (BETTER, WORSE, Column("t", "other", "o"), Column("t", "mine", "m"), Column("t", "lost", "l"))
    nothing = item_metric([NAN] * 8, TAKES, "", "lost")
    first = run("first", [0.0] * 8, [4.0] * 8, other=item_metric([1.0] * 8, TAKES, "", "one"), lost=nothing)
    second = run("second", [0.5, 1.0, 1, 1, 1, 1, 1, NAN], [4.0, 3, 4, 1, 9, 4, 4, 4], other=item_metric([2.0] * 8, TAKES, "", "two"), lost=nothing, mine=nothing)  # fmt: skip
    up, down = differences(first, second, columns)
    assert (up.column, down.column) == (BETTER, WORSE)
    assert up.paired.difference == pytest.approx(6.5 / 7) and down.paired.difference == pytest.approx(1 / 8)
    # Six takes, swapped in 64 ways, of which two are as large; eight takes are left of the other.
    assert up.paired.p_value == 2 / 64 and up.adjusted == 4 / 64
    assert down.adjusted == pytest.approx(max(down.paired.p_value, 4 / 64))
    assert up.by_item is not None and up.by_item.t > 0, "the second is better"
    assert up.first.value == 0 and up.second.value == pytest.approx(6.5 / 7)
    assert measured_otherwise(first, second, columns) == ["o"]
    same = differences(first, run("again", [0.0] * 8, [4.0] * 8), columns)
    assert [d.by_item for d in same] == [None, None], "what does not differ has no test"
    lone = run("second", [NAN] * 7 + [1.0], [4.0] * 8)
    assert differences(first, lone, columns)[0].by_item is None, "one item is no sample"
    with pytest.raises(ValueError, match="first and bare have no metric in common that was measured alike"):
        differences(first, Run("bare", second.items, {}, {}, []), columns)


def test_runs_answer_the_same_items_in_the_same_order() -> None:
    check_same_items(FIRST, SECOND)
    for changed, message in (
        (FIRST.items[:-1], "first has 8 items and x 7; 1 are only in one of them, such as 'item 7'"),
        (FIRST.items[::-1], "0 are only in one of them, in another order"),
        ([*FIRST.items, replace(FIRST.items[0], item_id="more")], "first has 8 items and x 9; .* such as 'more'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_same_items(FIRST, replace(FIRST, name="x", items=list(changed)))


def test_a_table_of_runs_names_what_differs() -> None:
    columns = (Column("answers", "up", "up"), Column("answers", "down", "down", 1.0, 2, higher=False))
    assert isinstance(NAE.suite, TaskSuite)
    own = replace(NAE.suite, columns=columns, published=None)

    def made(name: str, up: list[float], down: list[float], *notes: str) -> Run:
        base = run(name, up, down)
        rows = {"ours": base.tables["t"]["ours"], "shuffled": base.tables["t"]["ours"]}
        return replace(base, tables={"answers": rows}, notes=list(notes))

    first = made("first", [0.0] * 8, [4.0] * 8, "shared", "mine")
    better = made("better", [1.0] * 8, [4.0, 4.0, 4, 4, 4, 4, 4, 5.0], "shared")
    table = runs_table([first, better], own)
    # Seven takes: 2 of 128 swaps are as large, twice that for two comparisons; one take that differs shows nothing.
    p = 2 * 2 / 128
    assert table.footnotes == (
        f"Different from first (swaps by cluster, Holm over 2 comparisons, p ≤ 0.05): better +100.0 up (p = {p:.3g}).",
        "shared",
        "first: mine",
    )
    assert [(row.name, row.baseline) for row in table.rows] == [("first", False), ("better", False), ("shuffled", True)]
    assert [row.cells["answers", "up"].value for row in table.rows] == [0.0, 1.0, 0.0]
    assert table.lead == "8 test items in 7 clusters (people, or takes where nobody says whose they are)."
    assert table.title == "NAE"
    alike = runs_table([first, replace(made("like", [0.0] * 8, [4.0] * 8), notes=["shared"])], own)
    assert alike.footnotes[0].endswith("(swaps by cluster, Holm over 2 comparisons, p ≤ 0.05): none.")
    made_up = replace(first, items=[*first.items[:-1], replace(first.items[-1], synthetic=True)])
    assert runs_table([made_up], own).lead.startswith("Synthetic data. 8 test items")
    with pytest.raises(ValueError, match="Two runs have the same name; write NAME=FOLDER"):
        runs_table([first, replace(better, name="first")], own)
    base = better.against("shuffled")
    assert (base.name, base.system) == ("shuffled", "shuffled") and base.metric(columns[0]) is not None
    assert base.text(better.items[0]) == "" and better.text(better.items[0]) == "better"
    with pytest.raises(ValueError, match="better has no system 'nobody'; choose from shuffled"):
        better.against("nobody")


def test_paired_differences_are_the_comparisons() -> None:
    a, b = FIRST.metric(BETTER), SECOND.metric(BETTER)
    assert a is not None and b is not None
    found = compare(b, a, TAKES)
    assert found.difference == pytest.approx((1.0 + 0 - 0.25 + 0.25 + 0 + 0) / 6) and found.clusters == 5


# --- what is printed -------------------------------------------------------------------------------------------------

PAPER = Published("A paper, Table 2", ("B@4", "medR ↓"), {"theirs": (44.25, 158), "other": (None, 0.5)})
TABLE = ScoreTable(
    "R&D",
    "Lead.",
    (
        Column("t", "share", "share, %"),
        Column("t", "error", "error_mm", 1.0, 2, higher=False),
        Column("t", "count", "ρ", 10.0, 0, higher=None),
        Column("t", "unused", "never"),
    ),
    (
        Row("ours", {("t", "share"): Metric(0.12345, None, 3, 0, "0-1", "sign|a", (0.1, 0.25), clusters=12)}, extra="3 min", note="why"),
        Row("late", {("t", "error"): Metric(7.5, None, 2, 1, "mm", "sign|b", (7.0, 8.0), clusters=10), ("t", "count"): Metric(0.26, None, 3, 0, "", "c")}, note="so"),
        Row("chance", {("t", "share"): Metric(0.5, None, 3, 0, "", "chance"), ("t", "error"): Metric(NAN, None, 0, 3, "mm", "sign|b")}, True),
    ),
    ("foot",),
    "cost",
    PAPER,
)  # fmt: skip


BRACKETS = "In brackets: 95 % intervals over {} clusters (people, or takes where nobody says whose they are)."
NO_INTERVAL = " With fewer than 5 clusters there is no interval."
ROUGH = " Fewer than 10 clusters: a rough guide, for other people may differ much more."


def of_clusters(*counts: int) -> ScoreTable:
    """A table whose first column has a row for each number of clusters, beside another that is not printed."""
    rows = [
        Row("row", {("t", "share"): Metric(0.5, None, 3, 0, "", "s", clusters=count), ("t", "hidden"): Metric(0.5, None, 3, 0, "", "s", clusters=1)})
        for count in counts
    ]  # fmt: skip
    return replace(TABLE, rows=tuple(rows))


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((10,), BRACKETS.format("10")), ((12, 0, 10), BRACKETS.format("10 to 12")), ((9,), BRACKETS.format("9") + ROUGH),
        ((5, 30), BRACKETS.format("5 to 30") + ROUGH), ((12, 4), BRACKETS.format("4 to 12") + NO_INTERVAL + ROUGH),
        ((4,), BRACKETS.format("4") + NO_INTERVAL + ROUGH), ((0, 0), ""), ((), ""),
    ],
)  # fmt: skip
def test_brackets_say_how_many_clusters_stand_behind_what_is_printed(counts: tuple[int, ...], sentence: str) -> None:
    assert of_clusters(*counts).about_intervals == sentence


def test_without_clusters_nothing_is_said_of_intervals() -> None:
    table = of_clusters(0)
    assert RENDERERS["md"](table).splitlines()[0] == "Lead."
    assert RENDERERS["tex"](table).splitlines()[:4] == ["% R&D", "% Lead.", "% share, %: s", r"\begin{table}"]
    assert '<p class="note">Lead.</p>' in RENDERERS["html"](table)


def test_markdown_line_by_line() -> None:
    lines = RENDERERS["md"](TABLE).splitlines()
    assert lines[0] == f"Lead. {BRACKETS.format('10 to 12')}"
    assert lines[2:7] == [
        "|  | share, % ↑ | error_mm ↓ | ρ | cost |",
        "|---|---:|---:|---:|---|",
        "| ours [1] | 12.3 (10.0–25.0) | – | – | 3 min |",
        "| late [2] | – | 7.50 (7.00–8.00), 1 failed | 3 |  |",
        "| *chance* | 50.0 | –, 3 failed | – |  |",
    ]
    assert lines[8:11] == ["- [1] why", "- [2] so", "- foot"]
    assert lines[12] == "Published, different data (A paper, Table 2):"
    assert lines[14:18] == ["|  | B@4 | medR ↓ |", "|---|---:|---:|", "| theirs | 44.25 | 158 |", "| other | – | 0.5 |"]
    assert lines[19] == "Signatures:" and lines[21:] == [
        "- `share, %: sign|a`", "- `share, %: chance`", "- `error_mm: sign|b`", "- `ρ: c`"
    ]  # fmt: skip
    plain = replace(TABLE, extra="", published=None, footnotes=())
    assert "| ours [1] | 12.3 (10.0–25.0) | – | – |" in RENDERERS["md"](plain).splitlines()
    assert "Published" not in RENDERERS["md"](plain)
    piped = replace(TABLE, rows=(replace(TABLE.rows[0], name="a|b"),))
    assert "| a/b [1] |" in RENDERERS["md"](piped)


def test_latex_line_by_line() -> None:
    lines = RENDERERS["tex"](TABLE).splitlines()
    assert lines[:3] == ["% R&D", "% Lead.", f"% {BRACKETS.format('10 to 12')}"]
    body = lines[lines.index(r"\toprule") - 1 :]
    assert body[:9] == [
        r"\begin{tabular}{lrrrl}",
        r"\toprule",
        r" & share, \% $\uparrow$ & error\_mm $\downarrow$ & $\rho$ & cost \\",
        r"\midrule",
        r"ours [1] & 12.3 {\scriptsize (10.0--25.0)} & -- & -- & 3 min \\",
        r"late [2] & -- & 7.50 {\scriptsize (7.00--8.00, 1 failed)} & 3 &  \\",
        r"\midrule",
        r"chance & 50.0 & -- {\scriptsize (3 failed)} & -- &  \\",
        r"\bottomrule",
    ]
    assert r"\caption{R\&D Lead.}" in lines and lines.count(r"\midrule") == 2
    assert lines[-6:] == [
        "% [1] why", "% [2] so", "% foot", "% Published, different data: A paper, Table 2", "% theirs & 44.25 & 158", "% other & – & 0.5"
    ]  # fmt: skip


def test_csv_rounds_nothing() -> None:
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"](TABLE))))
    assert [(r["row"], r["kind"], r["metric"], r["value"]) for r in rows] == [
        ("ours", "system", "share", "0.12345"), ("late", "system", "error", "7.5"), ("late", "system", "count", "0.26"),
        ("chance", "baseline", "share", "0.5"), ("chance", "baseline", "error", "nan"),
    ]  # fmt: skip
    assert rows[0] == {
        "row": "ours", "kind": "system", "table": "t", "metric": "share", "value": "0.12345", "low": "0.1", "high": "0.25",
        "n": "3", "n_failed": "0", "clusters": "12", "scale": "0-1", "signature": "sign|a",
    }  # fmt: skip
    assert (rows[1]["n_failed"], rows[2]["low"], rows[2]["high"]) == ("1", "", "")
    assert [r["clusters"] for r in rows] == ["12", "10", "0", "0", "0"]
    assert list(rows[0])[7:10] == ["n", "n_failed", "clusters"] and list(rows[0])[10] == "scale"


def test_html_escapes_and_marks() -> None:
    page = re.sub(r">\s+<", "><", RENDERERS["html"](TABLE)).replace('"', "'")
    assert page.startswith("<!doctype html>") and "<title>R&amp;D</title>" in page and "<h2>R&amp;D</h2>" in page
    assert f"<p class='note'>Lead. {BRACKETS.format('10 to 12')}</p><div class='scroll'><table>" in page
    assert page.count("<div class='scroll'><table>") == page.count("</table></div>") == 2, "ours and the paper's"
    assert "<th>share, % ↑</th><th>error_mm ↓</th><th>ρ</th><th>cost</th>" in page and "never" not in page
    assert (
        "<tr class='ours'><th>ours [1]</th><td><span title='sign|a'>12.3</span><span class='interval'>10.0–25.0</span></td>"
        "<td>–</td><td>–</td><td>3 min</td></tr>"
    ) in page
    assert "<span title='sign|b'>7.50</span><span class='interval'>7.00–8.00, 1 failed</span>" in page
    assert (
        "<tr class='baseline'><th>chance</th><td><span title='chance'>50.0</span><span class='interval'></span></td>"
        in page
    )
    assert "<p class='note'>[1] why</p><p class='note'>[2] so</p><p class='note'>foot</p>" in page
    assert "<tr><th>theirs</th><td>44.25</td><td>158</td></tr><tr><th>other</th><td>–</td><td>0.5</td></tr>" in page
    rude = replace(TABLE, rows=(replace(TABLE.rows[0], name="<b>", extra="<i>"),), footnotes=("<u>",), extra="<s>")
    assert not {"<b>", "<i>", "<u>", "<s>"} & set(RENDERERS["html"](rude).replace("><", ">\n<").splitlines())
