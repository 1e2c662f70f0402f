"""Writes a feature store so that it can be interrupted at any moment and continued, by any number of processes."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from mm_data.features.store import MANIFEST, PLAN, STATUS, FeatureManifest, shard_name, write_end
from mm_data.ground.digests import sha256_of
from mm_data.ground.files import check_ours, locked, replacing, take_lock, write_atomically
from mm_data.ground.jsonl import append_records, read_records

OK = "ok"
SHARD_SIZE = 2048
"""Most clips per shard."""


class FeatureStoreWriter:
    """Writes features shard by shard; what was written survives a crash and is not encoded again.

    Several processes may write at once, each to shards of its own. Whoever finds the last clip recorded finishes the store.

    Args:
        folder: The store.
        manifest: What makes the features.
        clips: Clip id to what the clip is (JSON-ready), in order. A resumed run has to ask for the same.
        max_bad_share: Share of the clips that may be rejected.
        shard_size: Clips per shard; a store that was begun keeps its own.
        settings: What else decides the bits (JSON-ready), such as the batch size.

    Raises:
        ValueError: The folder was begun with something else, or holds what we did not write; says what.
    """

    def __init__(
        self,
        folder: Path,
        manifest: FeatureManifest,
        clips: Mapping[str, Any],
        max_bad_share: float = 0.0,
        shard_size: int = SHARD_SIZE,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.manifest, self.clip_ids = folder, manifest, list(clips)
        self.max_bad_share = max_bad_share
        check_ours(folder, (PLAN,))
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"manifest": manifest.identity(), "settings": dict(settings or {}), "clips": dict(clips)}
        plan = json.loads(json.dumps(plan))
        path = folder / PLAN
        if path.is_file():
            begun = json.loads(path.read_text())
            if "shard_size" not in begun:
                raise ValueError(f"{folder} was begun by an earlier version; delete it or give another folder.")
            shard_size = begun.pop("shard_size")
            if begun != plan or list(begun["clips"]) != list(plan["clips"]):  # the order decides the rows
                raise ValueError(
                    f"{folder} was begun with something else: {_difference(begun, plan)}. "
                    "Delete it or give another folder."
                )
        else:
            write_atomically(path, json.dumps({**plan, "shard_size": shard_size}))
        starts = range(0, len(self.clip_ids), shard_size)
        self.shards = [
            ShardWriter(folder / shard_name(number), manifest, self.clip_ids[start : start + shard_size])
            for number, start in enumerate(starts)
        ]

    @property
    def finished(self) -> bool:
        """Whether index and manifest were written."""
        return (self.folder / MANIFEST).is_file()

    def retry_rejected(self) -> None:
        """Makes clips that were rejected pending again. Only for a process that is alone with the store."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for shard in self.shards:
            shard.rewrite_status({clip: status for clip, status in shard.status().items() if status == OK})

    def fill(
        self,
        features_of: Callable[[str], np.ndarray],
        batch_size: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, str]:
        """Writes a store clip by clip, for a process that is alone with it, and finishes it.

        Args:
            features_of: Clip to its features ``[V, C]``, or ``[views, V, C]`` in the manifest's order; one that raises `ValueError` or `FileNotFoundError` is rejected.
            batch_size: Clips that are written and recorded together.
            progress: Called with (done, total).

        Returns:
            Rejected clips with reasons.

        Raises:
            ValueError: Too many clips were rejected.
        """
        views = self.manifest.views
        shape = (len(views), self.manifest.num_tokens, self.manifest.width)
        work = [(shard, batch) for shard in self.shards for batch in shard.pending(batch_size)]
        done = len(self.clip_ids) - sum(len(batch) for _, batch in work)
        for shard, batch in work:
            values, failed = np.zeros((len(batch), *shape), self.manifest.dtype), {}
            for row, clip in enumerate(batch):
                try:
                    values[row] = features_of(clip)
                except (ValueError, FileNotFoundError) as error:
                    failed[clip] = str(error)
            shard.write(batch, {view: values[:, place] for place, view in enumerate(views)}, failed)
            done += len(batch)
            progress(done, len(self.clip_ids))
        rejected = self.finish()
        assert rejected is not None, "one process writes all shards"
        return rejected

    def check(self, rejected: dict[str, str]) -> None:
        """Stops a run in which too many clips fail.

        Args:
            rejected: Clip id to the reason of its rejection.

        Raises:
            ValueError: More than ``max_bad_share`` of all clips were rejected.
        """
        if len(rejected) > self.max_bad_share * len(self.clip_ids):
            reasons = "; ".join(f"{clip}: {reason.rstrip('.')}" for clip, reason in list(rejected.items())[:5])
            raise ValueError(
                f"{len(rejected)} of {len(self.clip_ids)} clips could not be encoded (at most {self.max_bad_share:.0%} "
                f"may fail): {reasons}. Mend them and run again with --retry-bad, or raise --max-bad; "
                "what was encoded is kept."
            )

    def finish(self) -> dict[str, str] | None:
        """Writes index and manifest.

        Returns:
            Rejected clips with reasons, or None while other processes still have clips to do.

        Raises:
            ValueError: Too many clips were rejected.
        """
        with locked(self.folder / "lock"):
            if self.finished:  # by a process that had the lock before
                return FeatureManifest.read(self.folder).rejected
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
            for leftover in self.folder.rglob("*.partial"):  # of processes that were killed
                leftover.unlink()
            write_end(self.folder, self.manifest.identity(), index, rejected, hashes)
            return rejected


