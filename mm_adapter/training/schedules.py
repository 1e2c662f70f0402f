"""Counts the optimizer steps of a run, and names what decides its course beside the model."""

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainingArguments

_DECIDING = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "max_grad_norm", "optim",
    "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "num_train_epochs", "max_steps", "seed",
)  # fmt: skip


def samples_per_step(training: TrainingArguments, processes: int) -> int:
    """Returns the samples of an optimizer step over all processes."""
    return training.per_device_train_batch_size * training.gradient_accumulation_steps * processes


def optimizer_steps(training: TrainingArguments, samples: int, processes: int) -> int:
    """Returns the optimizer steps of a run. An epoch's last step may have fewer samples than the others.

    Args:
        training: The trainer's arguments.
        samples: Samples of an epoch.
        processes: Number of processes.

    Returns:
        The number of steps.
    """
    if training.max_steps > 0:
        return training.max_steps
    return math.ceil(training.num_train_epochs * steps_per_epoch(training, samples, processes))


def steps_per_epoch(training: TrainingArguments, samples: int, processes: int) -> int:
    """Returns the optimizer steps of one epoch."""
    return math.ceil(samples / samples_per_step(training, processes))


def schedule(training: TrainingArguments, further: Sequence[str] = ()) -> dict[str, Any]:
    """Collects what decides the course of a run besides the model and its data; a run that goes on must agree with it.

    Args:
        training: The trainer's arguments.
        further: Names of arguments that a recipe adds.

    Returns:
        Values by name.
    """
    resolved = training.to_dict()
    chosen = {name: resolved[name] for name in (*_DECIDING, *further)}
    return {**chosen, "samples_per_step": samples_per_step(training, training.world_size)}
