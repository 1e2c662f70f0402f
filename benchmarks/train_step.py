"""One training step as the recipe does it, against one as LLaVA's code does it, on the same samples of the real task mix.

    python benchmarks/train_step.py WORK [--samples 24] [--batch-size 4] [--save]

Both train LoRA and mappers of SmolLM2-135M with recomputed activations, as LLaVA's scripts do. `llava`: batches grouped by
the number of words, rows padded to the longest, logits of every position over the whole vocabulary. `ours`: windows dealt
by length, samples packed without padding, supervised positions only. Each runs in a process of its own; `ratio` is tokens/s
of ours over LLaVA's, `memory_ratio` the peak above the weights. Padding does not count as tokens.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from paper_sized import ROOT, PaperSized, paper_sized
from record import finish, parse
from torch import Tensor
from transformers.trainer_pt_utils import get_length_grouped_indices

from mm_adapter.distributed import device_and_dtype
from mm_adapter.samples.batching import WindowSampler
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.samples.sources import TupleSource


class First:
    """The first samples of a data set."""

    def __init__(self, dataset: CoachDataset, count: int) -> None:
        # Formats follow each other; every other sample of each keeps the mix.
        self.chosen = list(range(0, len(dataset), len(dataset) // count))[:count]
        self._lengths = [dataset.lengths(0)[i] for i in self.chosen]

    def lengths(self, epoch: int) -> list[int]:
        """Tokens of the chosen samples."""
        return self._lengths


def batches_of_ours(coach: PaperSized, chosen: First, batch_size: int) -> list[list[int]]:
    """One epoch as the recipe deals it."""
    return list(WindowSampler(chosen, batch_size, 1, 1, seed=0))


def batches_of_llava(coach: PaperSized, chosen: First, batch_size: int) -> list[list[int]]:
    """One epoch of LLaVA's sampler: megabatches sorted by the number of words, which leaves media out."""
    words = []
    for index in chosen.chosen:
        number, tuple_index = coach.dataset.items[index]
        source = coach.dataset.sources[number]
        assert isinstance(source, TupleSource)
        words.append(len(source.tuples[tuple_index].summary.split()) + (20 if source.form == "demonstration" else 5))
    generator = torch.Generator().manual_seed(0)
    order = get_length_grouped_indices(words, batch_size, generator=generator)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def llava_loss(coach: PaperSized, batch: dict[str, Any], total: int) -> Tensor:
    """Logits of every position over the whole vocabulary, in float32, then the shifted cross-entropy."""
    labels = batch.pop("labels")
    logits = coach.model(**batch).logits.float()
    shifted = logits[:, :-1].contiguous().flatten(0, 1)
    return F.cross_entropy(shifted, labels[:, 1:].flatten(), ignore_index=-100, reduction="sum") / total


def measure(args: Any) -> dict[str, float]:
    """Trains one epoch of the chosen samples and reports time, memory and loss."""
    device, dtype = device_and_dtype()
    coach = paper_sized(args.work, device, dtype)
    coach.model.gradient_checkpointing_enable({"use_reentrant": False})
    coach.model.train()
    ours = args.variant == "ours"
    chosen = First(coach.dataset, args.samples)
    batches = (batches_of_ours if ours else batches_of_llava)(coach, chosen, args.batch_size)
    shape = (coach.model.config.video_tokens, coach.model.config.video_width)
    pad = coach.processor.end_of_turn_id
    collate = CoachCollator(coach.processor, pad, shape, layout="packed" if ours else "right")
    samples = [coach.dataset[index] for index in chosen.chosen]
    total = sum(label != -100 for sample in samples for label in sample["labels"])
    optimizer = torch.optim.SGD(
        [p for p in coach.model.parameters() if p.requires_grad], lr=0.0
    )  # the same model throughout
    losses, padded, seconds = 0.0, 0, 0.0
    shortest = min(samples, key=lambda sample: len(sample["input_ids"]))
    with torch.no_grad():  # reads the memory-mapped weights in and starts the libraries
        warm = {key: value.to(device) for key, value in collate([shortest]).items() if isinstance(value, Tensor)}
        coach.model(**warm, logits_to_keep=1, num_items_in_batch=1)
    floor = torch.cuda.memory_allocated() if device.type == "cuda" else _resident()
    for members in batches:
        begun = time.perf_counter()
        batch = collate([samples[i] for i in members])
        del batch["samples"]
        batch = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        padded += batch["input_ids"].numel()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = coach.model(**batch, num_items_in_batch=total).loss if ours else llava_loss(coach, batch, total)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses += loss.item()  # waits for the device
        seconds += time.perf_counter() - begun
        print(f"{args.variant}: {len(members)} samples in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident
    tokens = sum(chosen.lengths(0))
    return {
        "tokens_per_second": tokens / seconds,
        "peak_above_weights_gib": (peak - floor) / 2**30,
        "loss": losses,
        "tokens": tokens,
        "positions": padded,
        "supervised": total,
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Runs both variants and prints the table."""
    args = parse(__doc__, "work", samples=24, batch_size=4, variant=("both", "ours", "llava"))
    if args.variant != "both":
        print(json.dumps(measure(args)))
        return
    rows = {}
    for variant in ("llava", "ours"):
        command = [sys.executable, __file__, str(args.work.resolve()), "--variant", variant]
        sizes = ["--samples", str(args.samples), "--batch-size", str(args.batch_size)]
        done = subprocess.run([*command, *sizes], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        rows[variant] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'':>8}{'tokens/s':>10}{'peak above weights':>20}{'positions':>11}{'loss':>12}")
    for variant, row in rows.items():
        print(
            f"{variant:>8}{row['tokens_per_second']:>10.0f}{row['peak_above_weights_gib']:>16.2f} GiB{row['positions']:>11}{row['loss']:>12.6f}"
        )
    ours, llava = rows["ours"], rows["llava"]
    result = {
        "ratio": round(ours["tokens_per_second"] / llava["tokens_per_second"], 3),
        "memory_ratio": round(ours["peak_above_weights_gib"] / llava["peak_above_weights_gib"], 3),
        "loss_difference": abs(ours["loss"] - llava["loss"]) / llava["loss"],
    }
    finish("train_step", {**result, "samples": args.samples, "batch_size": args.batch_size, **rows}, args.save)


if __name__ == "__main__":
    main()
