"""What a pose loses on the way through tokens and back, measured on canonical poses (mid-hip at the origin, metres)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.poses.procrustes import pa_mpjpe
from mm_data.poses.skeleton import JOINTS, MIRRORED_JOINTS, REGIONS
from mm_data.records import FPS
from mm_eval.statistics.metric import corpus_metric

Encode = Callable[[np.ndarray], np.ndarray]
"""Function from canonical poses ``[N, 17, 4]`` to tokens ``[N, M]``."""

Decode = Callable[[np.ndarray], np.ndarray]
"""Function from tokens ``[N, M]`` to joints ``[N, 17, 3]``."""

_MIRROR = np.array([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Motion:
    """Canonical poses of one sequence.

    Attributes:
        name: Name of the sequence.
        poses: ``[T, 17, 4]``.
        frames: Frame numbers ``[T]``; frames without hips are missing.
    """

    name: str
    poses: np.ndarray
    frames: np.ndarray


def read_motions(
    files: Mapping[str, Path],
    usable: Callable[[np.ndarray], np.ndarray],
    canonical: Callable[[np.ndarray], np.ndarray],
    max_frames: int | None = None,
) -> list[Motion]:
    """Opens sequences and makes them canonical.

    Args:
        files: Sequence name to raw poses ``[T, 17, 4]``.
        usable: Function that says which frames can be made canonical.
        canonical: Function that makes poses canonical.
        max_frames: Most frames per sequence, consecutive ones from its middle.

    Returns:
        Sequences that have a usable frame.

    Raises:
        ValueError: No frame is usable.
    """
    motions = []
    for name, path in files.items():
        raw = np.load(path, mmap_mode="r")
        start = 0 if max_frames is None else max(0, (len(raw) - max_frames) // 2)
        chunk = np.asarray(raw[start : None if max_frames is None else start + max_frames])
        frames = np.flatnonzero(usable(chunk))
        if len(frames):
            motions.append(Motion(name, canonical(chunk[frames]), start + frames))
    if not motions:
        raise ValueError(f"None of the {len(files)} sequences has a frame with both hips.")
    return motions


def evaluate_tokenizer(
    motions: list[Motion], encode: Encode, decode: Decode, num_codes: int, max_hidden: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Measures the round trip.

    Args:
        motions: Sequences, of performers whom the tokenizer has not seen.
        encode: Encoder of canonical poses ``[N, 17, 4]``.
        decode: Decoder of tokens ``[N, M]``.
        num_codes: Number of codes, K.
        max_hidden: Most joints that are hidden to measure robustness.
        seed: Seed of the choice of hidden joints.

    Returns:
        Lengths in millimetres over visible joints. ``mpjpe_mm`` and ``pa_mpjpe_mm`` (with 95 % intervals by sequence, per
        joint and region), ``velocity_error_mm_s``, code use, ``codes_unchanged`` (encode → decode → encode),
        ``mirrored_mpjpe_mm`` (of the mirrored poses) and ``mirror_gap_mm`` (mirrored round trip against the mirror of the
        round trip), and ``hidden_joints``, a row for each
        number of hidden joints. ``mean_pose`` is the baseline: the mean of these very poses instead of a reconstruction.
    """
    poses = np.concatenate([motion.poses for motion in motions])
    clusters = [motion.name for motion in motions for _ in motion.frames]
    visible = poses[..., 3] > 0
    tokens = encode(poses)
    joints = decode(tokens)
    distance = np.where(visible, np.linalg.norm(joints - poses[..., :3], axis=-1), np.nan) * 1000
    total = np.where(visible[..., None], poses[..., :3], 0.0).sum(axis=0)
    mean_pose = np.broadcast_to(total / np.maximum(visible.sum(axis=0), 1)[:, None], joints.shape)
    again = encode(_as_poses(joints, visible))
    mirrored = decode(encode(poses[:, MIRRORED_JOINTS] * _MIRROR))[:, MIRRORED_JOINTS] * _MIRROR[:3]
    used = np.bincount(tokens.ravel(), minlength=num_codes)
    share = used[used > 0] / used.sum()
    return {
        "sequences": len(motions),
        "frames": len(poses),
        "mpjpe_mm": _summary(np.nanmean(distance, axis=1), clusters),
        "pa_mpjpe_mm": _summary(_aligned_error(joints, poses, visible), clusters),
        "mean_pose": {
            "mpjpe_mm": _masked_mean(np.linalg.norm(mean_pose - poses[..., :3], axis=-1), visible) * 1000,
            "pa_mpjpe_mm": float(np.nanmean(_aligned_error(mean_pose, poses, visible))),
        },
        "mpjpe_mm_per_joint": {name: _column_mean(distance[:, [j]]) for j, name in enumerate(JOINTS)},
        "mpjpe_mm_per_region": {name: _column_mean(distance[:, list(members)]) for name, members in REGIONS.items()},
        "velocity_error_mm_s": _velocity_error(motions, joints),
        "codes_used": float((used > 0).mean()),
        "perplexity": float(np.exp(-(share * np.log(share)).sum())),
        "codes_unchanged": float((again == tokens).mean()),
        "mirrored_mpjpe_mm": _masked_mean(np.linalg.norm(mirrored - poses[..., :3], axis=-1), visible) * 1000,
        "mirror_gap_mm": _masked_mean(np.linalg.norm(mirrored - joints, axis=-1), visible) * 1000,
        "hidden_joints": [
            _hide(poses, joints, encode, decode, count, np.random.default_rng([seed, count]))
            for count in range(1, max_hidden + 1)
        ],
    }


