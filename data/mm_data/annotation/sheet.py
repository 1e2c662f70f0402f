"""Drafts for people to look at, and what they decided: one CSV there and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
from mm_data.ground.hand_tables import csv_text, read_csv

ACCEPT, FIX, REJECT = "accept", "fix", "reject"
_COLUMNS = ("item", "about", "answer", "problem", "decision", "fixed")


@dataclass(frozen=True)
class Draft:
    """One answer of the model.

    Attributes:
        item_id: Item that was asked about.
        content: The answer, or None where there is none that passes the checks.
        raw: The answer's text as it came.
        problem: Why the answer does not pass, or None.
    """

    item_id: str
    content: dict[str, Any] | None
    raw: str
    problem: str | None


@dataclass(frozen=True)
class Decision:
    """What a person decided about an item.

    Attributes:
        decision: ``accept``, ``fix`` or ``reject``.
        text: The fixed answer, as JSON.
        where: File and line, for messages.
    """

    decision: str
    text: str
    where: str


_UNDECIDED = Decision("", "", "")


def write_review(
    path: Path, drafts: Sequence[Draft], about: Mapping[str, str], decisions: Mapping[str, Decision]
) -> None:
    """Writes a sheet with flagged drafts first; decisions that were taken already stay in it.

    Args:
        path: CSV file.
        drafts: Drafts of all items.
        about: Item to what a reviewer has to know.
        decisions: Item to its earlier decision.
    """
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for draft in sorted(drafts, key=lambda draft: draft.problem is None):
        answer = draft.raw if draft.content is None else json.dumps(draft.content, ensure_ascii=False)
        earlier = decisions.get(draft.item_id, _UNDECIDED)
        fields = (draft.item_id, about.get(draft.item_id, ""), answer, draft.problem or "")
        rows.append((*fields, earlier.decision, earlier.text))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, csv_text(rows))


def read_review(path: Path) -> dict[str, Decision]:
    """Reads the decisions of a sheet, none where it is not there yet; rows without one are passed over.

    Args:
        path: CSV file.

    Returns:
        Item to its decision.

    Raises:
        ValueError: A row is malformed or an item is decided twice; says which.
    """
    if not path.is_file():
        return {}
    decisions: dict[str, Decision] = {}
    for line, row in read_csv(path, ("item", "decision")):
        where = f"{path}, line {line}"
        item, word = row["item"], row["decision"].lower()
        if not word:
            continue
        if word not in (ACCEPT, FIX, REJECT) or not item or item in decisions:
            rule = f"needs an item, once, and a decision of {ACCEPT}, {FIX} or {REJECT}"
            raise ValueError(f"{where}: {rule}; found {word!r} on {item!r}.")
        decisions[item] = Decision(word, row.get("fixed", ""), where)
    return decisions
