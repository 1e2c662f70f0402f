"""A test set with what several systems answered: the one file that tables, judges and human raters read.

``answers.jsonl`` has a line per test item::

    {"item_id": "...", "cluster": "take", "category": "Basketball", "truth": {"text": "..."},
     "answers": {"ours": {"text": "..."}, "shuffled": {"text": "..."}},
     "clips": {"exo": {"video": "path.mp4", "start": 3.0, "stop": 7.0}}, "synthetic": false}

Truth and answers are texts and, where a task has them, the other fields of `mm_data.tasks.Answer`: score, label, verdict, actions,
findings, counts, and for answers ranking and confidence. What could not be read from an answer is null and listed as unread. An item
with several true texts lists them as ``references``.

``about.json`` beside it, where a coach of a task answered, says which inputs the answers were given (`write_about`).
"""

import json
from collections.abc import Sequence
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

EXPECTED = "ours, expected score"
"""The same answers with the mean of the score's distribution instead of the number that was written."""

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
        item_id: Unique in its set.
        cluster: What items share that are not independent: the person, or the take or video where nobody says whose it is.
        category: Activity or action class.
        truth: What experts said.
        answers: System to its answer.
        clips: View to its video.
        nearest: Kind of similarity to the training item that is nearest by it.
        synthetic: Whether the item is made up.
        references: All true texts, where there are several.
        person: Who is seen, where that is known.
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

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "TestItem":
        """From one line of the file."""
        truth = Answer(**record["truth"])
        if not truth.text:
            raise ValueError("the truth has no text")
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
    """Writes ``answers.jsonl``, or training items under another name; fields that a task does not have are left out."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: told(entry) for name, entry in value.items() if entry is not None}
        return value

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / name, "".join(json.dumps(told(asdict(item))) + "\n" for item in items))


def read_answers(folder: Path, name: str = FILE) -> list[TestItem]:
    """Reads ``answers.jsonl``, or training items under another name.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: A line cannot be read, or an item occurs twice.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there. `mm-coach evaluate`, `answer` and `zero-shot` write it; folders evaluated by earlier versions have to be evaluated again."
        )
    records, torn = read_records(path)
    if torn:
        raise ValueError(f"{path}: {torn} lines are not JSON.")
    items: list[TestItem] = []
    for number, record in enumerate(records, start=1):
        try:
            items.append(TestItem.from_record(record))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: {error}. Fields: item_id, cluster, category, truth, answers."
            ) from error
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise ValueError(f"{path}: item {item.item_id!r} occurs twice.")
        seen.add(item.item_id)
    if not items:
        raise ValueError(f"{path} has no items.")
    return items


def systems_of(items: Sequence[TestItem]) -> list[str]:
    """All that answered any item."""
    return list(dict.fromkeys(name for item in items for name in item.answers))


def texts_of(items: Sequence[TestItem], system: str) -> list[str]:
    """One system's texts.

    Raises:
        ValueError: The system did not answer an item.
    """
    if lacking := [item.item_id for item in items if system not in item.answers]:
        known = ", ".join(systems_of(items))
        raise ValueError(f"{system!r} did not answer {lacking[0]!r} ({len(lacking)} of {len(items)}); systems there: {known}.")  # fmt: skip
    return [item.answers[system].text for item in items]


def evenly_spaced(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many items, from all over the set.

    Raises:
        ValueError: None are asked for.
    """
    if most is not None and most < 1:
        raise ValueError(f"--max-items {most} leaves nothing; give at least 1.")
    if most is None or most >= len(items):
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def material_of(items: Sequence[TestItem]) -> Material:
    """People, takes and clips of test or training items, to be counted on both sides."""
    return Material(
        frozenset(item.person for item in items if item.person is not None),
        frozenset(item.cluster for item in items),
        frozenset(map(_stretch, items)),
        frozenset(_stretch(item) for item in items if item.person is None),
    )


def _stretch(item: TestItem) -> tuple[str, float, float]:
    """The item's stretch of its first view; without a video it is a recording of its own."""
    clip = next(iter(item.clips.values()), ClipFile(item.item_id, 0.0, 1.0))
    return clip.video, clip.start, clip.stop


def write_about(folder: Path, inputs: Sequence[str], notes: Sequence[str]) -> None:
    """Notes what answers were given beside the clip, which every metric's signature then says, and what a reader has to know."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ABOUT, json.dumps({"inputs": list(inputs), "notes": list(notes)}, indent=1))


def read_about(folder: Path) -> tuple[list[str], list[str]]:
    """Inputs and notes; empty where nothing was noted."""
    path = folder / ABOUT
    content = json.loads(path.read_text()) if path.is_file() else {}
    return content.get("inputs", []), content.get("notes", [])
