"""Joints of clips at the frames that a coach sees, straight from a tuple folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mm_data.records import Clip
from mm_data.tuple_store import clips_of_folder
from mm_tokenizers import canonical_poses, sample_frames


class JointStore:
    """Canonical poses ``[T, 17, 4]`` per clip, in metres, sampled as the pose codes are.

    Args:
        clips: Clips by id.
        folder: Tuple folder.
        frames: T.
    """

    def __init__(self, clips: Mapping[str, Clip], folder: Path, frames: int) -> None:
        self.clips, self.folder, self.frames = clips, folder, frames

    @classmethod
    def read(cls, folder: Path, frames: int) -> "JointStore":
        """All clips of a tuple folder."""
        return cls(clips_of_folder(folder), folder, frames)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """The clips that the folder does not name."""
        return [clip for clip in clips if clip not in self.clips]

    def __getitem__(self, clip_id: str) -> np.ndarray:
        clip = self.clips[clip_id]
        raw = np.load(self.folder / "poses" / f"{clip.take_uid}.npy", mmap_mode="r")[clip.start : clip.stop]
        return canonical_poses(np.asarray(raw[sample_frames(raw, self.frames)]))
