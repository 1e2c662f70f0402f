"""Callbacks of the coach's trainer: one stops it at a signal, one times its optimizer."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mm_adapter.training.throughput import Throughput


class StopOnSignal(TrainerCallback):
    """Callback that saves and stops at the end of the step in which any rank received SIGTERM, as clusters send before they take a node.

    Its ``stopped`` says whether that happened.

    Args:
        trainer: The trainer, whose ranks agree.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.received, self.stopped = trainer, False, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM inside the block. Only a process's main thread can: elsewhere the signal does what it did."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:  # the handler would keep the whole trainer alive through the next stage
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Agrees with the other ranks, which may have been signalled a step apart or not at all."""
        flag = torch.tensor(float(self.received), device=args.device)
        if float(self.trainer.accelerator.reduce(flag, "sum")) > 0:  # type: ignore[arg-type]
            self.stopped = control.should_save = control.should_training_stop = True


class OptimizerClock(TrainerCallback):
    """Callback that times the optimizer, which the trainer calls between these two events."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._phase = self.throughput.phase("optimizer")
        self._phase.__enter__()

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Stops the clock and counts the step."""
        self._phase.__exit__(None, None, None)
        self.throughput.steps += 1
