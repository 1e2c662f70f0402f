"""A vision-language model behind an endpoint: what it is shown, what it may answer, and its row in the table."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripted_endpoint import ScriptedEndpoint, answer
from test_video import grey, write_video

from mm_adapter.cli import main
from mm_adapter.tasks.nae import NAE
from mm_data.records import FPS
from mm_data.tasks import Answer
from mm_data.tuples.store import read_tuples
from mm_eval.answers.test_sets import TRAINING, ClipFile, TestItem, read_about, read_answers, write_answers
from mm_eval.suites.runs import open_run


def run_of(folder: Path, videos: list[ClipFile], **truth: Any) -> Path:
    items = [
        TestItem(f"item {i}", f"take {i}", "Soccer", Answer(f"Truth {i}.", **truth), {}, {"exo": clip})
        for i, clip in enumerate(videos)
    ]
    write_answers(folder, items)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> ClipFile:
    return ClipFile(str(write_video(tmp_path / "clip.mp4", [grey(k, (96, 128)) for k in range(60)])), 0.5, 1.5)


def ask(run: Path, out: Path, url: str, *flags: str) -> int:
    return main(["zero-shot", str(run), str(out), "--base-url", url, "--model", "vlm", "--views", "exo", *flags])


def test_the_model_sees_frames_of_the_clip_in_order(tmp_path: Path, clip: ClipFile) -> None:
    run = run_of(tmp_path / "run", [clip])
    with ScriptedEndpoint(lambda question, before: (200, json.dumps({"text": "Bend."}))).running() as server:
        assert ask(run, tmp_path / "out", server.url, "--frames", "4", "--image-size", "64") == 0
        assert ask(run, tmp_path / "out", server.url, "--frames", "4", "--image-size", "64") == 0
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
    record = json.loads((tmp_path / "out" / "zero_shot.json").read_text())
    assert record["model"] == "vlm" and "expertaf-1" in record["prompt"] and record["frames"]["count"] == 4


def test_answers_of_a_task_with_classes_and_scores(
    tmp_path: Path, clip: ClipFile, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path / "run", [clip, clip], label="squat", verdict="standard", score=3.0)
    reply = {"text": "Fine.", "label": "squat", "verdict": "standard"}
    with ScriptedEndpoint(lambda question, before: (200, json.dumps(reply))).running() as server:
        assert ask(run, tmp_path / "out", server.url, "--suite", "cot-afa") == 0
        assert "Actions to choose from: squat\n" in server.bodies[0]["messages"][1]["content"][-1]["text"]
        assert ask(run, tmp_path / "desc", server.url, "--suite", "desccoach") == 2  # no score in these replies
    assert read_answers(tmp_path / "out")[1].answers["ours"] == Answer("Fine.", label="squat", verdict="standard")
    assert "2 of 2 answers failed (2 wrong content), more than --max-failed 0.02" in capsys.readouterr().err
    assert not (tmp_path / "desc" / "answers.jsonl").exists()


def test_failures_are_counted_and_stop_above_the_threshold(tmp_path: Path, clip: ClipFile) -> None:
    run = run_of(tmp_path / "run", [clip, ClipFile(clip.video, 0.0, 1.0)])
    replies = iter([answer("", refusal="no"), answer("", refusal="no")])

    def script(question: str, before: int) -> tuple[int, Any]:
        return 200, next(replies, json.dumps({"text": "Bend."}))

    with ScriptedEndpoint(script).running() as server:
        flags = ("--frames", "2", "--concurrency", "1", "--max-failed", "0.5")
        assert ask(run, tmp_path / "out", server.url, *flags) == 0
        assert ask(run, tmp_path / "out", server.url, "--frames", "2") == 2
    texts = [item.answers["ours"].text for item in read_answers(tmp_path / "out")]
    assert texts == ["", "Bend."]
    assert json.loads((tmp_path / "out" / "zero_shot.json").read_text())["failures"] == {"refused": 1}


def test_it_is_a_row_of_expertafs_table(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuples = read_tuples(tiny / "tuples", "test")
    items = [
        TestItem(
            t.tuple_id, t.learner.take_uid, t.activity, Answer(t.summary), {},
            {"exo": ClipFile(str(tiny / "miniature" / t.learner.exo_video), t.learner.start / FPS, t.learner.stop / FPS)},
        )
        for t in tuples
    ]  # fmt: skip
    write_answers(tmp_path / "run", items)
    with ScriptedEndpoint(
        lambda question, before: (200, json.dumps({"text": "The knees stay straight."}))
    ).running() as server:
        assert ask(tmp_path / "run", tmp_path / "vlm", server.url, "--frames", "1", "--estimate") == 0
        assert not server.asked and "requests            59 (0 of" in capsys.readouterr().out
        assert ask(tmp_path / "run", tmp_path / "vlm", server.url, "--frames", "1") == 0
    out = tmp_path / "evaluation"
    command = ["evaluate", str(tmp_path / "vlm"), str(tiny / "tuples"), str(tiny / "pose_codes"), str(out)]
    assert main([*command, "--features", str(tiny / "features")]) == 0
    result = json.loads((out / "metrics.json").read_text())
    assert (
        set(result["tables"]) == {"commentary", "commentary_release"}
        and "retrieval/median_rank" not in result["summary"]
    )
    assert {"ours", "shuffled", "random of the category", "pose nearest neighbour"} <= set(
        result["tables"]["commentary"]
    )
    assert main(["eval", f"zero-shot={out}", "--out", str(tmp_path / "table")]) == 0
    text = (tmp_path / "table" / "table.md").read_text()
    assert "Inputs beside the clip: activity: told." in text
    assert "| zero-shot |" in text and "Synthetic data." in text and "R@5" not in text.split("Published")[0]
    assert main(["report", str(out), str(tmp_path / "report")]) == 0
    assert "Commentary" in (tmp_path / "report" / "index.html").read_text()
    write_answers(tmp_path / "vlm", read_answers(tmp_path / "vlm")[:-1])
    assert main([*command[:-1], str(tmp_path / "other"), "--features", str(tiny / "features")]) == 2
    assert "ask about the same test set" in capsys.readouterr().err


DIVE = ["inward", "2.5 somersaults", "pike"]


def nae_run(folder: Path, clip: ClipFile) -> Path:
    truth = Answer("An inward dive with 2.5 somersaults in pike, 60 points.", 60.0, actions=DIVE)
    other = replace(truth, actions=["armstand", "reverse", "1 twists", "free position"], score=70.0)
    items = [
        TestItem("dive 1", "1", "inward dive", truth, {}, {"exo": clip}),
        TestItem("dive 2", "2", "reverse dive", other, {}, {"exo": clip}),
    ]
    write_answers(folder, items)
    return folder


def test_nae_is_told_none_of_the_truths_actions_unless_asked_for(
    tmp_path: Path, clip: ClipFile, capsys: pytest.CaptureFixture[str]
) -> None:
    run = nae_run(tmp_path / "run", clip)
    reply = json.dumps({"text": "A dive, 60 points.", "actions": ["inward"], "score": 60.0})
    flags = ("--suite", "nae", "--frames", "1")
    with ScriptedEndpoint(lambda question, before: (200, reply)).running() as server:
        assert ask(run, tmp_path / "out", server.url, *flags) == 0
        questions = [json.dumps([m["content"] for m in body["messages"]]) for body in server.bodies]
        for item in read_answers(run):
            words = {word for action in item.truth.actions or [] for word in (action, *action.split()) if len(word) > 2}
            assert not [word for word in words if any(word in question for question in questions)]
            assert not any(item.category in question for question in questions)
        assert ask(run, tmp_path / "told", server.url, *flags, "--tell-category") == 0
        assert "The event: reverse dive." in json.dumps(server.bodies)
        assert ask(run, tmp_path / "bad", server.url, "--suite", "cot-afa", "--tell-category") == 2
    assert "cot-afa has no category to tell" in capsys.readouterr().err
    for folder, said in (("out", "category: not told"), ("told", "category: told (a hint at the truth)")):
        assert read_about(tmp_path / folder) == ([said], [])
        assert json.loads((tmp_path / folder / "zero_shot.json").read_text())["inputs"] == [said]
        opened = open_run(str(tmp_path / folder), NAE.suite)
        ours = opened.tables["answers"]["ours"]
        assert ours and all(metric.signature.endswith(f"|inputs:{said}") for metric in ours.values())
        assert f"Inputs beside the clip: {said}." in opened.notes


def test_classes_to_choose_from_are_those_of_training_and_test(tmp_path: Path, clip: ClipFile) -> None:
    """A list of what is asked about alone would tell what is not the answer."""

    def item(name: str, label: str, **further: Any) -> TestItem:
        truth = Answer("Good.", label=label, verdict="standard")
        return TestItem(name, name, label, truth, further.get("answers", {}), {"exo": clip})

    ranked = {"ours": Answer("Good.", label="squat", ranking={"squat": -1.0, "plank": -2.0, "lunge": -3.0})}
    write_answers(tmp_path / "run", [item("a", "squat", answers=ranked), item("b", "curl")])
    write_answers(tmp_path / "run", [item("c", "lunge"), item("d", "squat")], TRAINING)
    reply = json.dumps({"text": "Fine.", "label": "plank", "verdict": "standard"})
    with ScriptedEndpoint(lambda question, before: (200, reply)).running() as server:
        flags = ("--suite", "cot-afa", "--frames", "1", "--max-items", "1")
        assert ask(tmp_path / "run", tmp_path / "out", server.url, *flags) == 0
        text = server.bodies[0]["messages"][1]["content"][-1]["text"]
    assert "Actions to choose from: curl, lunge, plank, squat\n" in text, "of all items, however many are asked about"
    inputs, said = read_about(tmp_path / "out")
    assert inputs == ["classes: 4 to choose from"] and len(said) == 1
    assert said[0].startswith("Test participants unknown, 0 of 1 takes and 1 of 1 clips also in training."), "one video"
    (tmp_path / "run" / TRAINING).unlink()
    with ScriptedEndpoint(lambda question, before: (200, reply)).running() as server:
        assert ask(tmp_path / "run", tmp_path / "alone", server.url, *flags) == 0
    assert read_about(tmp_path / "alone")[1] == [
        "classes to choose from are those of the run alone: it has no training.jsonl"
    ]


def test_no_instruction_names_a_truth_it_was_not_told(tmp_path: Path, clip: ClipFile) -> None:
    """Everything that an item knows about its truth is a secret word; no prompt of any task may hold it."""
    truth = Answer("secrettext", 7.125, "secretlabel", "standard", ["secretaction"], ["secretfinding"])
    items = [TestItem("a", "secrettake", "Soccer", truth, {}, {"exo": clip}, references=["secretreference"])]
    write_answers(tmp_path / "run", items)
    write_answers(tmp_path / "run", [TestItem("b", "t", "Soccer", replace(truth, label="other"))], TRAINING)
    with ScriptedEndpoint(lambda question, before: (200, "{}")).running() as server:
        for suite in ("expertaf", "desccoach", "nae", "cot-afa"):
            ask(tmp_path / "run", tmp_path / suite, server.url, "--suite", suite, "--frames", "1", "--max-failed", "1")
        bodies = [json.dumps(body["messages"]) for body in server.bodies]
    assert len(bodies) >= 4
    for body in bodies:
        assert "7.125" not in body and not set(re.findall(r"secret\w+", body)) - {"secretlabel"}
        assert "secretlabel" not in body or "other" in body
