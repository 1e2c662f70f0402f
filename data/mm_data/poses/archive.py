"""Pose arrays on disk: one file per take, clip or sequence, in a folder of tuples, of items or of motion."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from mm_data.records import POSES


class PoseArchive:
    """The arrays ``[T, 17, 4]`` float32 of a folder by name, memory-mapped; the 64 that were asked for last stay open.

    Args:
        folder: Folder of tuples, of items or of motion, which holds ``poses/<name>.npy``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / POSES
        self._open = lru_cache(maxsize=64)(lambda name: np.load(self.path(name), mmap_mode="r"))

    def __reduce__(self) -> tuple[type["PoseArchive"], tuple[Path]]:
        """A worker process opens maps of its own."""
        return PoseArchive, (self.folder.parent,)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._open(name)

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def path(self, name: str) -> Path:
        """Returns where an array lies, whether it is there or not."""
        return self.folder / f"{name}.npy"

    def frames(self, name: str) -> int:
        """Returns the number of frames of an array."""
        return len(self[name])
