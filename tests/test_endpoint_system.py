"""A vision-language model behind an endpoint: what it is shown, what it may answer, and its row in the table."""

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripted_endpoint import ScriptedEndpoint, answer
from test_video import grey, write_video

from mm_adapter.cli import main
from mm_adapter.tasks.known import find_task
from mm_data.ground.funnel import Funnel
from mm_data.records import VideoClip
from mm_data.tasks import Answer, TaskData, TaskItem
from mm_data.tasks.folder import build_task_folder
from mm_eval.answers.test_sets import OURS, About, read_answers
from mm_eval.suites.runs import open_run

KNOWN: dict[str, dict[str, Any]] = {
    "expertaf": {},
    "desccoach": {"lowest": 0.0, "highest": 10.0, "scores": [7.0, 7.5]},
    "nae": {"lowest": 0.0, "highest": 105.0, "scores": [40.0, 60.0], "actions": {"tuck": "tuck"}},
    "cot-afa": {"steps": {"squat": ["a"], "lunge": ["a"], "plank": ["a"]}},
}
"""What a task's items share."""
TRUTH = Answer("A half twist, and a flat entry; the score is 41.5.", 41.5, actions=["half twist", "flat entry"])
NARRATIVE = {"text": "A dive.", "actions": ["half twist"], "score": 40}


class Given:
    """Reads what a test has."""

    def __init__(self, name: str, data: TaskData) -> None:
        self.name, self.data = name, data

    def read(self, root: Path) -> TaskData:
        return self.data


def folder_of(
    work: Path, task: str, truths: Sequence[Answer], categories: Sequence[str] = (), start: float = 0.0, **further: Any
) -> Path:
    """A folder of test items of one clip, and one training item."""
    (work / "videos").mkdir(exist_ok=True)
    if not (work / "videos" / "clip.mp4").exists():
        write_video(work / "videos" / "clip.mp4", [grey(k, (96, 128)) for k in range(60)])
    named = ["Soccer", *(categories or ["Soccer"] * len(truths))]
    items = [
        TaskItem(
            f"item {n}", "test" if n else "train", f"take {n}", named[n],
            VideoClip(f"clip {n}", {"exo": "clip.mp4"}, start, start + 1), truth, further.get("references", [truth.text]),
            facts={"task": named[n], "techpoints": {}, "commentary": {}, **further.get("facts", {})},
        )
        for n, truth in enumerate([Answer("Trained.", 50.0, "lunge", "standard", actions=["tuck"]), *truths])
    ]  # fmt: skip
    data = TaskData(items, KNOWN[task], [Funnel("read", 1.0)], work / "videos", True)
    build_task_folder(Given(task, data), work / "videos", work / task)
    return work / task


def ask(items: Path, out: Path, url: str, *flags: str) -> int:
    return main(["answer", url, str(items), str(out), "--model", "vlm", "--views", "exo", "--frames", "2", *flags])


def answered(items: Path, out: Path, reply: Any, *flags: str) -> tuple[int, ScriptedEndpoint]:
    content = reply if isinstance(reply, str) else json.dumps(reply)
    with ScriptedEndpoint(lambda question, before: (200, content)).running() as server:
        return ask(items, out, server.url, *flags), server


def asked_by(server: ScriptedEndpoint) -> str:
    return json.dumps([body["messages"] for body in server.bodies], ensure_ascii=False)


def test_the_model_sees_frames_of_the_clip_in_order(tmp_path: Path) -> None:
    items = folder_of(tmp_path, "expertaf", [Answer("Bend.")], start=0.5)
    with ScriptedEndpoint(lambda question, before: (200, json.dumps({"text": "Bend."}))).running() as server:
        for _ in range(2):
            assert ask(items, tmp_path / "out", server.url, "--frames", "4", "--image-size", "64") == 0
        assert sum(server.asked.values()) == 1, "what was answered is not asked again"
    parts = server.bodies[0]["messages"][1]["content"]
    images = [
        Image.open(io.BytesIO(base64.b64decode(p["image_url"]["url"].split(",")[1])))
        for p in parts
        if p["type"] == "image_url"
    ]
    assert [image.size for image in images] == [(64, 48)] * 4
    shades = [int(np.asarray(image).mean()) for image in images]
    # Middles of four quarters of the second between 0.5 and 1.5: frames 18, 26, 33 and 41.
    assert shades == pytest.approx([20 + 14 * (k % 16) for k in (18, 26, 33, 41)], abs=3)
    assert "The activity is Soccer" in parts[-1]["text"] and "JSON" in parts[-1]["text"]
    assert About.read(tmp_path / "out").inputs == ["activity: told"]


