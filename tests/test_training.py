"""Batches, loss, trainer and resuming: everything that has to be exact, on a tiny random Llama."""

import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.data_loader import prepare_data_loader
from tiny_coach import TinyCoach, batch_of, collated, dataset, trained_losses, trainer
from torch.utils.data import DataLoader

from mm_adapter.checkpoint.coach import last_complete_checkpoint
from mm_adapter.model.lora import set_trainable
from mm_adapter.model.loss import supervised_cross_entropy
from mm_adapter.samples.batching import WindowSampler, tokens
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.samples.sources import hold_out
from mm_adapter.training.trainer import TrainingDiverged

# --- batches ---------------------------------------------------------------------------------------------------------


class Lengths:
    """Samples of which only the lengths are known."""

    def __init__(self, count: int) -> None:
        self.drawn = [np.random.default_rng(epoch).integers(20, 900, count).tolist() for epoch in range(3)]

    def lengths(self, epoch: int) -> list[int]:
        return self.drawn[epoch]


SHARED = [(8, 1, 1), (1, 8, 1), (4, 1, 2), (1, 2, 4), (2, 2, 2)]
"""Batch size, accumulation and processes that make windows of eight."""


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_optimizer_step_sees_the_same_samples_however_it_is_shared(epoch: int) -> None:
    data = Lengths(43)
    seen = []
    for batch_size, accumulation, processes in SHARED:
        sampler = WindowSampler(data, batch_size, accumulation, processes, seed=3)
        sampler.set_epoch(epoch)
        windows = sampler.windows()
        assert len(list(sampler)) == len(sampler) and len(sampler) % processes == 0
        assert all(len(batch) <= batch_size for window in windows for batch in window)
        seen.append([sorted(index for batch in window for index in batch) for window in windows])
        assert [len(window) for window in seen[-1]] == [8, 8, 8, 8, 8, 3]
    first = {tuple(window) for window in seen[0]}
    assert all({tuple(window) for window in other} == first for other in seen), "same windows"
    assert sorted(index for window in seen[0] for index in window) == list(range(43)), "every sample once"


def test_the_short_last_window_leaves_a_process_an_empty_batch() -> None:
    sampler = WindowSampler(Lengths(9), 4, 1, 2, seed=0)
    assert [len(batch) for batch in sampler.windows()[-1]] == [1, 0]


@pytest.mark.parametrize(("batch_size", "accumulation", "processes"), [(2, 2, 2), (2, 3, 2), (1, 2, 2), (4, 1, 4)])
def test_every_sample_reaches_a_process_and_all_have_as_many_batches(
    batch_size: int, accumulation: int, processes: int
) -> None:
    """Through accelerate's own dealing, with a short last window."""
    data = Lengths(13)
    dealt = []
    for process in range(processes):
        sampler = WindowSampler(data, batch_size, accumulation, processes, seed=0)
        loader = DataLoader(list(range(13)), batch_sampler=sampler, collate_fn=list)  # type: ignore[arg-type]
        prepared = prepare_data_loader(
            loader, torch.device("cpu"), num_processes=processes, process_index=process, even_batches=False
        )
        dealt.append(list(prepared))
        assert len(prepared) == len(dealt[-1])
    assert len({len(batches) for batches in dealt}) == 1
    assert sorted(index for batches in dealt for batch in batches for index in batch) == list(range(13))


def test_the_largest_micro_batch_of_the_first_epoch_comes_first() -> None:
    data = Lengths(43)
    sampler = WindowSampler(data, 2, 2, 2, seed=0)
    largest = [max(tokens(batch, data.lengths(0)) for batch in window) for window in sampler.windows()]
    assert largest[0] == max(largest) and largest[1:] != sorted(largest[1:], reverse=True)


def test_tokens_are_spread_evenly_over_processes() -> None:
    data = Lengths(2000)
    totals = []
    for seed in (0, None):
        sampler = WindowSampler(data, 8, 1, 8, seed)
        windows = [[tokens(batch, data.lengths(0)) for batch in window] for window in sampler.windows()[:-1]]
        totals.append(np.mean([max(window) / np.mean(window) for window in windows]))
    random_split = np.random.default_rng(0).permutation(data.lengths(0))[: 31 * 64].reshape(31, 8, 8).sum(2)
    assert max(totals) < 1.05 < 1.2 < np.mean(random_split.max(1) / random_split.mean(1))


