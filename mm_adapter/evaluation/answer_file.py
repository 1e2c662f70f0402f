"""Answers that were made elsewhere, in a table: anybody's model stands beside ours without being installed here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.system import Answers, System, with_variants
from mm_data.ground.digests import sha256_of
from mm_data.ground.hand_tables import number, read_table
from mm_data.ground.progress import Progress
from mm_data.tasks import Answer, TaskFormat


@dataclass(frozen=True)
class AnswerFile(System):
    """A table of answers that were made elsewhere: JSON lines, or CSV.

    Attributes:
        path: The file, with ``item_id`` and any of ``text``, ``score``, ``label``, ``verdict``, ``confidence``, ``actions``, ``findings`` (in
            CSV separated by ";") and, in JSON lines, ``ranking`` and ``poses``.
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
        """Reads the file; a row that cannot be read or is of no test item, and an item with two rows or none, are named in a ``ValueError``."""
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
        return {item.item_id: with_variants(rows[item.item_id], {}) for item in items.test}

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
        elif name == "poses":
            stated[name] = _poses(value, where)
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


def _poses(value: Any, where: str) -> list[Any]:
    try:
        joints = np.array(value, float)
    except (TypeError, ValueError):
        joints = np.zeros(0)
    if joints.ndim != 3 or joints.shape[1:] != (17, 3) or not np.isfinite(joints).all():
        raise ValueError(f"{where}: poses have to be joints in metres, [frames, 17, 3]; CSV cannot hold them.")
    return joints.tolist()