def _difference(begun: dict[str, Any], plan: dict[str, Any]) -> str:
    for part in ("manifest", "settings"):
        changed = [
            f"{k} was {begun[part].get(k)!r}, is {v!r}" for k, v in plan[part].items() if begun[part].get(k) != v
        ]
        if changed:
            return "; ".join(changed)
    changed = [clip for clip, what in plan["clips"].items() if begun["clips"].get(clip, what) != what]
    if changed:
        return f"clip {changed[0]} was {begun['clips'][changed[0]]}, is {plan['clips'][changed[0]]}"
    return "another list of clips, or in another order"


class ShardWriter:
    """One shard; the process that writes it locks it for as long as it lives.

    Args:
        folder: The shard's folder.
        manifest: What makes the features.
        clip_ids: Clips of the shard, in order.
    """

    def __init__(self, folder: Path, manifest: FeatureManifest, clip_ids: list[str]) -> None:
        self.folder, self.manifest, self.clip_ids = folder, manifest, clip_ids
        self._arrays: dict[str, np.ndarray] = {}
        self._lock: FileLock | None = None

    def status(self) -> dict[str, str]:
        """Reads clip to ``ok`` or the reason of its rejection. A line that a crash cut off is passed over."""
        return {entry["clip"]: entry["status"] for entry in read_records(self.folder / STATUS)[0]}

    def rewrite_status(self, status: dict[str, str]) -> None:
        """Replaces the log of the clips."""
        if self.folder.is_dir():
            lines = [
                json.dumps({"clip": clip, "status": value}, ensure_ascii=False) + "\n" for clip, value in status.items()
            ]
            write_atomically(self.folder / STATUS, "".join(lines))

    def pending(self, batch_size: int) -> Iterator[list[str]]:
        """Yields batches that hold a clip without a status. Their composition is fixed, so that resuming gives the same bits."""
        status = self.status()
        for start in range(0, len(self.clip_ids), batch_size):
            batch = self.clip_ids[start : start + batch_size]
            if any(clip not in status for clip in batch):
                yield batch

    def write(self, clips: list[str], features: dict[str, np.ndarray], rejected: dict[str, str]) -> None:
        """Stores the features ``[B, V, C]`` per view of neighbouring clips, then records them.

        Args:
            clips: Neighbouring clips of the shard, in order.
            features: View to the clips' features ``[B, V, C]``.
            rejected: Clip id to the reason of its rejection.

        Raises:
            ValueError: Features that are not finite, or another process writes this shard.
        """
        if self._lock is None:
            self.folder.mkdir(exist_ok=True)
            self._lock = take_lock(
                self.folder / "lock", f"Another process is writing {self.folder}; wait for it or end it."
            )
        self._open()
        start = self.clip_ids.index(clips[0])
        for view, array in self._arrays.items():
            for clip, values in zip(clips, features[view], strict=True):
                if clip not in rejected and not np.isfinite(values).all():
                    raise ValueError(
                        f"Clip {clip}, view {view}: the encoder gave features that are not finite in {array.dtype}; "
                        "try bfloat16 or float32 weights."
                    )
            array[start : start + len(clips)] = features[view]
            array.flush()  # type: ignore[attr-defined]
        append_records(self.folder / STATUS, [{"clip": clip, "status": rejected.get(clip, OK)} for clip in clips])

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of every array by its path in the store."""
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
                    with replacing(path) as partial:
                        np.lib.format.open_memmap(partial, mode="w+", dtype=self.manifest.dtype, shape=shape).flush()
                self._arrays[view] = np.lib.format.open_memmap(path, mode="r+")
