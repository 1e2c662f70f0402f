"""Python in the docs runs as it stands."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coach import ROOT, TinyCoach, launch, perturb

import mm_adapter
from mm_adapter import Coach, score
from mm_adapter.checkpoint.coach import SavedCoach
from mm_data.tasks import Answer
from mm_data.tasks.coaching import ask_commentary
from mm_eval.metrics.text import coco_scores


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


def test_every_block_is_run_or_at_least_compiles() -> None:
    """docs/adding-a-task.md is executed by test_own_task; the client of a server needs one that runs."""
    found = {
        page.name: len(blocks(str(page.relative_to(ROOT))))
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    }
    assert {name: count for name, count in found.items() if count} == {
        "README.md": 1, "adding-a-task.md": 1, "data.md": 1, "evaluation.md": 1, "inference.md": 4, "training.md": 1,
    }  # fmt: skip
    for block in blocks("docs/inference.md")[2:]:
        compile(block, "docs/inference.md", "exec")


@pytest.fixture
def quickstart(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the quickstart's, with a tiny coach, in the working directory."""
    run = tmp_path / "runs" / "quickstart"
    (run / "coach_training").mkdir(parents=True)
    for part in ("miniature", "tuples", "features", "pose_codes"):
        (run / part).symlink_to(tiny / part)
    coach = TinyCoach(tiny)
    perturb(coach)
    SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {}).save_pretrained(
        run / "coach_training" / "coach"
    )
    monkeypatch.chdir(tmp_path)
    return run


def test_a_clip_of_ones_own_in_eight_lines(quickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = blocks("README.md")[0]
    assert len([line for line in lines.splitlines() if line.strip()]) <= 9
    names: dict[str, Any] = {}
    exec(lines, names)
    coach, clip = names["coach"], names["clip"]
    assert capsys.readouterr().out.endswith(f" ({coach.config.pose_frames}, 17, 3)\n")
    remark = coach.comment(clip)
    assert coach.comment(clip) == remark and clip.session.last_remark == remark, "a conversation begins anew"
    joints = coach.demonstrate(clip)
    assert np.isfinite(joints).all() and np.abs(joints).max() < 3, "metres"
    experts = coach.experts(clip, k=2)
    assert len(experts) == 2 and experts[0].score >= experts[1].score
    assert all(expert.video.is_file() and expert.joints.shape == joints.shape for expert in experts)
    assert clip.inputs.notes == ["No ego video: the other one stands in for it."]


def test_what_a_clip_of_ones_own_needs(tiny: Path, quickstart: Path) -> None:
    run = quickstart / "coach_training" / "coach"
    coach = Coach.from_pretrained(run, codes=quickstart / "pose_codes")
    video = next((quickstart / "miniature" / "takes").glob("*/frame_aligned_videos/cam01.mp4"))
    poses = next((quickstart / "tuples" / "poses").glob("*.npy"))
    named = coach.config.video_encoder
    coach.config.video_encoder = "transformers:siglip2 0123"
    with pytest.raises(ValueError, match="open it with the encoder"):
        coach.clip(exo=video, poses=poses, stop=1)
    coach.config.video_encoder = named
    with pytest.raises(ValueError, match="Give the learner's video"):
        coach.clip(poses=poses)
    with pytest.raises(KeyError, match=r"has no (ego|exo) features here"):
        coach.answer_words([ask_commentary(TinyCoach(tiny).test[0].learner.clip_id)])
    by_name = Coach.from_pretrained(run).clip(exo=video, poses=poses, stop=1)
    coach = Coach.from_pretrained(run, encoder="tiny")
    with pytest.raises(ValueError, match="Give the learner's poses"):
        coach.clip(exo=video, stop=1)
    clip = coach.clip(exo=video, poses=poses, stop=1)
    for view, features in clip.inputs.features.items():
        np.testing.assert_array_equal(by_name.inputs.features[view], features, err_msg="its name is enough")
    with pytest.raises(ValueError, match="There is no gallery"):
        coach.experts(clip)
    coach.can_demonstrate = False
    with pytest.raises(ValueError, match="trained to comment alone"):
        coach.demonstrate(clip)


def test_the_package_starts_without_torch() -> None:
    code = "import sys, mm_adapter; assert 'torch' not in sys.modules; from mm_adapter import Coach, score; print(Coach, score)"
    done = launch(sys.executable, "-c", code)
    assert "mm_adapter.inference.coach.Coach" in done.stdout and "score" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'coach_of_mine'"):
        mm_adapter.coach_of_mine  # noqa: B018


def test_likelihoods_of_ones_own_candidates(quickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/inference.md")[1], names)
    assert names["scores"].mean.shape == (5,) and (names["scores"].mean < 0).all()
    assert str(names["scores"].mean) in capsys.readouterr().out
    assert torch.equal(names["scores"].total, torch.stack([tokens.sum() for tokens in names["scores"].per_token]))


def test_a_coach_is_opened_saved_and_pushed(quickstart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("RUN").symlink_to(quickstart / "coach_training")
    pushed: list[str] = []
    monkeypatch.setattr(SavedCoach, "push_to_hub", lambda self, name: pushed.append(name))
    exec(blocks("docs/training.md")[0], {})
    assert pushed == ["me/my-coach"] and Path("elsewhere", "complete.json").is_file()


def test_tuples_are_a_data_set(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny / "tuples", tmp_path / "TUPLES", ignore=shutil.ignore_patterns("poses"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(blocks("docs/data.md")[0], names)
    assert set(names["tuples"]) == {"train", "test"} and any(len(split) for split in names["gallery"].values())


def test_scores_are_those_of_the_tables() -> None:
    remarks, truths = ["Bend the knees.", "Look up."], ["The knees stay too straight.", "Look at the rim."]
    metrics = score(remarks, truths)
    assert metrics["cider"].value == coco_scores({"ours": remarks}, truths, ["a", "b"]).rows["ours"]["cider"].value
    assert metrics["cider"].n == 2 and metrics["cider"].interval is None, "two people are too few"
    answers = [Answer("Good.", score=score) for score in (1.0, 2.0, 4.0)]
    truths = [Answer("Good.", score=score) for score in (1.0, 3.0, 8.0)]
    assert score(answers, truths, task="desccoach")["spearman"].value == pytest.approx(1.0)
    with pytest.raises(ValueError, match="1 predictions, 2 references, 2 people"):
        score(["x"], ["y", "z"])
    with pytest.raises(ValueError, match="Unknown task"):
        score(["x"], ["y"], task="none")


@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_metrics_in_ones_own_loop() -> None:
    exec(blocks("docs/evaluation.md")[0], {})
