"""Builds coaching tuples from an Ego-Exo4D download: read, label, split, pair, align (ExpertAF §3.2)."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.egoexo4d import Release, load_poses, read_release
from mm_data.egoexo4d.poses import pose_file
from mm_data.files import write_atomically
from mm_data.funnel import Funnel
from mm_data.labelling import RULES_VERSION, label_by_rules
from mm_data.pairing import PairingOptions, gallery_clips, mine_tuples, split_by_participant
from mm_data.records import Clip, CoachingTuple

MANIFEST, GALLERY = "manifest.json", "gallery.parquet"


@dataclass(frozen=True)
class BuildOptions:
    """Everything that decides the result.

    Attributes:
        pairing: Windows, horizon and number of experts.
        max_drop_rate: Share of rows that any stage may drop.
    """

    pairing: PairingOptions = field(default_factory=PairingOptions)
    max_drop_rate: float = 0.5


def build_tuples(
    source: Path, out: Path, options: BuildOptions, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Runs all stages and writes ``train.parquet``, ``test.parquet``, ``poses/`` and ``manifest.json``.

    A finished folder with the same source and options is left as it is; pose arrays that exist are not read again.

    Args:
        source: The Ego-Exo4D folder.
        out: Folder for the tuples.
        options: See `BuildOptions`.
        report: Receives a line per finished stage.

    Returns:
        The manifest: options, the funnel of every stage, tuple counts.

    Raises:
        FileNotFoundError: A file of the download is missing.
        ValueError: A file is malformed, a stage dropped too much, or ``out`` was built from something else.
    """
    request = {"source": str(source.resolve()), "labeller": RULES_VERSION, "options": asdict(options)}
    path = out / MANIFEST
    if path.is_file():
        manifest = json.loads(path.read_text())
        if manifest["request"] == request:
            report(f"{out} is up to date: {manifest['tuples']}")
            return manifest
        raise ValueError(
            f"{out} was built with other inputs or options ({path} says which); give another folder or delete it."
        )
    (out / "poses").mkdir(parents=True, exist_ok=True)

    release = read_release(source, options.max_drop_rate)
    report(f"read {len(release.takes)} takes and {len(release.remarks)} remarks")
    funnels = list(release.funnels)

    label_funnel = Funnel("label remarks", options.max_drop_rate)
    labelled = []
    for remark in release.remarks:
        result = label_by_rules(remark)
        if isinstance(result, str):
            label_funnel.drop(result, remark.remark_id)
        else:
            label_funnel.keep()
            labelled.append(result)
    label_funnel.check()
    report(f"labelled {len(labelled)} remarks with {RULES_VERSION}")

    pose_funnel = Funnel("read poses", options.max_drop_rate)
    with_poses = _cache_poses(release, out / "poses", pose_funnel)
    pose_funnel.check()
    report(f"read the poses of {len(with_poses)} takes")

    split_funnel = Funnel("split by participant", options.max_drop_rate)
    splits = split_by_participant({uid: release.takes[uid] for uid in with_poses}, split_funnel)
    split_funnel.check()

    @lru_cache(maxsize=512)
    def poses(uid: str) -> np.ndarray:
        return np.load(out / "poses" / f"{uid}.npy")

    pair_funnel = Funnel("pair and align", options.max_drop_rate)
    tuples = mine_tuples(labelled, release.takes, splits, poses, options.pairing, pair_funnel)
    pair_funnel.check()
    counts = {}
    for split in ("train", "test"):
        rows = [t for t in tuples if t.split == split]
        if not rows:
            raise ValueError(
                f"No tuple in the {split} split; the data set is too small or has no {split} participants with both skills."
            )
        write_tuples(out / f"{split}.parquet", rows)
        counts[split] = len(rows)
    gallery = gallery_clips(labelled, release.takes, splits, poses, options.pairing, "test")
    _write_parquet(out / GALLERY, [{**asdict(clip), "activity": activity} for clip, activity in gallery])
    counts["gallery"] = len(gallery)
    report(
        f"paired and aligned: {counts['train']} training tuples, {counts['test']} test tuples, {len(gallery)} more expert clips for the gallery"
    )

    funnels += [label_funnel, pose_funnel, split_funnel, pair_funnel]
    manifest = {
        "request": request,
        "synthetic": json.loads((source / "metadata.json").read_text()).get("synthetic", False)
        if (source / "metadata.json").is_file()
        else False,
        "tuples": counts,
        "funnel": [f.summary() for f in funnels],
    }
    write_atomically(path, json.dumps(manifest, indent=2))
    return manifest


def _cache_poses(release: Release, folder: Path, funnel: Funnel) -> list[str]:
    """Writes ``<take_uid>.npy`` for every take that has poses; returns their uids."""
    found = []
    for uid, take in release.takes.items():
        target = folder / f"{uid}.npy"
        if not target.is_file():
            path = pose_file(release.root, take)
            if path is None:
                funnel.drop("no body poses", uid)
                continue
            try:
                poses = load_poses(path)
            except ValueError as error:
                funnel.drop("unreadable poses", str(error))
                continue
            partial = target.with_suffix(".partial.npy")
            np.save(partial, poses.astype(np.float32))
            os.replace(partial, target)
        funnel.keep()
        found.append(uid)
    return found


def write_tuples(path: Path, tuples: list[CoachingTuple]) -> None:
    """Writes tuples as Parquet, readable by ``datasets.load_dataset("parquet", ...)``."""
    _write_parquet(path, [t.to_row() for t in tuples])


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows), partial)
    os.replace(partial, path)


def read_tuples(folder: Path, split: str) -> list[CoachingTuple]:
    """Reads one split of a built folder.

    Raises:
        FileNotFoundError: The folder was not built, or not completely.
    """
    path = folder / f"{split}.parquet"
    if not (folder / MANIFEST).is_file() or not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished tuples ({path.name} or {MANIFEST} is missing). Build them with `mm-coach data build`."
        )
    return [CoachingTuple.from_row(row) for row in pq.read_table(path).to_pylist()]


def read_gallery(folder: Path) -> list[tuple[Clip, str]]:
    """Expert clips of the test split with their activity, beyond those of the tuples."""
    rows = pq.read_table(folder / GALLERY).to_pylist()
    return [(Clip(**{k: v for k, v in row.items() if k != "activity"}), row["activity"]) for row in rows]
