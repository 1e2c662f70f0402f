"""A vision-language model behind an endpoint: frames and an instruction per item to an answer like a trained system's.

Of the papers' own instructions only TechCoach's is published as text; `desccoach` follows it, without its answer example and without its
hint of what the truth talks about. The others are ours. All are versioned.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import create_model

from mm_data.asking.completions import Budget, Endpoint, Estimate, Request, Schema, complete, estimate
from mm_data.asking.forms import Form, OneOf, Text, answer_schema
from mm_data.asking.prompts import Prompt, load_prompt
from mm_data.ground.files import write_atomically
from mm_data.tasks import Answer
from mm_data.tasks.overlap import overlap
from mm_data.videos.pictures import clip_pictures
from mm_eval.answers.test_sets import OURS, TRAINING, TestItem, material_of, write_about, write_answers

NAE, COT_AFA = "nae", "cot-afa"
_PROMPTS = {"expertaf": "expertaf-1", "desccoach": "desccoach-1", NAE: "nae-2", COT_AFA: "cot-afa-1"}
LOG, RECORD = "zero_shot_answers.jsonl", "zero_shot.json"
_CHUNK = 32
"""Items whose frames are in memory at a time."""

_FIELDS: dict[str, dict[str, Any]] = {
    "expertaf": {"text": (Text, ...)},
    "desccoach": {"text": (Text, ...), "score": (float, ...)},
    NAE: {"text": (Text, ...), "actions": (list[str], ...), "score": (float, ...)},
    COT_AFA: {"text": (Text, ...), "label": (str, ...), "verdict": (Literal["standard", "non-standard"], ...)},
}
_VIEWS = {"exo": "Seen from outside:", "ego": "Seen from their own eyes:"}


@dataclass(frozen=True)
class Frames:
    """Frames of a clip that the model sees.

    Attributes:
        count: Frames per view, evenly spaced.
        size: Most pixels of the longer side.
        views: Views, in the order in which they are shown.
    """

    count: int = 8
    size: int = 448
    views: tuple[str, ...] = ("exo", "ego")


@dataclass(frozen=True)
class Question:
    """What a model is asked about an item.

    Attributes:
        suite: Task whose instruction is given.
        frames: Frames that the model sees.
        classes: Names to choose the action from.
        category: Name the item's category in NAE, which is one of the truth's actions: a hint at the answer, for comparison alone.
    """

    suite: str
    frames: Frames = field(default_factory=Frames)
    classes: tuple[str, ...] = ()
    category: bool = False

    @property
    def prompt(self) -> Prompt:
        """The task's instruction."""
        return load_prompt("mm_eval.answers", _PROMPTS[self.suite])

    def inputs(self) -> list[str]:
        """Says, for signatures, what the model is given beside the frames.

        Returns:
            One entry per input.

        Raises:
            ValueError: The task has no such switch, or no classes to choose from.
        """
        if self.category and self.suite != NAE:
            raise ValueError(f"{self.suite} has no category to tell; only {NAE} has this switch.")
        if self.suite == COT_AFA:
            if not self.classes:
                raise ValueError("No item of the run names a class; an action has to be chosen from some.")
            return [f"classes: {len(self.classes)} to choose from"]
        if self.suite == NAE:
            return ["category: told (a hint at the truth)" if self.category else "category: not told"]
        return ["task: told" if self.suite == "desccoach" else "activity: told"]

    def requests(self, items: Sequence[TestItem]) -> Iterator[Request]:
        """Makes one request per item.

        Args:
            items: Items that are asked about; their videos are read.

        Yields:
            The request.

        Raises:
            ValueError: An item has no clip of a view.
            VideoError: A clip cannot be read.
        """
        prompt, schema = self.prompt, self._schema()
        about = {"suite": self.suite, **prompt.about, **vars(self.frames), "inputs": self.inputs()}
        for item in items:
            texts = {"labels": ", ".join(self.classes)}
            if self.suite == NAE:
                texts["told"] = f"The event: {item.category}. " if self.category else ""
            else:
                texts["category"] = item.category
            system, user = prompt.messages(texts, texts)
            content = [*_pictures(item, self.frames), {"type": "text", "text": user["content"]}]
            yield Request(item.item_id, [system, {"role": "user", "content": content}], schema, about=about)

    def _schema(self) -> Schema:
        fields = dict(_FIELDS[self.suite])
        if self.suite == COT_AFA:
            fields["label"] = (Annotated[str, OneOf(self.classes)], ...)
        return answer_schema(f"zero-shot-{self.suite}", create_model("_Answer", __base__=Form, **fields))


