"""Writes a miniature Ego-Exo4D: the release's tree, file formats and irregularities, filled with simulated takes."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mm_data.ground.files import check_ours, check_same_inputs, write_atomically
from mm_data.ground.parallel import parallel_map
from mm_data.miniature.annotations import ego_name, write_annotations, write_json
from mm_data.miniature.claim import UNFINISHED
from mm_data.miniature.performance import JITTER
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


def write_miniature(
    out: Path,
    takes: int,
    seed: int,
    workers: int = 2,
    progress: Callable[[int], None] = lambda done: None,
    videos: bool = True,
) -> dict[str, int]:
    """Writes a data set; the same ``(takes, seed)`` gives the same bytes.

    Args:
        out: Folder to create. A finished miniature of the same size and seed is kept as it is.
        takes: Number of takes; two per participant.
        seed: Seed of everything drawn.
        workers: Processes that simulate and render.
        progress: Called with the number of finished takes.
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
        begun = {"takes": made["num_takes"], "seed": made["seed"], "videos": made.get("videos", True)}
        check_same_inputs(out, begun, {"takes": takes, "seed": seed, "videos": videos})
        return made["counts"]
    check_ours(out, (UNFINISHED,))
    out.mkdir(parents=True, exist_ok=True)
    (out / UNFINISHED).touch()

    simulated: list[SimulatedTake] = []
    for take in parallel_map(partial(_write_take, out, seed, videos), _plan(takes, seed), workers):
        simulated.append(take)
        progress(len(simulated))
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
                    f"{t.take_uid}/{commentator}/{number}": remark.spoken.regions
                    for commentator, remarks in t.remarks.items()
                    for number, remark in enumerate(remarks)
                    if remark.spoken.text is not None
                },
            }
            for t in simulated
        },
    }
    write_atomically(sidecar, json.dumps(truth, separators=(",", ":")))
    (out / UNFINISHED).unlink()
    return counts


def planned_takes(takes: int, seed: int) -> list[SimulatedTake]:
    """Simulates the takes of a miniature again: motion and truth without any file."""
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
    if videos:
        scene, heads = build_scene(take), ego_cameras(take)
        for name, camera in cameras.items():
            render_view(folder / "frame_aligned_videos" / f"{name}.mp4", take, scene, camera)
        render_view(folder / "frame_aligned_videos" / f"{ego_name(take)}_214-1.mp4", take, scene, heads)
    kind, frames = _pose_frames(take)
    path = out / "annotations" / "ego_pose" / split / "body" / kind / f"{take.take_uid}.json"
    write_json(path, _pose_json(take, frames, cameras, seed))
    return take


def _pose_frames(take: SimulatedTake) -> tuple[str, list[int]]:
    """Which file and which frames: mostly dense automatic poses, at times sparse manual ones in reverse order."""
    first = 7 if take.index % 3 == 1 else 0
    if take.index % 9 == 4:
        return "annotation", list(range(first, len(take.joints), 3))[::-1]
    return "automatic", list(range(first, len(take.joints)))


def _pose_json(take: SimulatedTake, frames: list[int], cameras: dict[str, Camera], seed: int) -> dict[str, list]:
    rng = np.random.default_rng([seed, 3, take.index])
    noisy = take.joints + rng.normal(0, JITTER, take.joints.shape)
    pixels = cameras["cam01"].project(noisy)[0]
    hidden = {"left-ear"} if take.index % 5 == 1 else set()
    dropout = rng.random(noisy.shape[:2]) < 0.004
    empty = frames[len(frames) // 3] if take.index % 4 == 2 else None
    content: dict[str, list] = {}
    for frame in frames:
        if frame == empty:
            content[str(frame)] = []
            continue
        present = [j for j, name in enumerate(JOINTS) if name not in hidden and not dropout[frame, j]]
        order = present[::-1] if frame % 2 else present  # joints are keyed by name, in any order
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
