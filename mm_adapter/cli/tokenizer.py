"""Commands on poses and pose tokens."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.table import Table

from mm_adapter.cli.console import ConsoleReport, plain_console
from mm_data.folders import PoseStretch, import_dataset, pose_files, pose_stretches
from mm_data.ground.files import check_apart, check_ours, claim_folder, write_atomically
from mm_data.ground.safe_load import load_archive
from mm_data.poses.checks import describe
from mm_data.poses.people import describe_people, read_people
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.release.read import load_clip_poses
from mm_data.tuples.store import is_synthetic
from mm_eval.metrics.pose_round_trip import evaluate_tokenizer, read_motions
from mm_eval.pages.pose_tokenizer import write_page
from mm_eval.statistics.intervals import interval_text
from mm_tokenizers import (
    PoseCodeStore,
    PoseTokenizer,
    canonical_poses,
    fingerprint,
    load_tokenizer,
    numpy_codec,
    save_tokenizer,
)
from mm_tokenizers.canonical import has_hips
from mm_tokenizers.codes import poses_hash
from mm_tokenizers.pct_checkpoint import load_pct_checkpoint, save_pct_checkpoint
from mm_tokenizers.storage import CONFIG_FILE


def run_import_motion(args: argparse.Namespace) -> None:
    """Converts motion to a folder of poses."""
    check_apart(args.out, args.source, args.joint_map)
    claim_folder(args.out, {"made_by": "mm-coach poses import"})
    report = ConsoleReport()
    if args.format == "dataset":
        foreign = [name for name in _OF_FOREIGN_MOTION if getattr(args, name) is not None]
        if foreign:
            raise ValueError(f"A data set says its own unit, axes, rate and people; leave out {', '.join(foreign)}.")
        manifest = import_dataset(args.source, args.out, report, args.workers)
    else:
        chosen = {name: value for name in _OF_FOREIGN_MOTION if (value := getattr(args, name)) is not None}
        if args.joint_map:
            chosen["joint_map"] = _read_joint_map(args.joint_map)
        if args.people:
            chosen["people"] = read_people(args.people)
        manifest = import_motion(args.source, args.out, ImportOptions(args.format, **chosen), report)
    for stage in manifest.funnel:
        for reason, count in stage["dropped"].items():
            print(f"left out {count}: {reason} (such as {stage['examples'][reason][0]})")
        for what, count in stage["noted"].items():
            print(f"{count:,} {what} (such as in {stage['examples'][what][0]})")
    for line in describe_people(manifest):
        print(line)
    counts = ((len(manifest.names(split)), split, manifest.frames(split)) for split in ("train", "test"))
    print(
        f"{args.out}: " + ", ".join(f"{count} {split} sequences of {frames} frames" for count, split, frames in counts)
    )


_OF_FOREIGN_MOTION = ("unit", "scale", "up", "fps", "joint_map", "person", "people", "split_by", "test_share")


def _read_joint_map(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error}).") from error


def run_encode(args: argparse.Namespace) -> None:
    """Tokenizes poses; a store of the same tokenizer, clips and poses is left as it is, and gets clips that are new.

    Raises:
        ValueError: The store was made with another tokenizer or number of frames, or of other poses.
    """
    check_apart(args.out, args.source, inside=True)
    check_apart(args.out, args.tokenizer)
    if args.source.is_file():
        _encode_file(args.source, _load(args.tokenizer), args.out)
        return
    check_ours(args.out, ("codes.json", "codes.npy"))
    clips = pose_stretches(args.source)
    tokenizer = _load(args.tokenizer)
    if (args.out / "codes.json").is_file():
        store = PoseCodeStore.load(args.out)
        _check_same_codes(args.out, store, fingerprint(tokenizer), args.frames, clips)
        if not store.missing(clips):
            print(f"{args.out} is up to date: {len(clips)} clips")
            return
    if not clips:
        raise ValueError(f"{args.source}: none of its clips has poses.")
    PoseCodeStore.encode(tokenizer, clips, lambda clip: clips[clip].read(), args.frames).save(args.out)
    print(f"{args.out}: {len(clips)} clips of {args.frames} frames")


def _check_same_codes(
    out: Path, store: PoseCodeStore, tokenizer: str, frames: int, clips: Mapping[str, PoseStretch]
) -> None:
    differ = []
    if store.tokenizer_fingerprint != tokenizer:
        differ.append(f"tokenizer was {store.tokenizer_fingerprint[:16]}, is {tokenizer[:16]}")
    if store.frames != frames:
        differ.append(f"frames was {store.frames}, is {frames}")
    changed = [clip for clip in clips if clip in store and store.poses.get(clip) != poses_hash(clips[clip].read())]
    if changed:
        differ.append(f"{len(changed)} of {len(clips)} clips have other poses than their codes, such as {changed[0]}")
    elsewhere = [clip for clip in store if clip not in clips]
    if elsewhere:
        differ.append(f"{len(elsewhere)} of its {len(store)} clips are not in the source, such as {elsewhere[0]}")
    if differ:
        raise ValueError(f"{out} holds other codes: {'; '.join(differ)}. Give another folder, or delete this one.")


def _encode_file(source: Path, tokenizer: PoseTokenizer, out: Path) -> None:
    _check_ending(out, ".npz")
    notes: Counter[str] = Counter()
    poses = load_clip_poses(source, notes)
    for sentence in describe(notes):
        print(f"{source}: {sentence}")
    usable = np.flatnonzero(has_hips(poses))
    canonical = canonical_poses(poses[usable])
    codes = numpy_codec(tokenizer)[0](canonical)
    np.savez(out, codes=codes, frames=usable, visible=canonical[..., 3] > 0, tokenizer=fingerprint(tokenizer))
    print(f"{out}: {len(usable)} of {len(poses)} frames as {codes.shape[1]} codes each; the others lack a hip")


def run_decode(args: argparse.Namespace) -> None:
    """Codes to canonical poses: mid-hip at the origin, hips along x, metres."""
    check_apart(args.out, args.codes, args.tokenizer)
    tokenizer = _load(args.tokenizer)
    decode = numpy_codec(tokenizer)[1]
    if args.codes.is_file():
        _check_ending(args.out, ".npy")
        archive = load_archive(args.codes)
        if not {"codes", "visible", "tokenizer"} <= archive.keys():
            raise ValueError(
                f"{args.codes}: not written by `mm-coach tokenizer encode`; it holds {', '.join(archive)}."
            )
        check_maker(args.codes, str(archive["tokenizer"]), tokenizer)
        np.save(args.out, _with_flags(decode(archive["codes"]), archive["visible"]))
        print(f"{args.out}: {len(archive['codes'])} frames [17, 4]")
        return
    _check_ending(args.out, ".npz")
    store = PoseCodeStore.load(args.codes)
    check_maker(args.codes, store.tokenizer_fingerprint, tokenizer)
    arrays: dict[str, Any] = {clip: _with_flags(decode(store[clip]), np.True_) for clip in store}
    np.savez(args.out, **arrays)
    print(f"{args.out}: {len(store)} clips [{store.frames}, 17, 4]")


def run_eval(args: argparse.Namespace) -> None:
    """Measures the round trip and writes numbers and a page."""
    check_apart(args.out, args.tokenizer, args.poses)
    check_ours(args.out, ("index.html",))
    tokenizer = _load(args.tokenizer)
    motions = read_motions(pose_files(args.poses, args.split), has_hips, canonical_poses, args.max_frames)
    encode, decode = numpy_codec(tokenizer)
    result = evaluate_tokenizer(motions, encode, decode, tokenizer.architecture.num_codes)
    result |= {"tokenizer": str(args.tokenizer), "poses": str(args.poses), "split": args.split}
    result |= {"fingerprint": fingerprint(tokenizer), "synthetic_data": is_synthetic(args.poses)}
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "metrics.json", json.dumps(result, indent=2))
    write_page(args.out / "index.html", result, motions, encode, decode)
    _print_summary(result)
    print(f"{args.out / 'index.html'}: reconstructions, per joint, per number of hidden joints")


def run_import_pct(args: argparse.Namespace) -> None:
    """Reads PCT's format."""
    check_apart(args.out, args.checkpoint)
    check_ours(args.out, (CONFIG_FILE,))
    made = save_tokenizer(load_pct_checkpoint(args.checkpoint), args.out)
    print(f"{args.out}: tokenizer {made[:16]}")