def test_a_task_without_an_instruction_asks_its_own_first_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = folder_of(tmp_path, "nae", [TRUTH])
    monkeypatch.setattr(type(find_task("nae")), "__setattr__", object.__setattr__)
    monkeypatch.setattr(find_task("nae"), "instruction", None)
    status, server = answered(items, tmp_path / "out", {"text": "A tuck dive that scores 60 points."})
    assert status == 0 and '{\\"text\\": \\"...\\"}' in asked_by(server)
    ours = read_answers(tmp_path / "out")[0].answers[OURS]
    assert (ours.score, ours.actions) == (60.0, ["tuck"])


def test_failures_are_counted_and_stop_above_the_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = folder_of(tmp_path, "desccoach", [Answer("Bend.", 7.0), Answer("Turn.", 7.0)], ["serve", "dig"])
    good = json.dumps({"text": "Bend.", "score": 7.0})
    refused = answer("", refusal="no")
    replies = iter([refused, refused, good])  # every run asks twice for what failed

    def script(question: str, before: int) -> tuple[int, Any]:
        return 200, next(replies, refused)

    with ScriptedEndpoint(script).running() as server:
        assert ask(items, tmp_path / "out", server.url, "--concurrency", "1", "--max-failed", "0.4") == 2
        assert "1 of 2 answers failed (1 refused), more than --max-failed 0.4" in capsys.readouterr().err
        assert not (tmp_path / "out" / "answers.jsonl").exists()
        assert ask(items, tmp_path / "out", server.url, "--concurrency", "1", "--max-failed", "0.5") == 0
    assert [item.answers[OURS].text for item in read_answers(tmp_path / "out")] == ["", "Bend."]
    assert "Answers that failed and count as empty: 1 refused." in About.read(tmp_path / "out").notes


def test_a_clip_without_the_view_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = folder_of(tmp_path, "expertaf", [Answer("Bend.")])
    assert answered(items, tmp_path / "out", {"text": "Bend."}, "--views", "ego")[0] == 2
    assert "Item 'item 1' has no ego clip; choose other --views." in capsys.readouterr().err


def test_it_is_a_row_of_expertafs_table(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, out = tiny / "tuples", tmp_path / "vlm"
    reply = json.dumps({"text": "The knees stay straight."})
    with ScriptedEndpoint(lambda question, before: (200, reply)).running() as server:
        assert ask(items, out, server.url, "--frames", "1", "--estimate") == 0
        assert not server.asked and re.search(r"requests +59 \(0 of", capsys.readouterr().out)
        assert ask(items, out, server.url, "--frames", "1") == 0
    assert main(["eval", f"vlm={out}", "--out", str(tmp_path / "table")]) == 0
    tables = json.loads((out / "metrics.json").read_text())["tables"]
    assert "commentary" in tables and "retrieval" not in tables, "it neither ranks nor shows"
    assert {"ours", "shuffled", "random of the category", "pose nearest neighbour"} <= set(tables["commentary"])
    text = (tmp_path / "table" / "table.md").read_text()
    assert "activity: told" in text and "| vlm |" in text and "Synthetic data." in text
    assert "R@5" not in text.split("Published")[0]
    assert main(["report", str(out), str(tmp_path / "report")]) == 0
    assert "The knees stay straight." in (tmp_path / "report" / "index.html").read_text()


def test_a_narrative_has_text_actions_and_score(tmp_path: Path) -> None:
    items = folder_of(tmp_path, "nae", [Answer("Good.", 60.0, actions=["tuck"]), TRUTH])
    status, server = answered(items, tmp_path / "out", NARRATIVE)
    assert status == 0
    answers = [item.answers[OURS] for item in read_answers(tmp_path / "out")]
    assert answers == [Answer("A dive.", 40, actions=["half twist"])] * 2
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["text", "actions", "score"]
    table = open_run(str(tmp_path / "out"), find_task("nae").suite).tables["answers"]["ours"]
    assert table["action_accuracy"].per_item == (0, 1 / 2)
    assert table["relative_l2"].per_item == pytest.approx(((20 / 18.5) ** 2, (1.5 / 18.5) ** 2))


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "A dive.", "actions": ["half twist"]},
        NARRATIVE | {"actions": "half twist"},
        NARRATIVE | {"actions": [1]},
        NARRATIVE | {"score": "40"},
        NARRATIVE | {"score": True},
        NARRATIVE | {"text": " "},
        NARRATIVE | {"more": 1},
        '["A dive."]',
        '{"text": "A dive.", "actions": [], "score": NaN}',
    ],
)
def test_other_shapes_fail_and_are_counted(tmp_path: Path, reply: Any, capsys: pytest.CaptureFixture[str]) -> None:
    items = folder_of(tmp_path, "nae", [TRUTH, TRUTH])
    status, _ = answered(items, tmp_path / "out", reply)
    reason = "not JSON" if "NaN" in reply else "wrong content"
    assert status == 2 and f"2 of 2 answers failed (2 {reason})" in capsys.readouterr().err
    assert answered(items, tmp_path / "out", reply, "--max-failed", "1")[0] == 0
    assert [item.answers[OURS] for item in read_answers(tmp_path / "out")] == [Answer("")] * 2


