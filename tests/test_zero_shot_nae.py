"""NAE asked of a vision-language model: three fields an answer, and nothing of the truth in the question."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import ScriptedEndpoint
from test_video import grey, write_video

from mm_adapter.cli import main
from mm_adapter.tasks.nae import NAE
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import ClipFile, TestItem, read_answers, write_answers
from mm_eval.suites.runs import open_run

TRUTH = Answer("A half twist, and a flat entry; the score is 41.5.", 41.5, actions=["half twist", "flat entry"])
GOOD = {"text": "A dive.", "actions": ["half twist"], "score": 40}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    video = write_video(tmp_path / "clip.mp4", [grey(k, (48, 64)) for k in range(30)])
    clip = ClipFile(str(video), 0.0, 1.0)
    items = [
        TestItem(f"item {i}", f"take {i}", "10 m platform", TRUTH if i else Answer("Good.", 60.0, actions=["tuck"]), {}, {"exo": clip})
        for i in range(2)
    ]  # fmt: skip
    write_answers(tmp_path / "run", items)
    return tmp_path / "run"


def ask(run: Path, reply: Any, *flags: str) -> tuple[int, ScriptedEndpoint]:
    content = reply if isinstance(reply, str) else json.dumps(reply)
    with ScriptedEndpoint(lambda question, before: (200, content)).running() as server:
        status = main(
            ["zero-shot", str(run), str(run.parent / "out"), "--base-url", server.url, "--model", "vlm", "--views", "exo",
             "--suite", "nae", "--frames", "2", *flags]
        )  # fmt: skip
    return status, server


def test_a_narrative_has_text_actions_and_score(run: Path) -> None:
    status, server = ask(run, GOOD)
    assert status == 0
    answers = [item.answers["ours"] for item in read_answers(run.parent / "out")]
    assert answers == [Answer("A dive.", 40, actions=["half twist"])] * 2
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["text", "actions", "score"]
    table = open_run(str(run.parent / "out"), NAE.suite).tables["answers"]["ours"]
    assert table["action_accuracy"].per_item == (0, 1 / 2)
    assert table["relative_l2"].per_item == pytest.approx(((20 / 18.5) ** 2, (1.5 / 18.5) ** 2))


def test_the_question_tells_nothing_of_the_truth(run: Path) -> None:
    _, server = ask(run, GOOD)
    asked = json.dumps([body["messages"] for body in server.bodies], ensure_ascii=False).lower()
    for told in ("half twist", "flat entry", TRUTH.text, "41.5", "60.0", "tuck", "Good."):
        assert told.lower() not in asked, told


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "A dive.", "actions": ["half twist"]},
        GOOD | {"actions": "half twist"},
        GOOD | {"actions": [1]},
        GOOD | {"score": "40"},
        GOOD | {"score": True},
        GOOD | {"text": " "},
        GOOD | {"more": 1},
        '["A dive."]',
        '{"text": "A dive.", "actions": [], "score": NaN}',
    ],
)
def test_other_shapes_fail_and_are_counted(run: Path, reply: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = ask(run, reply)
    reason = "not JSON" if "NaN" in reply else "wrong content"
    assert status == 2 and f"2 of 2 answers failed (2 {reason})" in capsys.readouterr().err
    assert ask(run, reply, "--max-failed", "1")[0] == 0
    assert [item.answers["ours"] for item in read_answers(run.parent / "out")] == [Answer("")] * 2
