"""Writes a miniature Ego-Exo4D: the release's tree, file formats and irregularities, filled with simulated takes."""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.miniature.annotations import ego_name, write_annotations, write_json
from mm_data.miniature.render import Camera, build_scene, ego_cameras, exo_cameras, render_view
from mm_data.miniature.simulate import (
    TAKES_PER_PARTICIPANT,
    Participant,
    SimulatedTake,
    draw_participant,
    simulate_take,
)
from mm_data.miniature.truth import SIDECAR
from mm_data.poses.skeleton import JOINTS

_VIDEOS = {True: "with videos", False: "without videos"}
_POSE_JITTER = 0.004  # metres, per coordinate: triangulated poses are never clean


def write_miniature(
    out: Path, takes: int, seed: int, workers: int = 2, progress: Any = None, videos: bool = True
) -> dict[str, int]:
    """Writes a data set; the same ``(takes, seed)`` gives the same bytes.

    Args:
        out: Folder to create. A finished miniature of the same size and seed is kept as it is.
        takes: Number of takes; two per participant.
        seed: Seed of everything drawn.
        workers: Processes that simulate and render.
        progress: Called with the number of finished takes, or None.
        videos: Whether to render mp4s; tuples are built without them.

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
        if (made["num_takes"], made["seed"], made.get("videos", True)) == (takes, seed, videos):
            return made["counts"]
        raise ValueError(
            f"{out} holds a miniature of {made['num_takes']} takes, seed {made['seed']}, {_VIDEOS[made.get('videos', True)]}; "
            f"asked for {takes}, seed {seed}, {_VIDEOS[videos]}. Give another folder or delete this one."
        )
    if out.exists() and any(out.iterdir()) and not (out / ".miniature").exists():
        raise ValueError(f"{out} is not empty and is not an unfinished miniature; give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    (out / ".miniature").touch()

    plan = _plan(takes, seed)
    simulated = []
    write_one = partial(_write_take, out, seed, videos)
    with ProcessPoolExecutor(workers) as pool:
        for done, take in enumerate(pool.map(write_one, plan), start=1):
            simulated.append(take)
            if progress is not None:
                progress(done)
    counts = write_annotations(out, simulated)
    truth = {
        "note": "Ground truth of a synthetic data set, for evaluation only. Training never reads this file.",
        "num_takes": takes,
        "seed": seed,
        "videos": videos,
        "counts": counts,
        "takes": {
            t.take_uid: {
                "activity": t.participant.activity.slug,
                "skill": t.participant.skill,
                "left_handed": t.participant.left_handed,
                "repetitions": t.repetitions,
                "regions": {e.name: e.region for e in t.participant.activity.errors},
                "remarks": {
                    f"{t.take_uid}/{commentator}/{number}": said.spoken.regions
                    for commentator, remarks in t.remarks.items()
                    for number, said in enumerate(remarks)
                    if said.spoken.text is not None
                },
            }
            for t in simulated
        },
    }
    write_atomically(sidecar, json.dumps(truth, separators=(",", ":")))
    (out / ".miniature").unlink()
    return counts


def planned_takes(takes: int, seed: int) -> list[SimulatedTake]:
    """The takes of a miniature, simulated again: motion and truth without any file."""
    return [simulate_take(index, participant, split, seed) for index, participant, split in _plan(takes, seed)]


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


def _write_take(out: Path, seed: int, videos: bool, planned: tuple[int, Participant, str]) -> SimulatedTake:
    index, participant, split = planned
    take = simulate_take(index, participant, split, seed)
    folder = out / "takes" / take.take_name
    cameras = exo_cameras(take)
    heads = ego_cameras(take)
    if videos:
        scene = build_scene(take)
        for name, camera in cameras.items():
            render_view(folder / "frame_aligned_videos" / f"{name}.mp4", take, scene, camera)
        render_view(folder / "frame_aligned_videos" / f"{ego_name(take)}_214-1.mp4", take, scene, heads)
    _write_calibration(folder / "trajectory" / "gopro_calibs.csv", cameras)

    pose_root = out / "annotations" / "ego_pose" / split
    kind, frames = _pose_frames(take)
    write_json(pose_root / "body" / kind / f"{take.take_uid}.json", _pose_json(take, frames, cameras, seed))
    write_json(pose_root / "camera_pose" / f"{take.take_uid}.json", _camera_json(take, frames, cameras, heads))
    return take


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
    content[ego_name(take)] = {
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
