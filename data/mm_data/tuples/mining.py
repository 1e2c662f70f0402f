"""Aligns every fault with its candidate experts, on all cores, resumably (ExpertAF §3.2, temporal alignment and filtering)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.ground.parallel import parallel_map
from mm_data.poses.window_search import PoseTrack, best_window, prepare_track
from mm_data.records import FPS
from mm_data.tuples.pairing import Fault, PairingOptions, Praise

ALGORITHM = "pa-mpjpe-1"
"""Changes whenever results would; finished shards of another algorithm are not used."""

_SHARD = 32


@dataclass(frozen=True)
class Alignment:
    """An expert window found for a fault; ``alignment_mm`` is None where poses are lacking."""

    take_uid: str
    remark_id: str
    start: int
    alignment_mm: float | None


class _Aligner:
    """Lives in every worker: where the poses are, and the index of praise."""

    def __init__(self, poses: Path, praise: Praise, options: PairingOptions) -> None:
        self._poses, self._praise, self._options = poses, praise, options

    def align(self, faults: Sequence[Fault]) -> list[tuple[list[Alignment], int]]:
        """For every fault the best experts, best first, and how many were considered.

        Experts are the outer loop: each take is prepared once for all faults, and only one is in memory.
        """
        learners = [self._track(fault.take_uid, fault.start, fault.stop) for fault in faults]
        candidates = [self._praise.candidates(fault) for fault in faults]
        found: list[list[Alignment]] = [[] for _ in faults]
        for uid in sorted(set().union(*candidates)):
            expert = self._track(uid)
            for i, fault in enumerate(faults):
                if uid not in candidates[i]:
                    continue
                keep = self._kept(fault)
                worst = found[i][-1].alignment_mm if len(found[i]) == keep else None
                ceiling = np.inf if worst is None else worst + 1e-3  # errors are stored rounded
                match = self._align(learners[i], expert, uid, candidates[i][uid], ceiling)
                if match is not None:
                    found[i] = sorted([*found[i], match], key=_quality)[:keep]
        refined = [
            sorted((self._refine(learner, match) for match in matches), key=_quality)
            for learner, matches in zip(learners, found, strict=True)
        ]
        return [(matches, len(experts)) for matches, experts in zip(refined, candidates, strict=True)]

    def _kept(self, fault: Fault) -> int:
        options = self._options
        return (options.experts_train if fault.group[0] == "train" else options.experts_test) + options.runners_up

    def _track(self, uid: str, start: int = 0, stop: int | None = None) -> PoseTrack:
        return prepare_track(np.load(self._poses / f"{uid}.npy", mmap_mode="r")[start:stop])

    def _align(
        self, learner: PoseTrack, expert: PoseTrack, uid: str, comments: dict[str, int], ceiling: float
    ) -> Alignment | None:
        options, length = self._options, len(learner)
        if options.allow_unaligned and not (learner.mask.any() and expert.mask.any()):
            remark_id, frame = min(comments.items(), key=lambda item: (item[1], item[0]))
            start = min(frame, len(expert)) - length
            return Alignment(uid, remark_id, start, None) if start >= 0 else None
        starts = search_starts(list(comments.values()), length, len(expert), options)
        match = best_window(learner, expert, starts, options.stride, ceiling)
        if match is None:
            return None
        # Of the comments whose horizon holds the window, the one that it ends nearest to is what it demonstrates.
        stop = match.start + length
        remark_id = min(comments, key=lambda name: (abs(comments[name] - stop), name))
        return Alignment(uid, remark_id, match.start, round(match.error_mm, 3))

    def _refine(self, learner: PoseTrack, match: Alignment) -> Alignment:
        """Moves a window that was found on every stride-th frame to the best frame around it."""
        if match.alignment_mm is None:
            return match
        reach = self._options.stride - 1
        first = max(0, match.start - reach)
        around = self._track(match.take_uid, first, match.start + len(learner) + reach)
        best = best_window(learner, around, np.arange(len(around) - len(learner) + 1), self._options.stride)
        assert best is not None  # the window itself is among them
        return replace(match, start=first + best.start, alignment_mm=round(best.error_mm, 3))


def _quality(found: Alignment) -> tuple[float, str]:
    return (np.inf if found.alignment_mm is None else found.alignment_mm), found.take_uid


def search_starts(comments: Sequence[int], length: int, frames: int, options: PairingOptions) -> np.ndarray:
    """First frames of the windows that lie within the horizon of any comment and inside the take.

    Args:
        comments: Frames of the expert's comments.
        length: Frames of the window.
        frames: Frames of the take.
        options: Horizon and stride.

    Returns:
        Ascending multiples of the stride, so that overlapping horizons share windows.
    """
    reach = round(options.horizon * FPS)
    allowed = np.zeros(max(0, frames - length + 1), bool)
    for comment in comments:
        allowed[max(0, comment - reach) : max(0, comment + reach - length + 1)] = True
    starts = np.flatnonzero(allowed)
    return starts[starts % options.stride == 0]


def align_faults(
    faults: Sequence[Fault],
    praise: Praise,
    poses: Path,
    signatures: Mapping[str, str],
    options: PairingOptions,
    shards: Path,
    workers: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Fault, list[Alignment], int]]:
    """Aligns all faults; finished shards are read back instead of being computed again.

    Args:
        faults: What to align.
        praise: Index of the candidates.
        poses: Folder of ``<take_uid>.npy``.
        signatures: Take uid to what identifies its poses; see `cache_poses`.
        options: See `PairingOptions`.
        shards: Folder of results, one file per few faults, named by everything that decides them.
        workers: Processes.
        progress: Called with the number of faults done.

    Yields:
        (fault, experts best first, number of experts considered), in the order of ``faults``.
    """
    shards.mkdir(parents=True, exist_ok=True)
    grouped = sorted(faults, key=lambda fault: fault.group)  # faults of a shard share their candidates
    parts = [grouped[i : i + _SHARD] for i in range(0, len(grouped), _SHARD)]
    digests = {}
    for group in {fault.group for fault in faults}:
        by_region = praise.comments.get(group, {})
        experts = sorted(set().union(*by_region.values()))
        digests[group] = _digest([ALGORITHM, asdict(options), by_region, [signatures[uid] for uid in experts]])
    paths = [shards / f"{_digest([[asdict(f), signatures[f.take_uid], digests[f.group]] for f in part])}.json" for part in parts]  # fmt: skip
    missing = [i for i, path in enumerate(paths) if not path.is_file()]
    done = len(faults) - sum(len(parts[i]) for i in missing)
    progress(done)
    results = parallel_map(_align_part, [parts[i] for i in missing], workers, _start_worker, (poses, praise, options))
    for i, rows in zip(missing, results, strict=True):
        write_atomically(paths[i], json.dumps(rows))
        done += len(parts[i])
        progress(done)
    rows = {row["fault"]: row for path in paths for row in json.loads(path.read_text())}
    for fault in faults:
        row = rows[fault.remark_id]
        yield fault, [Alignment(**entry) for entry in row["found"]], row["considered"]


def _digest(decisive: Any) -> str:
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


_aligner: _Aligner | None = None


def _start_worker(poses: Path, praise: Praise, options: PairingOptions) -> None:
    global _aligner
    _aligner = _Aligner(poses, praise, options)


def _align_part(part: Sequence[Fault]) -> list[dict[str, Any]]:
    assert _aligner is not None
    return [
        {"fault": fault.remark_id, "found": [asdict(match) for match in found], "considered": considered}
        for fault, (found, considered) in zip(part, _aligner.align(part), strict=True)
    ]
