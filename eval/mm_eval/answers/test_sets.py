"""A test set with what several systems answered: the one file that tables, judges and human raters read.

``answers.jsonl`` has a line per test item::

    {"item_id": "...", "cluster": "take", "category": "Basketball", "truth": {"text": "..."},
     "answers": {"ours": {"text": "..."}, "shuffled": {"text": "..."}},
     "clips": {"exo": {"video": "path.mp4", "start": 3.0, "stop": 7.0}}, "synthetic": false}

Truth and answers are texts and, where a task has them, the other fields of `mm_data.tasks.Answer`: score, label, verdict, actions,
findings, counts, and for answers ranking and confidence. What could not be read from an answer is null and listed as unread. An item
with several true texts lists them as ``references``.

``about.json`` beside it says which task was answered, with which inputs (`About`), and ``clips.parquet`` what the clips look like
(`mm_eval.answers.clips`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from mm_data.ground.files import write_atomically
from mm_data.ground.jsonl import read_records
from mm_data.tasks import Answer
from mm_data.tasks.overlap import Material

Item = TypeVar("Item")

FILE, TRAINING, ABOUT = "answers.jsonl", "training.jsonl", "about.json"
OURS = "ours"
"""The system that a run is about; the others in its file are baselines."""


def variant_of_ours(name: str) -> str:
    """Names the system that is ours, read in another way, such as with the expected score."""
    return f"{OURS}, {name}"


def is_of_run(system: str) -> bool:
    """Says whether a system is the run's own, in whatever way its answers are read."""
    return system == OURS or system.startswith(f"{OURS}, ")


TRUTH = "truth"
"""Stands for a system where the reference texts themselves are judged."""


@dataclass(frozen=True)
class ClipFile:
    """A stretch of a video, in seconds."""

    video: str
    start: float
    stop: float


@dataclass(frozen=True)
class TestItem:
    """One item of a test set.

    Attributes:
        item_id: Id, unique in the set.
        cluster: Name of what items share that are not independent: the person, or the take or video where nobody says whose it is.
        category: Activity or action class.
        truth: Answer that experts gave.
        answers: System to its answer.
        clips: View to its stretch of a video.
        nearest: Kind of similarity to the id of the training item that is nearest by it.
        synthetic: Whether the item is made up.
        references: All true texts, where there are several.
        person: Name of the person who is seen, where it is known.
        clip_id: Id of the clip.
        expert_id: Id of the expert's clip that shows how it is done right, where there is one.
        hidden: What only the evaluation knows, such as errors that a synthetic clip was made with.
    """

    __test__ = False  # no tests, whatever pytest thinks of the name

    item_id: str
    cluster: str
    category: str
    truth: Answer
    answers: dict[str, Answer] = field(default_factory=dict)
    clips: dict[str, ClipFile] = field(default_factory=dict)
    nearest: dict[str, str] = field(default_factory=dict)
    synthetic: bool = False
    references: list[str] = field(default_factory=list)
    person: str | None = None
    clip_id: str = ""
    expert_id: str | None = None
    hidden: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "TestItem":
        """Builds an item from one line of the file."""
        truth = Answer(**record["truth"])
        if not truth.text and not truth.stated():
            raise ValueError(
                "the truth says nothing: it has neither text nor score, label, verdict, actions or findings"
            )
        answers = {name: Answer(**answer) for name, answer in record.get("answers", {}).items()}
        return cls(
            **{
                **record,
                "truth": truth,
                "answers": {name: replace(answer, text=answer.text or "") for name, answer in answers.items()},
                "clips": {view: ClipFile(**clip) for view, clip in record.get("clips", {}).items()},
            }
        )


def write_answers(folder: Path, items: Sequence[TestItem], name: str = FILE) -> None:
    """Writes ``answers.jsonl``, or training items under another name; fields that a task does not have are left out.

    Args:
        folder: Folder of the file; it is made where it is missing.
        items: Items to write.
        name: Name of the file.
    """

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_none(entry) for name, entry in value.items() if entry is not None}
        return value

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / name, "".join(json.dumps(without_none(asdict(item))) + "\n" for item in items))


