"""Joints as features of a clip: a skeleton stream that every motion with poses has, without any encoder.

A frame becomes one token: canonical joints (mid-hip at the origin, hips along x) and where the mid-hip is, seen from the first
frame, as their principal components over the training clips, each of unit variance; and which joints are missing. Coordinates
move together, and what distinguishes a fault is small beside what distinguishes an activity: whitened, both weigh the same. The
coach reads it through the mapper of its view, like any video feature.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_data.features import FeatureManifest, FeatureStoreWriter
from mm_data.folders import pose_stretches
from mm_data.items.store import read_items
from mm_tokenizers import canonical_poses, sample_frames
from mm_tokenizers.canonical import LEFT_HIP, RIGHT_HIP

VIEW = "exo"
_BATCH = 256  # clips that are written and recorded together
_LEAST_SPREAD = 1e-3  # metres; hips do not move in canonical poses

COMPONENTS = 32
"""Principal components that are kept, of 54."""

WIDTH = COMPONENTS + 17
"""Components and missing joints."""

_FLOOR = 0.01
"""Added to the components' variances, in units of a standardised coordinate: noise is not blown up."""


@dataclass(frozen=True)
class JointBasis:
    """Principal components of the joints and the mid-hip's way.

    Attributes:
        mean: ``[54]``, in metres.
        spread: Standard deviations ``[54]``, in metres.
        directions: Components of the standardised coordinates, each divided by its standard deviation ``[54, COMPONENTS]``.
    """

    mean: np.ndarray
    spread: np.ndarray
    directions: np.ndarray

    @property
    def digest(self) -> str:
        """Features in another basis are features of another encoder; bases that differ by rounding are the same."""
        parts = (np.round(part, 4) + 0.0 for part in (self.mean, self.spread, self.directions))  # no negative zeros
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def project(self, metres: np.ndarray) -> np.ndarray:
        """Projects coordinates ``[..., 54]`` to components ``[..., COMPONENTS]``; coordinates that were not seen count as their mean."""
        return np.nan_to_num((metres - self.mean) / self.spread) @ self.directions


def joint_basis(folders: Sequence[Path], frames: int) -> JointBasis:
    """Computes the principal components of the training clips of some folders together.

    Args:
        folders: Tuple or task folders.
        frames: Number of frames per clip (T).

    Returns:
        The components.

    Raises:
        ValueError: None of them has poses.
    """
    values = []
    for folder in folders:
        stretches = pose_stretches(folder)
        values += [
            clip_metres(stretches[clip].read(), frames)[0] for clip in _training_clips(folder) if clip in stretches
        ]
    if not values:
        raise ValueError(f"None of the training clips of {', '.join(map(str, folders))} has poses.")
    joined = np.concatenate(values).astype(np.float64)
    seen = np.isfinite(joined).any(axis=0)  # motion capture has no face, say
    joined[:, ~seen] = 0.0
    mean, spread = np.nanmean(joined, axis=0), np.maximum(np.nanstd(joined, axis=0), _LEAST_SPREAD)
    standard = np.nan_to_num((joined - mean) / spread)
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    largest = np.argsort(variances)[::-1][:COMPONENTS]
    directions = vectors[:, largest] / np.sqrt(variances[largest] + _FLOOR)
    largest_entries = directions[np.abs(directions).argmax(0), np.arange(COMPONENTS)]
    directions *= np.sign(largest_entries)  # either sign is an eigenvector
    return JointBasis(*(part.astype(np.float32) for part in (mean, spread, directions)))


def write_pose_features(
    folder: Path, out: Path, basis: JointBasis, frames: int, max_bad_share: float = 0.02
) -> dict[str, str]:
    """Fills a feature store with one token per frame of every clip that has poses.

    Args:
        folder: Tuple or task folder.
        out: Feature store.
        basis: Components that coordinates are projected on.
        frames: Number of frames, and tokens, per clip (T).
        max_bad_share: Share of the clips whose poses may be unusable.

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
        encoder_hash=basis.digest,
        preprocessing=f"{frames} frames, {COMPONENTS} whitened components of the training clips' joints",
        num_tokens=frames,
        width=WIDTH,
        dtype="float16",
        views=(VIEW,),
    )
    listed = {name: {"start": s.start, "stop": s.stop} for name, s in stretches.items()}
    store = FeatureStoreWriter(out, manifest, listed, max_bad_share)
    return store.fill(lambda clip: _features(stretches[clip].read(), frames, basis), _BATCH)


def _training_clips(folder: Path) -> list[str]:
    return list({clip.clip_id: clip for item in read_items(folder, "train") for clip in item.clips})


def clip_metres(raw: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Measures a clip's canonical joints and where its mid-hip goes.

    Args:
        raw: Poses ``[n, 17, 4]`` in metres at 30 fps.
        frames: Number of frames that are sampled (T).

    Returns:
        Coordinates ``[T, 54]`` in metres, NaN for joints that were not seen, and which joints were seen ``[T, 17]``.
    """
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


def _features(raw: np.ndarray, frames: int, basis: JointBasis) -> np.ndarray:
    """``[T, WIDTH]``."""
    metres, seen = clip_metres(raw, frames)
    return np.concatenate([basis.project(metres), ~seen], axis=-1, dtype=np.float32).clip(-20, 20)
