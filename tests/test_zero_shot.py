"""A vision-language model behind an endpoint: what it is shown, what it may answer, and its row in the table."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripted_endpoint import ScriptedEndpoint, answer
from test_video import grey, write_video

from mm_adapter.cli import main
from mm_data.records import FPS
from mm_data.tasks import Answer
from mm_data.tuple_store import read_tuples
from mm_eval.answers import ClipFile, TestItem, read_answers, write_answers


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
        assert "Actions to choose from: squat" in server.bodies[0]["messages"][1]["content"][-1]["text"]
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
    assert "| zero-shot |" in text and "Synthetic data." in text and "R@5" not in text.split("Published")[0]
    assert main(["report", str(out), str(tmp_path / "report")]) == 0
    assert "Commentary" in (tmp_path / "report" / "index.html").read_text()
    write_answers(tmp_path / "vlm", read_answers(tmp_path / "vlm")[:-1])
    assert main([*command[:-1], str(tmp_path / "other"), "--features", str(tiny / "features")]) == 2
    assert "ask about the same test set" in capsys.readouterr().err
