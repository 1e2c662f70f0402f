"""Writes a feature store so that it can be interrupted at any moment and continued, by any number of processes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mm_data.features.store import MANIFEST, PLAN, STATUS, FeatureManifest, sha256_of, write_end
from mm_data.files import write_atomically
from mm_data.jsonl import append_records, read_records

OK = "ok"
SHARD_SIZE = 2048
"""Clips per shard."""


class FeatureStoreWriter:
    """Writes features shard by shard; what was written survives a crash and is not encoded again.

    Several processes may write at once, each to shards of its own. Whoever finds the last clip recorded finishes the store.

    Args:
        folder: The store.
        manifest: What makes the features.
        clip_ids: All clips of the finished store, in order.
        max_bad_share: Share of the clips that may be rejected.
        shard_size: Clips per shard; a store that was begun keeps its own.

    Raises:
        ValueError: The folder was begun with another manifest or clip list.
    """

    def __init__(
        self,
        folder: Path,
        manifest: FeatureManifest,
        clip_ids: Sequence[str],
        max_bad_share: float = 0.0,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        self.folder, self.manifest, self.clip_ids = folder, manifest, list(clip_ids)
        self.max_bad_share = max_bad_share
        folder.mkdir(parents=True, exist_ok=True)
        plan = json.loads(json.dumps({"manifest": manifest.identity(), "clips": self.clip_ids}))
        path = folder / PLAN
        if path.is_file():
            begun = json.loads(path.read_text())
            shard_size = begun.pop("shard_size")
            if begun != plan:
                differing = [f"{k} was {begun['manifest'].get(k)!r}, is {v!r}" for k, v in plan["manifest"].items() if begun["manifest"].get(k) != v]  # fmt: skip
                raise ValueError(
                    f"{folder} was begun with another encoder, preprocessing or clip list: {'; '.join(differing) or 'other clips'}. "
                    "Delete it or give another folder."
                )
        else:
            write_atomically(path, json.dumps({**plan, "shard_size": shard_size}))
        starts = range(0, len(self.clip_ids), shard_size)
        self.shards = [
            ShardWriter(folder / f"shard-{number:05d}", manifest, self.clip_ids[start : start + shard_size])
            for number, start in enumerate(starts)
        ]

    @property
    def finished(self) -> bool:
        """Whether index and manifest were written."""
        return (self.folder / MANIFEST).is_file()

    def reopen(self) -> None:
        """Makes a finished store unfinished."""
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def check(self, rejected: dict[str, str]) -> None:
        """Stops a run in which too many clips fail.

        Raises:
            ValueError: More than ``max_bad_share`` of all clips were rejected.
        """
        if len(rejected) > self.max_bad_share * len(self.clip_ids):
            shown = "; ".join(list(rejected.values())[:5])
            raise ValueError(
                f"{len(rejected)} of {len(self.clip_ids)} clips could not be encoded (at most {self.max_bad_share:.0%} may fail): {shown}. "
                "Mend them and run again with --retry-bad, or raise --max-bad; what was encoded is kept."
            )

    def finish(self) -> dict[str, str] | None:
        """Writes index and manifest; returns the rejected clips, or None while other processes still have clips to do.

        Raises:
            ValueError: Too many clips were rejected.
        """
        index, rejected, hashes = {}, {}, {}
        for number, shard in enumerate(self.shards):
            status = shard.status()
            if len(status) < len(shard.clip_ids):
                return None
            shard.rewrite_status({clip: status[clip] for clip in shard.clip_ids})
            rejected |= {clip: reason for clip, reason in status.items() if reason != OK}
            index |= {clip: [number, row] for row, clip in enumerate(shard.clip_ids) if status[clip] == OK}
            hashes |= shard.hashes()
        self.check(rejected)
        write_end(self.folder, self.manifest.identity(), index, rejected, hashes)
        return rejected


class ShardWriter:
    """One shard; a process that writes it has it to itself.

    Args:
        folder: Of the shard.
        manifest: What makes the features.
        clip_ids: Clips of the shard, in order.
    """

    def __init__(self, folder: Path, manifest: FeatureManifest, clip_ids: list[str]) -> None:
        self.folder, self.manifest, self.clip_ids = folder, manifest, clip_ids
        self._arrays: dict[str, np.ndarray] = {}

    def status(self) -> dict[str, str]:
        """Clip to ``ok`` or the reason of its rejection. A line that a crash cut off is passed over."""
        return {entry["clip"]: entry["status"] for entry in read_records(self.folder / STATUS)[0]}

    def forget_rejected(self) -> None:
        """Makes clips that were rejected pending again."""
        self.rewrite_status({clip: status for clip, status in self.status().items() if status == OK})

    def rewrite_status(self, status: dict[str, str]) -> None:
        """Replaces the log."""
        if self.folder.is_dir():
            lines = [
                json.dumps({"clip": clip, "status": value}, ensure_ascii=False) + "\n" for clip, value in status.items()
            ]
            write_atomically(self.folder / STATUS, "".join(lines))

    def pending(self, batch_size: int) -> Iterator[list[str]]:
        """Batches that hold a clip without a status. Their composition is fixed, so that resuming gives the same bits."""
        status = self.status()
        for start in range(0, len(self.clip_ids), batch_size):
            batch = self.clip_ids[start : start + batch_size]
            if any(clip not in status for clip in batch):
                yield batch

    def write(self, clips: list[str], features: dict[str, np.ndarray], rejected: dict[str, str]) -> None:
        """Stores the features ``[B, V, C]`` per view of neighbouring clips, then records them.

        Raises:
            ValueError: Features that are not finite.
        """
        self._open()
        start = self.clip_ids.index(clips[0])
        for view, array in self._arrays.items():
            for clip, values in zip(clips, features[view], strict=True):
                if clip not in rejected and not np.isfinite(values).all():
                    raise ValueError(
                        f"Clip {clip}, view {view}: the encoder gave features that are not finite in {array.dtype}; try bfloat16 or "
                        "float32 weights."
                    )
            array[start : start + len(clips)] = features[view]
            array.flush()  # type: ignore[attr-defined]
        append_records(self.folder / STATUS, [{"clip": clip, "status": rejected.get(clip, OK)} for clip in clips])

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every array."""
        self._open()
        paths = [self.folder / f"{view}.npy" for view in self.manifest.views]
        return {f"{self.folder.name}/{path.name}": sha256_of(path) for path in paths}

    def _open(self) -> None:
        self.folder.mkdir(exist_ok=True)
        shape = (len(self.clip_ids), self.manifest.num_tokens, self.manifest.width)
        for view in self.manifest.views:
            if view not in self._arrays:
                path = self.folder / f"{view}.npy"
                if not path.is_file():
                    partial = path.with_suffix(".partial")
                    np.lib.format.open_memmap(partial, mode="w+", dtype=self.manifest.dtype, shape=shape).flush()
                    partial.replace(path)
                self._arrays[view] = np.lib.format.open_memmap(path, mode="r+")
