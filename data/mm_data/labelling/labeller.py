"""The interface of every labeller, and label files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mm_data.ground.files import write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.ground.jsonl import read_records
from mm_data.records import LabelledRemark, Remark

NOTHING_SAID = "no body region"
NO_SIDE = "takes no side"


class Labeller(Protocol):
    """Turns remarks into labelled remarks; ``version`` names the method and changes whenever its results would."""

    version: str

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """Returns one result per remark, in order: the labelled remark, or the reason why it has to be dropped."""
        ...


def label_remarks(
    labeller: Labeller,
    remarks: Sequence[Remark],
    out: Path,
    funnel: Funnel,
    progress: Callable[[int], None] = lambda done: None,
) -> list[LabelledRemark]:
    """Labels remarks, counts those that are dropped, and writes every outcome to a label file.

    Args:
        labeller: The method.
        remarks: Remarks to label.
        out: JSON lines, one per remark: its summary and regions, or the reason why it was dropped.
        funnel: Counts remarks.
        progress: Called with the number of remarks done.

    Returns:
        Those that were labelled.
    """
    labelled, lines = [], []
    for remark, result in zip(remarks, labeller.label(remarks, progress), strict=True):
        outcome: dict[str, Any] = {"remark_id": remark.remark_id, "labeller": labeller.version, "text": remark.text}
        if isinstance(result, str):
            funnel.drop(result, remark.remark_id, expected=result in (NOTHING_SAID, NO_SIDE))
            outcome["reason"] = result
        else:
            funnel.keep()
            labelled.append(result)
            outcome |= {"summary": result.summary, "regions": result.regions}
        lines.append(json.dumps(outcome) + "\n")
    write_atomically(out, "".join(lines))
    return labelled


@dataclass(frozen=True)
class Labels:
    """A label file, or the miniature's truth in the same shape.

    Attributes:
        name: The labeller's version.
        regions: Remark id to its regions' labels; empty where the labeller found nothing said about the body.
        failed: Remarks that the labeller could not judge.
        texts: Remark id to the spoken words.
    """

    name: str
    regions: dict[str, dict[str, str]]
    failed: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict)


def read_labels(path: Path) -> Labels:
    """Reads a label file.

    Args:
        path: The label file.

    Returns:
        Its labels.

    Raises:
        FileNotFoundError: The file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: make it with `mm-coach data label` or `mm-coach data build`.")
    records = read_records(path)[0]
    silent = [r for r in records if r.get("reason") in (NOTHING_SAID, NO_SIDE)]
    judged = {r["remark_id"]: r["regions"] for r in records if "regions" in r} | {r["remark_id"]: {} for r in silent}
    return Labels(
        name=records[0]["labeller"] if records else "none",
        regions=judged,
        failed=frozenset(r["remark_id"] for r in records) - judged.keys(),
        texts={r["remark_id"]: r["text"] for r in records},
    )
