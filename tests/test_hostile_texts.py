"""Remarks, activities and systems whose texts are markup: every page shows them as text and runs none of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from six_tuples import alike, six_tuples, with_answers

import mm_adapter.tasks.expertaf.commentary as commentary
from mm_adapter.tasks.expertaf.suite import CoachingSuite
from mm_data.ground.templates import fill_template
from mm_data.items.manifest import ItemManifest
from mm_data.tasks import Answer
from mm_data.tuples.page import write_build_report
from mm_data.tuples.store import read_tuples
from mm_eval.answers.clips import write_clips
from mm_eval.answers.test_sets import About, TestItem
from mm_eval.human.packs import Design, make_pack
from mm_eval.judge.audit import audit_page
from mm_eval.judge.judging import Judgement
from mm_eval.judge.protocols import DETAILS
from mm_eval.metrics.pose_round_trip import Motion, evaluate_tokenizer
from mm_eval.pages.pose_tokenizer import write_page
from mm_eval.pages.report import write_report
from mm_eval.statistics.metric import records_of
from mm_eval.suites.suite import AnsweredRun, Run
from mm_eval.tables import RENDERERS, Row, ScoreTable

EVIL = "<script>alert('1')</script> & \"so\" {{ 7 * 7 }}"


class Reader(HTMLParser):
    """Counts scripts and collects what a reader sees, tooltips included."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts, self.text, self.data, self._in = 0, "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.scripts += tag == "script"
        self.text += "".join(f" {value} " for name, value in attrs if name in ("title", "alt"))
        self.data += "".join(f"\n{value}\n" for _, value in attrs if tag == "script" and value == "application/json")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.data += data
        else:
            self.text += data


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A report in which everything that somebody else names is markup."""
    for name in ("coco_scores", "modern_scores", "release_scores"):
        monkeypatch.setattr(commentary, name, alike)
    inputs = with_answers(six_tuples(), text=EVIL)
    items = [
        replace(
            i,
            item_id=f"<b>{i.item_id}</b>",
            category=EVIL,
            truth=replace(i.truth, text=EVIL),
            hidden={**i.hidden, EVIL: [EVIL]},
        )
        for i in inputs.items
    ]
    taught = [replace(item, category=EVIL) for item in inputs.training]
    about = About("expertaf", [EVIL], [EVIL], {"video encoder": f"random {EVIL}", EVIL: EVIL})
    about.write(tmp_path)
    write_clips(tmp_path, inputs.clips)
    suite = CoachingSuite()
    scored, result = suite.score(AnsweredRun(items, taught, dict(inputs.clips), about), None)
    result["tables"]["commentary"][EVIL] = result["tables"]["commentary"]["ours"]
    run = Run(EVIL, scored, records_of(result), result, result["notes"])
    write_report(tmp_path / "report", tmp_path, run, suite, None, None, None)
    return (tmp_path / "report" / "index.html").read_text()


def test_a_report_shows_remarks_activities_and_systems_as_text(report: str) -> None:
    read = Reader(report)
    assert read.scripts == 2, "its data and the one that draws skeletons"
    assert read.text.count(EVIL) >= 5 * 5 + 6, (
        "activity, remarks and error of each clip; the facts, the notes and a row above them"
    )
    assert read.text.count("<b>test") == 5
    drawn = json.loads(read.data.split("\n")[2])
    assert len(drawn["poses"]) == 5 and drawn["bones"]


def test_a_build_report_shows_activities_and_reasons_as_text(tiny: Path, tmp_path: Path) -> None:
    manifest = ItemManifest.read(tiny / "tuples")
    request = manifest.request | {"source": EVIL, "labeller": EVIL}
    funnel = [{"stage": EVIL, "read": 1, "kept": 0, "dropped": {EVIL: 1}, "examples": {EVIL: [EVIL]}, "noted": {EVIL: 1}}]  # fmt: skip
    rows = [replace(t, task=EVIL) for t in read_tuples(tiny / "tuples", "train")]
    write_build_report(tmp_path, replace(manifest, request=request, funnel=funnel), {"train": rows, "test": []})
    read = Reader((tmp_path / "report.html").read_text())
    assert read.scripts == 0 and read.text.count(EVIL) == 2 + 4 and EVIL[:22] in read.text


def test_a_tokenizers_page_shows_names_as_text(tmp_path: Path) -> None:
    poses = np.random.default_rng(0).normal(0, 0.4, (6, 17, 4)).astype(np.float32)
    poses[..., 3] = 1
    motions = [Motion(EVIL, poses, np.arange(6))]

    def encode(poses: np.ndarray) -> np.ndarray:
        return np.zeros((len(poses), 1), int)

    def decode(tokens: np.ndarray) -> np.ndarray:
        return poses[: len(tokens), :, :3] + 0.01

    result = evaluate_tokenizer(motions, encode, decode, 2, max_hidden=1)
    result |= {"tokenizer": EVIL, "poses": EVIL, "split": "test", "fingerprint": "f" * 64, "synthetic_data": True}
    write_page(tmp_path / "index.html", result, motions, encode, decode)
    read = Reader((tmp_path / "index.html").read_text())
    assert read.scripts == 0 and read.text.count(f"{EVIL} frame") == 12 and read.text.count(EVIL) == 12 + 2


def item(number: int) -> TestItem:
    return TestItem(f"{number} {EVIL}", "c", EVIL, Answer(f"truth {EVIL}"), {"ours": Answer(EVIL), EVIL: Answer(EVIL)})


def test_an_audit_shows_texts_quotes_and_replies_as_text() -> None:
    verdict = {"text": EVIL, "quote": EVIL, "verdict": "same opinion", "reason": EVIL}
    judgement = Judgement(
        item(0).item_id, "ours", 0, "ok", verdicts=[verdict], raw=[EVIL], total=1, mentioned=1, same=1
    )
    failed = replace(judgement, status="refused", problem=EVIL, verdicts=[], raw=[])
    settings = {"protocol": DETAILS, "protocol_version": "1", "model": EVIL, "prompts": {EVIL: "0" * 64}, "served_models": [EVIL], "repeats": 1, "synthetic": False, "against": EVIL}  # fmt: skip
    page = audit_page([judgement, failed], [item(0)], settings)
    read = Reader(page)
    assert read.scripts == 0 and page.count("<mark>") == 1
    assert read.text.count(EVIL) == 4 + (5 + 4) + (5 + 1), "head; texts, verdict and reply; texts and the problem"


@pytest.mark.parametrize("kind", ["likert", "rank"])
def test_a_raters_page_holds_texts_as_data(kind: str, tmp_path: Path) -> None:
    make_pack([item(0)], ["ours", EVIL], Design(kind, 1, 1, views=()), tmp_path)
    read = Reader((tmp_path / "pack" / "rater_1.html").read_text())
    questions = json.loads(read.data.split("\n")[2])["questions"]
    assert read.scripts == 2
    assert [(q["category"], q["texts"]) for q in questions if q["category"]] == [(EVIL, {"A": EVIL, "B": EVIL})]


def test_a_table_shows_systems_and_notes_as_text() -> None:
    table = ScoreTable(EVIL, EVIL, (), (Row(EVIL, {}, extra=EVIL, note=EVIL),), (EVIL,), extra=EVIL)
    read = Reader(RENDERERS["html"](table))
    assert read.scripts == 0 and read.text.count(EVIL) == 8, "the title twice"


def test_a_template_without_a_value_is_an_error() -> None:
    fill: Callable[..., str] = fill_template
    with pytest.raises(Exception, match="'tables' is undefined"):
        fill("mm_eval", "tables/page.html")
