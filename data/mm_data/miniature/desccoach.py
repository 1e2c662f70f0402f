"""A synthetic EE4D-DescCoach: TechPoint-level commentary on the takes of a miniature Ego-Exo4D."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.files import write_atomically
from mm_data.miniature.remarks import CORRECTIONS, PRAISE
from mm_data.miniature.simulate import FPS, SimulatedTake
from mm_data.miniature.write import planned_takes, write_miniature
from mm_data.skeleton import REGIONS
from mm_data.tasks.desccoach_files import DIMENSIONS, FILE, REGION_DIMENSIONS

_WINDOW = 8.0  # seconds, as in the data set
_VISIBLE = 0.3
"""Severity from which a fault is spoken about."""

_OBJECT = {"basketball": "Carry the ball in one line from the dip to the release.", "soccer": "Meet the ball with the inside of the foot.", "bouldering": "Take the holds with control and keep the weight under them."}  # fmt: skip


def write_desccoach(
    root: Path,
    takes: int,
    seed: int,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
    videos: bool = True,
) -> dict[str, int]:
    """Writes a miniature Ego-Exo4D and the commentary beside it; the same ``(takes, seed)`` gives the same content.

    Args:
        root: Folder to create.
        takes: Number of takes, each with one instance.
        seed: Seed of everything drawn.
        workers: Processes that simulate and render.
        progress: Called with the number of finished takes, or None.
        videos: Whether to render mp4s.

    Returns:
        Number of instances by split.
    """
    write_miniature(root, takes, seed, workers, progress, videos)
    return add_commentary(root, takes, seed)


def add_commentary(root: Path, takes: int, seed: int) -> dict[str, int]:
    """Writes the commentary beside a miniature of so many takes and this seed."""
    simulated = planned_takes(takes, seed)
    content = {f"request-{take.index + 1}": _instance(take, seed) for take in simulated}
    write_atomically(root / FILE, json.dumps(content, indent=1))
    return {"train": sum(t.split == "train" for t in simulated), "test": sum(t.split == "val" for t in simulated)}


def _instance(take: SimulatedTake, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 41, take.index])
    activity = take.participant.activity
    region_of = {error.name: error.region for error in activity.errors}
    faults: dict[str, str] = {}
    for repetition in take.repetitions:
        faults |= {region_of[name]: name for name, severity in repetition["errors"].items() if severity >= _VISIBLE}
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
    said = [r.spoken.text for remarks in take.remarks.values() for r in remarks if r.spoken.text]
    return {
        "clip_st_ed": [0.0, min(_WINDOW, round(len(take.joints) / FPS, 3))],
        "take_name": take.take_name,
        # The release names a take by its uid or by its name.
        "take_id": take.take_uid if take.index % 5 else take.take_name,
        "task_name": activity.task,
        "tech_instruction": [{"body_part": name, "instruction": text} for name, text in instructions.items()],
        "raw_comment": said,
        "response": {"regular_dict": rows, "summarization": " ".join(sentences)},
    }
