"""Boxing (CoachMe, ACL 2025): remarks on jabs and crosses of performers whom the coach has never seen, beside what people agree on.

    cd benchmarks; python -m real.boxing WORK [--data FOLDER] [--steps 300] [--save]

Performers are left out two at a time; the published split has the same ones on both sides. Every clip has three remarks by people.
Everything is scored against two of them, three times over, so that the third can stand beside the systems: the human ceiling. Rows: a
random Llama of 5 M parameters on joints (`train task --config small`), a random training remark of the same technique, and one of the
nearest training clip in pose. About four minutes per pair of performers on one core.

Not shown: whether a remark is right. Word overlap sees little of a clip: a second human remark shares hardly more words with the first
than a remark on another clip does.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real.coach import FRAMES, ask_coach
from real.where import find_data, mm_coach
from record import finish, parse

from mm_adapter.features.skeleton import clip_metres
from mm_data.items.item import TaskItem
from mm_data.items.store import read_items
from mm_data.poses.archive import PoseArchive
from mm_eval.answers.test_sets import OURS, read_answers
from mm_eval.metrics.text import coco_scores
from mm_eval.statistics.comparison import compare
from mm_eval.statistics.metric import Metric

METRES, FPS = "2.2", "59"
"""Of the coordinates, as a script of their authors has them; no file says so."""

COACH, HUMAN, RANDOM, NEAREST = "coach", "third human remark", "random of the technique", "pose nearest neighbour"
METRICS = ("bleu4", "meteor", "rouge_l", "cider")
_TOGETHER = 2  # performers that are left out at a time


def write_people(data: Path, work: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Imports all clips as poses; returns the folder, and a row per clip without a split."""
    motion, people, rows = work / "motion", work / "people", []
    motion.mkdir(parents=True, exist_ok=True)
    with np.load(data / "coordinates.npz", allow_pickle=False) as arrays:
        for clip in json.loads((data / "remarks.json").read_text()):
            name = "p" + clip["coordinates"].partition("/")[2].replace("~", "-").replace("_", "-")
            if not (motion / f"{name}.npy").is_file():
                np.save(motion / f"{name}.npy", arrays[clip["coordinates"]])
            person, technique = name.partition("-")[0], clip["motion_type"].lower()
            rows.append({"clip": name, "person": person, "category": technique, "remark": clip["labels"]})
    if not (people / "poses.json").is_file():
        flags = ("--format", "humanml3d", "--scale", METRES, "--up", "y-down", "--fps", FPS, "--person", r"p\d")
        mm_coach("poses", "import", motion, people, *flags)
    return people, rows


def write_table(rows: Sequence[dict[str, Any]], path: Path, left_out: Sequence[str]) -> Path:
    """Writes the table in which some performers are the test set."""
    lines = [json.dumps(row | {"split": "test" if row["person"] in left_out else "train"}) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def baselines(fold: Path, seed: int = 0) -> dict[str, dict[str, str]]:
    """Remarks of the rows beside the coach: system to item to remark."""
    archive, draw = PoseArchive(fold / "items"), random.Random(seed)
    train, test = (read_items(fold / "items", split) for split in ("train", "test"))

    def joints(item: TaskItem) -> np.ndarray:
        return np.nan_to_num(clip_metres(archive[item.item_id], FRAMES)[0]).ravel()

    known = np.stack([joints(item) for item in train])
    said: dict[str, dict[str, str]] = {RANDOM: {}, NEAREST: {}}
    for item in test:
        alike = [other for other in train if other.category == item.category]
        said[RANDOM][item.item_id] = draw.choice(draw.choice(alike).references)
        nearest = train[int(np.linalg.norm(known - joints(item), axis=1).argmin())]
        said[NEAREST][item.item_id] = draw.choice(nearest.references)
    return said


def main() -> None:
    """Measures and prints."""
    args = parse(__doc__, "work", data="", steps=300)
    people, rows = write_people(find_data(args.data, "boxing"), args.work)
    performers = sorted({row["person"] for row in rows})
    references: list[list[str]] = []
    clusters: list[str] = []
    said: dict[str, list[str]] = {name: [] for name in (COACH, HUMAN, RANDOM, NEAREST)}
    seconds = 0.0
    for start in range(0, len(performers), _TOGETHER):
        left_out = performers[start : start + _TOGETHER]
        fold = args.work / "-".join(left_out)
        fold.mkdir(exist_ok=True)
        table = write_table(rows, people / f"without_{fold.name}.jsonl", left_out)
        seconds += ask_coach(table, people, fold, args.work / "language_model", args.steps)
        others = baselines(fold)
        for item in read_answers(fold / "answers"):
            for place, remark in enumerate(item.references):  # scored against the other two
                references.append([other for index, other in enumerate(item.references) if index != place])
                clusters.append(item.cluster)
                answers = {COACH: item.answers[OURS].text or "", HUMAN: remark}
                answers |= {name: row[item.item_id] for name, row in others.items()}
                for name, text in answers.items():
                    said[name].append(text)
    scores = coco_scores(said, references, clusters)
    finish(
        "real_boxing",
        {
            "performers": len(performers),
            "clips": len(references) // 3,
            "steps": args.steps,
            "minutes_of_training": round(seconds / 60, 1),
            "different_answers_of_the_coach": len(set(said[COACH])),
            "scores": {name: {m: _shown(row[m]) for m in METRICS if m in row} for name, row in scores.rows.items()},
            "coach_minus": {
                name: {m: _paired(scores.rows[COACH][m], row[m], clusters) for m in METRICS if m in row}
                for name, row in scores.rows.items()
                if name != COACH
            },
            "notes": scores.notes,
        },
        args.save,
    )


def _shown(metric: Metric) -> list[float]:
    low, high = metric.interval or (np.nan, np.nan)
    return [round(value, 4) for value in (metric.value, low, high)]


def _paired(ours: Metric, theirs: Metric, clusters: Sequence[str]) -> dict[str, Any]:
    paired = compare(ours, theirs, clusters)
    low, high = paired.interval or (np.nan, np.nan)
    return {"difference": [round(value, 4) for value in (paired.difference, low, high)], "p": round(paired.p_value, 4)}


if __name__ == "__main__":
    main()
