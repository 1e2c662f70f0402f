"""`mm-coach tokenizer`: poses as tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

if TYPE_CHECKING:
    from mm_tokenizers import PoseTokenizer

app = App(name="tokenizer", help="Turn poses into tokens and back.")


@app.command
def encode(source: Path, tokenizer: Path, out: Path, *, frames: int = 10) -> None:
    """Tokenize the clips of a tuple or task folder, or the frames of one .npy of poses.

    Args:
        source: Tuple folder, task folder, .npy [T, 17, 3 or 4], or an Ego-Exo4D pose file.
        tokenizer: Folder of the tokenizer.
        out: Folder of codes, or .npz for one .npy.
        frames: Number of frames that are sampled per clip of a folder.
    """
    from collections import Counter

    from mm_adapter.features.pose_codes import encode_clips, encode_sequence
    from mm_data.ground.files import check_apart
    from mm_data.poses.checks import describe

    check_apart(out, source, inside=True)
    check_apart(out, tokenizer)
    loaded = _load(tokenizer)
    if not source.is_file():
        clips, are_new = encode_clips(source, loaded, out, frames)
        print(f"{out}: {clips} clips of {frames} frames" if are_new else f"{out} is up to date: {clips} clips")
        return
    notes: Counter[str] = Counter()
    usable, total = encode_sequence(source, loaded, out, notes)
    for sentence in describe(notes):
        print(f"{source}: {sentence}")
    codes = loaded.architecture.num_tokens
    print(f"{out}: {usable} of {total} frames as {codes} codes each; the others lack a hip")


@app.command
def decode(codes: Path, tokenizer: Path, out: Path) -> None:
    """Turn codes back into poses: mid-hip at the origin, hips along x, metres.

    Args:
        codes: What `tokenizer encode` wrote.
        tokenizer: Folder of the tokenizer that made them.
        out: .npy of one sequence, or .npz with one array per clip.
    """
    from mm_adapter.features.pose_codes import decode_clips, decode_sequence
    from mm_data.ground.files import check_apart

    check_apart(out, codes, tokenizer)
    if codes.is_file():
        print(f"{out}: {decode_sequence(codes, _load(tokenizer), out)} frames [17, 4]")
        return
    store = decode_clips(codes, _load(tokenizer), out)
    print(f"{out}: {len(store)} clips [{store.frames}, 17, 4]")


@app.command(name="eval")
def evaluate(
    tokenizer: Path, poses: Path, out: Path, *, split: Literal["train", "test"] = "test", max_frames: int = 300
) -> None:
    """Measure what is lost on the way through tokens and back; numbers and a page.

    Args:
        tokenizer: Folder of the tokenizer.
        poses: Tuple folder, or folder written by `mm-coach poses import`.
        out: Folder for metrics.json and index.html.
        split: Split whose people are measured.
        max_frames: Number of consecutive frames per sequence.
    """
    import json

    from mm_data.folders import pose_files
    from mm_data.ground.files import check_apart, check_ours, write_atomically
    from mm_data.tuples.store import is_synthetic
    from mm_eval.metrics.pose_round_trip import evaluate_tokenizer, read_motions
    from mm_eval.pages.pose_tokenizer import write_page
    from mm_tokenizers import canonical_poses, fingerprint, numpy_codec
    from mm_tokenizers.canonical import has_hips

    check_apart(out, tokenizer, poses)
    check_ours(out, ("index.html",))
    loaded = _load(tokenizer)
    motions = read_motions(pose_files(poses, split), has_hips, canonical_poses, max_frames)
    to_codes, to_joints = numpy_codec(loaded)
    result = evaluate_tokenizer(motions, to_codes, to_joints, loaded.architecture.num_codes)
    result |= {"tokenizer": str(tokenizer), "poses": str(poses), "split": split}
    result |= {"fingerprint": fingerprint(loaded), "synthetic_data": is_synthetic(poses)}
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.json", json.dumps(result, indent=2))
    write_page(out / "index.html", result, motions, to_codes, to_joints)
    _print_summary(result)
    print(f"{out / 'index.html'}: reconstructions, per joint, per number of hidden joints")


@app.command
def import_pct(checkpoint: Path, out: Path) -> None:
    """Make a tokenizer of a PCT checkpoint (three coordinates, no image guidance).

    Args:
        checkpoint: PCT's or ExpertAF's file.
        out: Folder of the tokenizer.
    """
    from mm_data.ground.files import check_apart, check_ours
    from mm_tokenizers import save_tokenizer
    from mm_tokenizers.pct_checkpoint import load_pct_checkpoint
    from mm_tokenizers.storage import CONFIG_FILE

    check_apart(out, checkpoint)
    check_ours(out, (CONFIG_FILE,))
    fingerprint = save_tokenizer(load_pct_checkpoint(checkpoint), out)
    print(f"{out}: tokenizer {fingerprint[:16]}")


@app.command
def export_pct(tokenizer: Path, out: Path, *, prefix: str = "keypoint_head.tokenizer.") -> None:
    """Write a tokenizer as a checkpoint that PCT's and ExpertAF's code load.

    Args:
        tokenizer: Folder of the tokenizer.
        out: New file.
        prefix: Prefix of every key; '' for bare keys.
    """
    from mm_data.ground.files import check_apart
    from mm_tokenizers import load_tokenizer
    from mm_tokenizers.pct_checkpoint import save_pct_checkpoint

    check_apart(out, tokenizer)
    save_pct_checkpoint(load_tokenizer(tokenizer), out, prefix)
    print(f"{out}: PCT state dict in bare metres, prefix {prefix!r}")


def _load(folder: Path) -> PoseTokenizer:
    import torch

    from mm_tokenizers import load_tokenizer

    return load_tokenizer(folder).to("cuda" if torch.cuda.is_available() else "cpu")


def _print_summary(result: dict[str, Any]) -> None:
    from mm_adapter.cli.console import print_table
    from mm_eval.statistics.intervals import interval_text

    if result["synthetic_data"]:
        print("Synthetic data: these numbers say nothing about people.")
    rows = []
    for key, name in (("pa_mpjpe_mm", "PA-MPJPE mm"), ("mpjpe_mm", "MPJPE mm")):
        interval = interval_text(result[key]["interval"], 1)
        rows.append((name, f"{result[key]['value']:.1f}", interval, f"{result['mean_pose'][key]:.0f}"))
    title = f"Round trip, {result['split']} split: {result['frames']} frames of {result['sequences']} sequences"
    print_table(("", "tokenizer", "95 %", "mean pose"), rows, title)
    for name, text in (
        ("velocity error", f"{result['velocity_error_mm_s']:.0f} mm/s"),
        ("codes used", f"{result['codes_used']:.1%}, perplexity {result['perplexity']:.0f}"),
        ("unchanged by encode → decode → encode", f"{result['codes_unchanged']:.1%} of codes"),
        ("MPJPE of mirrored poses", f"{result['mirrored_mpjpe_mm']:.1f} mm"),
        ("mirrored input against mirrored output", f"{result['mirror_gap_mm']:.1f} mm"),
    ):
        print(f"{name}: {text}")
    errors = ("shown_mm", "hidden_mm", "shown_moved_mm")
    rows = [(row["hidden"], *(f"{row[key]:.1f}" for key in errors)) for row in result["hidden_joints"]]
    headings = ("hidden", "shown joints", "hidden joints", "shown joints moved by")
    print_table(headings, rows, "Hidden joints: error in mm")