def test_nae_is_told_the_event_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = folder_of(tmp_path, "nae", [TRUTH], ["reverse dive"])
    status, server = answered(items, tmp_path / "out", NARRATIVE)
    assert status == 0 and "reverse" not in asked_by(server)
    status, server = answered(items, tmp_path / "told", NARRATIVE, "--set", "category=true")
    assert status == 0 and "The event: reverse dive." in asked_by(server)
    for folder, said in (("out", "category: not told"), ("told", "category: told (a hint at the truth)")):
        assert About.read(tmp_path / folder).inputs == [said]
        opened = open_run(str(tmp_path / folder), find_task("nae").suite)
        ours = opened.tables["answers"]["ours"]
        assert ours and all(metric.signature.endswith(f"|inputs:{said}") for metric in ours.values())
        assert f"Inputs beside the clip: {said}." in opened.notes
    answered(folder_of(tmp_path, "cot-afa", [TRUTH]), tmp_path / "bad", {}, "--set", "category=true")
    assert "cot-afa has no switch 'category'" in capsys.readouterr().err


def test_classes_to_choose_from_are_all_that_the_task_knows(tmp_path: Path) -> None:
    """A list of what is asked about alone would tell what is not the answer."""
    items = folder_of(tmp_path, "cot-afa", [Answer("Good.", label="squat", verdict="standard")] * 2)
    reply = {"text": "Fine.", "label": "plank", "verdict": "standard"}
    status, server = answered(items, tmp_path / "out", reply, "--max-items", "1")
    assert status == 0 and "Actions to choose from: lunge, plank, squat\\n" in asked_by(server)
    about = About.read(tmp_path / "out")
    assert about.inputs == ["classes: 3 to choose from"]
    assert about.notes[0] == "vlm: what it was trained on is not known here."
    assert read_answers(tmp_path / "out")[0].answers[OURS] == Answer("Fine.", label="plank", verdict="standard")
    assert answered(items, tmp_path / "other", reply | {"label": "handstand"})[0] == 2, "no class of the task"


def test_no_instruction_names_a_truth_it_was_not_told(tmp_path: Path) -> None:
    """Everything that an item knows about its truth is a secret word; no prompt of any task may hold it."""
    truth = Answer("secrettext", 7.125, "secretlabel", "standard", ["secretaction"], ["secretfinding"])
    facts = {"hidden": "secretfact"}
    for task in KNOWN:
        items = folder_of(tmp_path, task, [truth], references=["secretreference"], facts=facts)
        _, server = answered(items, tmp_path / f"{task}-out", "{}", "--max-failed", "1")
        assert server.bodies and "secret" not in asked_by(server) and "7.125" not in asked_by(server), task
