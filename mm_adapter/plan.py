"""What a run would do: trainable and frozen parts, tokens per sample, steps, memory. Behind ``--dry-run``."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from mm_adapter.modeling import CoachForConditionalGeneration

GIB = 2**30


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per process at the longest batch; activations are a model, not a measurement."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.weights + self.gradients + self.optimizer + self.activations


def parameter_table(model: CoachForConditionalGeneration) -> list[tuple[str, int, int]]:
    """(part, trainable, frozen) parameter counts."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "language_model" and "lora_" in name:
            part = "language_model LoRA"
        counts[part][0 if parameter.requires_grad else 1] += parameter.numel()
    return [(part, trainable, frozen) for part, (trainable, frozen) in sorted(counts.items())]


def estimate_memory(
    model: CoachForConditionalGeneration,
    batch: int,
    length: int,
    supervised: int,
    checkpointing: bool,
    zero_stage: int,
    world_size: int,
    quantized: bool,
) -> MemoryEstimate:
    """Memory per process.

    Args:
        model: The coach, possibly on the meta device.
        batch: Samples per process and step.
        length: Longest sample in tokens.
        supervised: Supervised tokens of it; only these reach the output head.
        checkpointing: Whether activations are recomputed layer by layer.
        zero_stage: 0 for DDP or one process.
        world_size: Processes that share.
        quantized: Whether the decoder's frozen linear layers are in NF4 (4 bits and scales); embeddings and head are not.
    """
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(
        p.numel() * (0.56 if quantized and ".layers." in name else 2.0)
        for name, p in model.named_parameters()
        if not p.requires_grad
    )
    share = {0: (1, 1, 1), 1: (1, 1, world_size), 2: (1, world_size, world_size), 3: (world_size,) * 3}[zero_stage]
    text: Any = model.config.text_config
    hidden, layers = text.hidden_size, text.num_hidden_layers
    positions = batch * length
    # Per position and layer in bf16: inputs, q, k, v, attention output, gate, up and their product.
    per_layer = positions * 2 * (6 * hidden + 3 * text.intermediate_size)
    activations = (layers * positions * hidden * 2 + per_layer) if checkpointing else layers * per_layer
    logits = 3 * 4 * batch * supervised * model.config.num_predictable
    return MemoryEstimate(
        weights=(trainable * 4 + frozen) / share[0],
        gradients=trainable * 4 / share[1],
        optimizer=trainable * 8 / share[2],
        activations=activations + logits,
    )


def print_plan(
    model: CoachForConditionalGeneration, facts: dict[str, Any], memory: MemoryEstimate, missing: list[str]
) -> None:
    """Prints tables for a person."""
    console = Console(width=110)
    table = Table(title="Parameters", title_justify="left")
    for heading in ("part", "[trainable]", "[frozen]"):
        table.add_column(heading.replace("[", r"\["), justify="left" if heading == "part" else "right")
    rows = parameter_table(model)
    for part, trainable, frozen in rows:
        table.add_row(part, f"{trainable:,}" if trainable else "-", f"{frozen:,}" if frozen else "-")
    table.add_section()
    table.add_row("total", f"{sum(r[1] for r in rows):,}", f"{sum(r[2] for r in rows):,}")
    console.print(table)
    plan = Table(title="Plan", title_justify="left", show_header=False)
    for name, value in facts.items():
        plan.add_row(name, str(value))
    for name in ("weights", "gradients", "optimizer", "activations", "total"):
        plan.add_row(f"memory: {name}", f"{getattr(memory, name) / GIB:.2f} GiB per process (estimate)")
    console.print(plan)
    for line in missing:
        console.print(f"Missing before a real run: {line}")
