"""Takes and commentary of an Ego-Exo4D download; tolerant of the release's known irregularities, and counting them."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mm_data.funnel import Funnel
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, Remark, Take

ANNOTATED_SPLITS = ("train", "val")  # the test split's commentary is redacted


@dataclass(frozen=True)
class Release:
    """What the later stages need from a download. ``funnels`` say what was dropped and why."""

    root: Path
    takes: dict[str, Take]
    remarks: list[Remark]
    funnels: list[Funnel]


def read_json(path: Path, why: str) -> Any:
    """Parses a JSON file.

    Raises:
        FileNotFoundError: With what the file is for and how to fetch it.
        ValueError: The file is not JSON (a truncated download, usually).
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing ({why}). Fetch it with `egoexo -o {path.parents[1]} --parts metadata annotations "
            "--benchmarks expert_commentary proficiency_demonstrator egopose`, or make a stand-in with `mm-coach miniature`."
        )
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON at character {error.pos} of {path.stat().st_size} bytes; download it again."
        ) from error


def read_release(root: Path, max_drop_rate: float = 0.5) -> Release:
    """Reads takes with skill and views, and every usable remark.

    Args:
        root: Folder that holds ``takes.json`` and ``annotations/``.
        max_drop_rate: Largest share of takes, and of remarks, that may be unusable.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: A file is malformed, or too much had to be dropped.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"Data set folder {root} does not exist. Make one with `mm-coach miniature {root} --takes 40`."
        )
    take_funnel = Funnel("read takes", max_drop_rate)
    skills = _read_skills(root, take_funnel)
    splits = read_json(root / "annotations/splits.json", "which take belongs to which split")["take_uid_to_split"]
    takes: dict[str, Take] = {}
    entries = read_json(root / "takes.json", "the list of takes")
    for entry in entries:
        take = _read_take(root, entry, splits, skills, take_funnel)
        if take is not None:
            takes[take.take_uid] = take
            take_funnel.keep()
    for uid in sorted(skills.keys() - {entry["take_uid"] for entry in entries}):
        take_funnel.note("proficiency for a take that is not in takes.json", uid)
    take_funnel.check()

    remark_funnel = Funnel("read remarks", max_drop_rate)
    remarks = [
        remark
        for split in ANNOTATED_SPLITS
        for remark in _read_remarks(root / f"annotations/expert_commentary_{split}.json", takes, remark_funnel)
    ]
    remark_funnel.check()
    return Release(root, takes, remarks, [take_funnel, remark_funnel])


def _rows(content: Any, path: Path) -> list[dict[str, Any]]:
    """The documentation shows a bare list, the shipped file wraps it in ``annotations``."""
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list or {{'annotations': [...]}}, found {type(rows).__name__}.")
    return rows


def _read_skills(root: Path, funnel: Funnel) -> dict[str, str]:
    skills: dict[str, str] = {}
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/proficiency_demonstrator_{split}.json"
        for row in _rows(read_json(path, "skill levels"), path):
            if row["proficiency_score"] in LEARNER_SKILLS + EXPERT_SKILLS:
                skills[row["take_uid"]] = row["proficiency_score"]
            else:
                funnel.note("unknown proficiency label", f"{row['take_uid']}: {row['proficiency_score']!r}")
    return skills


def _is_ego(camera: dict[str, Any]) -> bool:
    return str(camera.get("is_ego")).lower() == "true" and camera["cam_id"].startswith("aria")


def _safe_join(root_dir: str, relative: str) -> str:
    path = PurePosixPath(root_dir) / relative
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"Path {str(path)!r} in takes.json leaves the data set's folder; the file has been tampered with."
        )
    return str(path)


def _read_take(
    root: Path, entry: dict[str, Any], splits: dict[str, str], skills: dict[str, str], funnel: Funnel
) -> Take | None:
    uid = entry["take_uid"]
    if uid not in splits:
        return funnel.drop("not in splits.json", uid)
    videos = entry["frame_aligned_videos"]
    ego = next((c["cam_id"] for c in entry["capture"]["cameras"] if _is_ego(c) and c["cam_id"] in videos), None)
    ego_path = videos[ego].get("rgb", {}).get("relative_path") if ego else None
    if ego_path is None:
        return funnel.drop("no egocentric RGB video", uid)
    best = entry.get("best_exo")
    if best is None:
        best = min((c for c in videos if c.startswith(("cam", "gp"))), default=None)
        if best is not None:
            funnel.note("best_exo is null: the first exo camera is used", uid)
    if best is None or best not in videos:
        return funnel.drop("no exocentric video", uid)
    if uid not in skills:
        funnel.note("no proficiency label", uid)
    return Take(
        take_uid=uid,
        take_name=entry["take_name"],
        participant=f"{entry['university_name']}/{entry['participant_uid']}",
        activity=entry.get("parent_task_name") or "unknown",
        task=entry.get("task_name") or "unknown",
        skill=skills.get(uid),
        split=splits[uid],
        duration=float(entry["duration_sec"]),
        ego_video=_safe_join(entry["root_dir"], ego_path),
        exo_video=_safe_join(entry["root_dir"], videos[best]["0"]["relative_path"]),
    )


def _read_remarks(path: Path, takes: dict[str, Take], funnel: Funnel) -> list[Remark]:
    remarks = []
    for uid, sessions in read_json(path, "expert commentary")["annotations"].items():
        for session in sessions:
            commentator = session["commentary"].rsplit("/", 1)[-1]
            for item in session["commentary_data"]:
                number = Path(item["recording"]).stem
                remark_id = f"{uid}/{commentator}/{number}"
                text = " ".join((item.get("text") or "").split())
                if uid not in takes:
                    funnel.drop("take is not usable", remark_id)
                elif item.get("error") or not text:
                    funnel.drop("transcription failed", remark_id)
                elif not 0.0 <= float(item["video_time"]) <= takes[uid].duration + 1.0:
                    funnel.drop("time outside the take", remark_id)
                else:
                    remarks.append(Remark(remark_id, uid, commentator, float(item["video_time"]), text))
                    funnel.keep()
    return remarks
