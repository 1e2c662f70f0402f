"""Where a sample finds the poses and the video features of a clip, by its id."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from mm_data.features import FeatureManifest, FeatureStore
from mm_data.folders import PoseStretch, pose_stretches
from mm_tokenizers import canonical_poses
from mm_tokenizers.canonical import sample_frames


class JointStore:
    """Canonical poses ``[T, 17, 4]`` per clip, in metres, sampled as the pose codes are.

    Args:
        stretches: Clip id to where its poses lie.
        frames: T.
    """

    def __init__(self, stretches: Mapping[str, PoseStretch], frames: int) -> None:
        self.stretches, self.frames = stretches, frames

    @classmethod
    def read(cls, folder: Path, frames: int) -> "JointStore":
        """All clips of a folder that have poses."""
        return cls(pose_stretches(folder), frames)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """The clips whose poses are not known."""
        return [clip for clip in clips if clip not in self.stretches]

    def __getitem__(self, clip_id: str) -> np.ndarray:
        raw = self.stretches[clip_id].read()
        return canonical_poses(np.asarray(raw[sample_frames(raw, self.frames)]))


class ClipPoses(Protocol):
    """Poses of clips in the form that the processor expects: `PoseCodeStore` or `JointStore`."""

    def __getitem__(self, clip: str, /) -> np.ndarray: ...

    def missing(self, clips: Iterable[str], /) -> list[str]:
        """Clips it does not hold."""
        ...


class ClipFeatures(Protocol):
    """Video features of clips: `FeatureStore`, or what stands for one."""

    @property
    def manifest(self) -> FeatureManifest:
        """What made them."""
        ...

    def get(self, clip: str, view: str) -> np.ndarray:
        """Features ``[V, C]``."""
        ...

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Clips it does not hold."""
        ...


class NoPoses:
    """Stands for poses where no clip has any."""

    def __getitem__(self, clip: str) -> np.ndarray:
        raise KeyError(f"Clip {clip} has no poses here; give their pose codes.")

    def missing(self, clips: Iterable[str]) -> list[str]:
        """All of them."""
        return list(clips)


LEARNER = "learner"
"""Clip id of the learner's clip."""


class JoinedPoses:
    """Codes of a store, with a few clips more.

    Args:
        store: Codes of a gallery, or None.
        own: Clip id to codes ``[T, M]``; may grow.
    """

    def __init__(self, store: ClipPoses | None, own: dict[str, np.ndarray]) -> None:
        self.store, self.own = store, own

    def __getitem__(self, clip: str, /) -> np.ndarray:
        if clip in self.own or self.store is None:
            return self.own[clip]
        return self.store[clip]

    def missing(self, clips: Iterable[str], /) -> list[str]:
        """Clips that neither holds."""
        others = [clip for clip in clips if clip not in self.own]
        return others if self.store is None else self.store.missing(others)


class JoinedFeatures:
    """The learner's features and a gallery's.

    Args:
        learner: Store of the learner's clip.
        gallery: Another of the same encoder, or None.

    Raises:
        ValueError: Another encoder.
    """

    def __init__(self, learner: FeatureStore, gallery: FeatureStore | None) -> None:
        self.learner, self.gallery = learner, gallery
        if gallery and gallery.manifest.made_by != learner.manifest.made_by:
            raise ValueError(
                f"The gallery's features were made by {gallery.manifest.encoder}, the learner's by {learner.manifest.encoder}; give the store that the coach was trained on."
            )

    @property
    def manifest(self) -> FeatureManifest:
        """What made the learner's."""
        return self.learner.manifest

    def get(self, clip: str, view: str) -> np.ndarray:
        """Features ``[V, C]``."""
        store: ClipFeatures = self.learner if clip == LEARNER or self.gallery is None else self.gallery
        return store.get(clip, view)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Clips that neither holds."""
        others = [clip for clip in clips if clip != LEARNER]
        return others if self.gallery is None else self.gallery.missing(others)
