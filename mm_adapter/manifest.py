"""``complete.json``: every file of a checkpoint with its size and hash, written last. Without it a folder is no checkpoint."""

import json
from pathlib import Path
from typing import Any

from mm_data.files import write_atomically
from mm_data.hashing import sha256_of

COMPLETE = "complete.json"
_ALWAYS_HASHED = 256 * 2**20
"""Files up to this size are hashed whenever a coach is opened; larger ones by `mm-coach checkpoint verify`."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE)


def seal(folder: Path, **facts: Any) -> None:
    """Marks a folder complete.

    Args:
        folder: Everything in it is listed.
        **facts: Kept beside the list, such as the step.
    """
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in _files(folder)
    }
    write_atomically(folder / COMPLETE, json.dumps({**facts, "files": files}, indent=1))


def unseal(folder: Path) -> None:
    """A folder that is about to change is no checkpoint."""
    (folder / COMPLETE).unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `seal` wrote.

    Raises:
        FileNotFoundError: The folder is not complete.
    """
    path = folder / COMPLETE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a complete coach ({COMPLETE} is missing); point to a run's coach/ or checkpoint-N folder."
        )
    return json.loads(path.read_text())


def problems(folder: Path, everything: bool) -> list[str]:
    """What differs from the manifest: lost, cut or changed files.

    Args:
        folder: A sealed folder.
        everything: Also hash large files.
    """
    found = []
    for name, was in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != was["bytes"]:
            found.append(f"{name} has {path.stat().st_size} bytes, {was['bytes']} were written")
        elif (everything or was["bytes"] <= _ALWAYS_HASHED) and sha256_of(path) != was["sha256"]:
            found.append(f"{name} was changed after it was written")
    return found


def is_complete(folder: Path) -> bool:
    """Whether a folder holds what was written, by size."""
    if not (folder / COMPLETE).is_file():
        return False
    files = read_manifest(folder)["files"]
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == was["bytes"] for name, was in files.items()
    )
