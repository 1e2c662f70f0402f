"""Frozen encoder outputs on disk: one memory-mapped array per view, an index and a manifest that says what made them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mm_data.files import write_atomically
from mm_data.jsonl import append_record, read_records

MANIFEST, INDEX = "manifest.json", "index.json"


@dataclass(frozen=True)
class FeatureManifest:
    """What made the features; training compares it with what the model was configured for.

    Attributes:
        encoder: Name of the encoder's preset, with ``(random weights)`` where that is the truth.
        encoder_hash: SHA-256 of the encoder's configuration and weights.
        preprocessing: Sampling and normalisation, in words.
        num_tokens: V, tokens per view.
        width: C, feature width.
        dtype: NumPy name of the stored type.
        views: Names of the views, in the order of the arrays.
    """

    encoder: str
    encoder_hash: str
    preprocessing: str
    num_tokens: int
    width: int
    dtype: str
    views: tuple[str, ...] = ("ego", "exo")


class FeatureStoreWriter:
    """Writes features clip by clip; a clip that was written survives a crash and is not encoded again.

    Args:
        folder: The store.
        manifest: What makes the features.
        clip_ids: All clips of the finished store, in order.

    Raises:
        ValueError: The folder was begun with another manifest or clip list.
    """

    def __init__(self, folder: Path, manifest: FeatureManifest, clip_ids: list[str]) -> None:
        self.folder, self.manifest, self.clip_ids = folder, manifest, clip_ids
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"manifest": asdict(manifest), "clips": clip_ids}
        path = folder / "plan.json"
        if path.is_file():
            if json.loads(path.read_text()) != json.loads(json.dumps(plan)):
                raise ValueError(
                    f"{folder} was begun with another encoder, preprocessing or clip list; delete it or give another folder."
                )
        else:
            path.write_text(json.dumps(plan))
        shape = (len(clip_ids), manifest.num_tokens, manifest.width)
        self._arrays = {}
        for view in manifest.views:
            file = folder / f"{view}.npy"
            mode = "r+" if file.is_file() else "w+"
            self._arrays[view] = np.lib.format.open_memmap(
                file, mode=mode, dtype=manifest.dtype, shape=None if mode == "r+" else shape
            )
        self._status_path = folder / "status.jsonl"
        # A line that a crash cut off is passed over; its clip is encoded again.
        self.status = {entry["clip"]: entry["status"] for entry in read_records(self._status_path)[0]}
        self._rows = {clip: row for row, clip in enumerate(clip_ids)}

    def pending(self) -> list[str]:
        """Clips that were neither written nor reported as bad."""
        return [clip for clip in self.clip_ids if clip not in self.status]

    def write(self, clip: str, features: dict[str, np.ndarray]) -> None:
        """Stores one clip's ``[V, C]`` per view."""
        for view, array in self._arrays.items():
            if not np.isfinite(features[view]).all():
                raise ValueError(f"Clip {clip}, view {view}: the encoder gave features that are not finite.")
            array[self._rows[clip]] = features[view]
        self._record(clip, "ok")

    def reject(self, clip: str, reason: str) -> None:
        """Records a clip that cannot be encoded."""
        self._record(clip, reason)

    def _record(self, clip: str, status: str) -> None:
        append_record(self._status_path, {"clip": clip, "status": status})
        self.status[clip] = status

    def finish(self, max_bad_share: float) -> dict[str, str]:
        """Writes index and manifest; returns the bad clips with their reasons.

        Raises:
            ValueError: More than ``max_bad_share`` of the clips are bad.
        """
        bad = {clip: status for clip, status in self.status.items() if status != "ok"}
        if len(bad) > max_bad_share * len(self.clip_ids):
            shown = "; ".join(list(bad.values())[:5])
            raise ValueError(
                f"{len(bad)} of {len(self.clip_ids)} clips could not be encoded (at most {max_bad_share:.0%} may fail): {shown}"
            )
        index = {clip: self._rows[clip] for clip in self.clip_ids if clip not in bad}
        write_atomically(self.folder / INDEX, json.dumps(index, indent=1))
        write_atomically(self.folder / MANIFEST, json.dumps(asdict(self.manifest), indent=1))
        return bad


class FeatureStore:
    """Random, zero-copy access to a finished store.

    Args:
        folder: The store.

    Raises:
        FileNotFoundError: The folder is missing or the extraction did not finish.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished feature store; run `mm-coach features extract` (it resumes)."
            )
        content = json.loads((folder / MANIFEST).read_text())
        self.manifest = FeatureManifest(**{**content, "views": tuple(content["views"])})
        self._index: dict[str, int] = json.loads((folder / INDEX).read_text())
        self._arrays = {view: np.load(folder / f"{view}.npy", mmap_mode="r") for view in self.manifest.views}

    def __contains__(self, clip: str) -> bool:
        return clip in self._index

    def missing(self, clips: Iterable[str]) -> list[str]:
        """The clips that the store does not hold."""
        return [clip for clip in clips if clip not in self._index]

    def get(self, clip: str, view: str) -> np.ndarray:
        """Features ``[V, C]`` of one clip and view, a view into the memory map.

        Raises:
            KeyError: The store does not hold the clip.
        """
        if clip not in self._index:
            raise KeyError(f"Clip {clip} is not in the feature store; extract features for this tuple folder again.")
        return self._arrays[view][self._index[clip]]
