"""A finished store of frozen encoder outputs: memory-mapped shards, an index, and a manifest that says what made them.

::

    STORE/plan.json                       manifest, clips and shard size; written first, so that a resumed run agrees
    STORE/shard-00000/<view>.npy          [clips of the shard, V, C]
    STORE/shard-00000/status.jsonl        one line per clip: "ok", or why it could not be encoded
    STORE/index.json, STORE/manifest.json written last: without them the store is unfinished
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.digests import sha256_of
from mm_data.ground.files import write_atomically

MANIFEST, INDEX, PLAN, STATUS = "manifest.json", "index.json", "plan.json", "status.jsonl"


@dataclass(frozen=True)
class FeatureManifest:
    """What made the features; training compares it with what the model was configured for.

    Attributes:
        encoder: Name of the encoder's preset, with ``(random weights)`` where that is the truth.
        encoder_hash: SHA-256 of the encoder's configuration and weights.
        preprocessing: Sampling, decoding and normalisation, in words.
        num_tokens: V, tokens per view.
        width: C, feature width.
        dtype: NumPy name of the stored type.
        views: Names of the views, sorted: no order in which somebody listed them decides anything.
        rejected: Clips that could not be encoded, with the reason. Filled in at the end.
        sha256: Hash of every array and of the index, by path. Filled in at the end.
    """

    encoder: str
    encoder_hash: str
    preprocessing: str
    num_tokens: int
    width: int
    dtype: str
    views: tuple[str, ...] = ("ego", "exo")
    rejected: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sorts the views."""
        object.__setattr__(self, "views", tuple(sorted(self.views)))

    @property
    def made_by(self) -> str:
        """Encoder's name and hash: what a coach notes of the features it was trained on."""
        return f"{self.encoder} {self.encoder_hash}"

    @classmethod
    def read(cls, folder: Path) -> "FeatureManifest":
        """Reads a finished store's manifest.

        Args:
            folder: The store.

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: The folder is missing or the extraction did not finish.
            ValueError: An earlier version wrote it, it is damaged, or it belongs to something else.
        """
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished feature store; run `mm-coach features extract` (it resumes)."
            )
        content = _read_json(folder / MANIFEST)
        needed = [entry.name for entry in fields(cls) if entry.default is MISSING and entry.default_factory is MISSING]
        lacking = [name for name in (*needed, "views") if name not in content]
        if "sha256" not in content and "views" in content and "encoder" in content:
            raise ValueError(
                f"{folder} was written by an earlier version; extract the features again into a new folder."
            )
        if lacking or (unknown := content.keys() - {entry.name for entry in fields(cls)}):
            wrong = f"it lacks {', '.join(lacking)}" if lacking else f"it holds {', '.join(sorted(unknown))}"
            raise ValueError(
                f"{folder / MANIFEST} is no feature store's: {wrong}. Give the folder that `mm-coach features` wrote."
            )
        return cls(**{**content, "views": tuple(content["views"])})

    def identity(self) -> dict[str, Any]:
        """Returns what has to be equal for features to be mixed."""
        return {key: value for key, value in asdict(self).items() if key not in ("rejected", "sha256")}


class FeatureStore:
    """Random, zero-copy access to a finished store; any number of processes may read.

    Args:
        folder: The store.

    Raises:
        FileNotFoundError: The folder is missing or the extraction did not finish.
        ValueError: The folder is no store, or its manifest or index is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = FeatureManifest.read(folder)
        self._index = read_index(folder)
        self._arrays: dict[tuple[int, str], np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Maps stay behind: a worker process opens its own instead of receiving a copy of the data."""
        return {**self.__dict__, "_arrays": {}}

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __contains__(self, clip: str) -> bool:
        return clip in self._index

    def __len__(self) -> int:
        return len(self._index)

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Returns the clips that the store does not hold."""
        return [clip for clip in clips if clip not in self._index]

    def get(self, clip: str, view: str) -> np.ndarray:
        """Returns features ``[V, C]`` of one clip and view, a view into the memory map.

        Args:
            clip: Clip id.
            view: Name of the view.

        Returns:
            The features.

        Raises:
            KeyError: The store does not hold the clip.
        """
        if clip not in self._index:
            reason = self.manifest.rejected.get(clip)
            raise KeyError(
                f"Clip {clip} has no features: {reason}"
                if reason
                else f"Clip {clip} is not in the feature store; extract features for this tuple folder again."
            )
        shard, row = self._index[clip]
        if (shard, view) not in self._arrays:
            path = self.folder / shard_name(shard) / f"{view}.npy"
            try:
                self._arrays[shard, view] = np.load(path, mmap_mode="r")
            except (ValueError, OSError) as error:
                raise ValueError(
                    f"{path} cannot be read ({error}); "
                    f"`mm-coach features verify {self.folder}` shows what else is damaged. "
                    "Delete the store and extract it again."
                ) from error
        return self._arrays[shard, view][row]


def pooled_features(store: FeatureStore, clip: str) -> np.ndarray:
    """Returns one vector per clip: the mean over tokens of each view, joined; what nearest neighbours compare."""
    return np.concatenate([np.asarray(store.get(clip, view), np.float32).mean(0) for view in store.manifest.views])


def shard_name(number: int) -> str:
    """Returns the name of a shard's folder."""
    return f"shard-{number:05d}"


def read_index(folder: Path) -> dict[str, list[int]]:
    """Reads clip to its shard and row.

    Args:
        folder: The store.

    Returns:
        Clip id to shard number and row.

    Raises:
        ValueError: The index is missing or damaged.
    """
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder / INDEX} is missing; extract the features again into a new folder.")
    return _read_json(folder / INDEX)


def _read_json(path: Path) -> dict[str, Any]:
    """Reads a file's object.

    Args:
        path: The file.

    Returns:
        The object.

    Raises:
        ValueError: It cannot be parsed, or is no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); extract the features again into a new folder.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no feature store's: it holds a {type(content).__name__}.")
    return content


def write_end(
    folder: Path, identity: dict[str, Any], index: dict[str, Any], rejected: dict[str, str], hashes: dict[str, str]
) -> None:
    """Writes index and manifest, which make a store finished."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / INDEX, json.dumps(index, indent=0))
    hashes = {**hashes, INDEX: sha256_of(folder / INDEX)}
    write_atomically(folder / MANIFEST, json.dumps({**identity, "rejected": rejected, "sha256": hashes}, indent=1))
