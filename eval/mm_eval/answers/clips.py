"""The clips of a run: where their videos lie, their poses and a vector of their video, so that suites and pages need nothing else.

``clips.parquet`` beside ``answers.jsonl`` holds the learners and experts of the test items, the gallery, and the experts of the training
items, as far as a task has experts; of other tasks the test items' clips alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.ground.files import replacing
from mm_eval.answers.test_sets import ClipFile

FILE = "clips.parquet"
JOINTS = 17
_NUMBERS = pa.list_(pa.float32())
_VIDEO = pa.struct([("view", pa.string()), ("video", pa.string()), ("start", pa.float64()), ("stop", pa.float64())])
_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()), ("videos", pa.list_(_VIDEO)), ("poses", _NUMBERS), ("decoded", _NUMBERS), ("vector", _NUMBERS),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class AnsweredClip:
    """A clip that answers are about, or that is ranked.

    Attributes:
        videos: View to its stretch of a video.
        poses: Canonical poses ``[T, 17, 4]`` in metres with a flag per joint, or None.
        decoded: What a coach's pose tokenizer makes of them, joints ``[T, 17, 3]``, or None.
        vector: Video features averaged over tokens and views ``[C]``, or None.
    """

    videos: dict[str, ClipFile] = field(default_factory=dict)
    poses: np.ndarray | None = None
    decoded: np.ndarray | None = None
    vector: np.ndarray | None = None


def write_clips(folder: Path, clips: Mapping[str, AnsweredClip]) -> None:
    """Writes ``clips.parquet`` of clips by their ids."""

    def row(clip_id: str, clip: AnsweredClip) -> dict[str, Any]:
        arrays = {name: getattr(clip, name) for name in ("poses", "decoded", "vector")}
        flat = {name: None if array is None else array.ravel() for name, array in arrays.items()}
        return {"clip_id": clip_id, "videos": [{"view": v, **vars(f)} for v, f in clip.videos.items()], **flat}

    with replacing(folder / FILE) as partial:
        pq.write_table(pa.Table.from_pylist([row(name, clip) for name, clip in clips.items()], _SCHEMA), partial)


def read_clips(folder: Path) -> dict[str, AnsweredClip]:
    """Reads ``clips.parquet``; a run without one has no clips."""
    path = folder / FILE
    if not path.is_file():
        return {}
    return {
        row["clip_id"]: AnsweredClip(
            {video.pop("view"): ClipFile(**video) for video in row["videos"]},
            _array(row["poses"], JOINTS, 4),
            _array(row["decoded"], JOINTS, 3),
            _array(row["vector"]),
        )
        for row in pq.read_table(path, schema=_SCHEMA).to_pylist()
    }


def _array(values: list[float] | None, *shape: int) -> np.ndarray | None:
    return None if values is None else np.array(values, np.float32).reshape(-1, *shape)
