"""What a folder of any kind holds: the clips to encode, the videos to look for poses in, and the poses of tuples, items, motion or a table of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.ground.hand_tables import number, read_table, video_path
from mm_data.ground.progress import Report
from mm_data.items.item import TaskItem
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import is_item_folder, pose_frames, pose_name, read_gallery, read_items
from mm_data.poses.archive import PoseArchive
from mm_data.poses.manifest import MANIFEST, PoseManifest, PoseSequence
from mm_data.poses.people import BY_FILE, person_of
from mm_data.poses.pose_folder import check_poses_apart
from mm_data.records import SPLITS, SearchedVideo, VideoClip
from mm_data.release.own_videos import is_own_data
from mm_data.release.pose_cache import cache_poses
from mm_data.release.read import read_source, split_by_participant

VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".mpg", ".mpeg", ".3gp")
_COLUMNS = ("clip", "start", "stop")


@dataclass(frozen=True)
class PoseStretch:
    """Frames ``[start, stop)`` of an array of poses on disk."""

    path: Path
    start: int
    stop: int

    def read(self) -> np.ndarray:
        """Returns raw poses ``[n, 17, 4]``, memory-mapped."""
        return np.load(self.path, mmap_mode="r")[self.start : self.stop]


def pose_stretches(folder: Path) -> dict[str, PoseStretch]:
    """Returns clip id to poses, for all clips of a folder of items that have some: those of the items, of experts and of the gallery."""
    archive = PoseArchive(folder)
    items = [item for split in SPLITS for item in read_items(folder, split)]
    without = {item.clip.clip_id for item in items if not item.has_poses}
    clips = {clip.clip_id: clip for clip in _clips(folder, items) if clip.clip_id not in without}
    there = {take for take in {pose_name(clip) for clip in clips.values()} if take in archive}
    return {
        name: PoseStretch(archive.path(pose_name(clip)), *pose_frames(clip))
        for name, clip in clips.items()
        if pose_name(clip) in there
    }


def _clips(folder: Path, items: Sequence[TaskItem]) -> list[VideoClip]:
    """Every clip of a folder, in the order of its items; the gallery's further ones behind."""
    return [*(clip for item in items for clip in item.clips), *(row.clip for row in read_gallery(folder))]


def read_clips(source: Path, videos: Path | None = None) -> tuple[list[VideoClip], Path]:
    """Reads clips, and finds the folder that their videos lie in.

    Args:
        source: A folder of items, or a ``.csv`` or ``.jsonl`` table with the columns ``clip, start, stop`` (seconds) and one
            column per view with the path of its video.
        videos: Root of the videos; by default the data set of the tuples, or the table's folder.

    Returns:
        The clips, and the root of their videos.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: A row is malformed, names file and line; a clip is listed twice; views differ between rows.
    """
    if is_item_folder(source):
        items = [item for split in SPLITS for item in read_items(source, split)]
        clips = {clip.clip_id: clip for clip in _clips(source, items)}
        return list(clips.values()), videos or Path(ItemManifest.read(source).videos)
    if source.is_dir():
        ItemManifest.read(source)  # says what is missing
    if not source.is_file():
        raise FileNotFoundError(f"{source} is neither a folder of items nor a table of clips.")
    return _read_table_of_clips(source, videos), videos or source.parent


def read_videos(
    source: Path, pattern: str | None = None, people: Mapping[str, str] | None = None
) -> list[SearchedVideo]:
    """Lists videos in which poses are looked for, under the names by which commands look for the poses.

    Args:
        source: A folder of videos, one's own data set with its tables of takes and remarks, a folder of items (of which only the
            clips are looked at, and which says itself who moves in them), or one video.
        pattern: Regular expression whose first group, or whose match, in a video's path is who moves in it.
        people: Path of a video, or its last part, to who moves in it; of every video.

    Returns:
        The videos.

    Raises:
        FileNotFoundError: No such source, or it holds no video.
        ValueError: Poses of two videos would have the same name, or pattern or table do not say whose they are.
    """
    if is_item_folder(source):
        return _videos_of_items(source)
    if source.is_file():
        return [SearchedVideo(source.stem, source, *person_of(source.stem, "", "", pattern, people, str(source)))]
    own = is_own_data(source)
    root = source / "videos" if own else source
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS and path.is_file())
    if not files:
        raise FileNotFoundError(f"{root} holds no video; looked for are {', '.join(VIDEO_ENDINGS)}.")
    videos: dict[str, SearchedVideo] = {}
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        person = person_of("/".join(parts), "", "", pattern, people, str(path))
        video = SearchedVideo(("__" if own else "-").join(parts), path, *person)
        if (other := videos.setdefault(video.name, video)) is not video:
            raise ValueError(f"Poses of {path} and of {other.path} would both be {video.name}.npy; rename one of them.")
    return list(videos.values())


