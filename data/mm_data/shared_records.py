"""Records of a list of items that one or several processes write as they come, and that a later run completes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_data.files import write_atomically
from mm_data.jsonl import append_record, read_records

KEY = "tuple_id"


class SharedRecords:
    """One JSON line per item.

    ::

        FOLDER/<name>.jsonl            in the order of the items, once all are there
        FOLDER/<name>.<process>.jsonl  until then, one file per process

    Args:
        folder: Where they lie.
        name: Of the file.
        rank: This process, which does every ``world_size``-th item.
        world_size: Processes.
    """

    def __init__(self, folder: Path, name: str, rank: int = 0, world_size: int = 1) -> None:
        self.folder, self.name, self.rank, self.world_size = folder, name, rank, world_size

    def read(self) -> dict[str, dict[str, Any]]:
        """What any process has written so far, by item."""
        records: dict[str, dict[str, Any]] = {}
        for path in [self.folder / f"{self.name}.jsonl", *self._parts()]:
            records |= {record[KEY]: record for record in read_records(path)[0]}
        return records

    def mine(self, items: Sequence[str]) -> list[str]:
        """Those that this process does, done or not."""
        return list(items[self.rank :: self.world_size])

    def append(self, item: str, record: dict[str, Any]) -> None:
        """Keeps an item's record, whatever happens afterwards."""
        append_record(self.folder / f"{self.name}.{self.rank}.jsonl", {KEY: item, **record})

    def finish(self, items: Sequence[str]) -> None:
        """Joins the parts. For one process, when all have written theirs.

        Raises:
            RuntimeError: Items are missing.
        """
        records = self.read()
        if missing := [item for item in items if item not in records]:
            raise RuntimeError(
                f"{self.folder}: {len(missing)} of the {self.name} records are missing, such as {missing[0]}."
            )
        ordered = {item: records[item] for item in items} | records
        content = "".join(json.dumps(record) + "\n" for record in ordered.values())
        write_atomically(self.folder / f"{self.name}.jsonl", content)
        for path in self._parts():
            path.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.name}.*.jsonl"))
