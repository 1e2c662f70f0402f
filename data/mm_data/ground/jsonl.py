"""Append-only JSON lines that several processes may write and a crash may cut: caches, status files, decisions."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_data.ground.files import locked


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Appends one line; see `append_records`."""
    append_records(path, [record])


def lock_of(path: Path) -> Path:
    """The lock file beside a log: on Windows nobody could read a file that is locked itself."""
    return path.with_name(f".{path.name}.lock")


def append_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Appends one line per record and waits until they are on disk.

    They are written whole under a lock. If a crash cut off the line before them, that one is closed first, so that it
    spoils nothing but itself.
    """
    line = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock_of(path)), path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        while line:
            line = line[file.write(line) :]  # a full disk writes a part, then raises
        os.fsync(file.fileno())


def read_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All records, and how many lines could not be parsed because a crash cut them off; ``([], 0)`` without a file."""
    records, torn = [], 0
    try:
        content = path.open("rb")
    except FileNotFoundError:
        return [], 0
    with content as file:
        for line in file:
            try:
                records.append(json.loads(line))
            except ValueError:
                torn += bool(line.strip())
    return records, torn
