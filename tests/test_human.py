"""Human evaluation: statistics against published values, packs filled in by a browser, answers of every kind."""

import json
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from test_video import grey, write_video

from mm_adapter.cli import main
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import ClipFile, TestItem, write_answers
from mm_eval.human.packs import balanced_blocks, check_positions
from mm_eval.human.ratings import import_answers
from mm_eval.human.statistics import agreement_of, analyse, bradley_terry, pair_outcomes
from mm_eval.statistics.agreement import fleiss_kappa, intraclass_correlations, kendall_w, krippendorff_alpha

LIKERT = np.array(
    [[3, 4, 3, 3, 4], [2, 2, 1, 2, 2], [4, 4, 4, 3, 4], [1, 2, 1, 1, 1], [3, 3, 2, 3, 3], [2, 3, 3, 2, 4], [4, 3, 4, 4, 4], [1, 1, 2, 1, 2]],
    float,
).T  # fmt: skip
RANKS = np.array(
    [[int(c) for c in row] for row in ["1234", "1123", "2133", "1324", "1111", "2314", "1223", "3124", "1243", "1132"]],
    float,
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SYSTEMS = ["ours", "pgmi", "swin", "intern"]


def test_agreement_vectors() -> None:
    assert LIKERT.mean() == 2.625
    found = agreement_of(LIKERT)
    expected = {
        "alpha_nominal": 0.346734, "alpha_ordinal": 0.761579, "alpha_interval": 0.763325, "icc_1_1": 0.782315,
        "icc_a_1": 0.783311, "icc_a_k": 0.947574, "fleiss_kappa": 0.329983,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-6)


def test_rank_vectors() -> None:
    outcomes = {o.against: o for o in pair_outcomes(RANKS, SYSTEMS, list("abcdefghij"))[:3]}
    expected = {"pgmi": (0.5, 0.3, 0.2, 0.453), "swin": (0.7, 0.1, 0.2, 0.180), "intern": (0.9, 0.1, 0.0, 0.0039)}
    for against, values in expected.items():
        o = outcomes[against]
        assert (o.wins, o.ties, o.losses) == pytest.approx(values[:3])
        assert o.sign_test_p_value == pytest.approx(values[3], abs=5e-4)
        assert o.p_value == pytest.approx(o.sign_test_p_value, abs=1e-9), (
            "with a take for each ranking they are the same"
        )
        assert o.net_win.value == pytest.approx(o.wins - o.losses) and o.net_win.interval is not None
    strengths = bradley_terry(RANKS, SYSTEMS)
    assert list(strengths) == SYSTEMS and strengths["ours"] > strengths["pgmi"] > strengths["intern"]
    assert sum(strengths.values()) == pytest.approx(0)


def test_concordance_and_edges() -> None:
    assert kendall_w(np.array([[1, 2, 3], [1, 2, 3]])) == pytest.approx(1)
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == pytest.approx(0)
    assert kendall_w(np.ones((3, 3))) is None
    gaps = LIKERT.copy()
    gaps[0, 0] = np.nan
    assert set(intraclass_correlations(gaps).values()) == {None} and fleiss_kappa(gaps) is None
    assert krippendorff_alpha(gaps, "ordinal") is not None
    assert krippendorff_alpha(np.full((2, 3), 4.0), "ordinal") is None


@pytest.mark.parametrize(("raters", "per_item", "items"), [(5, 3, 20), (5, 2, 10), (3, 3, 7), (4, 1, 9)])
def test_blocks_are_balanced(raters: int, per_item: int, items: int) -> None:
    blocks = balanced_blocks(items, raters, per_item, np.random.default_rng(0))
    assert all(len(set(block)) == per_item for block in blocks)
    load = Counter(rater for block in blocks for rater in block)
    assert max(load.values()) - min(load.values()) <= 1
    met = Counter(pair for block in blocks for pair in combinations(block, 2))
    pairs = [met[pair] for pair in combinations(range(raters), 2)]
    assert max(pairs) - min(pairs) <= 1


@pytest.mark.parametrize("questions", [1, 2, 3, 7, 8, 9, 20, 60, 61, 100])
def test_attention_checks_stand_all_over_a_pack(questions: int) -> None:
    positions = check_positions(questions)
    assert positions == sorted(set(positions)) and 0 <= positions[0] <= positions[-1] <= questions
    assert len(positions) == max(1, round(questions / 8))
    gaps = np.diff([-positions[0], *positions, 2 * questions - positions[-1]])
    assert max(gaps) - min(gaps) <= 2, "as far from the ends as half of what lies between two"
    if questions == 60:
        assert positions == [3, 11, 18, 26, 33, 41, 48, 56]


def test_a_pack_of_one_question_has_a_check(tmp_path: Path) -> None:
    out = pack(tmp_path, "--raters", "1", "--per-item", "1", count=1)
    entries = list(json.loads((out / "key.json").read_text())["questions"].values())
    assert [bool(entry["expected"]) for entry in entries] == [True, False]
    out = pack(tmp_path / "none", "--raters", "2", "--per-item", "1", count=1)
    questions = json.loads((out / "key.json").read_text())["questions"]
    assert len(questions) == 2 and len({name[:2] for name in questions}) == 1, "nobody gets a check alone"


def write_run(folder: Path, count: int, clip: ClipFile | None = None) -> Path:
    items = [
        TestItem(
            f"item {i}", f"take {i // 2}", "Soccer", Answer(f"Truth {i}."),
            {"ours": Answer(f"**Our** text {i} </script><|im_end|>"), "other": Answer(f"Other text {i}")}, {"exo": clip} if clip else {},
        )
        for i in range(count)
    ]  # fmt: skip
    write_answers(folder, items)
    return folder


def pack(tmp_path: Path, *options: str, count: int = 6) -> Path:
    run = write_run(tmp_path / "mine", count)
    out = tmp_path / "study"
    assert main(["human", "pack", str(run), "--out", str(out), "--systems", "other", "--views", *options]) == 0
    return out


def test_packs_are_blind_and_seeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pack(tmp_path, "--raters", "3", "--per-item", "2")
    for path in (out / "pack").iterdir():
        content = path.read_text()
        assert "mine" not in content and "item 1" not in content and '"other"' not in content, path.name
        assert "im_end" not in content and "**" not in content, "marks of a model would tell it apart"
    key = json.loads((out / "key.json").read_text())
    orders = {tuple(q["systems"].values()) for q in key["questions"].values() if not q["expected"]}
    assert orders == {("mine", "other"), ("other", "mine")}, "each question has an order of its own"
    seen = Counter(q["item_id"] for q in key["questions"].values())
    assert {seen[f"item {i}"] for i in range(6)} == {2} and seen["check"] == 3
    assert main(["human", "pack", str(tmp_path / "mine"), "--out", str(out)]) == 2
    assert "its key would be lost" in capsys.readouterr().err
    again = tmp_path / "again"
    main(["human", "pack", str(tmp_path / "mine"), "--out", str(again), "--systems", "other", "--views", "--raters", "3", "--per-item", "2"])  # fmt: skip
    assert (again / "key.json").read_text() == (out / "key.json").read_text()


def answers(out: Path, value_of: dict[str, int], fail: tuple[str, ...] = ()) -> Path:
    """A CSV in which every rater gives each system its value; some fail their checks."""
    lines = ["rater,question,label,value"]
    for question, entry in json.loads((out / "key.json").read_text())["questions"].items():
        rater = question[1 : question.index("q")]
        for label, right in (entry["expected"] or entry["systems"]).items():
            if entry["expected"]:
                right = right % 4 + 1 if rater in fail else right
            lines.append(f"{rater},{question},{label},{right if entry['expected'] else value_of[right]}")
    (out / "all.csv").write_text("\n".join(lines) + "\n")
    return out / "all.csv"


def test_answers_are_unblinded_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pack(tmp_path, "--raters", "3")
    sheet = answers(out, {"mine": 4, "other": 2}, fail=("2",))
    assert main(["human", "report", str(out), str(sheet)]) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "24 ratings of 6 items by 2 raters" in shown and "attention checks: 2" in shown
    report = json.loads((out / "report.json").read_text())
    assert report["means"]["mine"]["value"] == 4 and report["means"]["other"]["value"] == 2
    assert report["pairs"][0]["difference"] == 2 and report["pairs"][0]["p_value"] == 0.25  # three takes: 2 of 8 swaps
    assert len((out / "ratings.csv").read_text().splitlines()) == 25
    for broken, message in (
        ("1,r1q1,Z,3", "no text 'Z' was shown in question 'r1q1'"),
        ("1,r9q9,A,3", "no text 'A' was shown in question 'r9q9'"),
        ("1,r1q1,A,9", "line 2: value '9'; expected a whole number from 1 to 4"),
        ("1,r1q1,A,often", "value 'often'"),
        ("1,r1q1,A,1\n1,r1q1,A,2", "line 3: question 'r1q1', text 'A' was answered before"),
    ):
        (out / "broken.csv").write_text(f"rater,question,label,value\n{broken}\n")
        assert main(["human", "report", str(out), str(out / "broken.csv")]) == 2
        assert message in capsys.readouterr().err
    (out / "headless.csv").write_text("1,r1q1,A,1\n")
    assert main(["human", "report", str(out), str(out / "headless.csv")]) == 2
    assert "lacks the columns" in capsys.readouterr().err


def test_unanswered_questions_are_counted(tmp_path: Path) -> None:
    out = pack(tmp_path, "--raters", "2")
    sheet = answers(out, {"mine": 3, "other": 3})
    lines = sheet.read_text().splitlines()
    key = json.loads((out / "key.json").read_text())["questions"]
    dropped = next(q for q, entry in key.items() if not entry["expected"])
    sheet.write_text("\n".join(line for line in lines if f",{dropped},A," not in line))
    found = analyse(import_answers(out, [sheet]))
    assert found["missing"] == 1 and found["ratings"] == 2 * (12 - 1)


def test_label_studio_exports_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pack(tmp_path, "--raters", "2", "--kind", "rank")
    tasks = json.loads((out / "pack" / "label_studio.json").read_text())
    key = json.loads((out / "key.json").read_text())["questions"]
    for task in tasks:
        entry = key[task["data"]["question"]]
        values = entry["expected"] or {
            label: 1 if system == "mine" else 2 for label, system in entry["systems"].items()
        }
        results = [
            {"type": "rating", "from_name": label, "value": {"rating": value}} for label, value in values.items()
        ]
        task["annotations"] = [{"result": results}, {"was_cancelled": True, "result": []}]
    export = out / "export.json"
    export.write_text(json.dumps(tasks))
    assert '<Rating name="B"' in (out / "pack" / "label_studio.xml").read_text()
    assert main(["human", "report", str(out), str(export)]) == 0
    pair = json.loads((out / "report.json").read_text())["pairs"][0]
    assert (pair["system"], pair["wins"], pair["losses"]) == ("mine", 1.0, 0.0)
    assert pair["sign_test_p_value"] == pytest.approx(2 / 2**12) and pair["p_value"] == pytest.approx(2 / 2**3)
    export.write_text('[{"id": 1}]')
    assert main(["human", "report", str(out), str(export)]) == 2
    assert "is no Label Studio export of this pack's tasks" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
def test_a_pack_filled_in_by_a_browser(tmp_path: Path) -> None:
    """A rater watches, rates, reloads and downloads; the statistics are those of a hand calculation."""
    from playwright.sync_api import sync_playwright

    video = tmp_path / "clip.mp4"
    write_video(video, [grey(k) for k in range(60)])
    run = write_run(tmp_path / "mine", 4, ClipFile(str(video), 0.5, 1.5))
    out = tmp_path / "study"
    assert main(["human", "pack", str(run), "--out", str(out), "--systems", "other", "--raters", "2"]) == 0
    key = json.loads((out / "key.json").read_text())["questions"]
    points = {("1", "mine"): 4, ("1", "other"): 2, ("2", "mine"): 3, ("2", "other"): 3}
    sheets = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for rater in "12":
            page = browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto((out / "pack" / f"rater_{rater}.html").as_uri())
            mine = [q for q in key if q.startswith(f"r{rater}q")]
            for position, question in enumerate(mine):
                entry = key[question]
                if not entry["expected"]:
                    page.wait_for_function("document.querySelector('video').readyState >= 2")
                    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(1, abs=0.1)
                for label, right in (entry["expected"] or entry["systems"]).items():
                    value = right if entry["expected"] else points[rater, right]
                    page.check(f"input[name={label}][value='{value}']")
                if position == 1:
                    page.reload()
                    page.click("#next")
                    assert page.locator("input:checked").count() == len(entry["expected"] or entry["systems"])
                if position < len(mine) - 1:
                    page.click("#next")
            assert page.inner_text("#missing") == "All questions are answered."
            with page.expect_download() as download:
                page.click("#download")
            sheets.append(out / f"rater_{rater}.csv")
            download.value.save_as(sheets[-1])
            assert not errors
        browser.close()
    found = analyse(import_answers(out, sheets))
    assert found["missing"] == 0 and found["checks"] == {"1": (1, 1), "2": (1, 1)} and found["ratings"] == 16
    assert found["means"]["mine"]["value"] == 3.5 and found["means"]["other"]["value"] == 2.5
    # Two raters on eight units: 4, 3 four times and 2, 3 four times; variances by hand.
    assert found["agreement"]["icc_1_1"] == pytest.approx((8 * 0.25 * 2 / 7 - 0.5) / (8 * 0.25 * 2 / 7 + 0.5))
    assert found["pairs"][0]["difference"] == 1.0 and found["pairs"][0]["p_value"] == 0.5  # two takes: 2 of 4 swaps