def _as_poses(joints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    flags = visible[..., None].astype(np.float32)
    return (np.concatenate([joints, np.ones_like(flags)], axis=-1) * flags).astype(np.float32)


def _aligned_error(joints: np.ndarray, poses: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Computes PA-MPJPE of each frame in millimetres, NaN where fewer than three joints are visible."""
    return pa_mpjpe(joints.astype(np.float64), poses[..., :3].astype(np.float64), visible) * 1000


def _summary(per_frame: np.ndarray, clusters: list[str]) -> dict[str, Any]:
    """Averages over frames, resampled by sequence; sums per sequence, because frames are many."""
    names, member = np.unique(clusters, return_inverse=True)
    fine = np.isfinite(per_frame)
    sums = np.stack(
        [np.bincount(member, values, len(names)) for values in (np.where(fine, per_frame, 0.0), fine.astype(float))], 1
    )
    metric = corpus_metric(sums, "ratio", names.tolist(), "mm", "mean over frames")
    return {"value": metric.value, "interval": metric.interval}


def _masked_mean(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")


def _column_mean(values: np.ndarray) -> float | None:
    """Averages the finite values; None where a joint is never visible."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _velocity_error(motions: list[Motion], joints: np.ndarray) -> float:
    """Averages the error of the joints' velocity relative to the hips, over neighbouring frames, in mm/s."""
    total, count, start = 0.0, 0, 0
    for motion in motions:
        decoded, truth = joints[start : start + len(motion.frames)], motion.poses
        start += len(motion.frames)
        neighbours = np.diff(motion.frames) == 1
        both = (truth[1:, :, 3] > 0) & (truth[:-1, :, 3] > 0) & neighbours[:, None]
        error = np.linalg.norm(np.diff(decoded, axis=0) - np.diff(truth[..., :3], axis=0), axis=-1)
        total, count = total + float(error[both].sum()), count + int(both.sum())
    return total / count * FPS * 1000 if count else float("nan")


def _hide(
    poses: np.ndarray, intact: np.ndarray, encode: Encode, decode: Decode, count: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Measures the error when ``count`` visible joints of every frame are hidden from the encoder."""
    visible = poses[..., 3] > 0
    order = np.where(visible, rng.random(visible.shape), 2.0).argsort(axis=1)
    hidden = np.zeros_like(visible)
    np.put_along_axis(hidden, order[:, :count], True, axis=1)
    hidden &= visible
    seen = visible & ~hidden
    joints = decode(encode(poses * seen[..., None]))
    error = np.linalg.norm(joints - poses[..., :3], axis=-1)
    return {
        "hidden": count,
        "shown_mm": _masked_mean(error, seen) * 1000,
        "hidden_mm": _masked_mean(error, hidden) * 1000,
        "shown_moved_mm": _masked_mean(np.linalg.norm(joints - intact, axis=-1), seen) * 1000,
    }
