"""A folder of coaching tuples: Parquet splits, the gallery, poses, a manifest and a data set card.

``datasets.load_dataset(FOLDER)`` reads the splits, ``datasets.load_dataset(FOLDER, "gallery")`` the gallery.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter

from mm_data.ground.digests import hash_of, sha256_of
from mm_data.ground.files import claim_folder, replacing
from mm_data.ground.funnel import Funnel
from mm_data.poses.manifest import MANIFEST as POSE_MANIFEST
from mm_data.poses.manifest import PoseManifest
from mm_data.records import SPLITS, Clip, CoachingTuple
from mm_data.tuples.card import write_card
from mm_data.tuples.manifest import GALLERY, MANIFEST, TupleManifest
from mm_data.tuples.page import write_build_report

LABELS = "labels.jsonl"
"""What the labeller said about every remark."""
MINED_TEST = "mined_test"
"""The test split before review: what reviewers look at."""
MAY_HOLD = ("review.jsonl", "llm_answers.jsonl")
"""Decisions and answers that people may put into a folder before its tuples are built."""

_ROWS = 5000  # per Parquet row group: rows are converted in parts, so that memory does not grow with their number

_CLIP = pa.struct(
    [
        ("take_uid", pa.string()), ("participant", pa.string()), ("skill", pa.string()),
        ("start", pa.int32()), ("stop", pa.int32()), ("ego_video", pa.string()), ("exo_video", pa.string()),
    ]
)  # fmt: skip
_RUNNER_UP = pa.struct(
    [("take_uid", pa.string()), ("remark_id", pa.string()), ("start", pa.int32()), ("alignment_mm", pa.float64())]
)
_PROVENANCE = pa.struct(
    [
        ("learner_remark", pa.string()), ("expert_remark", pa.string()), ("expert_text", pa.string()),
        ("labeller", pa.string()), ("comment_time", pa.float64()), ("expert_comment_time", pa.float64()),
        ("shared_regions", pa.list_(pa.string())), ("experts_considered", pa.int32()),
        ("runners_up", pa.list_(_RUNNER_UP)), ("rating", pa.float64()), ("rating_standardized", pa.float64()),
        ("review", pa.string()), ("reviewer", pa.string()),
    ]
)  # fmt: skip
TUPLE_SCHEMA = pa.schema(
    [
        ("tuple_id", pa.string()), ("split", pa.string()), ("activity", pa.string()), ("task", pa.string()),
        ("regions", pa.list_(pa.string())), ("remark", pa.string()), ("summary", pa.string()),
        ("learner", _CLIP), ("expert", _CLIP), ("alignment_mm", pa.float64()), ("provenance", _PROVENANCE),
    ]
)  # fmt: skip
"""Spelled out, so that both splits have the same types whatever their rows hold."""

_GALLERY_SCHEMA = pa.schema([*_CLIP, ("activity", pa.string())])
_TUPLES = TypeAdapter(list[CoachingTuple], config=ConfigDict(extra="forbid"))


def finish_folder(
    folder: Path,
    request: dict[str, Any],
    tuples: dict[str, list[CoachingTuple]],
    gallery: list[tuple[Clip, str]],
    funnels: list[Funnel],
    synthetic: bool,
    mined_test: list[CoachingTuple] | None = None,
    review: str | None = None,
) -> TupleManifest:
    """Writes splits, gallery, report, card and, last, the manifest that marks the folder as finished.

    Args:
        folder: The tuple folder.
        request: Source, labeller and options.
        tuples: Split to its tuples.
        gallery: Expert clips that retrieval searches, with their activity.
        funnels: Every stage's account.
        synthetic: Whether the data is made up.
        mined_test: The test split before review, where it was reviewed.
        review: Hash of the decisions that were applied.

    Returns:
        The manifest.
    """
    people = {split: {c.participant for t in rows for c in (t.learner, t.expert)} for split, rows in tuples.items()}
    manifest = TupleManifest(
        request=request,
        review=review,
        reviewed=sum(t.provenance.review is not None for t in tuples["test"]),
        synthetic=synthetic,
        tuples={split: len(rows) for split, rows in tuples.items()} | {"gallery": len(gallery)},
        participants={split: len(names) for split, names in people.items()},
        shared_participants=len(people["train"] & people["test"]),
        funnel=[funnel.summary() for funnel in funnels],
    )
    mined = tuples["test"] if mined_test is None else mined_test
    for split, rows in {**tuples, MINED_TEST: mined}.items():
        _write(folder / f"{split}.parquet", rows, asdict, TUPLE_SCHEMA)
    _write(folder / GALLERY, gallery, lambda row: {**asdict(row[0]), "activity": row[1]}, _GALLERY_SCHEMA)
    write_build_report(folder, asdict(manifest), tuples)
    write_card(folder, manifest)
    manifest.write(folder)
    return manifest


def _write(path: Path, rows: Sequence[Any], to_row: Callable[[Any], dict[str, Any]], schema: pa.Schema) -> None:
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(rows), _ROWS):
            writer.write_table(pa.Table.from_pylist([to_row(row) for row in rows[start : start + _ROWS]], schema))


def claim_tuple_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Marks a folder as begun from one source, and as not finished; what is stored in it by content may be used again.

    Args:
        folder: The folder.
        identity: What the folder is made from (JSON-ready).

    Raises:
        ValueError: It was begun from another, or holds what we did not write.
    """
    claim_folder(folder, identity, MAY_HOLD)
    (folder / MANIFEST).unlink(missing_ok=True)


