"""Which samples share an optimizer step, a process and a micro-batch. Lengths count media tokens."""

import heapq
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class SizedSamples(Protocol):
    """A data set that knows its samples' lengths."""

    def lengths(self, epoch: int) -> Sequence[int]:
        """Returns the number of tokens of every sample in an epoch, media included."""
        ...


class WindowSampler(Sampler[list[int]]):
    """Batches of every process, one optimizer step after another.

    An epoch is a random order of the samples, cut into windows: the samples of one optimizer step. A window depends on
    seed and epoch alone, never on how many processes and micro-batches share it, so runs on other hardware see the same
    steps. Inside a window samples are dealt longest first to the micro-batch with the fewest tokens, so that no process
    waits for another. The last window may be short; a process that gets nothing of it is handed an empty batch, because
    it has to take part in the collectives.

    In the first epoch the window with the largest micro-batch comes first: what does not fit fails in the first minute.
    Iterating gives for each micro-batch one list of indices per process, as `accelerate` deals batches out.

    Args:
        dataset: Data set that knows its samples' lengths.
        batch_size: Number of samples per process and micro-batch.
        accumulation: Number of micro-batches per optimizer step.
        processes: Number of processes.
        seed: Seed of the order, or None to keep the data set's (evaluation).
    """

    def __init__(
        self, dataset: SizedSamples, batch_size: int, accumulation: int, processes: int, seed: int | None
    ) -> None:
        # Not `batch_size`: accelerate would take batches of another size, and empty ones, for an end of the data.
        self.dataset, self.per_batch, self.processes, self.seed = dataset, batch_size, processes, seed
        self.window = batch_size * accumulation * processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Takes notice that an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.processes * math.ceil(len(self.dataset.lengths(self.epoch)) / (self.per_batch * self.processes))

    def windows(self) -> list[list[list[int]]]:
        """Returns the epoch's windows, each a list of micro-batches (of all processes) of sample indices."""
        lengths = self.dataset.lengths(self.epoch)
        order = list(range(len(lengths)))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(len(lengths), generator=generator).tolist()
        dealt = [self._deal(order[i : i + self.window], lengths) for i in range(0, len(order), self.window)]
        if self.seed is not None and self.epoch == 0:
            full = dealt[: len(order) // self.window]  # a short window has to stay last
            if full:
                largest = max(range(len(full)), key=lambda i: max(tokens(batch, lengths) for batch in full[i]))
                dealt.insert(0, dealt.pop(largest))
        return dealt

    def _deal(self, members: list[int], lengths: Sequence[int]) -> list[list[int]]:
        micro_batches = math.ceil(len(members) / (self.per_batch * self.processes))
        batches: list[list[int]] = [[] for _ in range(micro_batches * self.processes)]
        lightest = [(0, i) for i in range(len(batches))]
        for member in sorted(members, key=lambda index: (-lengths[index], index)):
            total, i = heapq.heappop(lightest)
            batches[i].append(member)
            if len(batches[i]) < self.per_batch:
                heapq.heappush(lightest, (total + lengths[member], i))
        return batches

    def __iter__(self) -> Iterator[list[int]]:
        for window in self.windows():
            yield from window


def tokens(batch: Sequence[int], lengths: Sequence[int]) -> int:
    """Counts the tokens of a micro-batch."""
    return sum(lengths[i] for i in batch)


class EpochAware(Protocol):
    """Anything that varies from epoch to epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Takes notice that an epoch begins."""
        ...


class EpochCallback(TrainerCallback):
    """Calls ``set_epoch``, on every process and after resuming inside an epoch too.

    accelerate's data loader does so by itself only where nothing wraps the batch sampler, so not with several processes and
    not in a resumed epoch.

    Args:
        *listeners: Data sets and samplers whose epoch is set.
    """

    def __init__(self, *listeners: EpochAware) -> None:
        self.listeners = listeners

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Derives the epoch from the number of optimizer steps."""
        steps = max(1, math.ceil(len(kwargs["train_dataloader"]) / args.gradient_accumulation_steps))
        for listener in self.listeners:
            listener.set_epoch(state.global_step // steps)
