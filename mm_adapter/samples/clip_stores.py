"""Where a sample finds the poses and the video features of a clip, by its id."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mm_adapter.model.config import CoachConfig
from mm_data.features import FeatureManifest, FeatureStore
from mm_data.folders import PoseStretch, pose_stretches
from mm_tokenizers import canonical_poses
from mm_tokenizers.canonical import sample_frames
from mm_tokenizers.codes import PoseCodeStore


class JointStore:
    """Canonical poses ``[T, 17, 4]`` per clip, in metres, sampled as the pose codes are.

    Args:
        stretches: Clip id to where its poses lie.
        frames: Number of frames per clip (T).
    """

    def __init__(self, stretches: Mapping[str, PoseStretch], frames: int) -> None:
        self.stretches, self.frames = stretches, frames

    @classmethod
    def read(cls, folder: Path, frames: int) -> "JointStore":
        """Opens the poses of all clips of a folder that have some."""
        return cls(pose_stretches(folder), frames)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns the clips whose poses are not known."""
        return [clip for clip in clips if clip not in self.stretches]

    def __getitem__(self, clip_id: str) -> np.ndarray:
        raw = self.stretches[clip_id].read()
        return canonical_poses(np.asarray(raw[sample_frames(raw, self.frames)]))


class NoPoses:
    """The poses of a data set whose clips have none."""

    def __getitem__(self, clip: str) -> np.ndarray:
        raise KeyError(f"Clip {clip} has no poses here; give their pose codes.")

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns all of them."""
        return list(clips)


class NoFeatures:
    """The video features of a coach that sees video and was opened without a feature store.

    Args:
        config: Configuration of the coach; tells which encoder the features of later clips have to come from.
    """

    def __init__(self, config: CoachConfig) -> None:
        encoder, digest = config.video_encoder.rsplit(" ", 1)
        shape = config.video_tokens, config.video_width
        self.manifest = FeatureManifest(encoder, digest, "", *shape, "float16", tuple(config.views))

    def get(self, clip: str, view: str) -> np.ndarray:
        """Raises ``KeyError``, because no clip has features."""
        raise KeyError(f"Clip {clip} has no {view} features here; give a feature store.")

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns all of them."""
        return list(clips)


LEARNER = "learner"
"""Clip id of the learner's clip."""


class JoinedPoses:
    """A store of pose codes, and a few clips more.

    Args:
        store: Codes of a gallery, or None.
        clips: Clip id to codes ``[T, M]``; may grow.
    """

    def __init__(self, store: "ClipPoses | None", clips: dict[str, np.ndarray]) -> None:
        self.store, self.clips = NoPoses() if store is None else store, clips

    def __getitem__(self, clip: str, /) -> np.ndarray:
        return self.clips[clip] if clip in self.clips else self.store[clip]

    def missing(self, clips: Iterable[str], /) -> list[str]:
        """Returns the clips that neither holds."""
        return self.store.missing([clip for clip in clips if clip not in self.clips])


class JoinedFeatures:
    """A feature store, and the features of a few clips more that the same encoder made.

    Args:
        store: Features of a gallery, or `NoFeatures`.
        clips: Clip id to its features ``[V, C]`` by view.
    """

    def __init__(self, store: "ClipFeatures", clips: dict[str, dict[str, np.ndarray]]) -> None:
        self.store, self.clips = store, clips

    @property
    def manifest(self) -> FeatureManifest:
        """The description of what made the features."""
        return self.store.manifest

    def get(self, clip: str, view: str) -> np.ndarray:
        """Returns features ``[V, C]``."""
        return self.clips[clip][view] if clip in self.clips else self.store.get(clip, view)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns the clips that neither holds."""
        return self.store.missing([clip for clip in clips if clip not in self.clips])


ClipPoses = PoseCodeStore | JointStore | NoPoses | JoinedPoses
"""Poses of clips in the form that the processor expects."""

ClipFeatures = FeatureStore | NoFeatures | JoinedFeatures
"""Video features of clips, or what stands for them."""


def check_inputs(
    config: CoachConfig, poses: ClipPoses | None = None, features: ClipFeatures | None = None, where: str = "coach"
) -> None:
    """Makes sure that poses and features are those that a coach was trained on.

    Args:
        config: Configuration of the coach.
        poses: Poses of clips; only pose codes say which tokenizer made them.
        features: Video features of clips, or None.
        where: What holds the coach's tokenizer: ``coach`` or ``export``.

    Raises:
        ValueError: The coach sees video and there are no features, it sees none and there are, or another encoder or pose
            tokenizer made them.
    """
    if (features is None) != (not config.video_tokens):
        sees, needs = ("with", "a") if config.video_tokens else ("without", "no")
        raise ValueError(f"The coach was trained {sees} video features; give {needs} feature store.")
    if features is not None and features.manifest.made_by != config.video_encoder:
        raise ValueError(
            f"The feature store was made by {features.manifest.encoder}, the coach was trained on "
            f"{config.video_encoder.rsplit(' ', 1)[0]} with other weights or preprocessing; extract the features again."
        )
    if isinstance(poses, PoseCodeStore) and poses.tokenizer_fingerprint != config.pose_tokenizer:
        raise ValueError(
            "The pose codes were made by another pose tokenizer than the coach's; run `mm-coach tokenizer encode` with "
            f"the tokenizer inside the {where}'s folder."
        )
