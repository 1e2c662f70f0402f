"""Annotation of DescCoach (TechCoach §3.2): TechPoints per task, then TechPoint-level and overall commentary per window.

Without a language model the labels of `mm_data.labelling` fill the same file: what they say about a body region becomes the
commentary of its dimension.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Request, Schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.records import CORRECT, LabelledRemark, Remark, Source, Take
from mm_data.tasks.desccoach_files import DIMENSIONS, FILE, REGION_DIMENSIONS

WINDOW = 8.0
"""Seconds of an instance, as in EE4D-DescCoach."""


@dataclass(frozen=True)
class Window:
    """A stretch of a take that experts talked about."""

    request: str
    take: Take
    start: float
    stop: float
    remarks: tuple[Remark, ...]


def windows_of(source: Source) -> list[Window]:
    """Consecutive windows of every take, those without a remark left out; a remark belongs to the one before it paused."""
    by_take: dict[str, list[Remark]] = {}
    for remark in source.remarks:
        by_take.setdefault(remark.take_uid, []).append(remark)
    found = []
    for uid, remarks in by_take.items():
        take = source.takes[uid]
        groups: dict[int, list[Remark]] = {}
        last = max(0, int((take.duration - 1e-6) // WINDOW))
        for remark in sorted(remarks, key=lambda r: r.time):
            groups.setdefault(min(last, int(max(0.0, remark.time - 1e-6) // WINDOW)), []).append(remark)
        for number, said in sorted(groups.items()):
            stop = min(take.duration, (number + 1) * WINDOW)
            found.append(Window(f"{take.take_name}-{number}", take, number * WINDOW, stop, tuple(said)))
    return found


def techpoint_requests(tasks: Sequence[str]) -> Iterator[Request]:
    """One per task."""
    prompt = load_prompt("mm_data.annotation", "desccoach-techpoints-1")
    about = {"prompt": prompt.name, "prompt_sha256": prompt.digest}
    listed = "\n".join(f"- {name}" for name in DIMENSIONS)
    for task in tasks:
        yield Request(task, prompt.messages({"dimensions": listed}, {"task": task}), _techpoint_schema(), about=about)


def commentary_requests(windows: Sequence[Window], techpoints: Mapping[str, Mapping[str, str]]) -> Iterator[Request]:
    """One per window."""
    prompt = load_prompt("mm_data.annotation", "desccoach-commentary-1")
    about = {"prompt": prompt.name, "prompt_sha256": prompt.digest}
    for window in windows:
        points = techpoints.get(task_of(window.take), {})
        told = {
            "task": task_of(window.take),
            "techpoints": "\n".join(f"- {name}: {text}" for name, text in points.items()),
            "remarks": "\n".join(f"- {remark.text}" for remark in window.remarks),
        }
        yield Request(window.request, prompt.messages({}, told), _commentary_schema(), about=about)


def task_of(take: Take) -> str:
    """Name of what is practised."""
    return take.task or take.activity


def commentary_of_labels(window: Window, labels: Mapping[str, LabelledRemark]) -> dict[str, Any] | None:
    """What labels of the remarks say per dimension and overall, or None where they say nothing."""
    said: dict[str, list[list[str]]] = {}
    overall: list[str] = []
    for remark in window.remarks:
        if (label := labels.get(remark.remark_id)) is None:
            continue
        overall.append(label.summary)
        for region, judged in label.regions.items():
            said.setdefault(REGION_DIMENSIONS[region], [[], []])[judged != CORRECT].append(label.summary)
    if not said:
        return None
    points = [
        {"dimension": name, "done_well": _joined(said[name][0]), "to_improve": _joined(said[name][1])}
        for name in DIMENSIONS
        if name in said
    ]
    return {"points": points, "overall": _joined(overall)}


def _joined(sentences: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(sentences))


def write_instances(
    out: Path,
    windows: Sequence[Window],
    techpoints: Mapping[str, Mapping[str, str]],
    kept: Mapping[str, dict[str, Any]],
) -> None:
    """``desccoach.json`` in the published form."""
    content = {
        window.request: {
            "clip_st_ed": [window.start, round(window.stop, 3)],
            "take_name": window.take.take_name,
            "take_id": window.take.take_uid,
            "task_name": task_of(window.take),
            "tech_instruction": [
                {"body_part": name, "instruction": text}
                for name, text in techpoints.get(task_of(window.take), {}).items()
            ],
            "raw_comment": [remark.text for remark in window.remarks],
            "response": {
                "regular_dict": [
                    {"body_part": p["dimension"], "what_is_done_well": p["done_well"], "what_can_be_improved": p["to_improve"]}
                    for p in kept[window.request]["points"]
                ],
                "summarization": kept[window.request]["overall"],
            },
        }
        for window in windows
        if window.request in kept
    }  # fmt: skip
    write_atomically(out / FILE, json.dumps(content, indent=1, ensure_ascii=False))


def _techpoint_schema() -> Schema:
    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or set(content) != set(DIMENSIONS):
            return f"expected an object with {', '.join(DIMENSIONS)}"
        empty = [name for name, text in content.items() if not isinstance(text, str) or not text.strip()]
        return f"no instruction for {empty[0]}" if empty else None

    properties = {name: {"type": "string"} for name in DIMENSIONS}
    return Schema("desccoach-techpoints", {"type": "object", "properties": properties, "required": list(DIMENSIONS), "additionalProperties": False}, problem)  # fmt: skip


def _commentary_schema() -> Schema:
    fields = ("dimension", "done_well", "to_improve")

    def problem(content: Any) -> str | None:
        if (
            not isinstance(content, dict)
            or set(content) != {"points", "overall"}
            or not isinstance(content["points"], list)
        ):
            return "expected an object with 'points' and 'overall'"
        for point in content["points"]:
            if (
                not isinstance(point, dict)
                or set(point) != set(fields)
                or not all(isinstance(t, str) for t in point.values())
            ):
                return f"a point needs the texts {', '.join(fields)}"
            if point["dimension"] not in DIMENSIONS:
                return f"unknown dimension {point['dimension']!r}"
            if not (point["done_well"] + point["to_improve"]).strip():
                return f"nothing is said about {point['dimension']}"
        names = [point["dimension"] for point in content["points"]]
        if len(set(names)) < len(names):
            return "a dimension occurs twice"
        return (
            None
            if isinstance(content["overall"], str) and content["overall"].strip()
            else "the overall commentary is empty"
        )

    point = {
        "type": "object",
        "properties": {"dimension": {"type": "string", "enum": list(DIMENSIONS)}, "done_well": {"type": "string"}, "to_improve": {"type": "string"}},
        "required": list(fields),
        "additionalProperties": False,
    }  # fmt: skip
    properties = {"points": {"type": "array", "items": point}, "overall": {"type": "string"}}
    return Schema("desccoach-commentary", {"type": "object", "properties": properties, "required": ["points", "overall"], "additionalProperties": False}, problem)  # fmt: skip
