"""Writes the poses of a data set as dense arrays on disk."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import replacing
from mm_data.ground.funnel import Funnel
from mm_data.ground.jsonl import append_record, read_records
from mm_data.ground.parallel import parallel_map
from mm_data.poses.archive import PoseArchive
from mm_data.poses.checks import TURNED, check_upright, other_axis, trunk
from mm_data.poses.skeleton import absent_poses
from mm_data.records import FPS, Source, Take
from mm_data.release.read import ENDS_EARLY, ends_early, load_pose_file

_CHECKS = 1  # goes up when other poses pass, so that what was read before is read again
FINISHED = "finished.jsonl"
"""Log of the arrays in a folder of poses."""
_SLACK = 2.0  # seconds that poses may run past a take's end before another frame rate is suspected


def cache_poses(
    source: Source,
    uids: Sequence[str],
    archive: PoseArchive,
    funnel: Funnel,
    workers: int = 1,
    allow_absent: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, str]:
    """Writes ``<take_uid>.npy`` ``[T, 17, 4]`` float32, at least as long as the take; finished takes are not read again.

    Args:
        source: The data set.
        uids: Takes to read.
        archive: Where the arrays go, beside ``finished.jsonl``: which file each was made of, and what was noted about it.
        funnel: Counts takes, and notes irregularities of their files.
        workers: Processes; each holds one file at a time.
        allow_absent: Write arrays without a visible joint for takes that have no pose file, instead of dropping them.
        progress: Called with the number of takes done.

    Returns:
        Take uid to what identifies its pose file, for every take that has an array.
    """
    archive.folder.mkdir(parents=True, exist_ok=True)
    log = archive.folder / FINISHED
    signatures = {uid: pose_signature(source.pose_files.get(uid)) for uid in uids}
    done = _finished(log, archive, signatures)
    if not allow_absent:
        done = {uid: entry for uid, entry in done.items() if uid in source.pose_files}
    jobs = [
        (source.takes[uid], source.pose_files.get(uid), archive.path(uid), allow_absent)
        for uid in uids
        if uid not in done
    ]
    problems: dict[str, tuple[str, str]] = {}
    progress(len(done))
    for job, (problem, detail, notes) in zip(jobs, parallel_map(_cache, jobs, workers), strict=True):
        uid = job[0].take_uid
        if problem:
            problems[uid] = problem, detail
        else:
            done[uid] = {"take": uid, "file": signatures[uid], "checks": _CHECKS, **notes}
            append_record(log, done[uid])
        progress(len(done) + len(problems))
    for uid in uids:
        if uid in problems:
            problem, detail = problems[uid]
            funnel.drop(problem, f"{uid} {detail}".strip())
        else:
            funnel.keep()
            _note(uid, done[uid], funnel)
    trunks = [np.array(done[uid]["trunk"]) for uid in uids if uid in done and done[uid]["trunk"]]
    check_upright(trunks, str(source.root))
    return {uid: signatures[uid] for uid in uids if uid in done}


def _finished(log: Path, archive: PoseArchive, signatures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Take uid to its entry in the log, for arrays that are there and were made of the same files."""
    return {
        entry["take"]: entry
        for entry in read_records(log)[0]
        if entry["file"] == signatures.get(entry["take"])
        and entry.get("checks") == _CHECKS
        and entry["take"] in archive
    }


def _note(uid: str, entry: dict[str, Any], funnel: Funnel) -> None:
    """Notes what was irregular about a take's poses."""
    for what, count in entry["notes"].items():
        funnel.note(what, uid, count)
    if entry["early"]:
        funnel.note(ENDS_EARLY, f"{uid} ({entry['early']})")
    if entry["trunk"] and (axis := other_axis(np.array(entry["trunk"]))):
        funnel.note(TURNED, f"{uid} (shoulders are along {axis} from the hips)")


def pose_signature(path: Path | None) -> str:
    """Returns kind, name, size and time of a take's pose file, so that another file in its place is noticed."""
    if path is None:
        return "none"
    status = path.stat()
    return f"{path.parent.name}/{path.name} {status.st_size} {status.st_mtime_ns}"


def _cache(job: tuple[Take, Path | None, Path, bool]) -> tuple[str | None, str, dict[str, Any]]:
    """Problem (or None), its detail, and what is to be logged: notes, trunk (None without one), what an early end is like."""
    take, source, target, allow_absent = job
    notes: Counter[str] = Counter()
    if source is None and not allow_absent:
        return "no body poses", "", {}
    length = round(take.duration * FPS)
    try:
        poses = absent_poses(length) if source is None else load_pose_file(source, notes)
    except ValueError as error:
        return "unreadable poses", str(error), {}
    if len(poses) > (take.duration + _SLACK) * FPS:
        return "poses run past the take: another frame rate?", f"({len(poses)} frames, {take.duration:.1f} s)", {}
    direction = trunk(poses)
    entry = {
        "notes": notes,
        "trunk": direction.tolist() if np.isfinite(direction).all() else None,
        "early": ends_early(len(poses), take.duration),
    }
    # Poses may end long before the take does; a comment about what comes later must not find them.
    poses = np.concatenate([poses, absent_poses(max(0, length - len(poses)))])
    with replacing(target) as partial, partial.open("wb") as file:
        np.save(file, poses.astype(np.float32))
    return None, "", entry
