"""Takes, their views, splits, participants and captures (``takes.json`` and its neighbours)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import is_path_component, join_inside, read_json
from mm_data.records import Take
from mm_data.release.egoexo4d.download import metadata_hint

SPLITS = ("train", "val", "test")
ANNOTATED_SPLITS = ("train", "val")
"""The test split's commentary and proficiency are redacted."""

Entry = dict[str, Any]
"""A row of an annotation file."""


def rows_of(content: Any, path: Path) -> list[Entry]:
    """Returns the rows of an annotation file: the documentation shows a bare list, the shipped file wraps it.

    Args:
        content: Content of the file.
        path: The file, for the error.

    Returns:
        The rows.

    Raises:
        ValueError: Neither a list nor ``{"annotations": [...]}``.
    """
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list or {{'annotations': [...]}}, found {type(rows).__name__}.")
    return rows


def read_splits(root: Path) -> dict[str, str]:
    """Reads take uid to ``train``, ``val`` or ``test``."""
    path = root / "annotations/splits.json"
    content = read_json(path, metadata_hint(root, "it says which take belongs to which split"))
    if not isinstance(content.get("take_uid_to_split"), dict):
        raise ValueError(f"{path}: has no 'take_uid_to_split'; download it again.")
    return content["take_uid_to_split"]


def read_take_entries(root: Path) -> list[Entry]:
    """Reads the raw entries of ``takes.json``."""
    path = root / "takes.json"
    return rows_of(read_json(path, metadata_hint(root, "it lists the takes")), path)


def read_captures(root: Path) -> dict[str, Entry]:
    """Reads capture uid to its entry (cameras, recording site)."""
    path = root / "captures.json"
    entries = rows_of(read_json(path, metadata_hint(root, "it lists the captures")), path)
    return {entry["capture_uid"]: entry for entry in entries}


def read_participants(root: Path) -> dict[str, Entry]:
    """Reads ``<university>/<participant uid>`` to metadata, which the release stores as JSON inside a string."""
    path = root / "participants.json"
    participants = {}
    for entry in rows_of(read_json(path, metadata_hint(root, "it lists the participants")), path):
        metadata = entry.get("metadata") or {}
        if isinstance(metadata, str):
            try:
                metadata = json.loads(metadata)
            except json.JSONDecodeError:
                metadata = {}  # what a participant said about themselves is not needed for anything else
        participants[participant_of(entry)] = metadata
    return participants


def participant_of(entry: Entry) -> str:
    """Returns an identifier of a performer that is unique over universities."""
    return f"{entry['university_name']}/{entry['participant_uid']}"


def read_best_exo(root: Path) -> dict[str, str]:
    """Reads take uid to the exo camera that annotators of the atomic descriptions chose most often; empty without the files."""
    best: dict[str, str] = {}
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/atomic_descriptions_{split}.json"
        if not path.is_file():
            continue
        for uid, annotations in read_json(path, "")["annotations"].items():
            votes = Counter(
                view["cam_id"]
                for annotation in annotations
                if not is_true(annotation.get("rejected"))
                for description in annotation.get("descriptions") or ()
                if isinstance(view := description.get("best_exo"), dict) and view.get("cam_id")
            )
            if votes:
                best[uid] = min(votes, key=lambda camera: (-votes[camera], camera))
    return best


def is_true(value: Any) -> bool:
    """Reads a boolean, which the release writes as strings or numbers at times."""
    return str(value).lower() in ("true", "1")


def read_takes(
    root: Path,
    entries: list[Entry],
    splits: dict[str, str],
    skills: dict[str, str],
    best_exo: dict[str, str],
    funnel: Funnel,
) -> dict[str, Take]:
    """Reads the takes that have an ego and an exo video.

    Args:
        root: The download.
        entries: Entries of ``takes.json``.
        splits: Take uid to split.
        skills: Take uid to proficiency.
        best_exo: Take uid to the exo camera that annotators chose; used where ``best_exo`` is null.
        funnel: Counts takes.

    Returns:
        Take uid to take.

    Raises:
        ValueError: A path leaves the folder.
    """
    takes: dict[str, Take] = {}
    for number, entry in enumerate(entries):
        try:
            take = _read_take(root, entry, splits, skills, best_exo, funnel)
        except (KeyError, TypeError, AttributeError) as error:
            funnel.drop("malformed entry", f"takes.json, entry {number}: {type(error).__name__} {error}")
            continue
        if take is not None:
            takes[take.take_uid] = take
            funnel.keep()
    return takes


def _read_take(
    root: Path, entry: Entry, splits: dict[str, str], skills: dict[str, str], best_exo: dict[str, str], funnel: Funnel
) -> Take | None:
    uid = str(entry["take_uid"])
    if not is_path_component(uid) or not is_path_component(entry["take_name"]):
        raise ValueError(
            f"takes.json: take {uid!r} ({entry['take_name']!r}) leaves the data set's folder; "
            "the file has been tampered with."
        )
    if uid not in splits:
        return funnel.drop("not in splits.json", uid)
    if splits[uid] not in SPLITS:
        return funnel.drop("unknown split", f"{uid}: {splits[uid]!r}")
    if is_true(entry.get("is_dropped")):
        return funnel.drop("marked as dropped", uid)
    videos = entry["frame_aligned_videos"]
    ego = next((c["cam_id"] for c in entry["capture"]["cameras"] if _is_ego(c) and c["cam_id"] in videos), None)
    ego_path = videos[ego].get("rgb", {}).get("relative_path") if ego else None
    if ego_path is None:
        return funnel.drop("no egocentric RGB video", uid)
    exo_path = _exo_path(uid, entry, videos, best_exo, funnel)
    if exo_path is None:
        return funnel.drop("no exocentric video", uid)
    if uid not in skills:
        funnel.note("no proficiency label", uid)
    return Take(
        take_uid=uid,
        take_name=entry["take_name"],
        participant=participant_of(entry),
        activity=entry.get("parent_task_name") or "unknown",
        task=entry.get("task_name"),
        skill=skills.get(uid),
        split=splits[uid],
        duration=float(entry["duration_sec"]),
        ego_video=_video(root, entry, ego_path),
        exo_video=_video(root, entry, exo_path),
    )


def _is_ego(camera: Entry) -> bool:
    return is_true(camera.get("is_ego")) and camera["cam_id"].startswith("aria")


def _exo_path(uid: str, entry: Entry, videos: dict[str, Any], best_exo: dict[str, str], funnel: Funnel) -> str | None:
    """The labelled best exo view; else the file named as best, the annotators' choice, the first exo camera."""

    def of_camera(camera: str | None) -> str | None:
        return videos[camera].get("0", {}).get("relative_path") if camera in videos else None

    if path := of_camera(entry.get("best_exo")):
        return path
    if path := of_camera("best_exo"):
        funnel.note("no best_exo video: the file named best_exo is used", uid)
        return path
    if path := of_camera(best_exo.get(uid)):
        funnel.note("no best_exo video: the atomic descriptions' choice is used", uid)
        return path
    first = min((c for c in videos if c.startswith(("cam", "gp"))), default=None)
    if path := of_camera(first):
        funnel.note("no best_exo video: the first exo camera is used", uid)
    return path


def _video(root: Path, entry: Entry, relative: str) -> str:
    """The 448-pixel copy where it was downloaded, else the full-size file, relative to the data set's folder."""
    where = f"takes.json, take {entry['take_uid']}"
    full = join_inside(entry["root_dir"], relative, where)
    folder, name = full.rsplit("/", 1)
    small = f"{folder}/downscaled/448/{name}"
    return small if (root / small).is_file() else full
