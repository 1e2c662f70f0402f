"""Small tables that people write by hand: CSV, or JSON lines."""

import csv
import json
from pathlib import Path
from typing import Any


def read_table(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(file and line, row) of a ``.csv`` file, or of one JSON object per line.

    Raises:
        ValueError: A line is not a JSON object; names file and line.
    """
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [(f"{path}:{number}", dict(row)) for number, row in enumerate(csv.DictReader(file), start=2)]
    lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may hold other line separators
    return [(f"{path}:{n}", _parse(line, f"{path}:{n}")) for n, line in enumerate(lines, start=1) if line.strip()]


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object, found {type(row).__name__}.")
    return row
