"""Reads EE4D-DescCoach: one JSON file beside an Ego-Exo4D download, whose takes and ratings it is joined with.

::

    ROOT/desccoach.json     {"request-1": {"clip_st_ed", "take_name", "take_id", "task_name", "tech_instruction",
                             "raw_comment", "response": {"regular_dict", "summarization"}}, ...}
    ROOT/takes.json, annotations/, takes/     Ego-Exo4D

The file has no score: it is the mean of the experts' ratings of the take.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.records import Source, Take, VideoClip
from mm_data.release.egoexo4d import read_release
from mm_data.tasks.task import TaskData

FILE = "desccoach.json"
DIMENSIONS = (
    "Head & Eyes", "Torso & Core", "Arms & Elbows", "Wrists & Hands", "Legs & Knees", "Feet & Heels", "Human-Object Interaction",
)  # fmt: skip
"""TechCoach's seven, with the names of the data set."""

REGION_DIMENSIONS: dict[str, str] = dict(
    zip(("head", "torso", "arms", "hands", "legs", "feet"), DIMENSIONS, strict=False)
)
"""Body region of `mm_data.poses.skeleton` to its dimension."""

HIGHEST = 10.0


def read_desccoach(root: Path) -> TaskData:
    """Reads both splits, which are Ego-Exo4D's own: its val split is the test split.

    The release splits by take. Test items of people who are in training too are counted, and stay.

    Args:
        root: The data set.

    Returns:
        Items of both splits.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, or more than half of the instances cannot be used.
    """
    hint = "it holds the coaching commentary; get EE4D-DescCoach, or make one with `mm-coach task annotate desccoach`"
    content = read_json(root / FILE, hint)
    if not isinstance(content, dict):
        raise ValueError(f"{root / FILE}: expected requests by id, found {type(content).__name__}.")
    source = read_release(root)
    by_name = {take.take_name: take for take in source.takes.values()}
    ratings = take_ratings(source)
    funnel, items = Funnel("read instances", 0.5), []
    for request, entry in content.items():
        try:
            item = _item(request, entry, source, by_name, ratings, funnel)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            funnel.drop("malformed instance", f"{request}: {type(error).__name__} {error}")
            continue
        if item is not None:
            funnel.keep()
            items.append(item)
    funnel.check()
    scores = [item.truth.score for item in items if item.split == "train" and item.truth.score is not None]
    knowledge = {"lowest": 0.0, "highest": HIGHEST, "scores": scores}
    return TaskData(items, knowledge, [*source.funnels, funnel], root, source.synthetic, source)


def take_ratings(source: Source) -> dict[str, float]:
    """Returns take uid to the mean of its experts' ratings."""
    values: dict[str, list[float]] = {}
    for (uid, _), rating in source.ratings.items():
        values.setdefault(uid, []).append(rating.value)
    return {uid: float(np.mean(of_take)) for uid, of_take in values.items()}


def _item(
    request: str,
    entry: dict[str, Any],
    source: Source,
    by_name: Mapping[str, Take],
    ratings: Mapping[str, float],
    funnel: Funnel,
) -> TaskItem | None:
    take = source.takes.get(str(entry["take_id"])) or by_name.get(entry["take_name"])
    if take is None:
        return funnel.drop("take is not in the release", f"{request}: {entry['take_name']}")
    split = {"train": "train", "val": "test"}.get(take.split)
    if split is None:
        return funnel.drop(f"split {take.split}", request, expected=True)
    start, stop = (float(second) for second in entry["clip_st_ed"])
    if stop > take.duration + 0.5:
        funnel.note("clips that run past their take, cut at its end", request)
    stop = min(stop, take.duration)
    if not 0 <= start < stop:
        return funnel.drop("empty clip", f"{request}: {start} to {stop} s")
    summary = str(entry["response"]["summarization"]).strip()
    if not summary:
        return funnel.drop("no overall commentary", request)
    points = _points(entry["tech_instruction"], ("instruction",), request, funnel)
    remarks = _points(entry["response"]["regular_dict"], ("what_is_done_well", "what_can_be_improved"), request, funnel)
    if take.take_uid not in ratings:
        funnel.note("no expert rated the take: its score is left out", request)
    improve = [name for name, texts in remarks.items() if texts["what_can_be_improved"]]
    truth = Answer(text=summary, score=ratings.get(take.take_uid), findings=improve)
    facts = {
        "task": str(entry["task_name"]),
        "techpoints": {name: texts["instruction"] for name, texts in points.items() if texts["instruction"]},
        "commentary": {
            name: [texts["what_is_done_well"], texts["what_can_be_improved"]] for name, texts in remarks.items()
        },
    }
    clip = VideoClip(f"{take.take_uid}:{start:g}-{stop:g}", {"ego": take.ego_video, "exo": take.exo_video}, start, stop)
    category = take.task or take.activity
    return TaskItem(request, split, take.take_uid, category, clip, truth, [summary], facts, person=take.participant)


def _points(rows: Any, fields: tuple[str, ...], request: str, funnel: Funnel) -> dict[str, dict[str, str]]:
    """Dimension to its texts, in the order of `DIMENSIONS`."""
    by_dimension: dict[str, dict[str, str]] = {}
    for row in rows:
        name = known_dimension(str(row["body_part"]))
        if name is None:
            funnel.note("TechPoints of an unknown dimension", f"{request}: {row['body_part']!r}")
            continue
        texts = {field: _text(row.get(field)) for field in fields}
        joined = by_dimension.setdefault(name, dict.fromkeys(fields, ""))
        for field, text in texts.items():
            joined[field] = f"{joined[field]} {text}".strip()
    return {name: by_dimension[name] for name in DIMENSIONS if name in by_dimension}


def _text(value: Any) -> str:
    """Annotators' ways of saying nothing are nothing."""
    text = " ".join(str(value or "").split())
    return "" if text.lower().strip(". ") in ("", "none", "n/a", "null", "not mentioned", "-") else text


def known_dimension(name: str) -> str | None:
    """Finds the dimension that a text means, whatever its case, joining word and Markdown."""
    plain = _plain(name)
    return next((dimension for dimension in DIMENSIONS if _plain(dimension) == plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]+", " ", name.lower().replace("&", " and ")).strip()
