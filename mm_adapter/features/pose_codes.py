"""Poses to codes on disk and back: the clips of a folder as a store, one sequence as an archive, and whatever holds poses as joints."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.folders import PoseStretch, pose_stretches
from mm_data.ground.files import check_ours, read_text
from mm_data.ground.jsonl import read_records
from mm_data.ground.safe_load import load_archive, load_array
from mm_data.release.read import load_clip_poses
from mm_tokenizers import PoseCodeStore, PoseTokenizer, canonical_poses, fingerprint, numpy_codec
from mm_tokenizers.canonical import has_hips
from mm_tokenizers.codes import poses_hash
from mm_tokenizers.vocabulary import parse_text


def encode_clips(source: Path, tokenizer: PoseTokenizer, out: Path, frames: int) -> tuple[int, bool]:
    """Tokenizes the clips of a tuple or task folder.

    A store of the same tokenizer, clips and poses is left as it is; one that lacks clips is made again with them.

    Args:
        source: Tuple or task folder.
        tokenizer: Frozen tokenizer.
        out: Folder of codes.
        frames: Number of frames that are sampled per clip.

    Returns:
        The number of clips, and whether they were encoded now.

    Raises:
        ValueError: No clip has poses, or the store was made with another tokenizer or number of frames, or of other poses.
    """
    check_ours(out, ("codes.json", "codes.npy"))
    clips = pose_stretches(source)
    if (out / "codes.json").is_file():
        store = PoseCodeStore.load(out)
        _check_same_codes(out, store, fingerprint(tokenizer), frames, clips)
        if not store.missing(clips):
            return len(clips), False
    if not clips:
        raise ValueError(f"{source}: none of its clips has poses.")
    PoseCodeStore.encode(tokenizer, clips, lambda clip: clips[clip].read(), frames).save(out)
    return len(clips), True


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


def encode_sequence(source: Path, tokenizer: PoseTokenizer, out: Path, notes: Counter[str]) -> tuple[int, int]:
    """Tokenizes every frame of one sequence that has both hips.

    Args:
        source: Array of poses, or an Ego-Exo4D pose file.
        tokenizer: Frozen tokenizer.
        out: ``.npz`` of codes.
        notes: Receives counts of irregularities of the poses.

    Returns:
        The number of frames that were encoded, and of all.
    """
    _check_ending(out, ".npz")
    poses = load_clip_poses(source, notes)
    usable = np.flatnonzero(has_hips(poses))
    canonical = canonical_poses(poses[usable])
    codes = numpy_codec(tokenizer)[0](canonical)
    np.savez(out, codes=codes, frames=usable, visible=canonical[..., 3] > 0, tokenizer=fingerprint(tokenizer))
    return len(usable), len(poses)


def decode_clips(codes: Path, tokenizer: PoseTokenizer, out: Path) -> PoseCodeStore:
    """Writes the canonical poses ``[T, 17, 4]`` of every clip of a store: mid-hip at the origin, hips along x, metres.

    Args:
        codes: Folder of codes.
        tokenizer: The tokenizer that made them.
        out: ``.npz`` with one array per clip.

    Returns:
        The store.
    """
    _check_ending(out, ".npz")
    store, decode = PoseCodeStore.load(codes), numpy_codec(tokenizer)[1]
    _check_maker(codes, store.tokenizer_fingerprint, tokenizer)
    arrays: dict[str, Any] = {clip: _with_flags(decode(store[clip]), np.True_) for clip in store}
    np.savez(out, **arrays)
    return store


def decode_sequence(codes: Path, tokenizer: PoseTokenizer, out: Path) -> int:
    """Writes the canonical poses ``[T, 17, 4]`` of one sequence: mid-hip at the origin, hips along x, metres.

    Args:
        codes: What `encode_sequence` wrote.
        tokenizer: The tokenizer that made them.
        out: ``.npy`` of the poses.

    Returns:
        The number of frames.

    Raises:
        ValueError: The file holds something else, or another tokenizer made it.
    """
    _check_ending(out, ".npy")
    archive = load_archive(codes)
    if not {"codes", "visible", "tokenizer"} <= archive.keys():
        raise ValueError(f"{codes}: not written by `mm-coach tokenizer encode`; it holds {', '.join(archive)}.")
    _check_maker(codes, str(archive["tokenizer"]), tokenizer)
    np.save(out, _with_flags(numpy_codec(tokenizer)[1](archive["codes"]), archive["visible"]))
    return len(archive["codes"])


def read_joints(path: Path, tokenizer: PoseTokenizer | None, item: str | None) -> np.ndarray:
    """Reads poses of any origin.

    Args:
        path: ``.npy`` of joints, ``.npz`` or ``.jsonl`` of codes as our commands write them, or ``.txt`` of pose tokens.
        tokenizer: Decodes codes.
        item: Item to take where a .jsonl of answers holds several; the first where none is named.

    Returns:
        Canonical joints ``[T, 17, 3]`` in metres; NaN where a joint is absent.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown kind of file, no tokenizer, unknown item, or tokens that are no pose sequence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.suffix == ".npy":
        return _canonical_joints(path)
    if path.suffix == ".jsonl":
        record = _record(path, item)
        poses = record.get("answers", {}).get("ours", record).get("poses")
        if poses is None:
            raise ValueError(
                f"{path}: {record.get('item_id')} has no poses; what was generated was malformed, or no poses were asked for."
            )
        codes = np.array(poses)
        if codes.ndim == 3:
            return codes[..., :3]
    elif path.suffix == ".npz":
        archive = load_archive(path)
        if not {"codes", "tokenizer"} <= archive.keys():
            raise ValueError(
                f"{path} holds {', '.join(archive)}; `mm-coach tokenizer encode` writes codes and tokenizer."
            )
        if tokenizer is not None:
            _check_maker(path, str(archive["tokenizer"]), tokenizer)
        codes = archive["codes"]
    elif path.suffix == ".txt":
        codes = parse_text(read_text(path))
    else:
        raise ValueError(f"{path}: give .npy of joints, .npz or .jsonl of codes, or .txt of pose tokens.")
    if tokenizer is None:
        raise ValueError(
            f"{path} holds pose tokens; give the --tokenizer that made them (an export has one in pose_tokenizer/)."
        )
    return _decoded(path, codes, tokenizer)


