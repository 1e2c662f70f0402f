"""A synthetic EE4D-DescCoach: TechPoint-level commentary on the takes of a miniature Ego-Exo4D."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.tasks.desccoach.files import DIMENSIONS, FILE, REGION_DIMENSIONS
from mm_data.ground.files import write_atomically
from mm_data.miniature.annotations import write_commentary_folder
from mm_data.miniature.remarks import CORRECTIONS, PRAISE
from mm_data.miniature.simulate import FPS, SimulatedTake
from mm_data.miniature.write import planned_takes, write_miniature
from mm_data.poses.skeleton import REGIONS

_HINDSIGHT = 0.5
"""Seconds after a repetition in which commentators still speak about it."""

_VISIBLE = 0.3
"""Severity from which a fault is spoken about."""

_UNRATED = 9
"""One take in so many has no rating of its own."""

_OBJECT = {
    "basketball": "Carry the ball in one line from the dip to the release.",
    "soccer": "Meet the ball with the inside of the foot.",
    "bouldering": "Take the holds with control and keep the weight under them.",
}


def write_desccoach(
    root: Path,
    takes: int,
    seed: int,
    workers: int = 2,
    progress: Callable[[int], None] = lambda done: None,
    videos: bool = True,
) -> dict[str, int]:
    """Writes a miniature Ego-Exo4D and the commentary beside it; the same ``(takes, seed)`` gives the same content.

    Args:
        root: Folder to create.
        takes: Number of takes, each with an instance per repetition.
        seed: Seed of everything drawn.
        workers: Processes that simulate and render.
        progress: Called with the number of finished takes.
        videos: Whether to render mp4s.

    Returns:
        Number of instances by split.
    """
    write_miniature(root, takes, seed, workers, progress, videos)
    return add_commentary(root, takes, seed)


def add_commentary(root: Path, takes: int, seed: int) -> dict[str, int]:
    """Writes TechPoints and commentary beside a miniature of so many takes and this seed, and ratings of most takes."""
    simulated = planned_takes(takes, seed)
    for take in simulated:
        if take.index % _UNRATED != 1:
            write_commentary_folder(root, take)
    instances = [(take, number) for take in simulated for number in range(len(take.repetitions))]
    content = {f"request-{n}": _instance(*instance, seed) for n, instance in enumerate(instances, start=1)}
    write_atomically(root / FILE, json.dumps(content, indent=1))
    splits = [take.split for take, _ in instances]
    return {"train": splits.count("train"), "test": splits.count("val")}


def _instance(take: SimulatedTake, number: int, seed: int) -> dict[str, Any]:
    """One repetition of a take."""
    rng = np.random.default_rng([seed, 41, take.index, number])
    repetition = take.repetitions[number]
    start, stop = (round(frame / FPS, 3) for frame in repetition["frames"])
    activity = take.participant.activity
    region_of = {error.name: error.region for error in activity.errors}
    faults = {region_of[name]: name for name, severity in repetition["errors"].items() if severity >= _VISIBLE}
    right = [region for region in REGIONS if region not in faults]
    praised = [str(region) for region in rng.choice(right, size=1 if faults else 2, replace=False)]
    rows, well, mend = [], [], []
    for region in REGIONS:
        name = REGION_DIMENSIONS[region]
        if region in faults:
            options = CORRECTIONS[activity.slug, faults[region]]
            problem, fix = options[rng.integers(len(options))]
            rows.append({"body_part": name, "what_is_done_well": "", "what_can_be_improved": f"{problem}; {fix}."})
            mend.append(f"{problem[0].lower()}{problem[1:]}, so {fix}")
        elif region in praised:
            options = PRAISE[activity.slug, region]
            compliment = options[rng.integers(len(options))]
            rows.append({"body_part": name, "what_is_done_well": f"{compliment}.", "what_can_be_improved": ""})
            well.append(compliment)
    sentences = [f"{'; '.join(well)}."] if well else []
    sentences += [f"However, {'; '.join(mend)}."] if mend else ["There is nothing important to change."]
    instructions = {
        REGION_DIMENSIONS[error.region]: f"{CORRECTIONS[activity.slug, error.name][0][1].capitalize()}."
        for error in activity.errors
    }
    instructions[DIMENSIONS[-1]] = _OBJECT[activity.slug]
    remarks = [r for remarks in take.remarks.values() for r in remarks if start < r.time <= stop + _HINDSIGHT]
    return {
        "clip_st_ed": [start, stop],
        "take_name": take.take_name,
        # The release names a take by its uid or by its name.
        "take_id": take.take_uid if take.index % 5 else take.take_name,
        "task_name": activity.task,
        "tech_instruction": [{"body_part": name, "instruction": text} for name, text in instructions.items()],
        "raw_comment": [r.spoken.text for r in remarks if r.spoken.text],
        "response": {"regular_dict": rows, "summarization": " ".join(sentences)},
    }
