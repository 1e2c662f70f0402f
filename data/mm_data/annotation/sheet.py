"""Drafts for people to look at, and what they decided: one CSV there and back."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mm_data.ground.files import write_atomically
from mm_data.ground.hand_tables import read_csv

if TYPE_CHECKING:
    from mm_data.annotation.pipeline import Draft

ACCEPT, FIX, REJECT = "accept", "fix", "reject"
_COLUMNS = ("item", "about", "answer", "problem", "decision", "fixed")


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


def write_review(
    path: Path, drafts: Sequence["Draft"], about: Mapping[str, str], decided: Mapping[str, Decision]
) -> None:
    """Writes a sheet with flagged drafts first; decisions that were taken already stay in it.

    Args:
        path: The CSV.
        drafts: All of them.
        about: Item to what a reviewer has to know.
        decided: Earlier decisions.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS)
    writer.writeheader()
    for draft in sorted(drafts, key=lambda draft: draft.problem is None):
        earlier = decided.get(draft.item_id)
        writer.writerow(
            {
                "item": draft.item_id,
                "about": about.get(draft.item_id, ""),
                "answer": draft.raw if draft.content is None else json.dumps(draft.content, ensure_ascii=False),
                "problem": draft.problem or "",
                "decision": earlier.decision if earlier else "",
                "fixed": earlier.text if earlier else "",
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def read_review(path: Path) -> dict[str, Decision]:
    """Decisions of a sheet, none where it is not there yet; rows without one are passed over.

    Raises:
        ValueError: A row is malformed or an item is decided twice; says which.
    """
    if not path.is_file():
        return {}
    found: dict[str, Decision] = {}
    for line, row in read_csv(path, ("item", "decision")):
        where = f"{path}, line {line}"
        item, word = row["item"], row["decision"].lower()
        if not word:
            continue
        if word not in (ACCEPT, FIX, REJECT) or not item or item in found:
            raise ValueError(f"{where}: needs an item, once, and a decision of {ACCEPT}, {FIX} or {REJECT}; found {word!r} on {item!r}.")  # fmt: skip
        found[item] = Decision(word, row.get("fixed", ""), where)
    return found
