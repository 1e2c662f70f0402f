"""Annotation of DescCoach (TechCoach §3.2): TechPoints per task, then TechPoint-level and overall commentary per window.

Without a language model the labels of `mm_data.labelling` fill the same file: what they say about a body region becomes the
commentary of its dimension.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model, model_validator

from mm_adapter.tasks.desccoach.files import DIMENSIONS, FILE, REGION_DIMENSIONS
from mm_data.annotation.pipeline import Stages, mirror_release
from mm_data.asking.completions import Request
from mm_data.asking.forms import Form, OneOf, Text, answer_schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.labelling import RulesLabeller
from mm_data.records import CORRECT, LabelledRemark, Remark, Source, Take
from mm_data.release.egoexo4d import read_release

WINDOW = 8.0
"""Seconds of an instance, as in EE4D-DescCoach."""

_INSTRUCTIONS: dict[str, Any] = {name: (Text, ...) for name in DIMENSIONS}
_TechPoints = create_model("_TechPoints", __base__=Form, **_INSTRUCTIONS)


class _Point(Form):
    dimension: Annotated[str, OneOf(DIMENSIONS)]
    done_well: str
    to_improve: str

    @model_validator(mode="after")
    def _says_something(self) -> "_Point":
        if not (self.done_well + self.to_improve).strip():
            raise ValueError(f"says nothing about {self.dimension}")
        return self


class _Commentary(Form):
    points: list[_Point]
    overall: Text

    @model_validator(mode="after")
    def _names_a_dimension_once(self) -> "_Commentary":
        if len({point.dimension for point in self.points}) < len(self.points):
            raise ValueError("a dimension occurs twice")
        return self


@dataclass(frozen=True)
class Window:
    """A stretch of a take that experts talked about, in seconds."""

    request: str
    take: Take
    start: float
    stop: float
    remarks: tuple[Remark, ...]


def annotate_desccoach(source: Source, out: Path, stages: Stages) -> None:
    """Writes a release with TechPoints and commentary beside what it holds.

    Args:
        source: The release.
        out: Folder of the new one.
        stages: Asks the language model; the stages are ``techpoints`` and ``commentary``.
    """
    windows = windows_of(source)
    tasks = sorted({task_of(window.take) for window in windows})
    techpoints = stages.ask("techpoints", len(tasks), partial(techpoint_requests, tasks))
    of_usual_length = {task: {name: "x" * 80 for name in DIMENSIONS} for task in tasks}
    requests = partial(commentary_requests, windows, of_usual_length if techpoints is None else techpoints)
    about = {window.request: " / ".join(remark.text for remark in window.remarks) for window in windows}
    commentary = stages.ask("commentary", len(windows), requests, about)
    if techpoints is None or commentary is None:
        return
    mirror_release(source.root, out, (FILE,))
    write_instances(out, windows, techpoints, commentary)


def fill_in_labels(source: Source, labels: Sequence[LabelledRemark], out: Path) -> tuple[int, int]:
    """Writes a release with the commentary that labels of its remarks give, without TechPoints.

    Args:
        source: The release.
        labels: Labels of its remarks.
        out: Folder of the new one.

    Returns:
        The number of windows that say something about technique, and of all windows.
    """
    windows = windows_of(source)
    by_remark = {label.remark.remark_id: label for label in labels}
    commentary = {window.request: commentary_of_labels(window, by_remark) for window in windows}
    commentary = {name: content for name, content in commentary.items() if content is not None}
    mirror_release(source.root, out, (FILE,))
    write_instances(out, windows, {}, commentary)
    return len(commentary), len(windows)


def annotate_by_rules(source: Path, out: Path) -> str:
    """Writes a release with the commentary that rules read out of its remarks.

    Args:
        source: Folder of the release.
        out: Folder of the new one.

    Returns:
        A sentence on what was written.
    """
    release = read_release(source)
    labels = [label for label in RulesLabeller().label(release.remarks) if not isinstance(label, str)]
    speaking, windows = fill_in_labels(release, labels, out)
    return (
        f"labels by rules: {speaking} of {windows} windows say something about technique; no TechPoints without a model"
    )


def windows_of(source: Source) -> list[Window]:
    """Cuts every take into consecutive windows; those without a remark are left out.

    Args:
        source: The release; a remark belongs to what came before the commentator paused.

    Returns:
        The windows, in the order of the takes' first remarks.
    """
    by_take: dict[str, list[Remark]] = {}
    for remark in source.remarks:
        by_take.setdefault(remark.take_uid, []).append(remark)
    windows = []
    for uid, remarks in by_take.items():
        take = source.takes[uid]
        groups: dict[int, list[Remark]] = {}
        last = max(0, int((take.duration - 1e-6) // WINDOW))
        for remark in sorted(remarks, key=lambda r: r.time):
            groups.setdefault(min(last, int(max(0.0, remark.time - 1e-6) // WINDOW)), []).append(remark)
        for number, group in sorted(groups.items()):
            stop = min(take.duration, (number + 1) * WINDOW)
            windows.append(Window(f"{take.take_name}-{number}", take, number * WINDOW, stop, tuple(group)))
    return windows


def techpoint_requests(tasks: Sequence[str]) -> Iterator[Request]:
    """Makes one request per task."""
    prompt = load_prompt("mm_adapter.tasks.desccoach", "desccoach-techpoints-1")
    schema = answer_schema("desccoach-techpoints", _TechPoints)
    dimensions = "\n".join(f"- {name}" for name in DIMENSIONS)
    for task in tasks:
        yield Request(task, prompt.messages({"dimensions": dimensions}, {"task": task}), schema, about=prompt.about)


def commentary_requests(windows: Sequence[Window], techpoints: Mapping[str, Mapping[str, str]]) -> Iterator[Request]:
    """Makes one request per window.

    Args:
        windows: The windows.
        techpoints: Task to dimension to instruction.

    Yields:
        The request.
    """
    prompt = load_prompt("mm_adapter.tasks.desccoach", "desccoach-commentary-1")
    schema = answer_schema("desccoach-commentary", _Commentary)
    for window in windows:
        points = techpoints.get(task_of(window.take), {})
        texts = {
            "task": task_of(window.take),
            "techpoints": "\n".join(f"- {name}: {text}" for name, text in points.items()),
            "remarks": "\n".join(f"- {remark.text}" for remark in window.remarks),
        }
        yield Request(window.request, prompt.messages({}, texts), schema, about=prompt.about)


def task_of(take: Take) -> str:
    """Names what is practised in a take."""
    return take.task or take.activity


def commentary_of_labels(window: Window, labels: Mapping[str, LabelledRemark]) -> dict[str, Any] | None:
    """Returns what labels of a window's remarks say per dimension and overall, or None where they say nothing."""
    praise: dict[str, list[str]] = {}
    faults: dict[str, list[str]] = {}
    overall: list[str] = []
    for remark in window.remarks:
        if (label := labels.get(remark.remark_id)) is None:
            continue
        overall.append(label.summary)
        for region, polarity in label.regions.items():
            side = praise if polarity == CORRECT else faults
            side.setdefault(REGION_DIMENSIONS[region], []).append(label.summary)
    if not praise and not faults:
        return None
    points = [
        {"dimension": name, "done_well": _joined(praise.get(name, [])), "to_improve": _joined(faults.get(name, []))}
        for name in DIMENSIONS
        if name in praise or name in faults
    ]
    return {"points": points, "overall": _joined(overall)}


