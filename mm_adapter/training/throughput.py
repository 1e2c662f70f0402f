"""Measures what a training step costs: tokens, seconds per phase on the average and the slowest rank, and the share of the hardware's peak."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mm_adapter.model.coach import CoachModel

PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A6000": 155e12,
    "A10": 125e12,
    "V100": 125e12,
    "4090": 165e12,
    "3090": 71e12,
}
"""Dense bf16 (V100: fp16) tensor operations per second, by a part of the device's name. Vendors' data sheets."""

PHASES = ("data_wait", "forward_backward", "optimizer")


class TrainingFlops:
    """Counts the operations of a forward and backward pass that the mathematics needs (recomputation does not count).

    Twice for every multiplication with a weight in the forward pass, as much again for the gradient of the activations, and
    once more where the weight trains. Attention sees half of a sample on average. Only supervised positions reach the head.

    Args:
        model: The coach; its weights are counted once.
    """

    def __init__(self, model: CoachModel) -> None:
        text: Any = model.config.text_config
        layers = [(_size(p), p.requires_grad) for name, p in model.named_parameters() if ".layers." in name]
        self.linear = sum(count for count, _ in layers)
        self.trained = sum(count for count, trains in layers if trains)
        self.head = text.hidden_size * model.config.num_predictable
        self.attention = text.hidden_size * text.num_hidden_layers

    def __call__(self, lengths: Sequence[int], supervised: int) -> float:
        """Returns the operations of samples with so many tokens, and so many supervised tokens among all of them."""
        tokens, squares = sum(lengths), sum(length**2 for length in lengths)
        weights = 4 * (self.linear * tokens + self.head * supervised) + 2 * self.trained * tokens
        return weights + 6 * self.attention * squares


def _size(parameter: Tensor) -> int:
    """Returns the number of a parameter's weights, also where ZeRO-3 or FSDP2 cut it up or NF4 packs two into a byte."""
    packed = 2 if type(parameter).__name__ == "Params4bit" else 1
    return packed * int(getattr(parameter, "ds_numel", parameter.numel()))


class Throughput:
    """A counter of tokens, operations and seconds since the last report.

    Args:
        model: The coach whose operations are counted.
        device: The device that it runs on; a GPU is waited for at the end of every phase.
    """

    def __init__(self, model: CoachModel, device: torch.device) -> None:
        self.training_flops, self.device = TrainingFlops(model), device
        names = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        self.peak = next((peak for name, peak in PEAK_FLOPS.items() if name in names), None)
        self._reset()

    def _reset(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.tokens = self.supervised = self.steps = 0
        self.flops = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of the block to one of `PHASES`."""
        begun = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] += time.perf_counter() - begun

    def count(self, lengths: Sequence[int], supervised: int) -> None:
        """Adds a micro-batch of this rank."""
        self.tokens += sum(lengths)
        self.supervised += supervised
        self.flops += self.training_flops(lengths, supervised)

    def report(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Reports the figures since the last report. Every rank takes part.

        Args:
            gather: Makes the rows of all ranks of this rank's row.

        Returns:
            Figures by name, as logged.
        """
        row = [*self.seconds.values(), float(self.tokens), float(self.supervised), self.flops]
        rows = gather(torch.tensor([row], dtype=torch.float64, device=self.device))
        steps = max(self.steps, 1)
        busy = float(rows[:, : len(PHASES)].sum(1).max())
        totals = rows[:, len(PHASES) :].sum(0).tolist()
        logs = {"tokens_per_second": totals[0] / busy, "supervised_tokens_per_second": totals[1] / busy}
        for column, name in enumerate(PHASES):
            logs[f"{name}_seconds"] = float(rows[:, column].mean()) / steps
            if len(rows) > 1:
                logs[f"{name}_seconds_slowest_rank"] = float(rows[:, column].max()) / steps
        if self.peak is not None:
            logs["mfu"] = totals[2] / busy / (self.peak * len(rows))
            logs["peak_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self._reset()
        return {name: round(value, 6) for name, value in logs.items()}
