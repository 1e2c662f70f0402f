"""A folder of items: what recipes train on and what systems are asked about, the same for every task.

::

    FOLDER/train.parquet, test.parquet    an item per row
    FOLDER/gallery.parquet                experts' clips beyond those of the items, where they are ranked
    FOLDER/poses.json, poses/<clip>.npy   poses (`mm_data.poses.pose_folder`), where clips have some
    FOLDER/README.md                      the data set card
    FOLDER/items.json                     task, source, knowledge, counts and funnel (`ItemManifest`); written last

``datasets.load_dataset(FOLDER)`` reads the splits, ``datasets.load_dataset(FOLDER, "gallery")`` the gallery. ``facts``, which differ from
task to task, are JSON.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.ground.files import replacing
from mm_data.items.answer import Answer
from mm_data.items.item import GalleryClip, TaskItem
from mm_data.items.manifest import MANIFEST, ItemManifest
from mm_data.records import FPS, VideoClip

GALLERY = "gallery.parquet"
_ROWS = 5000  # per Parquet row group: rows are converted in parts, so that memory does not grow with their number
_TEXTS = pa.list_(pa.string())
_VIDEOS = pa.list_(pa.struct([("view", pa.string()), ("file", pa.string())]))
_CLIP = pa.struct([("clip_id", pa.string()), ("videos", _VIDEOS), ("start", pa.float64()), ("stop", pa.float64())])
_TRUTH = pa.struct(
    [
        ("text", pa.string()), ("score", pa.float64()), ("label", pa.string()), ("verdict", pa.string()),
        ("actions", _TEXTS), ("findings", _TEXTS),
    ]
)  # fmt: skip
ITEM_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()), ("split", pa.string()), ("cluster", pa.string()), ("category", pa.string()),
        ("person", pa.string()), ("clip", _CLIP), ("has_poses", pa.bool_()), ("truth", _TRUTH), ("references", _TEXTS),
        ("expert", _CLIP), ("expert_person", pa.string()), ("facts", pa.string()),
    ]
)  # fmt: skip
"""Spelled out, so that all splits of all tasks have the same types whatever their rows hold."""

GALLERY_SCHEMA = pa.schema(
    [("clip", _CLIP), ("category", pa.string()), ("person", pa.string()), ("facts", pa.string())]
)
Row = TypeVar("Row")


def write_items(path: Path, items: Sequence[TaskItem]) -> None:
    """Writes items as Parquet, atomically.

    Args:
        path: The file.
        items: The items.

    Raises:
        ValueError: A truth says what items do not keep, such as poses; names the item.
    """
    _write(path, items, _row_of_item, ITEM_SCHEMA)


def write_gallery(folder: Path, gallery: Sequence[GalleryClip]) -> None:
    """Writes the gallery of a folder, atomically."""
    _write(folder / GALLERY, gallery, _row_of_clip, GALLERY_SCHEMA)


def read_items(folder: Path, split: str) -> list[TaskItem]:
    """Reads the items of one split.

    Args:
        folder: Folder of items.
        split: ``train``, ``test``, or another split that the folder has.

    Returns:
        The items.

    Raises:
        FileNotFoundError: The folder is not finished, or lacks the split.
        ValueError: The file cannot be read.
    """
    ItemManifest.read(folder)
    return [_item(row) for row in _read(folder / f"{split}.parquet", ITEM_SCHEMA)]


def read_gallery(folder: Path) -> list[GalleryClip]:
    """Reads experts' clips beyond those of the items; a folder without experts has none."""
    if not (folder / GALLERY).is_file():
        return []
    return [
        GalleryClip(_clip(row["clip"]), row["category"], row["person"], json.loads(row["facts"]))
        for row in _read(folder / GALLERY, GALLERY_SCHEMA)
    ]


def is_item_folder(folder: Path) -> bool:
    """Says whether a folder holds finished items."""
    return (folder / MANIFEST).is_file()


def pose_name(clip: VideoClip) -> str:
    """Returns the name of a clip's pose file: the part of its id before a colon, which several clips of one take share."""
    return clip.clip_id.split(":")[0]


def pose_frames(clip: VideoClip) -> tuple[int, int]:
    """Returns the first frame and the end of a clip in its pose file."""
    return round(clip.start * FPS), round(clip.stop * FPS)


def _write(path: Path, rows: Sequence[Row], to_row: Callable[[Row], dict[str, Any]], schema: pa.Schema) -> None:
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(rows), _ROWS):
            writer.write_table(pa.Table.from_pylist([to_row(row) for row in rows[start : start + _ROWS]], schema))


def _read(path: Path, schema: pa.Schema) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; make the folder again.")
    try:
        return pq.read_table(path, schema=schema).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {error}. Make the folder again.") from error


def _row_of_item(item: TaskItem) -> dict[str, Any]:
    truth = {name: value for name, value in vars(item.truth).items() if value is not None}
    if further := sorted(truth.keys() - {field.name for field in _TRUTH}):
        raise ValueError(f"{item.item_id}: its truth says {further[0]}, which items do not keep; put it into facts.")
    return {
        **vars(item),
        "clip": _row_of_video(item.clip),
        "truth": truth,
        "expert": None if item.expert is None else _row_of_video(item.expert),
        "facts": json.dumps(item.facts),
    }


def _row_of_clip(clip: GalleryClip) -> dict[str, Any]:
    return {**vars(clip), "clip": _row_of_video(clip.clip), "facts": json.dumps(clip.facts)}


def _row_of_video(clip: VideoClip) -> dict[str, Any]:
    return {**vars(clip), "videos": [{"view": view, "file": file} for view, file in clip.videos.items()]}


def _item(row: dict[str, Any]) -> TaskItem:
    expert = None if row["expert"] is None else _clip(row["expert"])
    own = {"clip": _clip(row["clip"]), "truth": Answer(**row["truth"]), "expert": expert}
    return TaskItem(**{**row, **own, "facts": json.loads(row["facts"])})


def _clip(row: dict[str, Any]) -> VideoClip:
    return VideoClip(**{**row, "videos": {video["view"]: video["file"] for video in row["videos"]}})
