"""Metadata and annotation files of a miniature: takes, captures, splits, commentary, proficiency, descriptions."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.digests import uniform
from mm_data.miniature.simulate import FPS, TAKES_PER_PARTICIPANT, SimulatedTake

_DATE = "20260101_00:00:00"


def ego_name(take: SimulatedTake) -> str:
    """Returns the name of the head-mounted camera; it is not always the first."""
    return "aria02" if take.index % 11 == 5 else "aria01"


def _best_exo(take: SimulatedTake) -> str | None:
    return None if take.index % 17 == 3 else "cam01"


def _take_entry(take: SimulatedTake) -> dict[str, Any]:
    activity = take.participant.activity
    ego, best = ego_name(take), _best_exo(take)

    def video(camera: str, stream: str, readable: str, file: str | None) -> dict[str, Any]:
        return {
            "cam_id": camera,
            "stream_id": stream,
            "readable_stream_id": readable,
            "clip_uid": f"{take.take_uid}-{camera}",
            "relative_path": None if file is None else f"frame_aligned_videos/{file}",
        }

    return {
        "root_dir": f"takes/{take.take_name}",
        "take_name": take.take_name,
        "take_uid": take.take_uid,
        "participant_uid": take.participant.uid,
        "is_dropped": False,
        "best_exo": best,
        "task_start_sec": None,
        "task_end_sec": None,
        "task_id": activity.task_id,
        "task_name": activity.task,
        "parent_task_id": activity.parent_id,
        "parent_task_name": activity.parent,
        "take_idx": take.index % TAKES_PER_PARTICIPANT,
        "duration_sec": round(len(take.joints) / FPS, 3),
        "is_narrated": False,
        "validated": True,
        "objects": [],
        "capture": _capture_entry(take),
        "capture_uid": f"capture-{take.participant.uid:03d}",
        "frame_aligned_videos": {
            ego: {"rgb": video(ego, "214-1", "rgb", f"{ego}_214-1.mp4")},
            "cam01": {"0": video("cam01", "0", "0", "cam01.mp4")},
            "cam02": {"0": video("cam02", "0", "0", "cam02.mp4")},
            "best_exo": {"0": video("best_exo", "0", "0", None if best is None else f"{best}.mp4")},
        },
        "university_name": "miniature",
        "physical_setting_uid": f"setting-{activity.slug}",
        "timesync_start_idx": 100,
        "timesync_end_idx": 100 + len(take.joints) - 1,
    }


def _capture_entry(take: SimulatedTake) -> dict[str, Any]:
    truthy: Any = "True" if take.index % 13 == 6 else True  # the release has been seen with a string here
    return {
        "capture_name": take.take_name.rsplit("_", 1)[0],
        "capture_uid": f"capture-{take.participant.uid:03d}",
        "university_name": "miniature",
        "physical_setting_uid": f"setting-{take.participant.activity.slug}",
        "cameras": [
            _camera_entry("cam01", False, "hero10"),
            _camera_entry("cam02", False, "hero10"),
            _camera_entry(ego_name(take), truthy, "aria"),
        ],
    }


def _camera_entry(name: str, is_ego: Any, device: str) -> dict[str, Any]:
    return {
        "cam_id": name,
        "is_ego": is_ego,
        "has_walkaround": False,
        "includes_audio": False,
        "device_type": device,
    }


def write_annotations(out: Path, takes: list[SimulatedTake]) -> dict[str, int]:
    """Writes everything that is not per-take media or poses; returns counts."""
    splits = {name: [t.take_uid for t in takes if t.split == name] for name in ("train", "val", "test")}
    captures = {
        t.participant.uid: {**_capture_entry(t), "root_dir": "captures/" + _capture_entry(t)["capture_name"]}
        for t in takes
    }
    write_json(out / "takes.json", [_take_entry(t) for t in takes])
    write_json(out / "captures.json", list(captures.values()))
    about = {
        "university_name": "miniature",
        "collection_date": "2026-01-01",
        "metadata": json.dumps({"dominant_hand": "unknown"}),
    }
    write_json(out / "participants.json", [{"participant_uid": uid, **about} for uid in captures])
    write_json(
        out / "physical_setting.json",
        [{"physical_setting_uid": f"setting-{s}"} for s in ("basketball", "soccer", "bouldering")],
    )
    write_json(out / "visual_objects.json", [])
    write_json(out / "metadata.json", {"release": "miniature", "synthetic": True})
    annotations = out / "annotations"
    write_json(
        annotations / "splits.json",
        {
            "split_to_take_uids": splits,
            "take_uid_to_split": {t.take_uid: t.split for t in takes},
            "take_uid_to_benchmark": {t.take_uid: ["ego_pose", "proficiency"] for t in takes},
        },
    )
    counts = {"takes": len(takes), "participants": len(captures), "remarks": 0}
    for split in ("train", "val"):
        of_split = [t for t in takes if t.split == split]
        counts["remarks"] += sum(len(remarks) for t in of_split for remarks in t.remarks.values())
        write_json(
            annotations / f"expert_commentary_{split}.json",
            {"ds": _DATE, "annotations": {t.take_uid: _commentary(t) for t in of_split}},
        )
        write_json(
            annotations / f"proficiency_demonstrator_{split}.json", _demonstrators(of_split, as_list=split == "val")
        )
        write_json(annotations / f"proficiency_demonstration_{split}.json", _demonstrations(of_split))
        write_json(
            annotations / f"atomic_descriptions_{split}.json",
            {"annotations": {t.take_uid: _atomic(t) for t in of_split}},
        )
    for take in takes[:: max(1, len(takes) // 20)]:
        write_commentary_folder(out, take)
    return counts


def _commentary(take: SimulatedTake) -> list[dict[str, Any]]:
    activity = take.participant.activity
    entries = []
    spoken = dict(take.remarks)
    if take.index % 6 == 2:
        spoken["gh7t3q"] = []  # an expert who watched and said nothing
    for commentator, remarks in spoken.items():
        data = []
        for number, remark in enumerate(remarks):
            item: dict[str, Any] = {"recording": f"{number}.webm", "video_time": remark.time, "duration_approx": 4.0}
            if remark.spoken.text is None:
                item |= {"text": None, "error": True, "_error_desc": "no speech found"}
            else:
                item |= {"text": " " + remark.spoken.text, "error": False}  # Whisper's leading space
            data.append(item)
        entries.append(
            {
                "take_name": take.take_name,
                "take_uid": take.take_uid,
                "task_id": activity.task_id,
                "task_name": activity.task,
                "commentary": f"{take.take_name}/{commentator}",
                "commentary_data": data,
            }
        )
    return entries


def _demonstrators(takes: Iterable[SimulatedTake], as_list: bool) -> Any:
    """The documentation shows a list and the release ships a dictionary, so the two splits differ."""
    rows = [{**_proficiency_entry(t), "proficiency_score": t.participant.skill} for t in takes]
    rows.append({**rows[0], "take_uid": "ghost-take-that-is-not-in-takes-json"})
    return rows if as_list else {"annotations": rows}


def _proficiency_entry(take: SimulatedTake) -> dict[str, Any]:
    activity = take.participant.activity
    return {
        "take_uid": take.take_uid,
        "task_id": activity.task_id,
        "task_name": activity.task,
        "scenario_name": activity.parent,
        "university_id": "miniature",
        "origin_participant_id": str(take.participant.uid),
        "video_paths": {"ego": f"takes/{take.take_name}/frame_aligned_videos/{ego_name(take)}_214-1.mp4"},
    }


def _demonstrations(takes: Iterable[SimulatedTake]) -> dict[str, Any]:
    """Good executions and tips, in the words of others, at the moments of the commentary."""
    rows = [
        {
            **_proficiency_entry(take),
            "good_executions": _moments(take, "good"),
            "tips_for_improvement": _moments(take, "tips"),
        }
        for take in takes
    ]
    return {"annotations": rows}


def _moments(take: SimulatedTake, kind: str) -> list[dict[str, Any]]:
    """What an annotator notes of the remarks that have texts of a kind, ``good`` or ``tips``."""
    return [
        {
            "video_time": remark.time,
            "list": list(getattr(remark.spoken, kind)),
            "expert_uid": commentator,
            "video_name": take.take_name,
        }
        for commentator, remarks in take.remarks.items()
        for remark in remarks
        if getattr(remark.spoken, kind)
    ]


def _atomic(take: SimulatedTake) -> list[dict[str, Any]]:
    descriptions = [
        {
            "text": f"C performs a {take.participant.activity.task.lower()}.",
            "timestamp": round(r["frames"][0] / FPS, 3),
            "subject": "C",
            "ego_visible": True,
            "best_exo": {"cam_id": "cam01", "raw_cam_id": "cam01"},
            "unsure": False,
        }
        for r in take.repetitions
    ]
    return [
        {
            "annotation_uid": f"{take.take_uid}-atomic",
            "annotator_id": "mini",
            "rejected": False,
            "reject_reason": None,
            "descriptions": descriptions,
        }
    ]


def write_commentary_folder(root: Path, take: SimulatedTake) -> None:
    """Writes the second form of a take's commentary, which alone carries the commentators' ratings (without the audio)."""
    folder = root / "annotations" / "expert_commentary" / take.take_name
    for commentator, remarks in take.remarks.items():
        annotations = [
            {
                "recording_path": f"{n}.webm",
                "duration_approx": 4.0,
                "video_time": r.time,
                "start_global_time": 1_700_000_000_000 + 60_000 * n,
                "events": [
                    {"type": "path", "action": "clear", "global_time": 1_700_000_000_100 + 60_000 * n, "paths": []}
                ],
            }
            for n, r in enumerate(remarks)
        ]
        write_json(
            folder / commentator / "data.json",
            {
                "user_id": commentator,
                "video_name": take.take_name,
                "ds": "2026-01-01",
                "annotations": annotations,
                "proficiency": {"rating": _rating(take, commentator), "why": "Overall impression"},
            },
        )
        texts = {
            f"{n}.webm": {"text": r.spoken.text, "language": "en", "error": r.spoken.text is None, "error_desc": None}
            for n, r in enumerate(remarks)
        }
        write_json(folder / commentator / "transcriptions.json", texts)


def _rating(take: SimulatedTake, commentator: str) -> int:
    """From 1 to 10, by the faults that the take shows; commentators differ by at most one point."""
    lost = np.mean([sum(repetition["errors"].values()) for repetition in take.repetitions])
    return round(float(np.clip(8.5 - 3.0 * lost + uniform(f"{take.take_uid}/{commentator}"), 1, 10)))


def write_json(path: Path, content: Any) -> None:
    """Writes compact JSON, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")))
