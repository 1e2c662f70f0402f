"""Records of a list of items that one or several processes write as they come, and that a later run completes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_data.ground.files import locked, write_atomically
from mm_data.ground.jsonl import append_record, lock_of, read_records

KEY = "item_id"


class SharedRecords:
    """One JSON line per item.

    ::

        FOLDER/<name>.jsonl            in the order of the items, once all are there
        FOLDER/<name>.<process>.jsonl  until then, one file per process

    Args:
        folder: Folder that the files lie in.
        name: Name of the file without its ending.
        rank: Number of this process, which does every ``world_size``-th item.
        world_size: Number of processes.
        launch: Name of their launch, the same for all of them and another one each time (`mm_adapter.distributed.launch_name`).

    Raises:
        ValueError: Several processes without a name of their launch.
    """

    def __init__(self, folder: Path, name: str, rank: int = 0, world_size: int = 1, launch: str = "") -> None:
        if world_size > 1 and not launch:
            raise ValueError(f"{world_size} processes share {folder / name}; give the name of their launch.")
        self.folder, self.name, self.rank, self.world_size, self.launch = folder, name, rank, world_size, launch

    def read(self) -> dict[str, dict[str, Any]]:
        """Reads what any process has written so far, by item; another process may be joining the parts meanwhile."""
        parts: dict[str, dict[str, Any]] = {}
        for path in self.parts():  # before the joined file, which has what vanishes here
            parts |= {record[KEY]: record for record in read_records(path)[0]}
        return {record[KEY]: record for record in read_records(self.folder / f"{self.name}.jsonl")[0]} | parts

    def mine(self, items: Sequence[str]) -> list[str]:
        """Returns the items that this process does, done or not."""
        return list(items[self.rank :: self.world_size])

    def pending(self, items: Sequence[str]) -> list[str]:
        """Returns the items that this process does and that have no record yet."""
        there = self.read()
        return [item for item in self.mine(items) if item not in there]

    def append(self, item: str, record: dict[str, Any]) -> None:
        """Keeps an item's record, whatever happens afterwards."""
        append_record(self.folder / f"{self.name}.{self.rank}.jsonl", {KEY: item, **record})

    def complete(self, items: Sequence[str]) -> bool:
        """Says whether every item has a record."""
        records = self.read()
        return all(item in records for item in items)

    def parts(self) -> list[Path]:
        """Returns the files that are not joined yet."""
        return sorted(self.folder.glob(f"{self.name}.*.jsonl"))

    def join(self, items: Sequence[str]) -> None:
        """Makes one file of the parts; for one process at a time, when all items are there."""
        parts, records = self.parts(), self.read()
        ordered = {item: records[item] for item in items} | records
        content = "".join(json.dumps(record) + "\n" for record in ordered.values())
        write_atomically(self.folder / f"{self.name}.jsonl", content)
        for path in parts:
            path.unlink()
            lock_of(path).unlink(missing_ok=True)


def join_all(files: Sequence[tuple[SharedRecords, Sequence[str]]]) -> bool:
    """Joins the parts of all files once all their items are in them, whichever process notices first.

    Args:
        files: Logs with the names of their items.

    Returns:
        Whether everything is there and this process is the one to go on: one of a launch, and the only one where nothing
        was launched.
    """
    if not files:
        return True
    first = files[0][0]
    folder, alone = first.folder, first.world_size == 1
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if not all(file.complete(items) for file, items in files):
            return False
        for file, items in files:
            if file.parts():
                file.join(items)
        launch, mark = first.launch, folder / ".joined"
        if not alone and mark.is_file() and mark.read_text() == launch:
            return False
        write_atomically(mark, launch)
        return True
