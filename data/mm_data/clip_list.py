"""Clips to encode: those of a tuple folder, or a table of one's own."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mm_data.records import FPS
from mm_data.safe_load import join_inside
from mm_data.tables import read_table
from mm_data.tuple_store import clips_of_folder, read_manifest

_COLUMNS = ("clip", "start", "stop")


@dataclass(frozen=True)
class VideoClip:
    """A stretch of time in one video per view.

    Attributes:
        clip_id: Name in the feature store.
        videos: View to the path of its video, below the root.
        start: First second.
        stop: End, exclusive.
    """

    clip_id: str
    videos: dict[str, str]
    start: float
    stop: float


def read_clips(source: Path, videos: Path | None = None) -> tuple[list[VideoClip], Path]:
    """Clips and the folder that their videos lie in.

    Args:
        source: A tuple folder, or a ``.csv`` or ``.jsonl`` table with the columns ``clip, start, stop`` (seconds) and one
            column per view with the path of its video.
        videos: Root of the videos; by default the data set of the tuples, or the table's folder.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: A row is malformed, names file and line; a clip is listed twice; views differ between rows.
    """
    if source.is_dir():
        clips = [
            VideoClip(clip_id, {"ego": clip.ego_video, "exo": clip.exo_video}, clip.start / FPS, clip.stop / FPS)
            for clip_id, clip in clips_of_folder(source).items()
        ]
        return clips, videos or Path(read_manifest(source)["request"]["source"])
    if not source.is_file():
        raise FileNotFoundError(f"{source} is neither a tuple folder nor a table of clips.")
    clips = [_read_row(row, where) for where, row in read_table(source)]
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


def _read_row(row: dict[str, Any], where: str) -> VideoClip:
    if any(row.get(column) in (None, "") for column in _COLUMNS):
        raise ValueError(f"{where}: needs {', '.join(_COLUMNS)} and one column per view.")
    try:
        start, stop = float(row["start"]), float(row["stop"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: start {row['start']!r} and stop {row['stop']!r} have to be seconds.") from error
    if not 0 <= start < stop < float("inf"):
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
        {view: join_inside("", str(PurePosixPath(path)), where) for view, path in views.items()},
        start,
        stop,
    )
