"""How a made-up data set says that it is one; everything derived from it says so too."""

import json
from pathlib import Path

from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import read_json

FILE = "metadata.json"


def is_marked_synthetic(root: Path) -> bool:
    """Says whether a data set's folder marks its content as made up."""
    path = root / FILE
    content = read_json(path, "") if path.is_file() else {}
    return isinstance(content, dict) and bool(content.get("synthetic", False))


def mark_synthetic(root: Path) -> None:
    """Marks the content of a data set's folder as made up."""
    write_atomically(root / FILE, json.dumps({"synthetic": True}))
