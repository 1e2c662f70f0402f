"""Tells data sets and samplers which epoch begins."""

import math
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class EpochAware(Protocol):
    """What varies from epoch to epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch."""
        ...


class EpochCallback(TrainerCallback):
    """Calls ``set_epoch``, on every process and after resuming inside an epoch too.

    accelerate's data loader does so by itself only where nothing wraps the batch sampler, so not with several processes and
    not in a resumed epoch.

    Args:
        *listeners: Told; data sets and samplers.
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
