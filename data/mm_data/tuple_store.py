"""A folder of coaching tuples: Parquet splits, the gallery, poses, a manifest and a data set card.

``datasets.load_dataset(FOLDER)`` reads the splits, ``datasets.load_dataset(FOLDER, "gallery")`` the gallery.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.build_report import write_build_report
from mm_data.files import write_atomically
from mm_data.funnel import Funnel
from mm_data.records import Clip, CoachingTuple

MANIFEST, GALLERY, POSES, LABELS = "manifest.json", "gallery.parquet", "poses", "labels.jsonl"
SPLITS = ("train", "test")

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
        ("runners_up", pa.list_(_RUNNER_UP)), ("rating", pa.float64()),
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


def finish_folder(
    folder: Path,
    request: dict[str, Any],
    tuples: dict[str, list[CoachingTuple]],
    gallery: list[tuple[Clip, str]],
    funnels: list[Funnel],
    synthetic: bool,
    review: str | None = None,
) -> dict[str, Any]:
    """Writes splits, gallery, report, card and, last, the manifest that marks the folder as finished.

    Args:
        folder: The tuple folder.
        request: Source, labeller and options.
        tuples: Split to its tuples.
        gallery: Expert clips that retrieval searches, with their activity.
        funnels: Every stage's account.
        synthetic: Whether the data is made up.
        review: Hash of the decisions that were applied.

    Returns:
        The manifest.
    """
    people = {split: {c.participant for t in rows for c in (t.learner, t.expert)} for split, rows in tuples.items()}
    manifest = {
        "request": request,
        "review": review,
        "reviewed": sum(t.provenance.review is not None for t in tuples["test"]),
        "synthetic": synthetic,
        "tuples": {split: len(rows) for split, rows in tuples.items()} | {"gallery": len(gallery)},
        "participants": {split: len(names) for split, names in people.items()},
        "shared_participants": len(people["train"] & people["test"]),
        "funnel": [funnel.summary() for funnel in funnels],
    }
    for split, rows in tuples.items():
        _write(folder / f"{split}.parquet", [t.to_row() for t in rows], TUPLE_SCHEMA)
    _write(folder / GALLERY, [{**asdict(clip), "activity": activity} for clip, activity in gallery], _GALLERY_SCHEMA)
    write_build_report(folder, manifest, tuples)
    _write_card(folder, manifest)
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2))
    return manifest


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema), partial)
    os.replace(partial, path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Options, counts and funnel of a finished folder.

    Raises:
        FileNotFoundError: The folder was not built, or not completely.
    """
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished tuples ({MANIFEST} is missing). Build them with `mm-coach data build`."
        )
    return json.loads((folder / MANIFEST).read_text())


def read_tuples(folder: Path, split: str) -> list[CoachingTuple]:
    """Reads one split of a built folder.

    Raises:
        FileNotFoundError: The folder was not built, or not completely.
    """
    read_manifest(folder)
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; build the folder again with `mm-coach data build`.")
    return [CoachingTuple.from_row(row) for row in pq.read_table(path).to_pylist()]


def find_tuple(folder: Path, tuple_id: str) -> CoachingTuple:
    """One tuple of either split.

    Raises:
        ValueError: There is none of this id.
    """
    for split in SPLITS:
        for item in read_tuples(folder, split):
            if item.tuple_id == tuple_id:
                return item
    raise ValueError(f"{folder} holds no tuple {tuple_id!r}; ids look like <take uid>/<commentator>/<number>~<rank>.")


def read_gallery(folder: Path) -> list[tuple[Clip, str]]:
    """Expert clips of the test split with their activity, beyond those of the tuples."""
    rows = pq.read_table(folder / GALLERY).to_pylist()
    return [(Clip(**{k: v for k, v in row.items() if k != "activity"}), row["activity"]) for row in rows]


def _write_card(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the data set card, which also tells ``datasets`` where the splits are."""
    request, counts = manifest["request"], manifest["tuples"]
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(f"  - {{split: {split}, path: {split}.parquet}}" for split in SPLITS),
        "- config_name: gallery",
        f"  data_files: {GALLERY}",
        "tags: [video, action-coaching]",
        "---",
        "",
        "# Coaching tuples",
        "",
        "**Synthetic data**: made by `mm-coach miniature`; no number from it says anything about people."
        if manifest["synthetic"]
        else "Derived from licensed or private recordings: their licence decides who may see this folder. Ego-Exo4D's restricts redistribution.",
        "",
        "Each row is a learner clip, an expert's remark about it, and an expert clip that shows the correction, mined as in",
        "ExpertAF §3.2. `docs/data.md` of mm-coach explains the columns; clips are frames `[start, stop)` at 30 fps.",
        "",
        f"- {counts['train']} training and {counts['test']} test tuples, {counts['gallery']} further gallery clips",
        f"- {manifest['participants']['train']} participants in training, {manifest['participants']['test']} in test, {manifest['shared_participants']} on both sides",
        f"- labels by `{request['labeller']}`; {manifest['reviewed']} of the test tuples were looked at by a person",
        f"- pairing: `{json.dumps(request['pairing'])}`",
        "",
        "| stage | in | kept | dropped |",
        "|---|---|---|---|",
    ]
    for stage in manifest["funnel"]:
        dropped = "; ".join(f"{count} {reason}" for reason, count in stage["dropped"].items()) or "-"
        lines.append(f"| {stage['stage']} | {stage['read']} | {stage['kept']} | {dropped} |")
    write_atomically(folder / "README.md", "\n".join(lines) + "\n")
