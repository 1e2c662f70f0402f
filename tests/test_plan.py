"""What a run would do, planned before it: steps and memory; and what it counts while it runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_coach import TinyCoach, collated, dataset, trainer
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainingArguments

from mm_adapter.model.lora import LORA_TARGETS
from mm_adapter.training.plan import SHARDINGS, Batch, activation_bytes, estimate_memory
from mm_adapter.training.schedules import optimizer_steps
from mm_adapter.training.throughput import TrainingFlops

# --- plan ------------------------------------------------------------------------------------------------------------


def kept_bytes(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """What autograd keeps for the backward pass beside the weights."""
    held: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)  # or a later tensor could get its address
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**batch)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    return sum(size for address, size in held.items() if address not in own)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_memory_plan_agrees_with_what_autograd_keeps(tiny: Path, recompute: bool) -> None:
    coach = TinyCoach(tiny, lora_targets=LORA_TARGETS)
    if recompute:
        coach.model.gradient_checkpointing_enable({"use_reentrant": False})
        coach.model.language_model.enable_input_require_grads()
    coach.model.train()
    data = dataset(coach, ["demonstration"], count=8)
    batch = collated(coach, [data[i] for i in range(8)], "packed")
    text, positions = coach.model.config.text_config, batch["input_ids"].shape[1]
    planned = activation_bytes(coach.model, Batch(positions, 0), recompute, width=4)
    if recompute:  # the plan's peak holds one layer while it is recomputed; autograd's record does not
        planned -= activation_bytes(coach.model, Batch(positions, 0), False, width=4) / text.num_hidden_layers
    kept = kept_bytes(coach.model, {**batch, "labels": torch.full_like(batch["labels"], -100)})
    outside = 4 * positions * 8 * text.hidden_size  # embeddings, last norm
    assert planned <= kept <= 1.1 * planned + outside


@pytest.mark.parametrize(
    ("samples", "batch", "epochs", "steps"),
    [(100, 10, 1, 10), (15, 10, 4, 8), (101, 10, 3, 33), (15, 4, 1.5, 6), (3, 10, 2, 2), (16, 4, 0.3, 2)],
)
def test_planned_steps_are_those_that_training_takes(
    coach: TinyCoach, tmp_path: Path, samples: int, batch: int, epochs: float, steps: int
) -> None:
    settings = {"per_device_train_batch_size": batch, "num_train_epochs": epochs}
    planned = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **settings)
    assert optimizer_steps(planned, samples, 1) == steps
    assert optimizer_steps(replace(planned, max_steps=7), samples, 1) == 7
    made = trainer(coach, tmp_path, dataset(coach, {"commentary": samples / 4}, count=4), **settings)
    assert len(made.train_dataset) == samples
    assert made.set_initial_training_values(made.args, made.get_train_dataloader())[-1] == steps
    if batch % 2 == 0:
        halves = replace(planned, per_device_train_batch_size=batch // 2)
        assert optimizer_steps(halves, samples, 2) == steps == optimizer_steps(replace(halves, gradient_accumulation_steps=2), samples, 1)  # fmt: skip


def test_sharing_divides_what_it_says(coach: TinyCoach) -> None:
    plans = {s.name: estimate_memory(coach.model, Batch(100, 10), True, s, world_size=8) for s in SHARDINGS}
    assert plans["ZeRO-2"].gradients * 8 == pytest.approx(plans["DDP"].gradients / 2)
    assert plans["ZeRO-3, FSDP2"].weights < plans["ZeRO-2"].weights < plans["DDP"].weights
    assert plans["ZeRO-3 offload"].optimizer == 0


# --- throughput ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mappers", "full"])
def test_operations_agree_with_a_count(tiny: Path, mode: str) -> None:
    coach = TinyCoach(tiny, mode)
    coach.model.language_model.set_attn_implementation("eager")
    data = dataset(coach, ["dialogue"], count=1)
    batch = collated(coach, [data[0]])
    length, supervised = batch["input_ids"].shape[1], int((batch["labels"] != -100).sum())
    with FlopCounterMode(display=False) as counter:
        coach.model(**batch).loss.backward()
    # The count sees full instead of causal attention, the mappers, and in full mode the embedding head's gradient.
    text = coach.model.config.text_config
    attention = 6 * length**2 * text.hidden_size * text.num_hidden_layers
    assert TrainingFlops(coach.model)([length], supervised) + attention == pytest.approx(
        counter.get_total_flops(), rel=0.15
    )
