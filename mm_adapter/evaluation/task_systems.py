"""Systems that answer a task's items: coaches, whatever runs them, and files of answers made elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from mm_adapter.distributed import launch_name, launched_processes
from mm_adapter.evaluation.asking import answer_items
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.predictions import Engine, Progress
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import ClipPoses
from mm_adapter.training.data import trained_on
from mm_data.ground.digests import sha256_of
from mm_data.ground.hand_tables import number, read_table
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.tasks import Answer, TaskFormat
from mm_data.tasks.overlap import Material, material_of_items, overlap
from mm_eval.answers.test_sets import EXPECTED, OURS
from mm_tokenizers.codes import PoseCodeStore

RECORDS = "raw_answers"

Answers = dict[str, dict[str, Answer]]
"""Item id to the system's answer, and to variants of it by name."""


class TaskSystem(Protocol):
    """Whatever answers a task's items."""

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns how the items are asked and read, and the task's switches."""
        ...

    def made_of(self) -> dict[str, Any]:
        """Returns what tells its answers from those of another system, JSON-ready."""
        ...

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers | None:
        """Returns an answer to every test item; None while other processes still have some."""
        ...

    def notes(self, items: ItemSet) -> list[str]:
        """Returns what a reader of its numbers has to know."""
        ...


@dataclass(frozen=True)
class CoachSystem:
    """A coach.

    Attributes:
        answerer: Whatever runs it.
        identity: Hash of its weights and settings.
        engine: Name of what runs it.
        poses: Poses of the clips that it looks at, or None.
        record: Record of the run that trained it: its data and its tasks' switches; None for an export, which does not tell its data.
        tasks: Switches of the tasks that it was trained on, by task.
        switches: Switches where they are others than in training.
        sampling: How tokens are drawn.
    """

    answerer: Answerer
    identity: str
    engine: Engine
    poses: ClipPoses | None
    record: dict[str, Any] | None
    tasks: Mapping[str, dict[str, Any]]
    switches: Mapping[str, Any]
    sampling: Sampling = GREEDY

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format with the switches of the training, or those that were given instead."""
        return items.form({**self.tasks.get(items.task.name, {}), **self.switches})

    def made_of(self) -> dict[str, Any]:
        """Returns the coach's hash, what runs it and how it draws."""
        poses = self.poses.digest if isinstance(self.poses, PoseCodeStore) else None  # joints are the items' own files
        return {"coach": self.identity, "backend": self.engine, "poses": poses, "sampling": vars(self.sampling)}

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers | None:
        """Answers the items that have no record in ``out`` yet, and shares them among launched processes."""
        state = launched_processes()
        shared = SharedRecords(out, RECORDS, state.process_index, state.num_processes, launch_name())
        answer_items(self.answerer, form, items.test, shared, self.sampling, progress)
        if not join_all([shared], [item.item_id for item in items.test]):
            return None
        records = shared.read()
        return {item.item_id: _read(form, records[item.item_id]) for item in items.test}

    def notes(self, items: ItemSet) -> list[str]:
        """Says what training shares with the test items, and whether the coach was trained on the task at all."""
        material, unread = Material(), ["what the export's coach was trained on"]
        if self.record is not None:
            material, unread = trained_on(self.record)
        notes = [overlap(material, material_of_items(items.task.name, items.test), unread).sentence()]
        if items.task.name not in self.tasks:
            notes.append(f"the coach was never trained on {items.task.name}")
        return notes


def _read(form: TaskFormat, record: dict[str, Any]) -> dict[str, Answer]:
    """Reads a record as an answer, and as the same with the expected score where it has one."""
    answer, expected = form.read(record), record.get("expected")
    return {OURS: answer} | ({} if expected is None else {EXPECTED: replace(answer, score=expected)})


@dataclass(frozen=True)
class AnswerFile:
    """A table of answers that were made elsewhere: JSON lines, or CSV.

    Attributes:
        path: The file, with ``item_id`` and any of ``text``, ``score``, ``label``, ``verdict``, ``confidence``, ``actions``, ``findings`` (in
            CSV separated by ";") and, in JSON lines, ``ranking``.
        switches: Switches of the task.
    """

    path: Path
    switches: Mapping[str, Any]

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format."""
        return items.form(self.switches)

    def made_of(self) -> dict[str, Any]:
        """Returns the hash of the file."""
        return {"file": sha256_of(self.path)}

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers:
        """Reads the file.

        Raises:
            ValueError: A row cannot be read or is of no test item, an item has two rows or none; names file, line and item.
        """
        rows: dict[str, Answer] = {}
        known = set(items.ids)
        for where, row in read_table(self.path, ["item_id"]):
            name = str(row.get("item_id") or "")
            if name not in known:
                raise ValueError(f"{where}: {items.folder} has no test item {name!r}; ids look like {items.ids[0]!r}.")
            if name in rows:
                raise ValueError(f"{where}: item {name!r} has a row above already; leave one of them.")
            rows[name] = read_row(row, where, form)
        if missing := [item.item_id for item in items.test if item.item_id not in rows]:
            raise ValueError(
                f"{self.path} has no answer to {missing[0]!r} ({len(missing)} of {len(items.test)} test items); a system without an answer "
                "gives an empty text."
            )
        return {item.item_id: {OURS: rows[item.item_id]} for item in items.test}

    def notes(self, items: ItemSet) -> list[str]:
        """Says that nobody here knows what the system was trained on."""
        return [
            f"Answers of {self.path.name}, made elsewhere: what their system was trained on and shown is not known here."
        ]


_COLUMNS = {"item_id", *(field.name for field in fields(Answer))} - {"unread", "counts"}


def read_row(row: Mapping[str, Any], where: str, form: TaskFormat) -> Answer:
    """Reads an answer out of a row; what the row does not state is read from its text, as a coach's answer is.

    Args:
        row: Column to cell; empty cells and null state nothing.
        where: File and line, for errors.
        form: The task's format.

    Returns:
        The answer.

    Raises:
        ValueError: An unknown column, or a cell of the wrong kind.
    """
    if unknown := sorted(row.keys() - _COLUMNS):
        raise ValueError(f"{where}: unknown column {unknown[0]!r}; known are {', '.join(sorted(_COLUMNS))}.")
    stated: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or value == "" or name in ("item_id", "text"):
            continue
        if name in ("score", "confidence"):
            stated[name] = number(value, where, name)
        elif name in ("actions", "findings"):
            stated[name] = _list(value, where, name)
        elif name == "ranking":
            stated[name] = _ranking(value, where)
        elif not isinstance(value, str):
            raise ValueError(f"{where}: {name} {value!r} has to be a text.")
        else:
            stated[name] = value
    text = row.get("text") or ""
    if not isinstance(text, str):
        raise ValueError(f"{where}: text {text!r} has to be a text.")
    answer = form.parse(text)
    return replace(answer, **stated, unread=None if stated else answer.unread)


def _list(value: Any, where: str, name: str) -> list[str]:
    parts = [part.strip() for part in value.split(";")] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{where}: {name} {value!r} has to be a list of texts (in CSV: separated by ;).")
    return parts


def _ranking(value: Any, where: str) -> dict[str, float]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{where}: ranking {value!r} has to map every class to its score; CSV cannot hold one.")
    return {name: number(score, where, f"ranking of {name!r}") for name, score in value.items()}