@pytest.mark.parametrize("layout", ["packed", "left"])
def test_packed_padded_and_one_by_one_are_the_same(coach: TinyCoach, layout: str) -> None:
    data = dataset(coach, ["commentary", "demonstration"], count=3)
    samples = [data[i] for i in range(len(data))]
    together = collated(coach, samples, layout)
    assert layout != "packed" or together["input_ids"].shape == (1, sum(len(s["input_ids"]) for s in samples))

    def gradients(batches: list) -> tuple[float, list[torch.Tensor]]:
        coach.model.zero_grad()
        loss = torch.stack([coach.model(**batch, num_items_in_batch=100).loss for batch in batches]).sum()
        loss.backward()
        return loss.item(), [p.grad.clone() for p in coach.model.parameters() if p.grad is not None]

    loss, gradient = gradients([together])
    alone_loss, alone = gradients([collated(coach, [sample]) for sample in samples])
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    for a, b in zip(gradient, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_packed_samples_do_not_see_each_other(coach: TinyCoach) -> None:
    data = dataset(coach, ["demonstration"], count=3)
    batch = collated(coach, [data[i] for i in range(3)], "packed")
    del batch["labels"]
    start, stop = batch["cu_seq_lens_q"][1:3].tolist()
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, stop - 3 : stop] = coach.processor.vocabulary.first_id
    kept = torch.ones(batch["input_ids"].shape[1], dtype=torch.bool)
    kept[stop - 3 : stop] = False
    coach.model.eval()
    before, after = coach.model(**batch).logits[0], coach.model(**changed).logits[0]
    assert torch.equal(before[kept], after[kept]) and not torch.equal(before[start:stop], after[start:stop])


def test_an_empty_batch_takes_part_without_effect(coach: TinyCoach) -> None:
    batch = collated(coach, [], "packed")
    loss = coach.model(**batch, num_items_in_batch=7).loss
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in coach.model.parameters() if p.requires_grad)


def test_formats_keep_their_proportions_and_go_round(coach: TinyCoach) -> None:
    data = dataset(coach, {"commentary": 2.0, "demonstration": 0.3}, count=10, expert_drop=0.5)
    visited = []
    for epoch in range(10):
        data.set_epoch(epoch)
        assert sorted(source for source, _ in data.items) == [0] * 20 + [1] * 3
        assert data.lengths(epoch) == [len(data.encode(i).input_ids) for i in range(len(data))]
        visited += [index for source, index in data.items if source == 1]
    assert sorted(visited) == sorted(list(range(10)) * 3), "every tuple three times in ten epochs"
    with pytest.raises(ValueError, match=r"\['demonstration'\] would have no sample"):
        dataset(coach, {"commentary": 1.0, "demonstration": 0.01}, count=10)


def test_the_longest_sample_of_any_epoch_counts(coach: TinyCoach) -> None:
    longest = {}
    for drop in (0.0, 0.5, 1.0):
        longest[drop] = dataset(coach, ["commentary"], expert_drop=drop).longest
    assert longest[0.0] == longest[0.5] > longest[1.0]


def test_held_out_learners_do_not_train(coach: TinyCoach) -> None:
    train, held_out = hold_out(coach.train, lambda t: t.learner.participant, 0.3, seed=0)
    assert len(train) + len(held_out) == len(coach.train) and held_out
    assert not {t.learner.participant for t in train} & {t.learner.participant for t in held_out}
    assert hold_out(coach.train, lambda t: t.learner.participant, 0.0, seed=0) == (coach.train, [])


# --- loss ------------------------------------------------------------------------------------------------------------


def test_supervised_positions_alone_give_the_full_loss_and_gradients(coach: TinyCoach) -> None:
    batch = batch_of(coach, ["commentary", "demonstration"])
    coach.model.eval()
    loss = coach.model(**batch).loss
    loss.backward()
    ours = {n: p.grad.clone() for n, p in coach.model.named_parameters() if p.grad is not None}
    coach.model.zero_grad()
    labels = batch.pop("labels")
    logits = coach.model(**batch).logits
    full = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    full.backward()
    torch.testing.assert_close(loss, full)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, dict(coach.model.named_parameters())[name].grad, atol=1e-6, rtol=1e-4)