def run_export_pct(args: argparse.Namespace) -> None:
    """Writes PCT's format."""
    check_apart(args.out, args.tokenizer)
    save_pct_checkpoint(load_tokenizer(args.tokenizer), args.out, args.prefix)
    print(f"{args.out}: PCT state dict in bare metres, prefix {args.prefix!r}")


def _load(folder: Path) -> PoseTokenizer:
    return load_tokenizer(folder).to("cuda" if torch.cuda.is_available() else "cpu")


def _check_ending(out: Path, ending: str) -> None:
    if out.suffix != ending:
        raise ValueError(f"{out}: give a file that ends in {ending}.")


def check_maker(path: Path, maker: str, tokenizer: PoseTokenizer) -> None:
    """Refuses codes that another tokenizer made."""
    if maker != fingerprint(tokenizer):
        raise ValueError(
            f"{path} was made with tokenizer {maker[:16]}, this one is {fingerprint(tokenizer)[:16]}; give the one that made it."
        )


def _with_flags(joints: np.ndarray, visible: np.ndarray | np.bool) -> np.ndarray:
    """``[..., 17, 4]``; joints that were absent before encoding are absent again."""
    flags = np.broadcast_to(visible, joints.shape[:-1])[..., None]
    return np.where(flags, np.concatenate([joints, flags], axis=-1), 0.0).astype(np.float32)


def _print_summary(result: dict) -> None:
    console = plain_console()
    if result["synthetic_data"]:
        console.print("Synthetic data: these numbers say nothing about people.")
    table = Table(
        title=f"Round trip, {result['split']} split: {result['frames']} frames of {result['sequences']} sequences"
    )
    for column in ("", "tokenizer", "95 %", "mean pose"):
        table.add_column(column)
    for key, name in (("pa_mpjpe_mm", "PA-MPJPE mm"), ("mpjpe_mm", "MPJPE mm")):
        interval = interval_text(result[key]["interval"], 1)
        table.add_row(name, f"{result[key]['value']:.1f}", interval, f"{result['mean_pose'][key]:.0f}")
    console.print(table)
    for name, text in (
        ("velocity error", f"{result['velocity_error_mm_s']:.0f} mm/s"),
        ("codes used", f"{result['codes_used']:.1%}, perplexity {result['perplexity']:.0f}"),
        ("unchanged by encode → decode → encode", f"{result['codes_unchanged']:.1%} of codes"),
        ("MPJPE of mirrored poses", f"{result['mirrored_mpjpe_mm']:.1f} mm"),
        ("mirrored input against mirrored output", f"{result['mirror_gap_mm']:.1f} mm"),
    ):
        console.print(f"{name}: {text}")
    table = Table(title="Hidden joints: error in mm")
    for column in ("hidden", "shown joints", "hidden joints", "shown joints moved by"):
        table.add_column(column)
    for row in result["hidden_joints"]:
        table.add_row(str(row["hidden"]), *(f"{row[key]:.1f}" for key in ("shown_mm", "hidden_mm", "shown_moved_mm")))
    console.print(table)
