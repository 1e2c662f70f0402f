"""Aligns every fault with its candidate experts, on all cores, resumably (ExpertAF §3.2, temporal alignment and filtering)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.digests import hash_of
from mm_data.ground.files import write_atomically
from mm_data.ground.parallel import parallel_map
from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import PoseTrack, best_window, prepare_track
from mm_data.records import FPS, ExpertWindow
from mm_data.tuples.pairing import Fault, PairingOptions, Praise

ALGORITHM = "pa-mpjpe-1"
"""Changes whenever results would; finished shards of another algorithm are not used."""

_SHARD = 32


@dataclass
class _Search:
    """The search for the experts of one fault.

    Attributes:
        fault: The fault.
        learner: Poses of the fault's window.
        candidates: Expert take to its praise on the fault's regions: remark id to frame.
        most: Experts that are kept.
        best: Windows found so far, best first.
    """

    fault: Fault
    learner: PoseTrack
    candidates: dict[str, dict[str, int]]
    most: int
    best: list[ExpertWindow] = field(default_factory=list)

    @property
    def ceiling(self) -> float:
        """Error in millimetres above which a window is not among the best."""
        worst = self.best[-1].alignment_mm if len(self.best) == self.most else None
        return np.inf if worst is None else worst + 1e-3  # errors are stored rounded

    def offer(self, window: ExpertWindow | None) -> None:
        """Takes a window if it is among the best."""
        if window is not None:
            self.best = sorted([*self.best, window], key=_quality)[: self.most]


class _Aligner:
    """Aligns faults with experts; every worker has one, with its own view of the poses and the index of praise."""

    def __init__(self, poses: PoseArchive, praise: Praise, options: PairingOptions) -> None:
        self._poses, self._praise, self._options = poses, praise, options

    def align(self, faults: Sequence[Fault]) -> list[_Search]:
        """Finds the best experts of every fault.

        Experts are the outer loop: each take is prepared once for all faults, and only one is in memory.
        """
        searches = [self._search(fault) for fault in faults]
        for uid in sorted(set().union(*(search.candidates for search in searches))):
            expert = self._track(uid)
            for search in searches:
                if uid in search.candidates:
                    search.offer(self._align(search, expert, uid))
        for search in searches:
            search.best = sorted((self._refine(search.learner, window) for window in search.best), key=_quality)
        return searches

    def _search(self, fault: Fault) -> _Search:
        options = self._options
        most = (options.experts_train if fault.group[0] == "train" else options.experts_test) + options.runners_up
        learner = self._track(fault.take_uid, fault.start, fault.stop)
        return _Search(fault, learner, self._praise.candidates(fault), most)

    def _track(self, uid: str, start: int = 0, stop: int | None = None) -> PoseTrack:
        return prepare_track(self._poses[uid][start:stop])

    def _align(self, search: _Search, expert: PoseTrack, uid: str) -> ExpertWindow | None:
        """The window of an expert's take that is most like the learner's, or None."""
        options, learner, comments = self._options, search.learner, search.candidates[uid]
        length = len(learner)
        if options.allow_unaligned and not (learner.mask.any() and expert.mask.any()):
            remark_id, frame = min(comments.items(), key=lambda item: (item[1], item[0]))
            start = min(frame, len(expert)) - length
            return ExpertWindow(uid, remark_id, start, None) if start >= 0 else None
        starts = search_starts(list(comments.values()), length, len(expert), options)
        match = best_window(learner, expert, starts, options.stride, search.ceiling)
        if match is None:
            return None
        # Of the comments whose horizon holds the window, the one that it ends nearest to is what it demonstrates.
        stop = match.start + length
        remark_id = min(comments, key=lambda name: (abs(comments[name] - stop), name))
        return ExpertWindow(uid, remark_id, match.start, round(match.error_mm, 3))

    def _refine(self, learner: PoseTrack, window: ExpertWindow) -> ExpertWindow:
        """Moves a window that was found on every stride-th frame to the best frame around it."""
        if window.alignment_mm is None:
            return window
        reach = self._options.stride - 1
        first = max(0, window.start - reach)
        around = self._track(window.take_uid, first, window.start + len(learner) + reach)
        best = best_window(learner, around, np.arange(len(around) - len(learner) + 1), self._options.stride)
        assert best is not None  # the window itself is among them
        return replace(window, start=first + best.start, alignment_mm=round(best.error_mm, 3))


def _quality(window: ExpertWindow) -> tuple[float, str]:
    return (np.inf if window.alignment_mm is None else window.alignment_mm), window.take_uid


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
    poses: PoseArchive,
    signatures: Mapping[str, str],
    options: PairingOptions,
    shards: Path,
    workers: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Fault, list[ExpertWindow], int]]:
    """Aligns all faults; finished shards are read back instead of being computed again.

    Args:
        faults: Faults to align.
        praise: Index of the candidates.
        poses: Pose arrays of learners and experts.
        signatures: Take uid to what identifies its poses, as `cache_poses` returns it.
        options: Horizon, stride and number of experts.
        shards: Folder of results, one file per few faults, named by everything that decides them.
        workers: Processes.
        progress: Called with the number of faults done.

    Yields:
        (fault, expert windows best first, number of experts considered), in the order of ``faults``.
    """
    shards.mkdir(parents=True, exist_ok=True)
    grouped = sorted(faults, key=lambda fault: fault.group)  # faults of a shard share their candidates
    parts = [grouped[i : i + _SHARD] for i in range(0, len(grouped), _SHARD)]
    groups = {fault.group: _group_name(praise, fault.group, signatures, options) for fault in faults}
    decisive = [[[asdict(f), signatures[f.take_uid], groups[f.group]] for f in part] for part in parts]
    paths = [shards / f"{hash_of(content)[:32]}.json" for content in decisive]
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
        yield fault, [ExpertWindow(**entry) for entry in row["found"]], row["considered"]


def _group_name(
    praise: Praise, group: tuple[str, str, str], signatures: Mapping[str, str], options: PairingOptions
) -> str:
    """Hash of all that decides which experts the faults of a group find."""
    by_region = praise.comments.get(group, {})
    experts = sorted(set().union(*by_region.values()))
    return hash_of([ALGORITHM, asdict(options), by_region, [signatures[uid] for uid in experts]])[:32]


_aligner: _Aligner | None = None


def _start_worker(poses: PoseArchive, praise: Praise, options: PairingOptions) -> None:
    global _aligner
    _aligner = _Aligner(poses, praise, options)


def _align_part(part: Sequence[Fault]) -> list[dict[str, Any]]:
    assert _aligner is not None
    return [
        {
            "fault": search.fault.remark_id,
            "found": [asdict(window) for window in search.best],
            "considered": len(search.candidates),
        }
        for search in _aligner.align(part)
    ]
