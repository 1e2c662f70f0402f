"""Rows of the papers, printed beside ours as "published, different data" and never mixed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Published:
    """A paper's table.

    Attributes:
        source: Paper and table, and what differs from ours.
        headings: Columns as the paper prints them.
        rows: Method to values; None where the paper has none.
    """

    source: str
    headings: Sequence[str]
    rows: dict[str, Sequence[float | None]]


_PAPERS = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
EXPERTAF, DESCCOACH = Published(**_PAPERS["expertaf"]), Published(**_PAPERS["desccoach"])
NAE, COT_AFA = Published(**_PAPERS["nae"]), Published(**_PAPERS["cot-afa"])
