"""Estimates what a run needs (parameters by part, memory per process) and prints the plan of ``--dry-run``."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from mm_adapter.model.coach import CoachModel
from mm_adapter.model.loss import CHUNK

GIB = 2**30
GPUS = {
    "T4-16GB": 16,
    "A10-24GB": 24,
    "RTX3090-24GB": 24,
    "RTX4090-24GB": 24,
    "V100-32GB": 32,
    "A100-40GB": 40,
    "L40S-48GB": 48,
    "A6000-48GB": 48,
    "A100-80GB": 80,
    "H100-80GB": 80,
    "H200-141GB": 141,
}
"""GiB of memory by name."""

OVERHEAD = 1.5 * GIB
"""CUDA context, communication buffers and the allocator's fragments."""


@dataclass(frozen=True)
class Sharding:
    """A way in which processes share a model's state.

    Attributes:
        name: Name in the printed plan.
        stage: What is divided: 0 nothing (DDP), 2 gradients and optimizer, 3 weights too (ZeRO-3, FSDP2).
        offload: Whether optimizer and master weights lie in the host's memory.
    """

    name: str
    stage: int
    offload: bool = False


SHARDINGS = (
    Sharding("DDP", 0),
    Sharding("ZeRO-2", 2),
    Sharding("ZeRO-3, FSDP2", 3),
    Sharding("ZeRO-3 offload", 3, offload=True),
)


@dataclass(frozen=True)
class Batch:
    """The longest micro-batch of a process: tokens in its row, and how many of them are supervised."""

    tokens: int
    supervised: int


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per process at the longest batch; activations are a model that a test compares with what autograd keeps."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """Returns the sum of the parts and `OVERHEAD`."""
        return self.weights + self.gradients + self.optimizer + self.activations + OVERHEAD


def parameter_table(model: nn.Module) -> list[tuple[str, int, int]]:
    """Counts parameters: (part, trainable, frozen) for every part."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "language_model" and "lora_" in name:
            part = "language_model LoRA"
        counts[part][0 if parameter.requires_grad else 1] += parameter.numel()
    return [(part, trainable, frozen) for part, (trainable, frozen) in sorted(counts.items())]


def activation_bytes(model: CoachModel, batch: Batch, checkpointing: bool, width: int = 2) -> float:
    """Estimates what the language model keeps between forward and backward pass, at its peak.

    Per position and layer: the residual stream for both norms (float32), queries and attention's output, what the seven
    adapted linear layers read and their rank-r results, keys and values, and four tensors of the gated unit. With
    checkpointing the stream alone is kept per layer, and one layer's worth exists while it is recomputed.

    Args:
        model: The coach, possibly on the meta device.
        batch: The longest micro-batch.
        checkpointing: Whether activations are recomputed layer by layer.
        width: Bytes per value; 2 under bf16.

    Returns:
        Bytes of activations and logits.
    """
    text: Any = model.config.text_config
    hidden, layers = text.hidden_size, text.num_hidden_layers
    keys = hidden * text.num_key_value_heads // text.num_attention_heads
    rank = max((p.shape[0] for name, p in model.named_parameters() if "lora_A" in name), default=0)
    per_layer = width * (5 * hidden + 2 * keys + 4 * text.intermediate_size + 7 * rank) + 4 * 2 * hidden
    activations = batch.tokens * (layers * hidden * width + per_layer if checkpointing else layers * per_layer)
    # Logits in the model's type and in float32, their softmax and its gradient, one piece at a time.
    logits = (width + 3 * 4) * min(batch.supervised, CHUNK) * model.config.num_predictable
    return activations + logits


def estimate_memory(
    model: CoachModel, batch: Batch, checkpointing: bool, sharding: Sharding, world_size: int
) -> MemoryEstimate:
    """Estimates memory per process under bf16, with Adam.

    Args:
        model: The coach, possibly on the meta device.
        batch: The longest micro-batch.
        checkpointing: Whether activations are recomputed layer by layer.
        sharding: How processes share the model's state.
        world_size: Number of processes.

    Returns:
        Bytes by purpose.
    """
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    four_bits = model.config.quantization is not None  # of the decoder's linear layers, with their scales
    frozen = sum(
        p.numel() * (0.56 if four_bits and ".layers." in name else 2.0)
        for name, p in model.named_parameters()
        if not p.requires_grad
    )
    # DDP and FSDP2 keep what trains in float32; DeepSpeed computes with bf16 copies of a float32 master.
    deepspeed = sharding.stage > 0
    weights = trainable * (2 if deepspeed else 4) + frozen
    optimizer = trainable * (12 if deepspeed else 8)
    if sharding.stage == 3:  # one layer is whole at a time
        weights = weights / world_size + weights / model.config.text_config.num_hidden_layers
    shared = world_size if sharding.stage else 1
    return MemoryEstimate(
        weights=weights,
        gradients=trainable * (2 if deepspeed else 4) / shared,
        optimizer=0.0 if sharding.offload else optimizer / shared,
        activations=activation_bytes(model, batch, checkpointing),
    )


def print_plan(
    model: nn.Module, facts: dict[str, Any], memory: dict[str, MemoryEstimate], gpu: str | None, missing: list[str]
) -> None:
    """Prints tables for a person.

    Args:
        model: The model that would be trained.
        facts: Facts of the run by name, in the order in which they are printed.
        memory: Estimate by name of the sharding; empty where memory is no question.
        gpu: One of `GPUS` to compare with, or None.
        missing: Inputs that a real run still lacks.
    """
    console = Console(width=110, markup=False, emoji=False)
    table = Table(title="Parameters", title_justify="left")
    for heading in ("part", "[trainable]", "[frozen]"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    rows = parameter_table(model)
    for part, trainable, frozen in rows:
        table.add_row(part, f"{trainable:,}" if trainable else "-", f"{frozen:,}" if frozen else "-")
    table.add_section()
    table.add_row("total", f"{sum(r[1] for r in rows):,}", f"{sum(r[2] for r in rows):,}")
    console.print(table)
    plan = Table(title="Plan", title_justify="left", show_header=False)
    for name, value in facts.items():
        plan.add_row(name, str(value))
    console.print(plan)
    estimates = Table(title="Memory per process at the longest batch, GiB (estimate)", title_justify="left")
    estimates.add_column("")
    for name in memory:
        estimates.add_column(name, justify="right")
    for part in ("weights", "gradients", "optimizer", "activations"):
        estimates.add_row(part, *(f"{getattr(value, part) / GIB:.2f}" for value in memory.values()))
    estimates.add_row("context and buffers", *(f"{OVERHEAD / GIB:.2f}" for _ in memory))
    estimates.add_section()
    estimates.add_row("total", *(f"{value.total / GIB:.2f}" for value in memory.values()))
    if gpu is not None:
        estimates.add_row(f"fits {gpu}", *("yes" if v.total < GPUS[gpu] * GIB else "no" for v in memory.values()))
    if memory:
        console.print(estimates)
    for line in missing:
        console.print(f"Missing before a real run: {line}")