def _pictures(item: TestItem, frames: Frames) -> Iterator[dict[str, Any]]:
    for view in frames.views:
        if view not in item.clips:
            raise ValueError(f"Item {item.item_id!r} has no {view} clip; choose other --views.")
        clip = item.clips[view]
        yield {"type": "text", "text": _VIEWS.get(view, f"{view}:")}
        yield from clip_pictures(Path(clip.video), clip.start, clip.stop, frames.count, frames.size)


def classes_of(items: Sequence[TestItem], training: Sequence[TestItem]) -> tuple[str, ...]:
    """Collects all classes that a run knows: of its test and training items, and those that its answers rank."""
    classes = {item.truth.label for item in (*items, *training)} - {None}
    classes |= {name for item in items for answer in item.answers.values() for name in answer.ranking or ()}
    return tuple(sorted(name for name in classes if name is not None))


@dataclass(frozen=True)
class AnsweredItems:
    """Items with the model's answers, and how many it did not give, by class of failure."""

    items: list[TestItem]
    failures: dict[str, int] = field(default_factory=dict)


def ask(
    items: Sequence[TestItem],
    question: Question,
    endpoint: Endpoint,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
    budget: Budget | None = None,
) -> AnsweredItems:
    """Asks what is not in the log yet. An item that failed has an empty answer, which scores nothing, and is counted.

    Args:
        items: Items that are asked about.
        question: What is asked.
        endpoint: Endpoint that is asked.
        out: Folder of the log.
        progress: Called with the number of items that have an outcome.
        budget: Stops the run once it is spent.

    Returns:
        The items, each with the model's answer alone.

    Raises:
        EndpointError: The endpoint cannot be used, or the budget is spent; finished answers are kept.
        ValueError: An item has no clip of a view.
        VideoError: A clip cannot be read.
    """
    answered: list[TestItem] = []
    failures: dict[str, int] = {}
    for chunk in _chunks(items):
        done = len(answered)
        requests = list(question.requests(chunk))
        completions = complete(endpoint, requests, out / LOG, lambda count, done=done: progress(done + count), budget)
        for item in chunk:
            completion = completions[item.item_id]
            if completion.failure is not None:
                failures[completion.failure] = failures.get(completion.failure, 0) + 1
            answered.append(replace(item, answers={OURS: Answer(**(completion.content or {}))}))
    return AnsweredItems(answered, failures)


def estimate_asking(items: Sequence[TestItem], question: Question, endpoint: Endpoint, out: Path) -> Estimate:
    """Counts what is left to ask; videos are read, because frames are part of what is asked.

    Args:
        items: Items that are asked about.
        question: What is asked.
        endpoint: Endpoint that would be asked.
        out: Folder of the log.

    Returns:
        Requests and tokens.
    """
    total = Estimate(0, 0, 0, 0)
    for chunk in _chunks(items):
        part = estimate(endpoint, question.requests(chunk), out / LOG)
        total = Estimate(*(a + b for a, b in zip(vars(total).values(), vars(part).values(), strict=True)))
    return total


def _chunks(items: Sequence[TestItem]) -> Iterator[Sequence[TestItem]]:
    return (items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK))


def write_run(
    out: Path, run: Path, answered: AnsweredItems, training: Sequence[TestItem], question: Question, endpoint: Endpoint
) -> None:
    """Writes answers as a run of its own, with what was asked and how it failed.

    Args:
        out: Folder of the answers.
        run: Run whose test set was asked about.
        answered: The answers.
        training: Training items of the run; none where it has no file of them.
        question: What was asked.
        endpoint: Endpoint that was asked.
    """
    notes = []
    if training:
        shared = overlap(material_of(training), material_of(answered.items)).sentence()
        notes.append(f"{shared} (Training: that of the run, which baselines answer with.)")
        shutil.copyfile(run / TRAINING, out / TRAINING)
    elif question.suite == COT_AFA:
        notes.append(f"classes to choose from are those of the run alone: it has no {TRAINING}")
    write_answers(out, answered.items)
    write_about(out, question.inputs(), notes)
    record = {
        "suite": question.suite,
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "parameters": dict(endpoint.parameters),
        "frames": vars(question.frames),
        "prompt": {question.prompt.name: question.prompt.digest},
        "inputs": question.inputs(),
        "failures": answered.failures,
    }
    write_atomically(out / RECORD, json.dumps(record, indent=1))
