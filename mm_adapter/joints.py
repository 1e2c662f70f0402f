"""Joints of clips at the frames that a coach sees, straight from a tuple folder or a task folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mm_data.folders import PoseStretch, pose_stretches
from mm_tokenizers import canonical_poses, sample_frames


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
