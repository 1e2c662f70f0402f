"""Pose codes of clips, computed once with a frozen tokenizer and tied to it by its fingerprint."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from mm_data.ground.files import replacing, write_atomically
from mm_tokenizers.canonical import canonical_poses, sample_frames
from mm_tokenizers.pct import PoseTokenizer
from mm_tokenizers.storage import fingerprint

_BATCH = 512


def numpy_codec(
    tokenizer: PoseTokenizer,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Makes functions of arrays out of the tokenizer's two directions, in batches on its device.

    Args:
        tokenizer: Frozen tokenizer.

    Returns:
        ``encode``: canonical poses ``[N, 17, 4]`` to codes ``[N, M]`` int32; ``decode``: codes to joints ``[N, 17, 3]``.
    """
    device = tokenizer.start_embed.weight.device

    def encode(poses: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(np.ascontiguousarray(poses, dtype=np.float32)).split(_BATCH)
        return torch.cat([tokenizer.encode(part.to(device)).cpu() for part in parts]).numpy().astype(np.int32)

    def decode(codes: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(np.ascontiguousarray(codes, dtype=np.int64)).split(_BATCH)
        return torch.cat([tokenizer.decode(part.to(device)).cpu() for part in parts]).numpy()

    return encode, decode


def poses_hash(poses: np.ndarray) -> str:
    """Returns the hash of a clip's raw poses ``[n, 17, 4]``."""
    return hashlib.sha256(np.ascontiguousarray(poses, np.float32).tobytes()).hexdigest()


class PoseCodeStore:
    """A folder of codes ``[T, M]`` per clip.

    Args:
        codes: Codes ``[N, T, M]``.
        clip_ids: Clip of every row.
        tokenizer_fingerprint: Fingerprint of the tokenizer that made the codes.
        poses: Clip id to the hash of the raw poses that its codes were made of.
    """

    def __init__(
        self, codes: np.ndarray, clip_ids: list[str], tokenizer_fingerprint: str, poses: dict[str, str] | None = None
    ) -> None:
        self._codes = codes
        self._rows = {clip: row for row, clip in enumerate(clip_ids)}
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.frames = codes.shape[1]
        self.poses = poses or {}

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

        Returns:
            The codes of all clips.

        Raises:
            ValueError: A clip has no frame that can be made canonical; names it.
        """
        clip_ids = list(clips)
        sampled, made_of = [], {}
        for clip in clip_ids:
            raw = poses(clip)
            made_of[clip] = poses_hash(raw)
            try:
                sampled.append(canonical_poses(raw[sample_frames(raw, frames)]))
            except ValueError as error:
                raise ValueError(f"Clip {clip}: {error} Leave its tuple out, or give the take poses.") from error
        codes = numpy_codec(tokenizer)[0](np.concatenate(sampled))
        return cls(codes.reshape(len(clip_ids), frames, -1), clip_ids, fingerprint(tokenizer), made_of)

    def save(self, folder: Path) -> None:
        """Writes ``codes.npy`` and ``codes.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        index = {"tokenizer": self.tokenizer_fingerprint, "clips": list(self._rows), "poses": self.poses}
        with replacing(folder / "codes.npy") as partial, partial.open("wb") as file:
            np.save(file, self._codes)
        write_atomically(folder / "codes.json", json.dumps(index))

    @classmethod
    def load(cls, folder: Path) -> "PoseCodeStore":
        """Opens a saved store.

        Args:
            folder: Folder of the codes.

        Returns:
            The store.

        Raises:
            FileNotFoundError: The folder holds no codes.
        """
        if not (folder / "codes.json").is_file():
            raise FileNotFoundError(f"{folder} holds no pose codes; make them with `mm-coach tokenizer encode`.")
        index = json.loads((folder / "codes.json").read_text())
        return cls(np.load(folder / "codes.npy"), index["clips"], index["tokenizer"], index.get("poses"))

    @property
    def digest(self) -> str:
        """Hash of the codes, their clips and their tokenizer."""
        digest = hashlib.sha256(json.dumps([self.tokenizer_fingerprint, list(self._rows)]).encode())
        digest.update(np.ascontiguousarray(self._codes, np.int32).tobytes())
        return digest.hexdigest()

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns the clips that the store does not hold."""
        return [clip for clip in clips if clip not in self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, clip: str) -> np.ndarray:
        if clip not in self._rows:
            raise KeyError(
                f"Clip {clip} has no pose codes; run `mm-coach tokenizer encode` for this tuple folder again."
            )
        return self._codes[self._rows[clip]]
