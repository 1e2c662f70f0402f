"""`mm-coach poses export`: poses of any origin as joints, BVH or a drawing."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.cli.tokenizer import check_maker
from mm_data.ground.files import check_apart
from mm_data.ground.jsonl import read_records
from mm_data.ground.safe_load import load_archive, load_array
from mm_data.poses.bvh_writer import write_bvh
from mm_data.poses.drawing import ENDINGS, LEARNER, SHOWN, draw
from mm_tokenizers import PoseTokenizer, canonical_poses, load_tokenizer, numpy_codec
from mm_tokenizers.vocabulary import parse_text


def run_export_poses(args: argparse.Namespace) -> None:
    """Reads, decodes and writes."""
    check_apart(args.out, args.source, args.against, args.tokenizer)
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    if args.item is not None and args.source.suffix != ".jsonl":
        raise ValueError(f"--item chooses from a .jsonl; {args.source} holds one sequence.")
    if args.against is not None and args.out.suffix not in ENDINGS:
        raise ValueError(f"--against is for drawings ({', '.join(ENDINGS)}), not for {args.out.suffix}.")
    joints = read_joints(args.source, tokenizer, args.item)
    if args.out.suffix == ".npy":
        np.save(args.out, joints)
    elif args.out.suffix == ".bvh":
        write_bvh(args.out, joints, args.fps)
    elif args.out.suffix in ENDINGS:
        shown = {"shown": (joints, SHOWN)}
        if args.against:
            shown = {"learner": (read_joints(args.against, tokenizer, args.item), LEARNER), **shown}
        draw(args.out, shown, args.fps)
    else:
        raise ValueError(f"{args.out}: give a file that ends in .npy, .bvh, {', '.join(ENDINGS)}.")
    print(f"{args.out}: {len(joints)} frames")


def read_joints(path: Path, tokenizer: PoseTokenizer | None, item: str | None) -> np.ndarray:
    """Canonical joints ``[T, 17, 3]`` in metres.

    Args:
        path: ``.npy`` of joints, ``.npz`` or ``.jsonl`` of codes as our commands write them, or ``.txt`` of pose tokens.
        tokenizer: Decodes codes.
        item: Tuple to take where a .jsonl holds several.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown kind of file, no tokenizer, unknown item, or tokens that are no pose sequence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.suffix == ".npy":
        poses = load_array(path)
        if poses.ndim != 3 or poses.shape[1] != 17 or poses.shape[2] not in (3, 4):
            raise ValueError(f"{path} has shape {poses.shape}; [T, 17, 3] or [T, 17, 4] is needed.")
        if poses.shape[2] == 3:
            poses = np.concatenate([poses, np.isfinite(poses).all(-1, keepdims=True)], axis=-1)
        found = canonical_poses(poses)
        return np.where(found[..., 3:] > 0, found[..., :3], np.nan)
    if path.suffix == ".jsonl":
        record = _record(path, item)
        if record.get("pose_joints") is not None:
            return np.array(record["pose_joints"])[..., :3]
        if record.get("pose_codes") is None:
            raise ValueError(
                f"{path}: {record.get('tuple_id')} has no poses; what was generated was malformed, or this is no file of demonstrations."
            )
        codes = np.array(record["pose_codes"])
    elif path.suffix == ".npz":
        content = load_archive(path)
        if not {"codes", "tokenizer"} <= content.keys():
            raise ValueError(
                f"{path} holds {', '.join(content)}; `mm-coach tokenizer encode` writes codes and tokenizer."
            )
        if tokenizer is not None:
            check_maker(path, str(content["tokenizer"]), tokenizer)
        codes = content["codes"]
    elif path.suffix == ".txt":
        codes = parse_text(path.read_text())
    else:
        raise ValueError(f"{path}: give .npy of joints, .npz or .jsonl of codes, or .txt of pose tokens.")
    if tokenizer is None:
        raise ValueError(
            f"{path} holds pose tokens; give the --tokenizer that made them (an export has one in pose_tokenizer/)."
        )
    shape = tokenizer.architecture
    if codes.ndim != 2 or codes.shape[1] != shape.num_tokens or codes.min() < 0 or codes.max() >= shape.num_codes:
        raise ValueError(
            f"{path}: codes of shape {codes.shape} between {codes.min()} and {codes.max()}; this tokenizer has {shape.num_tokens} tokens per frame and {shape.num_codes} codes."
        )
    return numpy_codec(tokenizer)[1](codes)


def _record(path: Path, item: str | None) -> dict[str, Any]:
    records, _ = read_records(path)
    chosen = [record for record in records if item in (None, record.get("tuple_id"))]
    if not chosen:
        raise ValueError(
            f"{path} has {len(records)} items, and none of them is {item!r}." if records else f"{path} is empty."
        )
    return chosen[0]
