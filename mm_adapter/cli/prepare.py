"""Commands that prepare training: the miniature, video features, pose codes and the embedded language model."""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from mm_adapter.base_models import write_embedded_language_model
from mm_adapter.cli.console import progress_bar
from mm_adapter.feature_extraction import extract_features
from mm_adapter.internvideo2 import build_encoder
from mm_data.tuple_store import POSES, clips_of_folder, read_manifest
from mm_tokenizers import fingerprint, load_tokenizer
from mm_tokenizers.codes import PoseCodeStore


def run_miniature(args: argparse.Namespace) -> None:
    """Writes the miniature."""
    from mm_data.miniature import write_miniature

    with progress_bar() as progress:
        task = progress.add_task("rendering takes", total=args.takes)
        counts = write_miniature(
            args.out, args.takes, args.seed, args.workers,
            lambda done: progress.update(task, completed=done), not args.no_videos,
        )  # fmt: skip
        progress.update(task, completed=args.takes)
    print(f"{args.out}: {counts} (synthetic)")


def run_extract(args: argparse.Namespace) -> None:
    """Extracts features."""
    clips = clips_of_folder(args.tuples)
    videos = Path(read_manifest(args.tuples)["request"]["source"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder, name = build_encoder(args.encoder, args.weights)
    with progress_bar() as progress:
        task = progress.add_task(f"encoding clips with {name}", total=len(clips))
        bad = extract_features(
            encoder.to(device), name, clips, videos, args.out, args.grid, device, args.max_bad,
            lambda done, total: progress.update(task, completed=done),
        )  # fmt: skip
        progress.update(task, completed=len(clips))
    for clip, reason in list(bad.items())[:5]:
        Console(stderr=True).print(f"left out {clip}: {reason}")
    print(f"{args.out}: {len(clips) - len(bad)} clips, {len(bad)} left out")


def run_encode(args: argparse.Namespace) -> None:
    """Tokenizes poses; a store of the same tokenizer and clips is left as it is."""
    clips = clips_of_folder(args.tuples)
    tokenizer = load_tokenizer(args.tokenizer)
    if (args.out / "codes.json").is_file():
        store = PoseCodeStore.load(args.out)
        if (store.tokenizer_fingerprint, store.frames) == (fingerprint(tokenizer), args.frames) and not store.missing(
            clips
        ):
            print(f"{args.out} is up to date: {len(clips)} clips")
            return

    def poses(clip_id: str) -> np.ndarray:
        clip = clips[clip_id]
        return np.load(args.tuples / POSES / f"{clip.take_uid}.npy", mmap_mode="r")[clip.start : clip.stop]

    PoseCodeStore.encode(tokenizer, clips, poses, args.frames).save(args.out)
    print(f"{args.out}: {len(clips)} clips of {args.frames} frames")


def run_language_model(args: argparse.Namespace) -> None:
    """Writes the embedded language model unless it is there."""
    if (args.out / "model.safetensors").is_file():
        print(f"{args.out} is there already")
        return
    write_embedded_language_model(args.out)
    print(f"{args.out}: SmolLM2-135M-Instruct")