def read_tuples(folder: Path, split: str) -> list[CoachingTuple]:
    """Reads one split of a built folder.

    Args:
        folder: The folder.
        split: ``train``, ``test`` or `MINED_TEST`.

    Returns:
        The tuples.

    Raises:
        FileNotFoundError: The folder was not built, or not completely.
    """
    TupleManifest.read(folder)
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; build the folder again with `mm-coach data build`.")
    return _TUPLES.validate_python(pq.read_table(path).to_pylist())


def clips_of(tuples: list[CoachingTuple]) -> dict[str, Clip]:
    """Returns the distinct clips of both sides, by clip id, in a stable order."""
    return {clip.clip_id: clip for item in tuples for clip in (item.learner, item.expert)}


def clips_of_folder(folder: Path) -> dict[str, Clip]:
    """Returns every distinct clip of a folder by clip id: learners, experts and the gallery."""
    tuples = [item for split in SPLITS for item in read_tuples(folder, split)]
    return clips_of(tuples) | {clip.clip_id: clip for clip, _ in read_gallery(folder)}


def tuples_hash(folder: Path) -> str:
    """Returns the hash of a folder's tuples and gallery, and of the request that they were built for but for where the data set lies."""
    request = {key: value for key, value in TupleManifest.read(folder).request.items() if key != "source"}
    names = [f"{split}.parquet" for split in SPLITS] + [GALLERY]
    return hash_of([request, *(sha256_of(folder / name) for name in names if (folder / name).is_file())])


def find_tuple(folder: Path, tuple_id: str) -> CoachingTuple:
    """Finds one tuple of either split.

    Args:
        folder: The folder.
        tuple_id: Id of the tuple.

    Returns:
        The tuple.

    Raises:
        ValueError: There is none of this id.
    """
    for split in SPLITS:
        for item in read_tuples(folder, split):
            if item.tuple_id == tuple_id:
                return item
    raise ValueError(f"{folder} holds no tuple {tuple_id!r}; ids look like <take uid>/<commentator>/<number>~<rank>.")


def read_gallery(folder: Path) -> list[tuple[Clip, str]]:
    """Reads expert clips of the test split with their activity, beyond those of the tuples."""
    rows = pq.read_table(folder / GALLERY).to_pylist()
    return [(Clip(**{k: v for k, v in row.items() if k != "activity"}), row["activity"]) for row in rows]


def is_synthetic(folder: Path) -> bool:
    """Says whether the poses of a pose folder or a tuple folder are made up.

    Args:
        folder: The folder.

    Returns:
        Whether they are.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
    """
    is_pose_folder = (folder / POSE_MANIFEST).is_file()
    return PoseManifest.read(folder).synthetic if is_pose_folder else TupleManifest.read(folder).synthetic
