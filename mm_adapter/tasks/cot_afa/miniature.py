"""A synthetic CoT-AFA: exercises with standard and faulty form, in the published files with their irregularities.

The sheet has Chinese headers, rows without an action's name and one mark that is neither 0 nor 1; some explanations are empty
files; the test split is COCO's format.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import openpyxl

from mm_adapter.tasks.cot_afa.exercises import EXERCISES, STANDING, Exercise, FormFault
from mm_adapter.tasks.cot_afa.files import CAPTIONS, COMMENTS, NON_STANDARD, SHEET, STANDARD, STEPS
from mm_adapter.tasks.cot_afa.format import ChainStep, explanation
from mm_data.ground.files import write_atomically
from mm_data.ground.parallel import parallel_map
from mm_data.miniature.activities import smooth_interpolation
from mm_data.miniature.body import add_change
from mm_data.miniature.performance import SIZE, Performer, finish, record
from mm_data.miniature.render import Camera, Scene

_HEADERS = ("视频名字", "大类", "小类", "具体类", "具体类.1", "好坏", "角度", "部位", "坏的话具体原因", "时间(s)")
_REPETITION, _REST = 44, 8  # frames


@dataclass(frozen=True)
class Repetitions:
    """One simulated clip with everything that is known about it."""

    name: str
    exercise: Exercise
    fault: FormFault | None
    severity: float
    split: str
    text: str


def write_gym(
    root: Path,
    count: int,
    seed: int,
    workers: int = 2,
    progress: Callable[[int], None] = lambda done: None,
    videos: bool = True,
) -> dict[str, int]:
    """Writes a data set; the same ``(count, seed)`` gives the same content.

    Args:
        root: Folder to create.
        count: Number of clips; a quarter of each exercise's is the test split, and a few have empty explanations.
        seed: Seed of everything drawn.
        workers: Processes that render.
        progress: Called with the number of finished clips.
        videos: Whether to render mp4s; poses are enough for a coach that sees poses alone.

    Returns:
        Split to its number of clips.
    """
    (root / COMMENTS).mkdir(parents=True, exist_ok=True)
    clips = [draw_clip(index, seed) for index in range(count)]
    for done, _ in enumerate(parallel_map(partial(_film, root, seed, videos), clips, workers), start=1):
        progress(done)
    _write_sheet(root / SHEET, clips)
    for number, clip in enumerate(clips):
        empty = clip.split == "test" or number % 29 == 7  # as published: most files are there and hold nothing
        write_atomically(root / COMMENTS / f"{clip.name}_with_label.txt", "" if empty else clip.text)
    write_atomically(root / STEPS, json.dumps({e.name: _instructions(e) for e in EXERCISES}, indent=1))
    test = [clip for clip in clips if clip.split == "test"]
    captions = {
        "type": "captions", "info": {}, "licenses": [],
        "images": [{"id": clip.name, "file_name": clip.name} for clip in test],
        "annotations": [{"image_id": clip.name, "caption": clip.text, "id": n} for n, clip in enumerate(test)],
    }  # fmt: skip
    write_atomically(root / CAPTIONS, json.dumps(captions))
    truth = {c.name: {"fault": c.fault.outcome[0] if c.fault else None, "severity": c.severity} for c in clips}
    return finish(root, {clip.name: clip.split for clip in clips}, truth)


def _instructions(exercise: Exercise) -> list[str]:
    *steps, general = exercise.steps
    lines = [f"{exercise.name} step {number}: {step}." for number, step in enumerate(steps, 1)]
    return [*lines, f"general instruction: {general}."]


def draw_clip(index: int, seed: int) -> Repetitions:
    """Draws a clip: exercise, fault if any, and the explanation."""
    rng = np.random.default_rng([seed, 31, index])
    number, repetition = index % len(EXERCISES), index // len(EXERCISES)
    exercise = EXERCISES[number]
    fault = exercise.faults[int(rng.integers(2))] if rng.random() < 0.5 else None
    severity = float(rng.uniform(0.4, 1.0)) if fault else 0.0
    if fault is None:
        chain = [ChainStep(int(step) + 1, exercise.well[step], "") for step in rng.choice(5, size=2, replace=False)]
    else:
        right = int(rng.choice([s for s in range(5) if s + 1 != fault.step]))
        wording = int(rng.integers(3))
        broken = ChainStep(fault.step, fault.outcome[wording], fault.solution[wording])
        chain = [ChainStep(right + 1, exercise.well[right], ""), broken]
    chain.sort(key=lambda link: link.step)
    text = explanation(exercise.name, NON_STANDARD if fault else STANDARD, chain)
    split = "test" if repetition % 4 == 3 else "train"
    return Repetitions(f"{number + 1:02d}_{repetition + 1:02d}", exercise, fault, severity, split, text)


def clip_joints(rng: np.random.Generator, performer: Performer, clip: Repetitions) -> np.ndarray:
    """Computes joints ``[T, 17, 3]`` of two repetitions."""
    middle = clip.exercise.middle.vector()
    add_change(middle, clip.fault.changes if clip.fault else {}, clip.severity)
    parts = [np.repeat(STANDING.vector()[None], int(rng.integers(1, 12)), axis=0)]
    for _ in range(2):
        low = middle + rng.normal(0, 0.02, middle.shape)
        up = STANDING.vector() + rng.normal(0, 0.01, middle.shape)
        times = np.array([0.0, 0.3, 0.7, 1.0])
        parts.append(smooth_interpolation(times, np.stack([up, low, low, up]), round(_REPETITION * performer.tempo)))
        parts.append(np.repeat(up[None], _REST, axis=0))
    return performer.move(rng, np.concatenate(parts))


def _film(root: Path, seed: int, video: bool, clip: Repetitions) -> None:
    number = [int(part) for part in clip.name.split("_")]
    rng = np.random.default_rng([seed, 32, *number])
    performer = Performer.draw(rng)
    joints = clip_joints(rng, performer, clip)
    angle = rng.uniform(0.5, 1.1) * rng.choice([-1, 1])
    eye = np.array([3.0 * np.sin(angle), 3.0 * np.cos(angle), 1.3])
    camera = Camera.looking(eye, np.array([0.0, 0.0, 1.0]), 200.0, SIZE)
    scene = Scene(None, (0, 0, 0), 0.0, (120, 120, 130), (200, 205, 210), [], [])
    record(root, clip.name, joints, performer.shirt, camera, scene, [seed, 33, *number], video)


def _write_sheet(path: Path, clips: list[Repetitions]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(_HEADERS)
    for number, clip in enumerate(clips):
        named = number < len(clips) // 2  # the release leaves most columns of its later classes blank
        mark: int | str = 1 if clip.fault else 0
        rest = ("健身", "徒手", clip.exercise.name, None) if named else (None, None, None, None)
        reason = clip.fault.outcome[0] if clip.fault and named else None
        sheet.append((clip.name, *rest, str(mark) if number % 17 == 3 else mark, None, None, reason, None))
    sheet.append(("99_01", None, None, None, None, 0))  # a class without steps
    sheet.append((f"{len(EXERCISES):02d}_98", None, None, None, None, 2))  # the stray mark
    book.save(path)