def _joined(sentences: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(sentences))


def write_instances(
    out: Path,
    windows: Sequence[Window],
    techpoints: Mapping[str, Mapping[str, str]],
    commentary: Mapping[str, Mapping[str, Any]],
) -> None:
    """Writes ``desccoach.json`` in the published form; a window without commentary is left out.

    Args:
        out: Folder of the file.
        windows: The windows.
        techpoints: Task to dimension to instruction.
        commentary: Window to the answer that comments on it.
    """
    instances = {
        window.request: _instance(window, techpoints.get(task_of(window.take), {}), commentary[window.request])
        for window in windows
        if window.request in commentary
    }
    write_atomically(out / FILE, json.dumps(instances, indent=1, ensure_ascii=False))


def _instance(window: Window, techpoints: Mapping[str, str], commentary: Mapping[str, Any]) -> dict[str, Any]:
    points = [
        {
            "body_part": point["dimension"],
            "what_is_done_well": point["done_well"],
            "what_can_be_improved": point["to_improve"],
        }
        for point in commentary["points"]
    ]
    return {
        "clip_st_ed": [window.start, round(window.stop, 3)],
        "take_name": window.take.take_name,
        "take_id": window.take.take_uid,
        "task_name": task_of(window.take),
        "tech_instruction": [{"body_part": name, "instruction": text} for name, text in techpoints.items()],
        "raw_comment": [remark.text for remark in window.remarks],
        "response": {"regular_dict": points, "summarization": commentary["overall"]},
    }
