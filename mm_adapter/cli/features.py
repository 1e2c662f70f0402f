"""Commands that fill feature stores."""

import argparse

import torch
from accelerate import PartialState
from rich.console import Console

from mm_adapter.base_models import native_dtype
from mm_adapter.cli.console import ConsoleReport
from mm_adapter.feature_extraction import ExtractionOptions, extract_features
from mm_adapter.internvideo2 import build_encoder
from mm_adapter.omnivore import import_omnivore
from mm_data.clip_list import read_clips
from mm_data.tuple_store import clips_of_folder
from mm_data.video import DECODERS, available_decoder

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def run_extract(args: argparse.Namespace) -> None:
    """Extracts features; one of several processes when launched by accelerate."""
    state = PartialState(cpu=not torch.cuda.is_available())  # without, accelerate takes CPU processes for single ones
    device = state.device or torch.device("cpu")
    decoder = available_decoder() if args.decoder == "auto" else args.decoder
    for what, value, known in (("decoder", decoder, DECODERS), ("dtype", args.dtype, ("auto", *_DTYPES))):
        if value not in known:
            raise ValueError(
                f"Unknown {what} {value!r}; choose from auto, {', '.join(k for k in known if k != 'auto')}."
            )
    dtype = _automatic_dtype(device) if args.dtype == "auto" else _DTYPES[args.dtype]
    options = ExtractionOptions(
        args.output, args.grid, decoder, args.batch_size, args.workers, args.max_bad, args.retry_bad
    )
    clips, videos = read_clips(args.source, args.videos)
    encoder, name = build_encoder(args.encoder, args.weights, args.frames, dtype)
    encoder = encoder.to(device)
    encoder.use_attention(args.attention)
    if args.compile:
        encoder.compile()
    report = ConsoleReport(quiet=not state.is_main_process)
    with report.progress(f"encoding clips with {name}", len(clips)) as progress:
        rejected = extract_features(
            encoder, name, clips, videos, args.out, options, state.process_index, state.num_processes,
            lambda done, total: progress(done * len(clips) // max(total, 1)),
        )  # fmt: skip
    if rejected is None:
        print(f"process {state.process_index} is done; others still have clips to encode")
        return
    _print_rejected(rejected)
    print(f"{args.out}: {len(clips) - len(rejected)} clips, {len(rejected)} left out")


def run_import_omnivore(args: argparse.Namespace) -> None:
    """Fills a store from released features."""
    clips = clips_of_folder(args.tuples)
    with ConsoleReport().progress("cutting clips", len(clips)) as progress:
        rejected = import_omnivore(
            args.release, clips, args.out, args.tokens, args.max_bad, lambda done, total: progress(done)
        )
    _print_rejected(rejected)
    print(f"{args.out}: {len(clips) - len(rejected)} clips, {len(rejected)} left out")


def _automatic_dtype(device: torch.device) -> torch.dtype:
    return native_dtype(device) if device.type == "cuda" else torch.float32


def _print_rejected(rejected: dict[str, str]) -> None:
    for clip, reason in list(rejected.items())[:5]:
        Console(stderr=True).print(f"left out {clip}: {reason}")