def read_answers(folder: Path, name: str = FILE) -> list[TestItem]:
    """Reads ``answers.jsonl``, or training items under another name.

    Args:
        folder: Folder of the file.
        name: Name of the file.

    Returns:
        The items, in the order of the file.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: A line cannot be read, or an item occurs twice.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; `mm-coach answer` writes it.")
    records, torn = read_records(path)
    if torn:
        raise ValueError(f"{path}: {torn} lines are not JSON.")
    items: list[TestItem] = []
    for number, record in enumerate(records, start=1):
        try:
            items.append(TestItem.from_record(record))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            fields = "item_id, cluster, category, truth, answers"
            raise ValueError(f"{path}, line {number}: {error}. Fields: {fields}.") from error
    ids: set[str] = set()
    for item in items:
        if item.item_id in ids:
            raise ValueError(f"{path}: item {item.item_id!r} occurs twice.")
        ids.add(item.item_id)
    if not items:
        raise ValueError(f"{path} has no items.")
    return items


def systems_of(items: Sequence[TestItem]) -> list[str]:
    """Names all systems that answered any item."""
    return list(dict.fromkeys(name for item in items for name in item.answers))


def texts_of(items: Sequence[TestItem], system: str) -> list[str]:
    """Collects one system's texts.

    Args:
        items: Test items.
        system: Name of the system.

    Returns:
        One text per item.

    Raises:
        ValueError: The system did not answer an item.
    """
    if lacking := [item.item_id for item in items if system not in item.answers]:
        known = ", ".join(systems_of(items))
        raise ValueError(
            f"{system!r} did not answer {lacking[0]!r} ({len(lacking)} of {len(items)}); systems there: {known}."
        )
    return [item.answers[system].text for item in items]


def evenly_spaced(items: Sequence[Item], most: int | None) -> list[Item]:
    """Chooses at most so many items, from all over the set.

    Args:
        items: The set.
        most: Number of items; None for all.

    Returns:
        The chosen items, in their order.

    Raises:
        ValueError: The number is below one.
    """
    if most is not None and most < 1:
        raise ValueError(f"--max-items {most} leaves nothing; give at least 1.")
    if most is None or most >= len(items):
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def material_of(items: Sequence[TestItem]) -> Material:
    """Collects people, takes and clips of test or training items, to be counted on both sides."""
    return Material(
        frozenset(item.person for item in items if item.person is not None),
        frozenset(item.cluster for item in items),
        frozenset(map(_stretch, items)),
        frozenset(_stretch(item) for item in items if item.person is None),
    )


def _stretch(item: TestItem) -> tuple[str, float, float]:
    """Returns the item's stretch of its first view; without a video the item is a recording of its own."""
    clip = next(iter(item.clips.values()), ClipFile(item.item_id, 0.0, 1.0))
    return clip.video, clip.start, clip.stop


def join_runs(runs: Mapping[str, Sequence[TestItem]], systems: Sequence[str]) -> list[TestItem]:
    """Joins runs on one test set: each run's own answers stand under its name.

    Args:
        runs: Name of a run to its items; the first one's other answers stay.
        systems: Systems of the first run, or `TRUTH`, that have to be there too.

    Returns:
        The items of the first run with the answers of all runs.

    Raises:
        ValueError: A run lacks an item or has the name of a system, or a system is not there.
    """
    first_name, first = next(iter(runs.items()))
    by_id = {name: {item.item_id: item for item in items} for name, items in runs.items()}
    joined = []
    for item in first:
        answers = dict(item.answers)
        for name, items in by_id.items():
            if item.item_id not in items:
                raise ValueError(f"{name} has no item {item.item_id!r}; all runs need the same test set.")
            answers[name] = items[item.item_id].answers[OURS]
        joined.append(replace(item, answers=answers))
    if taken := sorted(set(runs) & {TRUTH, *systems_of(first)} - {OURS}):
        raise ValueError(f"A run cannot be called {taken[0]!r}, which is the name of a system; write NAME=FOLDER.")
    for system in systems:
        if system != TRUTH and system not in joined[0].answers:
            raise ValueError(f"{first_name} has no system {system!r}; it has {', '.join(joined[0].answers)}.")
    return joined


@dataclass(frozen=True)
class About:
    """What a run's answers are answers to.

    Attributes:
        task: What the task is found by; empty where answers were made elsewhere and nobody said.
        inputs: Inputs beside the clip, which every metric's signature then says.
        notes: Sentences for readers.
        facts: Further facts for the run's page, such as the video encoder: term to text.
    """

    task: str = ""
    inputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes ``about.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ABOUT, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> "About":
        """Reads ``about.json``; a run without one says nothing."""
        path = folder / ABOUT
        return cls(**json.loads(path.read_text())) if path.is_file() else cls()
