"""Frames and an instruction per item to an answer of the same shape as a trained system's.

Of the papers' own instructions only TechCoach's is published as text; `desccoach` follows it, without its answer example and without its
hint of what the truth talks about. The others are ours. All are versioned.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Budget, Completion, Endpoint, Estimate, Request, Schema, complete, estimate
from mm_data.asking.prompts import Prompt, load_prompt
from mm_data.tasks import Answer
from mm_data.videos.pictures import clip_pictures
from mm_eval.answers.test_sets import OURS, TestItem

NAE, COT_AFA = "nae", "cot-afa"
_PROMPTS = {"expertaf": "expertaf-1", "desccoach": "desccoach-1", NAE: "nae-2", COT_AFA: "cot-afa-1"}
LOG, RECORD = "zero_shot_answers.jsonl", "zero_shot.json"
_CHUNK = 32  # items whose frames are in memory at a time

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_FIELDS: dict[str, dict[str, Any]] = {
    "expertaf": {"text": _TEXT},
    "desccoach": {"text": _TEXT, "score": _NUMBER},
    "nae": {"text": _TEXT, "actions": {"type": "array", "items": _TEXT}, "score": _NUMBER},
    "cot-afa": {"text": _TEXT, "label": _TEXT, "verdict": {"type": "string", "enum": ["standard", "non-standard"]}},
}


@dataclass(frozen=True)
class Frames:
    """What the model sees of a clip.

    Attributes:
        count: Frames per view, evenly spaced.
        size: Pixels of the longer side at most.
        views: Which, in this order.
    """

    count: int = 8
    size: int = 448
    views: tuple[str, ...] = ("exo", "ego")


@dataclass(frozen=True)
class Told:
    """What an instruction says beside the frames.

    Attributes:
        classes: Names to choose the action from.
        category: Name the item's category in NAE, which is one of the truth's actions: a hint at the answer, for comparison alone.
    """

    classes: tuple[str, ...] = ()
    category: bool = False

    def inputs(self, suite: str) -> list[str]:
        """The same in words, for signatures.

        Raises:
            ValueError: The task has no such switch, or no classes to choose from.
        """
        if self.category and suite != NAE:
            raise ValueError(f"{suite} has no category to tell; only {NAE} has this switch.")
        if suite == COT_AFA:
            if not self.classes:
                raise ValueError("No item of the run names a class; an action has to be chosen from some.")
            return [f"classes: {len(self.classes)} to choose from"]
        if suite == NAE:
            return ["category: told (a hint at the truth)" if self.category else "category: not told"]
        return ["task: told" if suite == "desccoach" else "activity: told"]


def classes_of(items: Sequence[TestItem], training: Sequence[TestItem]) -> tuple[str, ...]:
    """All classes that a run knows: of its test and training items, and those that its answers rank."""
    classes = {item.truth.label for item in (*items, *training)} - {None}
    classes |= {name for item in items for answer in item.answers.values() for name in answer.ranking or ()}
    return tuple(sorted(name for name in classes if name is not None))


@dataclass(frozen=True)
class Asked:
    """Items with the model's answers, and how many it did not give, by class of failure."""

    items: list[TestItem]
    failures: dict[str, int] = field(default_factory=dict)


def instruction(suite: str) -> Prompt:
    """Of a task."""
    return load_prompt("mm_eval.answers.test_sets", _PROMPTS[suite])


def ask(
    items: Sequence[TestItem],
    suite: str,
    endpoint: Endpoint,
    frames: Frames,
    told: Told,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
    budget: Budget | None = None,
) -> Asked:
    """Asks what is not in the log yet. An item that failed has an empty answer, which scores nothing, and is counted.

    Raises:
        EndpointError: The endpoint cannot be used, or the budget is spent; finished answers are kept.
        ValueError: An item has no clip of a view.
        VideoError: A clip cannot be read.
    """
    answered: list[TestItem] = []
    failures: dict[str, int] = {}
    for chunk in _chunks(items):
        done = len(answered)
        requests = list(_requests(chunk, suite, frames, told))
        found = complete(endpoint, requests, out / LOG, lambda count, done=done: progress(done + count), budget)
        for item in chunk:
            completion = found[item.item_id]
            if completion.failure is not None:
                failures[completion.failure] = failures.get(completion.failure, 0) + 1
            answered.append(replace(item, answers={OURS: _answer(completion)}))
    return Asked(answered, failures)


def estimate_asking(
    items: Sequence[TestItem], suite: str, endpoint: Endpoint, frames: Frames, told: Told, out: Path
) -> Estimate:
    """What is left to ask; videos are read, because frames are part of what is asked."""
    total = Estimate(0, 0, 0, 0)
    for chunk in _chunks(items):
        part = estimate(endpoint, _requests(chunk, suite, frames, told), out / LOG)
        total = Estimate(*(a + b for a, b in zip(vars(total).values(), vars(part).values(), strict=True)))
    return total


def _chunks(items: Sequence[TestItem]) -> Iterator[Sequence[TestItem]]:
    return (items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK))


def _requests(chunk: Sequence[TestItem], suite: str, frames: Frames, told: Told) -> Iterator[Request]:
    prompt, schema = instruction(suite), _schema(suite, told.classes)
    about = {"suite": suite, "prompt": prompt.name, "prompt_sha256": prompt.digest, **vars(frames)}
    about["inputs"] = told.inputs(suite)
    for item in chunk:
        filled = {"labels": ", ".join(told.classes)}
        if suite == NAE:
            filled["told"] = f"The event: {item.category}. " if told.category else ""
        else:
            filled["category"] = item.category
        system, user = prompt.messages(filled, filled)
        content = [*_pictures(item, frames), {"type": "text", "text": user["content"]}]
        yield Request(item.item_id, [system, {"role": "user", "content": content}], schema, about=about)


def _pictures(item: TestItem, frames: Frames) -> Iterator[dict[str, Any]]:
    for view in frames.views:
        if view not in item.clips:
            raise ValueError(f"Item {item.item_id!r} has no {view} clip; choose other --views.")
        clip = item.clips[view]
        yield {"type": "text", "text": {"exo": "Seen from outside:", "ego": "Seen from their own eyes:"}.get(view, f"{view}:")}  # fmt: skip
        yield from clip_pictures(Path(clip.video), clip.start, clip.stop, frames.count, frames.size)


def _schema(suite: str, labels: Sequence[str]) -> Schema:
    fields = dict(_FIELDS[suite])
    if "label" in fields:
        fields["label"] = {"type": "string", "enum": list(labels)}
    kinds = {"string": str, "number": (int, float), "array": list}

    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or set(content) != set(fields):
            return f"expected an object with {', '.join(fields)}"
        for name, form in fields.items():
            if not isinstance(content[name], kinds[form["type"]]) or isinstance(content[name], bool):
                return f"{name!r} is {content[name]!r}; expected a {form['type']}"
            if form["type"] == "array" and not all(isinstance(entry, str) for entry in content[name]):
                return f"{name!r} has to be a list of texts"
            if form["type"] == "number" and not math.isfinite(content[name]):
                return f"{name!r} is {content[name]!r}; expected a number"
            if "enum" in form and content[name] not in form["enum"]:
                return f"{name!r} is {content[name]!r}; expected one of {', '.join(form['enum'])}"
        return None if content["text"].strip() else "the text is empty"

    form = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return Schema(f"zero-shot-{suite}", form, problem)


def _answer(completion: Completion) -> Answer:
    return Answer(**completion.content) if completion.content is not None else Answer()
