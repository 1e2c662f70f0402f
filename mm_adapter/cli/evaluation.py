"""Commands that question a trained coach and report on it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mm_adapter.base_models import native_dtype
from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.cli.console import progress_bar
from mm_adapter.dataset import without_rejected
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.predict import decode_codes, predict
from mm_adapter.joints import JointStore
from mm_data.features import FeatureStore
from mm_data.files import write_atomically
from mm_data.miniature.truth import SIDECAR, MiniatureTruth
from mm_data.records import CoachingTuple
from mm_data.tuple_store import clips_of, read_gallery, read_manifest, read_tuples
from mm_eval.examples import collect_examples
from mm_eval.expertaf import Inputs, evaluate
from mm_eval.report import write_report
from mm_tokenizers.codes import PoseCodeStore


def _evenly(tuples: list[CoachingTuple], limit: int | None) -> list[CoachingTuple]:
    if limit is None or limit >= len(tuples):
        return tuples
    return [tuples[i] for i in np.linspace(0, len(tuples) - 1, limit).round().astype(int)]


def run_evaluate(args: argparse.Namespace) -> None:
    """Predicts (resuming) and scores."""
    result_path = args.out / "metrics.json"
    if result_path.is_file():
        print(f"{result_path} is there already; delete {args.out} to evaluate again")
        return _print_summary(json.loads(result_path.read_text()))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = native_dtype(device)
    opened = PretrainedCoach.from_pretrained(args.coach, device, dtype)
    features = FeatureStore(args.features) if args.features else None
    codes = PoseCodeStore.load(args.codes)
    coach = Coach(opened.model, opened.processor, codes, features)
    test, unusable = without_rejected(read_tuples(args.tuples, "test"), features)
    if unusable:
        print(f"{unusable} of {unusable + len(test)} test tuples left out: feature extraction rejected their clips")
    tuples = _evenly(test, args.max_tuples)
    training, _ = without_rejected(read_tuples(args.tuples, "train"), features)
    rejected = features.manifest.rejected if features else {}
    gallery = [(clip, activity) for clip, activity in read_gallery(args.tuples) if clip.clip_id not in rejected]

    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            task = tasks.setdefault(stage, progress.add_task(stage, total=total) if stage not in tasks else None)
            progress.update(task, completed=done)

        predictions = predict(coach, tuples, gallery, training, args.out, args.gallery == "activity", show)

    manifest = read_manifest(args.tuples)
    source = Path(manifest["request"]["source"])
    clips = clips_of(tuples + training) | {clip.clip_id: clip for clip, _ in gallery}
    joints = JointStore(clips, args.tuples, codes.frames)
    video = None
    if features is not None:
        video = {
            clip: np.concatenate([np.asarray(features.get(clip, v), np.float32).mean(0) for v in ("ego", "exo")])
            for clip in clips
        }
    inputs = Inputs(
        tuples=tuples,
        predictions=predictions,
        generated=[decode_codes(opened.pose_tokenizer, np.array(p["pose_codes"])) for p in predictions],
        reconstructed=[decode_codes(opened.pose_tokenizer, codes[t.expert.clip_id]) for t in tuples],
        training=training,
        poses={clip: joints[clip] for clip in clips},
        video=video,
        truth=MiniatureTruth(source) if (source / SIDECAR).is_file() else None,
    )
    result = evaluate(inputs)
    write_atomically(args.out / "examples.json", json.dumps(collect_examples(inputs, clips, source)))
    overlap = {t.learner.participant for t in training} | {t.expert.participant for t in training}
    result |= {
        "synthetic_data": bool(manifest["synthetic"]),
        "video_encoder": features.manifest.encoder if features else None,
        "participants_also_in_training": sorted(overlap & set(result["participants"])),
        "gallery": f"expert clips of the same {args.gallery}" if args.gallery == "activity" else "all expert clips",
        "coach": str(args.coach),
        "tuples": str(args.tuples),
        "dtype": str(dtype),
    }
    write_atomically(result_path, json.dumps(result, indent=1))
    _print_summary(result)


def _print_summary(result: dict[str, Any]) -> None:
    table = Table(title="Synthetic data" if result["synthetic_data"] else "Results", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in result["summary"].items():
        table.add_row(name, "not computed" if value is None else f"{value:.3f}")
    Console().print(table)


def run_report(args: argparse.Namespace) -> None:
    """Writes the page; an existing one for the same evaluation is kept."""
    evaluation = json.loads((args.evaluation / "metrics.json").read_text())
    page = args.out / "index.html"
    if page.is_file() and page.stat().st_mtime > (args.evaluation / "metrics.json").stat().st_mtime:
        print(f"{page} is up to date")
        return
    minutes = (time.time() - args.started) / 60 if args.started else None
    evaluation["summary"]["minutes"] = minutes
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "metrics.json", json.dumps(evaluation, indent=1))
    write_report(
        args.out, args.evaluation, evaluation, args.training, args.tokenizer_training
    )  # last: it marks the end
    print(f"{page}")
