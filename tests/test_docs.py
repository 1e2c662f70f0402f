"""Python in the docs runs as it stands."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_coach import ROOT, TinyCoach, perturb

from mm_adapter.checkpoint.coach import SavedCoach


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


def test_every_block_is_run_or_at_least_compiles() -> None:
    """docs/adding-a-task.md is executed by test_task_training; the client of a server needs one that runs."""
    found = {
        page.name: len(blocks(str(page.relative_to(ROOT))))
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    }
    assert {name: count for name, count in found.items() if count} == {
        "adding-a-task.md": 3, "data.md": 1, "evaluation.md": 1, "inference.md": 3, "training.md": 1,
    }  # fmt: skip
    for block in blocks("docs/inference.md")[1:]:
        compile(block, "docs/inference.md", "exec")


@pytest.fixture
def quickstart(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the quickstart's, with a tiny coach, in the working directory."""
    run = tmp_path / "runs" / "quickstart"
    (run / "coach_training").mkdir(parents=True)
    for part in ("tuples", "features", "pose_codes"):
        (run / part).symlink_to(tiny / part)
    coach = TinyCoach(tiny)
    perturb(coach)
    SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {}).save_pretrained(
        run / "coach_training" / "coach"
    )
    monkeypatch.chdir(tmp_path)
    return run


def test_likelihoods_of_ones_own_candidates(quickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(blocks("docs/inference.md")[0], names)
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


@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_metrics_in_ones_own_loop() -> None:
    exec(blocks("docs/evaluation.md")[0], {})
