"""Opens any data set that tuples can be built from, and its poses as dense arrays on disk."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mm_data.egoexo4d import load_poses, read_release
from mm_data.files import replacing
from mm_data.funnel import Funnel
from mm_data.jsonl import append_record, read_records
from mm_data.own_data import is_own_data, load_own_poses, read_own_data
from mm_data.parallel import parallel_map
from mm_data.records import FPS, Source, Take
from mm_data.skeleton import absent_poses

FINISHED = "finished.jsonl"
"""Log of the arrays in a folder of poses."""
_SLACK = 2.0  # seconds that poses may run past a take's end before another frame rate is suspected


def read_source(root: Path, max_drop_rate: float = 0.5) -> Source:
    """Reads an Ego-Exo4D download, a miniature, or a folder of one's own videos.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: A file is malformed, or too much had to be dropped.
    """
    return read_own_data(root, max_drop_rate) if is_own_data(root) else read_release(root, max_drop_rate)


def cache_poses(
    source: Source,
    uids: Sequence[str],
    folder: Path,
    funnel: Funnel,
    workers: int = 1,
    allow_absent: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, str]:
    """Writes ``<take_uid>.npy`` ``[T, 17, 4]`` float32, at least as long as the take; finished takes are not read again.

    Args:
        source: The data set.
        uids: Takes to read.
        folder: Where the arrays go, and ``finished.jsonl``: which file each was made of, and what was noted about it.
        funnel: Counts takes, and notes irregularities of their files.
        workers: Processes; each holds one file at a time.
        allow_absent: Write arrays without a visible joint for takes that have no pose file, instead of dropping them.
        progress: Called with the number of takes done.

    Returns:
        Take uid to what identifies its pose file, for every take that has an array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / FINISHED
    wanted = {uid: pose_signature(source.pose_files.get(uid)) for uid in uids}
    notes_of = {
        record["take"]: record["notes"]
        for record in read_records(log)[0]
        if record["file"] == wanted.get(record["take"]) and (folder / f"{record['take']}.npy").is_file()
    }
    if not allow_absent:
        notes_of = {uid: notes for uid, notes in notes_of.items() if uid in source.pose_files}
    jobs = [
        (source.takes[uid], source.pose_files.get(uid), folder / f"{uid}.npy", allow_absent)
        for uid in uids
        if uid not in notes_of
    ]
    problems = {}
    progress(len(notes_of))
    for job, (problem, detail, notes) in zip(jobs, parallel_map(_cache, jobs, workers), strict=True):
        uid = job[0].take_uid
        if problem:
            problems[uid] = problem, detail
        else:
            append_record(log, {"take": uid, "file": wanted[uid], "notes": notes})
            notes_of[uid] = notes
        progress(len(notes_of) + len(problems))
    for uid in uids:
        if uid in problems:
            problem, detail = problems[uid]
            funnel.drop(problem, f"{uid} {detail}".strip())
            continue
        funnel.keep()
        for what, count in notes_of[uid].items():
            funnel.note(what, uid, count)
    return {uid: wanted[uid] for uid in uids if uid in notes_of}


def pose_signature(path: Path | None) -> str:
    """Kind, name, size and time of a take's pose file, so that another file in its place is noticed."""
    if path is None:
        return "none"
    status = path.stat()
    return f"{path.parent.name}/{path.name} {status.st_size} {status.st_mtime_ns}"


def _cache(job: tuple[Take, Path | None, Path, bool]) -> tuple[str | None, str, Counter[str]]:
    """Problem (or None), its detail, and notes."""
    take, source, target, allow_absent = job
    notes: Counter[str] = Counter()
    if source is None and not allow_absent:
        return "no body poses", "", notes
    length = round(take.duration * FPS)
    try:
        poses = absent_poses(length) if source is None else load_pose_file(source, notes)
    except ValueError as error:
        return "unreadable poses", str(error), notes
    if len(poses) > (take.duration + _SLACK) * FPS:
        return "poses run past the take: another frame rate?", f"({len(poses)} frames, {take.duration:.1f} s)", notes
    # Poses may end long before the take does; a comment about what comes later must not find them.
    poses = np.concatenate([poses, absent_poses(max(0, length - len(poses)))])
    with replacing(target) as partial, partial.open("wb") as file:
        np.save(file, poses.astype(np.float32))
    return None, "", notes


def load_pose_file(path: Path, notes: Counter[str] | None = None) -> np.ndarray:
    """Poses ``[T, 17, 4]`` of one take from Ego-Exo4D's JSON or a NumPy array; ``notes`` counts irregularities.

    Raises:
        ValueError: The file is malformed.
    """
    return load_own_poses(path) if path.suffix == ".npy" else load_poses(path, notes=notes)
