"""What a folder of any kind holds: the clips to encode and the poses of tuples, of items, of motion, or of a table of one's own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.ground.hand_tables import number, read_table, video_path
from mm_data.ground.progress import Report
from mm_data.poses.pose_folder import MANIFEST, check_poses_apart, write_manifest
from mm_data.records import FPS, POSES, SPLITS, Clip, VideoClip
from mm_data.release.pose_cache import cache_poses
from mm_data.release.read import read_source, split_by_participant
from mm_data.tasks.folder import is_task_folder, pose_frames, pose_name, read_items, read_task_manifest
from mm_data.tuples.store import clips_of_folder, read_manifest, read_tuples

_COLUMNS = ("clip", "start", "stop")


@dataclass(frozen=True)
class PoseStretch:
    """Frames ``[start, stop)`` of an array of poses on disk."""

    path: Path
    start: int
    stop: int

    def read(self) -> np.ndarray:
        """Raw poses ``[n, 17, 4]``, memory-mapped."""
        return np.load(self.path, mmap_mode="r")[self.start : self.stop]


def pose_stretches(folder: Path) -> dict[str, PoseStretch]:
    """Clip id to its poses, for all clips of a tuple folder, or those of a task folder that have poses."""
    if not is_task_folder(folder):
        return stretches_of(clips_of_folder(folder), folder)
    clips = [item.clip for split in SPLITS for item in read_items(folder, split) if item.has_poses]
    return {clip.clip_id: PoseStretch(folder / POSES / f"{pose_name(clip)}.npy", *pose_frames(clip)) for clip in clips}


def stretches_of(clips: Mapping[str, Clip], folder: Path) -> dict[str, PoseStretch]:
    """Likewise for these clips of a tuple folder."""
    return {name: PoseStretch(folder / POSES / f"{c.take_uid}.npy", c.start, c.stop) for name, c in clips.items()}


def read_clips(source: Path, videos: Path | None = None) -> tuple[list[VideoClip], Path]:
    """Clips and the folder that their videos lie in.

    Args:
        source: A tuple folder, a task folder, or a ``.csv`` or ``.jsonl`` table with the columns ``clip, start, stop`` (seconds) and one
            column per view with the path of its video.
        videos: Root of the videos; by default the data set of the tuples, or the table's folder.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: A row is malformed, names file and line; a clip is listed twice; views differ between rows.
    """
    if is_task_folder(source):
        clips = {item.clip.clip_id: item.clip for split in SPLITS for item in read_items(source, split)}
        return list(clips.values()), videos or Path(read_task_manifest(source)["videos"])
    if source.is_dir():
        clips = [
            VideoClip(clip_id, {"ego": clip.ego_video, "exo": clip.exo_video}, clip.start / FPS, clip.stop / FPS)
            for clip_id, clip in clips_of_folder(source).items()
        ]
        return clips, videos or Path(read_manifest(source)["request"]["source"])
    if not source.is_file():
        raise FileNotFoundError(f"{source} is neither a tuple folder, nor a task folder, nor a table of clips.")
    base = (
        f"{videos}, which --videos names" if videos else f"{source.parent}, the table's folder; --videos names another"
    )
    clips = [_read_row(row, where, base) for where, row in read_table(source, _COLUMNS)]
    if not clips:
        raise ValueError(f"{source} lists no clip.")
    seen: set[str] = set()
    for clip in clips:
        if clip.clip_id in seen:
            raise ValueError(f"{source}: clip {clip.clip_id!r} is listed twice.")
        seen.add(clip.clip_id)
        if clip.videos.keys() != clips[0].videos.keys():
            raise ValueError(f"{source}: clip {clip.clip_id!r} has the views {sorted(clip.videos)}, the first has {sorted(clips[0].videos)}.")  # fmt: skip
    return clips, videos or source.parent


def _read_row(row: dict[str, Any], where: str, base: str) -> VideoClip:
    if any(row.get(column) in (None, "") for column in _COLUMNS):
        raise ValueError(f"{where}: needs {', '.join(_COLUMNS)} and one column per view.")
    try:
        start, stop = number(row["start"], where, "start"), number(row["stop"], where, "stop")
    except ValueError as error:
        raise ValueError(f"{error} Start and stop have to be seconds.") from error
    if not 0 <= start < stop:
        raise ValueError(
            f"{where}: the clip runs from {start} s to {stop} s; start has to be at least 0 and before stop."
        )
    views = {view: row[view] for view in row if view not in _COLUMNS}
    if not views or not all(isinstance(path, str) and path for path in views.values()):
        raise ValueError(f"{where}: the columns beside {', '.join(_COLUMNS)} are views, each with the path of a video.")
    if not all(view.isidentifier() for view in views):
        raise ValueError(f"{where}: view names become file names; use letters, digits and _, not {', '.join(views)}.")
    return VideoClip(
        str(row["clip"]),
        {view: video_path(path, where, base) for view, path in views.items()},
        start,
        stop,
    )


def import_dataset(root: Path, out: Path, report: Report, workers: int = 1) -> dict[str, Any]:
    """Reads the poses of all takes of an Ego-Exo4D download, a miniature or one's own videos; returns the manifest.

    Unlike a tuple folder, this holds takes without remarks too. Splits are the data set's, participant-disjoint.

    Raises:
        FileNotFoundError: A file of the data set is missing.
        ValueError: A file is malformed, too much had to be dropped, or ``out`` and ``root`` overlap.
    """
    check_poses_apart(root, out)
    source = read_source(root)
    funnel = Funnel("read motion", 0.5)
    (out / MANIFEST).unlink(missing_ok=True)
    splits = split_by_participant(source.takes, Funnel("choose takes", 1.0))
    for uid in [uid for uid in splits if uid not in source.pose_files]:
        funnel.drop("no body poses", uid, expected=True)
        del splits[uid]
    with report.progress("reading poses", len(splits)) as progress:
        kept = cache_poses(source, list(splits), out / POSES, funnel, workers, progress=progress)
    funnel.check()
    sequences = [
        {"name": uid, "split": splits[uid], "frames": len(np.load(out / POSES / f"{uid}.npy", mmap_mode="r"))}
        for uid in kept
    ]
    return write_manifest(
        out, {"source": str(root.resolve()), "format": "dataset"}, sequences, funnel, source.synthetic
    )


def pose_files(folder: Path, split: str) -> dict[str, Path]:
    """Sequence name to pose array, of a pose folder or of the takes in a tuple folder.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
        ValueError: The split is empty.
    """
    if (folder / MANIFEST).is_file():
        entries = json.loads((folder / MANIFEST).read_text())["sequences"]
        names = [entry["name"] for entry in entries if entry["split"] == split]
    else:
        names = sorted({clip.take_uid for t in read_tuples(folder, split) for clip in (t.learner, t.expert)})
    if not names:
        raise ValueError(f"{folder}: the {split} split holds no sequence; import more performers, or set --test-share.")
    return {name: folder / POSES / f"{name}.npy" for name in names}
