"""Commands that fill feature stores."""

import argparse
from pathlib import Path

import torch

from mm_adapter.cli.console import ConsoleReport, plain_console
from mm_adapter.distributed import launched_processes, native_dtype
from mm_adapter.features.arrays import import_arrays
from mm_adapter.features.extract import ExtractionOptions, extract_features
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.features.omnivore import import_omnivore
from mm_adapter.features.skeleton import joint_basis, write_pose_features
from mm_data.features import FeatureStore
from mm_data.folders import read_clips
from mm_data.ground.files import check_apart
from mm_data.tuples.store import clips_of_folder
from mm_data.videos.frames import torchcodec_loads

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def run_extract(args: argparse.Namespace) -> None:
    """Extracts features; one of several processes when launched by accelerate."""
    state = launched_processes()
    device = state.device or torch.device("cpu")
    if args.decoder == "torchcodec" and not torchcodec_loads():
        raise ValueError(
            "torchcodec is not installed or does not load here; use --decoder pyav (`mm-coach doctor` says more)."
        )
    dtype = _automatic_dtype(device) if args.dtype == "auto" else _DTYPES[args.dtype]
    options = ExtractionOptions(
        args.output,
        args.grid,
        args.decoder,
        args.batch_size,
        args.attention,
        args.compile,
        args.workers,
        args.max_bad,
        args.retry_bad,
    )
    check_apart(args.out, args.source, args.videos, args.weights, inside=True)
    clips, videos = read_clips(args.source, args.videos)
    encoder, name = build_encoder(
        args.encoder, args.weights, args.frames, args.image_size, dtype, random_weights=args.random_weights
    )
    report = ConsoleReport(quiet=not state.is_main_process)
    with report.progress(f"encoding clips with {name}", len(clips)) as progress:
        rejected = extract_features(
            encoder.to(device), name, clips, videos, args.out, options, state.process_index, state.num_processes,
            lambda done, total: progress(done * len(clips) // max(total, 1)),
        )  # fmt: skip
    if rejected is None:
        print(f"process {state.process_index} is done; others still have clips to encode")
        return
    _report(args.out, len(clips) - len(rejected), rejected)


def run_import_omnivore(args: argparse.Namespace) -> None:
    """Fills a store from released features."""
    check_apart(args.out, args.tuples, args.release, inside=True)
    clips = clips_of_folder(args.tuples)
    with ConsoleReport().progress("cutting clips", len(clips)) as progress:
        rejected = import_omnivore(
            args.release, clips, args.out, args.tokens, args.max_bad, args.retry_bad, lambda done, total: progress(done)
        )
    _report(args.out, len(clips) - len(rejected), rejected)


def run_import_arrays(args: argparse.Namespace) -> None:
    """Fills a store from published arrays."""
    check_apart(args.out, args.arrays)
    check_apart(args.out, args.source, inside=True)
    clips = {clip.clip_id: clip for clip in read_clips(args.source)[0]}
    with ConsoleReport().progress("reading arrays", len(clips)) as progress:
        rejected = import_arrays(
            args.arrays, clips, args.out, args.name, args.tokens, args.view, args.max_bad, args.retry_bad,
            lambda done, total: progress(done),
        )  # fmt: skip
    _report(args.out, len(clips) - len(rejected), rejected)


def run_from_poses(args: argparse.Namespace) -> None:
    """Fills a store with joints."""
    check_apart(args.out, args.source, *(args.statistics_of or []), inside=True)
    basis = joint_basis(args.statistics_of or [args.source], args.frames)
    with ConsoleReport().progress("projecting joints", 1) as progress:
        rejected = write_pose_features(args.source, args.out, basis, args.frames, args.max_bad)
        progress(1)
    _report(args.out, len(FeatureStore(args.out)), rejected, f" of {args.frames} frames")


def _automatic_dtype(device: torch.device) -> torch.dtype:
    return native_dtype(device) if device.type == "cuda" else torch.float32


def _report(out: Path, kept: int, rejected: dict[str, str], about: str = "") -> None:
    """Says what a store holds; a store of nothing is an error."""
    for clip, reason in list(rejected.items())[:5]:
        plain_console(stderr=True).print(f"left out {clip}: {reason}")
    if not kept:
        raise ValueError(
            f"{out} holds no clip: all {len(rejected)} were left out. Mend them and run again with --retry-bad."
        )
    print(f"{out}: {kept} clips{about}, {len(rejected)} left out")
