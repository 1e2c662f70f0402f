"""Joints as features of a clip: a skeleton stream that every motion with poses has, without any encoder.

A frame becomes one token: canonical joints (mid-hip at the origin, hips along x), which of them were seen, and where the mid-hip is,
seen from the first frame. Coordinates are in standard deviations from their mean over the training clips. The coach reads it through the mapper of its view, like any video feature.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_data.clip_list import pose_stretches
from mm_data.features import FeatureManifest, FeatureStoreWriter
from mm_data.tasks.folder import is_task_folder, read_items
from mm_data.tuple_store import clips_of, read_tuples
from mm_tokenizers import canonical_poses, sample_frames
from mm_tokenizers.canonical import LEFT_HIP, RIGHT_HIP

VIEW = "exo"
_BATCH = 256  # clips that are written and recorded together
_LEAST_SPREAD = 1e-3  # metres; hips do not move in canonical poses


WIDTH = 17 * 3 + 17 + 3
"""Coordinates, visibilities, way of the mid-hip."""


@dataclass(frozen=True)
class JointStatistics:
    """Mean and spread of every coordinate and of the mid-hip's way, ``[54]``, in metres."""

    mean: np.ndarray
    spread: np.ndarray

    @property
    def digest(self) -> str:
        """Features that were standardised otherwise are features of another encoder."""
        return hashlib.sha256(self.mean.tobytes() + self.spread.tobytes()).hexdigest()


def joint_statistics(folders: Sequence[Path], frames: int) -> JointStatistics:
    """Of the training clips of some folders together.

    Raises:
        ValueError: None of them has poses.
    """
    values = []
    for folder in folders:
        stretches = pose_stretches(folder)
        values += [_metres(stretches[clip].read(), frames)[0] for clip in _training_clips(folder) if clip in stretches]
    if not values:
        raise ValueError(f"None of the training clips of {', '.join(map(str, folders))} has poses.")
    joined = np.concatenate(values)
    mean, spread = np.nanmean(joined, axis=0), np.nanstd(joined, axis=0)
    return JointStatistics(mean.astype(np.float32), np.maximum(spread, _LEAST_SPREAD).astype(np.float32))


def write_pose_features(
    folder: Path,
    out: Path,
    statistics: JointStatistics,
    frames: int,
    max_bad_share: float = 0.02,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Fills a feature store with one token per frame of every clip that has poses.

    Args:
        folder: Tuple or task folder.
        out: Feature store.
        statistics: What coordinates are standardised by.
        frames: T, tokens per clip.
        max_bad_share: Share of the clips whose poses may be unusable.
        progress: Called with (done, total).

    Returns:
        Rejected clips with reasons.

    Raises:
        ValueError: No clip has poses, too many are unusable, or the store was begun with something else.
    """
    stretches = pose_stretches(folder)
    if not stretches:
        raise ValueError(f"{folder}: none of its clips has poses.")
    manifest = FeatureManifest(
        encoder="canonical joints",
        encoder_hash=statistics.digest,
        preprocessing=f"{frames} frames, standardised by the training clips' joints",
        num_tokens=frames,
        width=WIDTH,
        dtype="float16",
        views=(VIEW,),
    )
    listed = {name: {"start": s.start, "stop": s.stop} for name, s in stretches.items()}
    store = FeatureStoreWriter(out, manifest, listed, max_bad_share)
    if store.finished:
        return FeatureManifest.read(out).rejected
    return store.fill(lambda clip: _features(stretches[clip].read(), frames, statistics), _BATCH, progress)


def _training_clips(folder: Path) -> list[str]:
    if is_task_folder(folder):
        return [item.clip.clip_id for item in read_items(folder, "train")]
    return list(clips_of(read_tuples(folder, "train")))


def _metres(raw: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates ``[T, 54]`` of sampled frames, NaN for joints that were not seen, and which were ``[T, 17]``."""
    poses = np.asarray(raw[sample_frames(raw, frames)])
    canonical = canonical_poses(poses)
    seen = canonical[..., 3] > 0
    joints = np.where(seen[..., None], canonical[..., :3], np.nan).reshape(frames, -1)
    hips = poses[:, [LEFT_HIP, RIGHT_HIP], :3]
    across = hips[0, 1] - hips[0, 0]
    c, s = np.array([across[0], across[1]]) / max(float(np.hypot(across[0], across[1])), 1e-6)
    away = hips.mean(1) - hips[0].mean(0)
    way = np.stack([c * away[:, 0] + s * away[:, 1], -s * away[:, 0] + c * away[:, 1], away[:, 2]], axis=-1)
    return np.concatenate([joints, way], axis=-1).astype(np.float32), seen


def _features(raw: np.ndarray, frames: int, statistics: JointStatistics) -> np.ndarray:
    """``[T, 71]``; joints that were not seen are at their mean and say so."""
    metres, seen = _metres(raw, frames)
    standard = np.nan_to_num((metres - statistics.mean) / statistics.spread)
    return np.concatenate([standard, seen.astype(np.float32)], axis=-1).clip(-20, 20)
