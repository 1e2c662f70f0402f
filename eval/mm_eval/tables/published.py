"""Rows of a paper, printed beside ours as "published, different data" and never mixed in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    @classmethod
    def read(cls, path: Path) -> "Published":
        """Reads a paper's table from YAML."""
        return cls(**yaml.safe_load(path.read_text(encoding="utf-8")))

    def only(self, names: Sequence[str] | None) -> "Published | None":
        """Keeps the rows of these names; all for None, and no table where none is left."""
        rows = self.rows if names is None else {name: self.rows[name] for name in names}
        return replace(self, rows=rows) if rows else None
