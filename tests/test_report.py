"""The page of a run: what was trained and asked, clips with truth and answer, whatever the task."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mm_adapter.cli import main
from mm_data.tasks import Answer
from mm_eval.answers.clips import AnsweredClip, write_clips
from mm_eval.answers.test_sets import TRAINING, About, ClipFile, TestItem, write_answers

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")
POSES = np.stack([np.array([0.1 * joint, 0.0, 0.05 * joint, 1.0]) for joint in range(17)])[None].repeat(3, 0)


def write_run(folder: Path, task: str, **answer: object) -> None:
    """Two clips, whose remarks and file names are long; nothing lies where their videos are said to."""
    files = {"exo": ClipFile("/" + "x" * 200 + ".mp4", 0, 1), "ego": ClipFile("/" + "long/" * 60 + "ego.mp4", 0, 1)}
    items = [
        TestItem(
            f"take {n}:0-30", f"person {n}", "kick", Answer("Bend.", score=7.5, verdict="standard", label=answer.get("label")),  # type: ignore[arg-type]
            {"ours": Answer("w" * 200, score=6.0, poses=POSES[..., :3].tolist())}, files, clip_id=f"take {n}:0-30", expert_id="expert",
            synthetic=True,
        )
        for n in range(2)
    ]  # fmt: skip
    write_answers(folder, items)
    write_answers(folder, [TestItem("t", "p", "kick", Answer("Bend.", score=5.0))], TRAINING)
    clips = {name: AnsweredClip(files, POSES) for name in ("take 0:0-30", "take 1:0-30", "expert")}
    write_clips(folder, clips)
    About(task, ["told"], ["a note"], {"video encoder": "InternVideo2-tiny (random weights)"}).write(folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", "table")
    return tmp_path / "run"


@pytest.fixture
def page(run: Path, tmp_path: Path) -> Path:
    assert main(["report", str(run), str(tmp_path / "report")]) == 0
    return tmp_path / "report" / "index.html"


def test_model_data_duration_and_different_answers_are_said(run: Path, tmp_path: Path) -> None:
    training = tmp_path / "training"
    training.mkdir()
    coach = {"language_model": "/somebody/home/SmolLM2", "mode": "lora"}
    (training / "run_config.json").write_text(json.dumps({"coach": coach, "training": {"learning_rate": 1e-3}}))
    (training / "trainer_state.json").write_text(
        '{"global_step": 160, "log_history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}'
    )
    assert main(["report", str(run), str(tmp_path / "out"), "--training", str(training), "--started", "1"]) == 0
    text = (tmp_path / "out" / "index.html").read_text()
    for term, said in {
        "model": "SmolLM2, lora",
        "training": "160 steps, learning rate 0.001",
        "data": "synthetic",
        "video encoder": "InternVideo2-tiny (random weights)",
        "answers": "1 different texts about 2 clips",
    }.items():
        assert f"<dt>{term}</dt><dd>{said}</dd>" in text, term
    assert "minutes from the first step to this page" in text and "training loss per token (last 1.000)" in text
    assert "Synthetic data: the clips" in text and "What is learned here is learned from pose." in text
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["minutes"] > 1000


def test_a_page_shows_truth_and_answer_of_any_task(page: Path) -> None:
    text = page.read_text()
    assert (
        "Synthetic data. 2 test items in 2 clusters" in text
        and "Inputs beside the clip: told." in text
        and "a note" in text
    )
    assert "<b>Truth</b> Bend." in text and "<b>Answer</b> wwww" in text
    assert "<b>score</b> 6 (truth: 7.5)" in text and "<b>verdict</b> not said (truth: standard)" in text
    assert text.count("<article") == 2 and text.count("does not exist") == 4, "two views of each clip"
    assert "Corrected pose: 0 mm from the expert's; the learner's own: 0 mm (PA-MPJPE)." in text
    assert "Without a model: " in text


def test_an_existing_page_is_kept_or_refused(
    run: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = page.read_bytes()
    assert main(["report", str(run), str(page.parent)]) == 0 and page.read_bytes() == before
    assert "is up to date" in capsys.readouterr().out
    write_run(run, "table", label="x")
    assert main(["report", str(run), str(page.parent)]) == 2 and page.read_bytes() == before
    assert "is the report of something else: answers was '" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none"), str(tmp_path / "new")]) == 2
    assert "answers.jsonl is not there; `mm-coach answer` writes it" in capsys.readouterr().err
    (tmp_path / "training").mkdir()
    assert main(["report", str(run), str(tmp_path / "new"), "--training", str(tmp_path / "training")]) == 2
    assert "trainer_state.json" in capsys.readouterr().err and not (tmp_path / "new" / "index.html").exists()


def test_the_page_fits_a_phone_and_draws_what_is_off_the_screen(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 390, "height": 200})
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") == 390
        drawn = "[...document.querySelectorAll('canvas')].map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v))"
        assert view.evaluate(drawn) == [True, True]
        browser.close()