def test_the_loss_in_pieces_is_the_loss() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    hidden = torch.randn(3, 20, 8, requires_grad=True)
    labels = torch.randint(0, 50, (3, 20)).where(torch.rand(3, 20) < 0.6, -100)
    found = []
    for chunk in (7, 1000):
        total, count = supervised_cross_entropy(head, hidden, labels, chunk)
        found.append((total, count, *torch.autograd.grad(total, [hidden, *head.parameters()])))
    total, count = supervised_cross_entropy(head, hidden, labels, 7, agree=lambda pieces: pieces + 3)
    found.append((total, count, *torch.autograd.grad(total, [hidden, *head.parameters()])))
    for pieces, whole, more in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole)
        torch.testing.assert_close(more, whole)
    full = F.cross_entropy(head(hidden[:, :-1]).flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(found[0][0], full)


def test_recomputed_activations_give_the_same_gradients(coach: TinyCoach) -> None:
    batch = batch_of(coach, ["dialogue"], count=3)
    found = []
    for recompute in (False, True):
        if recompute:
            coach.model.gradient_checkpointing_enable({"use_reentrant": False})
            assert any(getattr(m, "gradient_checkpointing", False) for m in coach.model.modules())
        coach.model.train().zero_grad()
        coach.model(**batch).loss.backward()
        found.append([p.grad.clone() for p in coach.model.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


# --- trainer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 4), (2, 2)])
def test_accumulation_equals_one_large_batch_short_window_included(
    tiny: Path, tmp_path: Path, batch_size: int, accumulation: int
) -> None:
    """Ten samples in windows of four: the last window of the epoch has two."""
    states, losses = [], []
    for size, steps in ((4, 1), (batch_size, accumulation)):
        coach = TinyCoach(tiny)
        made = trainer(
            coach, tmp_path, dataset(coach, ["commentary", "demonstration"], count=5), max_steps=5,
            per_device_train_batch_size=size, gradient_accumulation_steps=steps, optim="sgd",
        )  # fmt: skip
        made.train()
        losses.append(trained_losses(made))
        states.append(coach.model.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=1e-6, rtol=1e-5)


MODES = ["mappers", "lora", "qlora", "full"]


def in_mode(tiny: Path, mode: str) -> TinyCoach:
    return TinyCoach(tiny, "lora", quantization="nf4") if mode == "qlora" else TinyCoach(tiny, mode)


@pytest.mark.parametrize("mode", MODES)
def test_resumed_equals_straight_inside_an_epoch(tiny: Path, tmp_path: Path, mode: str) -> None:
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 3}
    runs = []
    for _ in range(2):  # the second finds what a crash after step 5 leaves: epoch 1, one window into it
        coach = in_mode(tiny, mode)
        made = trainer(coach, tmp_path, dataset(coach, ["commentary"], count=15, expert_drop=0.5), **settings)
        checkpoint = last_complete_checkpoint(tmp_path)
        made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        runs.append((trained_losses(made), coach.model.state_dict()))
        (tmp_path / "checkpoint-8" / "complete.json").unlink()
    assert len(runs[0][0]) == 8 and runs[0][0] == runs[1][0]
    assert all(torch.equal(value, runs[1][1][name]) for name, value in runs[0][1].items())


def test_a_run_that_is_resumed_at_its_end_takes_no_further_step(tiny: Path, tmp_path: Path) -> None:
    """As after a crash between the last checkpoint and the coach; in the middle of an epoch."""
    runs = []
    for _ in range(2):
        coach = TinyCoach(tiny)
        data = dataset(coach, ["commentary"], count=15)
        made = trainer(coach, tmp_path, data, max_steps=3, save_strategy="steps", save_steps=3)
        checkpoint = last_complete_checkpoint(tmp_path)
        made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        runs.append((made.state.global_step, trained_losses(made), coach.model.state_dict()))
    assert runs[0][:2] == runs[1][:2] and runs[1][0] == 3
    assert all(torch.equal(value, runs[1][2][name]) for name, value in runs[0][2].items())


@pytest.mark.parametrize("mode", MODES)
def test_a_step_changes_what_trains_and_nothing_else(tiny: Path, tmp_path: Path, mode: str) -> None:
    coach = in_mode(tiny, mode)
    names = {name for name, parameter in coach.model.named_parameters() if parameter.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in coach.model.named_parameters()}
    data = dataset(coach, ["commentary", "demonstration"])
    trainer(coach, tmp_path, data, max_steps=4).train()  # the first has rate 0; LoRA's A moves once B is not zero
    changed = {name for name, p in coach.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == names
    assert any("lora_" in name for name in names) == (mode in ("lora", "qlora"))
    with pytest.raises(ValueError, match="Unknown training mode 'some'"):
        set_trainable(coach.model, "some")


def test_evaluation_weighs_tokens_whatever_the_batch_size(coach: TinyCoach, tmp_path: Path) -> None:
    data = dataset(coach, ["commentary", "demonstration"], count=7)
    found = [
        trainer(coach, tmp_path, data, data, per_device_eval_batch_size=size).evaluate()["eval_loss"] for size in (1, 5)
    ]
    whole = coach.model(**collated(coach, [data[i] for i in range(14)])).loss
    assert found == pytest.approx([whole.item()] * 2, rel=1e-5)


class NotANumber(CoachDataset):
    """One sample's video features hold a NaN."""

    def __getitem__(self, index: int) -> dict:
        sample = super().__getitem__(index)
        if index == 3:
            sample["ego"] = np.full_like(sample["ego"], np.nan)
        return sample


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_sample(coach: TinyCoach, tmp_path: Path) -> None:
    data = dataset(coach, ["commentary"])
    data.__class__ = NotANumber
    before = {name: parameter.clone() for name, parameter in coach.model.named_parameters()}
    made = trainer(coach, tmp_path, data, per_device_train_batch_size=6)
    with pytest.raises(TrainingDiverged, match=f"loss of step 1 is nan.*{data.encode(3).sample_id}"):
        made.train()
    assert all(torch.equal(parameter, before[name]) for name, parameter in coach.model.named_parameters())


def test_a_gradient_that_is_no_number_stops_the_run(coach: TinyCoach, tmp_path: Path) -> None:
    coach.model.pose_head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingDiverged, match="gradient of step 1 is not finite"):
        trainer(coach, tmp_path, dataset(coach, ["commentary"])).train()


def test_a_signal_saves_and_stops_after_the_step(tiny: Path, tmp_path: Path) -> None:
    coach = TinyCoach(tiny)
    made = trainer(coach, tmp_path, dataset(coach, ["commentary"], count=8), max_steps=50, save_strategy="steps")
    before = made.training_step

    def interrupted(*args, **kwargs) -> torch.Tensor:
        if made.state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return before(*args, **kwargs)

    made.training_step = interrupted
    made.train()
    assert made.stop_on_signal.stopped and made.state.global_step == 3
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-3"


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_weight_decay_spares_biases_norms_and_pose_rows(tiny: Path, tmp_path: Path, mode: str) -> None:
    coach = TinyCoach(tiny, mode)
    made = trainer(coach, tmp_path, dataset(coach, ["commentary"]), weight_decay=0.3)
    decay, rate = {}, {}
    names = {id(parameter): name for name, parameter in coach.model.named_parameters()}
    for group in made.create_optimizer().param_groups:
        for parameter in group["params"]:
            decay[names[id(parameter)]], rate[names[id(parameter)]] = group["weight_decay"], group["lr"]
    trainable = {name for name, parameter in coach.model.named_parameters() if parameter.requires_grad}
    assert set(decay) == trainable, "every parameter once"
    spared = {name for name, value in decay.items() if value == 0}
    assert {value for name, value in decay.items() if name not in spared} == {0.3}
    assert spared == {
        name for name in decay
        if name.endswith(".bias") or "norm" in name or name in ("pose_head.weight", "pose_embedding.rows")
    }  # fmt: skip
    assert {"ego_mapper.norm.weight", "exo_mapper.mlp.0.bias"} <= spared
    assert decay["exo_mapper.mlp.0.weight"] == decay["pose_embedding.mapper.2.weight"] == 0.3
    assert any("norm" in name for name in spared if name.startswith("language_model.")) == (mode == "full")
    made.mapper_learning_rate = 7.0
    made.optimizer = None
    rates = {group["lr"] for group in made.create_optimizer().param_groups}
    assert rates == {7.0, 1e-2}


def test_sigterm_is_handled_while_training_alone(tiny: Path, tmp_path: Path) -> None:
    """Not before, not after, not where training fails, and not in a thread, which cannot."""
    before = signal.getsignal(signal.SIGTERM)
    coach = TinyCoach(tiny)
    made = trainer(coach, tmp_path, dataset(coach, ["commentary"], count=4), max_steps=1)
    assert signal.getsignal(signal.SIGTERM) == before
    whole, seen = made.training_step, []

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(signal.getsignal(signal.SIGTERM))
        return whole(*args, **kwargs)

    made.training_step = watched  # type: ignore[method-assign]
    made.train()
    assert seen == [made.stop_on_signal._receive] and signal.getsignal(signal.SIGTERM) == before

    def failing(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise RuntimeError("no memory")

    made = trainer(coach, tmp_path, dataset(coach, ["commentary"], count=4), max_steps=1)
    made.training_step = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no memory"):
        made.train()
    assert signal.getsignal(signal.SIGTERM) == before
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(trainer, coach, tmp_path, dataset(coach, ["commentary"], count=4), max_steps=1).result()
        threads.submit(made.train).result()
    assert made.state.global_step == 1 and signal.getsignal(signal.SIGTERM) == before
