"""Pose codes of clips, computed once with a frozen tokenizer and tied to it by its fingerprint."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from mm_tokenizers.canonical import canonical_poses, sample_frames
from mm_tokenizers.pct import PoseTokenizer
from mm_tokenizers.storage import fingerprint

_BATCH = 512


class PoseCodeStore:
    """Codes ``[T, M]`` per clip.

    Attributes:
        tokenizer_fingerprint: Of the tokenizer that made the codes.
        frames: T.
    """

    def __init__(self, codes: np.ndarray, clip_ids: list[str], tokenizer_fingerprint: str) -> None:
        self._codes = codes
        self._rows = {clip: row for row, clip in enumerate(clip_ids)}
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.frames = codes.shape[1]

    @classmethod
    def encode(
        cls,
        tokenizer: PoseTokenizer,
        clips: Iterable[str],
        poses: Callable[[str], np.ndarray],
        frames: int,
    ) -> "PoseCodeStore":
        """Tokenizes clips.

        Args:
            tokenizer: Frozen tokenizer.
            clips: Clip ids.
            poses: Clip id to its raw poses ``[n, 17, 4]``.
            frames: T, frames sampled per clip.

        Raises:
            ValueError: A clip has no frame that can be made canonical; names it.
        """
        clip_ids = list(clips)
        sampled = []
        for clip in clip_ids:
            raw = poses(clip)
            try:
                sampled.append(canonical_poses(raw[sample_frames(raw, frames)]))
            except ValueError as error:
                raise ValueError(f"Clip {clip}: {error} Leave its tuple out, or give the take poses.") from error
        flat = torch.from_numpy(np.concatenate(sampled))
        codes = torch.cat([tokenizer.encode(part) for part in flat.split(_BATCH)])
        grid = codes.view(len(clip_ids), frames, -1).numpy().astype(np.int32)
        return cls(grid, clip_ids, fingerprint(tokenizer))

    def save(self, folder: Path) -> None:
        """Writes ``codes.npy`` and ``codes.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "codes.partial.npy", self._codes)
        os.replace(folder / "codes.partial.npy", folder / "codes.npy")
        index = {"tokenizer": self.tokenizer_fingerprint, "clips": list(self._rows)}
        (folder / "codes.partial").write_text(json.dumps(index))
        os.replace(folder / "codes.partial", folder / "codes.json")

    @classmethod
    def load(cls, folder: Path) -> "PoseCodeStore":
        """Opens a saved store.

        Raises:
            FileNotFoundError: The folder holds no codes.
        """
        if not (folder / "codes.json").is_file():
            raise FileNotFoundError(f"{folder} holds no pose codes; make them with `mm-coach tokenizer encode`.")
        index = json.loads((folder / "codes.json").read_text())
        return cls(np.load(folder / "codes.npy"), index["clips"], index["tokenizer"])

    def missing(self, clips: Iterable[str]) -> list[str]:
        """The clips that the store does not hold."""
        return [clip for clip in clips if clip not in self._rows]

    def __getitem__(self, clip: str) -> np.ndarray:
        if clip not in self._rows:
            raise KeyError(
                f"Clip {clip} has no pose codes; run `mm-coach tokenizer encode` for this tuple folder again."
            )
        return self._codes[self._rows[clip]]