def _canonical_joints(path: Path) -> np.ndarray:
    poses = load_array(path)
    if poses.ndim != 3 or poses.shape[1] != 17 or poses.shape[2] not in (3, 4):
        raise ValueError(f"{path} has shape {poses.shape}; [T, 17, 3] or [T, 17, 4] is needed.")
    if poses.shape[2] == 3:
        poses = np.concatenate([poses, np.isfinite(poses).all(-1, keepdims=True)], axis=-1)
    canonical = canonical_poses(poses)
    return np.where(canonical[..., 3:] > 0, canonical[..., :3], np.nan)


def _decoded(path: Path, codes: np.ndarray, tokenizer: PoseTokenizer) -> np.ndarray:
    shape = tokenizer.architecture
    if codes.ndim != 2 or codes.shape[1] != shape.num_tokens or codes.min() < 0 or codes.max() >= shape.num_codes:
        raise ValueError(
            f"{path}: codes of shape {codes.shape} between {codes.min()} and {codes.max()}; "
            f"this tokenizer has {shape.num_tokens} tokens per frame and {shape.num_codes} codes."
        )
    return numpy_codec(tokenizer)[1](codes)


def _record(path: Path, item: str | None) -> dict[str, Any]:
    records, _ = read_records(path)
    if not records:
        raise ValueError(f"{path} is empty.")
    record = next((record for record in records if item in (None, record.get("item_id"))), None)
    if record is None:
        raise ValueError(f"{path} has {len(records)} items, and none of them is {item!r}.")
    return record


def _check_ending(out: Path, ending: str) -> None:
    if out.suffix != ending:
        raise ValueError(f"{out}: give a file that ends in {ending}.")


def _check_maker(path: Path, maker: str, tokenizer: PoseTokenizer) -> None:
    """Refuses codes that another tokenizer made."""
    if maker != (this := fingerprint(tokenizer)):
        raise ValueError(
            f"{path} was made with tokenizer {maker[:16]}, this one is {this[:16]}; give the one that made it."
        )


def _with_flags(joints: np.ndarray, visible: np.ndarray | np.bool) -> np.ndarray:
    """``[..., 17, 4]``; joints that were absent before encoding are absent again."""
    flags = np.broadcast_to(visible, joints.shape[:-1])[..., None]
    return np.where(flags, np.concatenate([joints, flags], axis=-1), 0.0).astype(np.float32)