def _videos_of_items(folder: Path) -> list[SearchedVideo]:
    """The videos of a folder's clips, filmed from outside where there is such a view, and what of them the clips show."""
    clips, root = read_clips(folder)
    people: dict[str, str | None] = {}
    for item in (item for split in SPLITS for item in read_items(folder, split)):
        people[pose_name(item.clip)] = item.person
        if item.expert is not None:
            people.setdefault(pose_name(item.expert), item.expert_person)
    known = {name: (person, "items") for name, person in people.items() if person}
    stretches: dict[str, list[tuple[float, float]]] = {}
    files: dict[str, Path] = {}
    for clip in clips:
        files[pose_name(clip)] = root / (clip.videos.get("exo") or next(iter(clip.videos.values())))
        stretches.setdefault(pose_name(clip), []).append((clip.start, clip.stop))
    return [
        SearchedVideo(name, path, *known.get(name, (name, BY_FILE)), _apart(stretches[name]))
        for name, path in files.items()
    ]


def _apart(stretches: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Stretches in order, joined where they overlap."""
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return tuple(joined)


def _read_table_of_clips(table: Path, videos: Path | None) -> list[VideoClip]:
    base = (
        f"{videos}, which --videos names" if videos else f"{table.parent}, the table's folder; --videos names another"
    )
    clips = [_read_row(row, where, base) for where, row in read_table(table, _COLUMNS)]
    if not clips:
        raise ValueError(f"{table} lists no clip.")
    names: set[str] = set()
    for clip in clips:
        if clip.clip_id in names:
            raise ValueError(f"{table}: clip {clip.clip_id!r} is listed twice.")
        names.add(clip.clip_id)
        if clip.videos.keys() != clips[0].videos.keys():
            raise ValueError(
                f"{table}: clip {clip.clip_id!r} has the views {sorted(clip.videos)}, "
                f"the first has {sorted(clips[0].videos)}."
            )
    return clips


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


def import_dataset(root: Path, out: Path, report: Report, workers: int = 1) -> PoseManifest:
    """Reads the poses of all takes of an Ego-Exo4D download, a miniature or one's own videos.

    Unlike a tuple folder, this holds takes without remarks too. Splits are the data set's, participant-disjoint.

    Args:
        root: The data set.
        out: Pose folder to write.
        report: Receives progress.
        workers: Processes that read poses.

    Returns:
        The manifest of the pose folder.

    Raises:
        FileNotFoundError: A file of the data set is missing.
        ValueError: A file is malformed, too much had to be dropped, or ``out`` and ``root`` overlap.
    """
    check_poses_apart(root, out)
    source, archive = read_source(root), PoseArchive(out)
    funnel = Funnel("read motion", 0.5)
    (out / MANIFEST).unlink(missing_ok=True)
    splits = split_by_participant(source.takes, Funnel("choose takes", 1.0))
    for uid in [uid for uid in splits if uid not in source.pose_files]:
        funnel.drop("no body poses", uid, expected=True)
        del splits[uid]
    with report.progress("reading poses", len(splits)) as progress:
        takes = cache_poses(source, list(splits), archive, funnel, workers, progress=progress)
    funnel.check()
    manifest = PoseManifest(
        synthetic=source.synthetic,
        sequences=[PoseSequence(uid, splits[uid], archive.frames(uid)) for uid in takes],
        request={"source": str(root.resolve()), "format": "dataset"},
        funnel=[funnel.summary()],
    )
    manifest.write(out)
    return manifest


def pose_files(folder: Path, split: str) -> dict[str, Path]:
    """Returns sequence name to pose array, of a pose folder or of the takes in a tuple folder.

    Args:
        folder: Pose folder or tuple folder.
        split: ``train`` or ``test``.

    Returns:
        Paths by the names of the sequences.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
        ValueError: The split is empty.
    """
    if (folder / MANIFEST).is_file():
        names = PoseManifest.read(folder).names(split)
    else:
        names = sorted({pose_name(clip) for item in read_items(folder, split) for clip in item.clips})
    if not names:
        raise ValueError(f"{folder}: the {split} split holds no sequence; import more performers, or set --test-share.")
    return {name: PoseArchive(folder).path(name) for name in names}
