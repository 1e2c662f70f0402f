"""Writes a miniature Ego-Exo4D: the release's tree, file formats and irregularities, filled with simulated takes."""

import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.miniature.render import Camera, build_scene, ego_cameras, exo_cameras, render_view
from mm_data.miniature.simulate import (
    FPS,
    TAKES_PER_PARTICIPANT,
    Participant,
    SimulatedTake,
    draw_participant,
    simulate_take,
)
from mm_data.miniature.truth import SIDECAR
from mm_data.skeleton import JOINTS

_DATE = "20260101_00:00:00"
_POSE_JITTER = 0.004  # metres, per coordinate: triangulated poses are never clean


def write_miniature(out: Path, takes: int, seed: int, workers: int = 2, progress: Any = None) -> dict[str, int]:
    """Writes a data set; the same ``(takes, seed)`` gives the same bytes.

    Args:
        out: Folder to create. A finished miniature of the same size and seed is kept as it is.
        takes: Number of takes; two per participant.
        seed: Seed of everything drawn.
        workers: Processes that simulate and render.
        progress: Called with the number of finished takes, or None.

    Returns:
        Counts of what was written.

    Raises:
        ValueError: Too few takes for both splits, or ``out`` holds something else.
    """
    if takes < 2 * TAKES_PER_PARTICIPANT:
        raise ValueError(
            f"A miniature needs at least {2 * TAKES_PER_PARTICIPANT} takes (one participant per split), got {takes}."
        )
    sidecar = out / SIDECAR
    if sidecar.is_file():
        made = json.loads(sidecar.read_text())
        if (made["num_takes"], made["seed"]) == (takes, seed):
            return made["counts"]
        raise ValueError(
            f"{out} holds a miniature of {made['num_takes']} takes, seed {made['seed']}; asked for {takes}, seed {seed}. "
            "Give another folder or delete this one."
        )
    if out.exists() and any(out.iterdir()) and not (out / ".miniature").exists():
        raise ValueError(f"{out} is not empty and is not an unfinished miniature; give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    (out / ".miniature").touch()

    plan = _plan(takes, seed)
    simulated = []
    write_one = partial(_write_take, out, seed)
    with ProcessPoolExecutor(workers) as pool:
        for done, take in enumerate(pool.map(write_one, plan), start=1):
            simulated.append(take)
            if progress is not None:
                progress(done)
    counts = _write_annotations(out, simulated)
    truth = {
        "note": "Ground truth of a synthetic data set, for evaluation only. Training never reads this file.",
        "num_takes": takes,
        "seed": seed,
        "counts": counts,
        "takes": {
            t.take_uid: {
                "activity": t.participant.activity.slug,
                "skill": t.participant.skill,
                "left_handed": t.participant.left_handed,
                "repetitions": t.repetitions,
                "regions": {e.name: e.region for e in t.participant.activity.errors},
            }
            for t in simulated
        },
    }
    partial_file = sidecar.with_suffix(".partial")
    _dump(partial_file, truth)
    shutil.move(partial_file, sidecar)
    (out / ".miniature").unlink()
    return counts


def _plan(takes: int, seed: int) -> list[tuple[int, Participant, str]]:
    """Takes with their participant and split. Whole participants go to val, every fourth block of twelve, save one.

    One participant's last take sits in train although the others are in val: the release splits by take, so a reader
    has to notice the overlap.
    """
    participants = (takes + TAKES_PER_PARTICIPANT - 1) // TAKES_PER_PARTICIPANT
    period = min(4, max(2, participants // 12)) if participants >= 24 else 2
    plan = []
    overlapping = None
    for index in range(takes):
        uid = index // TAKES_PER_PARTICIPANT
        # Blocks of twelve hold every (activity, skill) once; small data sets alternate participants instead.
        block = uid // 12 if participants >= 24 else uid
        split = "val" if block % period == period - 1 else "train"
        if split == "val" and index % TAKES_PER_PARTICIPANT == TAKES_PER_PARTICIPANT - 1 and overlapping is None:
            overlapping, split = uid, "train"
        plan.append((index, draw_participant(uid, seed), split))
    return plan


def _write_take(out: Path, seed: int, planned: tuple[int, Participant, str]) -> SimulatedTake:
    index, participant, split = planned
    take = simulate_take(index, participant, split, seed)
    folder = out / "takes" / take.take_name
    scene = build_scene(take)
    cameras = exo_cameras(take)
    heads = ego_cameras(take)
    for name, camera in cameras.items():
        render_view(folder / "frame_aligned_videos" / f"{name}.mp4", take, scene, camera)
    render_view(folder / "frame_aligned_videos" / f"{_ego_name(take)}_214-1.mp4", take, scene, heads)
    _write_calibration(folder / "trajectory" / "gopro_calibs.csv", cameras)

    pose_root = out / "annotations" / "ego_pose" / split
    kind, frames = _pose_frames(take)
    _dump(pose_root / "body" / kind / f"{take.take_uid}.json", _pose_json(take, frames, cameras, seed))
    _dump(pose_root / "camera_pose" / f"{take.take_uid}.json", _camera_json(take, frames, cameras, heads))
    return take


def _ego_name(take: SimulatedTake) -> str:
    return "aria02" if take.index % 11 == 5 else "aria01"


def _best_exo(take: SimulatedTake) -> str | None:
    return None if take.index % 17 == 3 else "cam01"


def _pose_frames(take: SimulatedTake) -> tuple[str, list[int]]:
    """Which file and which frames: mostly dense automatic poses, at times sparse manual ones in reverse order."""
    first = 7 if take.index % 3 == 1 else 0
    if take.index % 9 == 4:
        return "annotation", list(range(first, len(take.joints), 3))[::-1]
    return "automatic", list(range(first, len(take.joints)))


def _pose_json(take: SimulatedTake, frames: list[int], cameras: dict[str, Camera], seed: int) -> dict[str, list]:
    rng = np.random.default_rng([seed, 3, take.index])
    noisy = take.joints + rng.normal(0, _POSE_JITTER, take.joints.shape)
    pixels = cameras["cam01"].project(noisy)[0]
    hidden = {"left-ear"} if take.index % 5 == 1 else set()
    dropout = rng.random(noisy.shape[:2]) < 0.004
    empty = frames[len(frames) // 3] if take.index % 4 == 2 else None
    content: dict[str, list] = {}
    for frame in frames:
        if frame == empty:
            content[str(frame)] = []
            continue
        kept = [j for j, name in enumerate(JOINTS) if name not in hidden and not dropout[frame, j]]
        order = kept[::-1] if frame % 2 else kept  # joints are keyed by name, in any order
        content[str(frame)] = [
            {
                "metadata": {"take_uid": take.take_uid, "take_name": take.take_name, "frame_number": frame},
                "annotation2D": {
                    "cam01": {
                        JOINTS[j]: {
                            "x": round(float(pixels[frame, j, 0]), 1),
                            "y": round(float(pixels[frame, j, 1]), 1),
                            "placement": "auto",
                        }
                        for j in order
                    }
                },
                "annotation3D": {
                    JOINTS[j]: {
                        **dict(zip("xyz", (round(float(v), 4) for v in noisy[frame, j]), strict=True)),
                        "num_views_for_3d": 2,
                    }
                    for j in order
                },
            }
        ]
    return content


def _camera_json(take: SimulatedTake, frames: list[int], cameras: dict[str, Camera], heads: list[Camera]) -> dict:
    def extrinsics(camera: Camera) -> list:
        return np.round(np.hstack([camera.rotation, camera.translation[:, None]]), 5).tolist()

    content: dict[str, Any] = {"metadata": {"take_uid": take.take_uid, "take_name": take.take_name}}
    content[_ego_name(take)] = {
        "camera_intrinsics": heads[0].intrinsics.tolist(),
        "camera_extrinsics": {str(f): extrinsics(heads[f]) for f in sorted(frames)[::3]},
    }
    for name, camera in cameras.items():
        content[name] = {
            "camera_intrinsics": camera.intrinsics.tolist(),
            "camera_extrinsics": extrinsics(camera),
            "distortion_coeffs": [0.0, 0.0, 0.0, 0.0],
        }
    return content


def _write_calibration(path: Path, cameras: dict[str, Camera]) -> None:
    """``gopro_calibs.csv`` holds camera to world, unlike the camera JSON."""
    columns = [f"{c}_world_cam" for c in ("tx", "ty", "tz", "qx", "qy", "qz", "qw")]
    lines = ["cam_uid," + ",".join(columns) + "," + ",".join(f"intrinsics_{i}" for i in range(8))]
    for name, camera in cameras.items():
        rotation = camera.rotation.T
        position = -rotation @ camera.translation
        w = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
        skew = np.array([
            rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]
        ])  # fmt: skip
        k = camera.intrinsics
        values = [*position, *(skew / (4 * max(w, 1e-9))), w, k[0, 0], k[1, 1], k[0, 2], k[1, 2], 0, 0, 0, 0]
        lines.append(name + "," + ",".join(f"{float(v):.6f}" for v in values))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _take_entry(take: SimulatedTake) -> dict[str, Any]:
    activity = take.participant.activity
    ego, best = _ego_name(take), _best_exo(take)

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
    camera = lambda name, ego, device: {  # noqa: E731
        "cam_id": name, "is_ego": ego, "has_walkaround": False, "includes_audio": False, "device_type": device,
    }  # fmt: skip
    return {
        "capture_name": take.take_name.rsplit("_", 1)[0],
        "capture_uid": f"capture-{take.participant.uid:03d}",
        "university_name": "miniature",
        "physical_setting_uid": f"setting-{take.participant.activity.slug}",
        "cameras": [
            camera("cam01", False, "hero10"),
            camera("cam02", False, "hero10"),
            camera(_ego_name(take), truthy, "aria"),
        ],
    }


def _write_annotations(out: Path, takes: list[SimulatedTake]) -> dict[str, int]:
    splits = {name: [t.take_uid for t in takes if t.split == name] for name in ("train", "val", "test")}
    captures = {
        t.participant.uid: {**_capture_entry(t), "root_dir": "captures/" + _capture_entry(t)["capture_name"]}
        for t in takes
    }
    _dump(out / "takes.json", [_take_entry(t) for t in takes])
    _dump(out / "captures.json", list(captures.values()))
    _dump(
        out / "participants.json",
        [{"participant_uid": uid, "university_name": "miniature", "collection_date": "2026-01-01", "metadata": json.dumps({"dominant_hand": "unknown"})} for uid in captures],
    )  # fmt: skip
    _dump(
        out / "physical_setting.json",
        [{"physical_setting_uid": f"setting-{s}"} for s in ("basketball", "soccer", "bouldering")],
    )
    _dump(out / "visual_objects.json", [])
    _dump(out / "metadata.json", {"release": "miniature", "synthetic": True})
    annotations = out / "annotations"
    _dump(
        annotations / "splits.json",
        {
            "split_to_take_uids": splits,
            "take_uid_to_split": {t.take_uid: t.split for t in takes},
            "take_uid_to_benchmark": {t.take_uid: ["ego_pose", "proficiency"] for t in takes},
        },
    )
    counts = {"takes": len(takes), "participants": len(captures), "remarks": 0}
    for split in ("train", "val"):
        chosen = [t for t in takes if t.split == split]
        counts["remarks"] += sum(len(said) for t in chosen for said in t.remarks.values())
        _dump(
            annotations / f"expert_commentary_{split}.json",
            {"ds": _DATE, "annotations": {t.take_uid: _commentary(t) for t in chosen}},
        )
        _dump(annotations / f"proficiency_demonstrator_{split}.json", _demonstrators(chosen, as_list=split == "val"))
        _dump(
            annotations / f"atomic_descriptions_{split}.json", {"annotations": {t.take_uid: _atomic(t) for t in chosen}}
        )
    for take in takes[:: max(1, len(takes) // 20)]:
        _write_commentary_folder(annotations / "expert_commentary" / take.take_name, take)
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
            item: dict[str, Any] = {"recording": f"{number}.webm", "video_time": remark["time"], "duration_approx": 4.0}
            if remark["text"] is None:
                item |= {"text": None, "error": True, "_error_desc": "no speech found"}
            else:
                item |= {"text": " " + remark["text"], "error": False}  # Whisper's leading space
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
    rows = [
        {
            "take_uid": t.take_uid,
            "task_id": t.participant.activity.task_id,
            "task_name": t.participant.activity.task,
            "scenario_name": t.participant.activity.parent,
            "university_id": "miniature",
            "origin_participant_id": str(t.participant.uid),
            "video_paths": {"ego": f"takes/{t.take_name}/frame_aligned_videos/{_ego_name(t)}_214-1.mp4"},
            "proficiency_score": t.participant.skill,
        }
        for t in takes
    ]
    rows.append({**rows[0], "take_uid": "ghost-take-that-is-not-in-takes-json"})
    return rows if as_list else {"annotations": rows}


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


def _write_commentary_folder(folder: Path, take: SimulatedTake) -> None:
    """The second form of the commentary, which alone carries the commentator's rating (without the audio)."""
    rating = 2 + 2 * ["Novice", "Early Expert", "Intermediate Expert", "Late Expert"].index(take.participant.skill)
    for commentator, remarks in take.remarks.items():
        annotations = [
            {
                "recording_path": f"{n}.webm",
                "duration_approx": 4.0,
                "video_time": r["time"],
                "start_global_time": 1_700_000_000_000 + 60_000 * n,
                "events": [
                    {"type": "path", "action": "clear", "global_time": 1_700_000_000_100 + 60_000 * n, "paths": []}
                ],
            }
            for n, r in enumerate(remarks)
        ]
        _dump(
            folder / commentator / "data.json",
            {
                "user_id": commentator,
                "video_name": take.take_name,
                "ds": "2026-01-01",
                "annotations": annotations,
                "proficiency": {"rating": rating, "why": "Overall impression"},
            },
        )
        texts = {
            f"{n}.webm": {"text": r["text"], "language": "en", "error": r["text"] is None, "error_desc": None}
            for n, r in enumerate(remarks)
        }
        _dump(folder / commentator / "transcriptions.json", texts)


def _dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")))
