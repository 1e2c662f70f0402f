"""Optimizer state on disk: a run resumes with every kind of it."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_coach import TinyCoach, dataset, trained_losses, trainer

from mm_adapter.checkpoint.coach import last_complete_checkpoint
from mm_adapter.checkpoint.optimizer import innermost, read_optimizer, write_optimizer

OPTIMIZERS = ["adafactor", "adamw_bnb_8bit", "paged_adamw_8bit", "lion_8bit", "paged_adamw_32bit", "sgd", "rmsprop"]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_resumed_equals_straight_with_every_kind_of_state(tiny: Path, tmp_path: Path, optim: str) -> None:
    """Rows and columns, blocks of eight bits with their maps, and updates that are counted in plain integers."""
    runs = []
    for _ in range(2):
        coach = TinyCoach(tiny)
        data = dataset(coach, ["commentary"], count=8)
        made = trainer(coach, tmp_path, data, max_steps=6, save_strategy="steps", save_steps=4, optim=optim)
        checkpoint = last_complete_checkpoint(tmp_path)
        made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        states = [state for state in innermost(made.optimizer).state.values() if state]
        kinds = {key: type(value) for state in states for key, value in state.items()}
        runs.append((trained_losses(made), coach.model.state_dict(), kinds))
        shutil.rmtree(tmp_path / "checkpoint-6")
    assert runs[0][0] == runs[1][0] and len(runs[0][0]) == 6
    assert all(torch.equal(value, runs[1][1][name]) for name, value in runs[0][1].items())
    assert {key: kind for key, kind in runs[1][2].items() if key in runs[0][2]} == runs[0][2]
    eight = any(value.dtype == torch.uint8 for state in states for value in state.values() if torch.is_tensor(value))
    assert eight == ("8bit" in optim)


@pytest.mark.parametrize("optim", ["adafactor", "adamw_bnb_8bit"])
def test_state_goes_where_its_parameter_is_whatever_its_shape(tiny: Path, tmp_path: Path, optim: str) -> None:
    coach = TinyCoach(tiny)
    data = dataset(coach, ["commentary"], count=4)
    made = trainer(coach, tmp_path, data, max_steps=1, optim=optim)
    made.train()
    write_optimizer(tmp_path, coach.model, made.optimizer, keep=True)
    elsewhere = TinyCoach(tiny)
    torch.nn.Module.to(elsewhere.model, torch.device("meta"))  # a device that is not the CPU
    fresh = trainer(coach, tmp_path, data, max_steps=1, optim=optim)
    fresh.model = elsewhere.model
    read_optimizer(tmp_path, elsewhere.model, fresh.create_optimizer())
    tensors = {key: value.device.type for state in fresh.optimizer.state.values() for key, value in state.items() if torch.is_tensor(value)}  # type: ignore[union-attr]  # fmt: skip
    assert len(tensors) > 2 and set(tensors.values()) == {"meta"}
