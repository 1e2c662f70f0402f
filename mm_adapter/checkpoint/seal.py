"""``complete.json``: every file of a checkpoint with its size and hash, written last. Without it a folder is no checkpoint."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from mm_data.ground.digests import sha256_of
from mm_data.ground.files import write_atomically

COMPLETE, EXPORT_RECORD = "complete.json", "export.json"
_ALWAYS_HASHED = 256 * 2**20
"""Files up to this size are hashed whenever a coach is opened; larger ones by `mm-coach checkpoint verify`."""
_DROPPINGS = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "__MACOSX", "__pycache__"})
"""Files and folders that operating systems leave behind and that have no leading dot."""
_READ_BY_PEOPLE = frozenset({".md", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4", ".html"})
_LICENCES = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY")


def is_for_loaders(name: str) -> bool:
    """Tells whether a loader might read a file of a coach or an export.

    What the Hub, git and desktops put into folders (hidden files, thumbnails) and what is for people (a card, pictures, a
    licence) may come, change and go.

    Args:
        name: Path of the file inside the folder.

    Returns:
        Whether a loader might read it.
    """
    path = PurePosixPath(name)
    if any(part.startswith(".") or part in _DROPPINGS for part in path.parts):
        return False
    licence = path.name.upper().startswith(_LICENCES) and path.suffix.lower() in ("", ".txt")
    return not licence and path.suffix.lower() not in _READ_BY_PEOPLE


def _files(folder: Path) -> list[str]:
    """Names of the files that a seal speaks of."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != COMPLETE and is_for_loaders(name))


def seal(folder: Path, **facts: Any) -> None:
    """Marks a folder complete.

    Args:
        folder: Everything in it that a loader might read is listed.
        **facts: Kept beside the list, such as the step.
    """
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in _files(folder)
    }
    write_atomically(folder / COMPLETE, json.dumps({**facts, "files": files}, indent=1))


def unseal(folder: Path) -> None:
    """A folder that is about to change is no checkpoint."""
    (folder / COMPLETE).unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads what `seal` wrote.

    Args:
        folder: Sealed folder.

    Returns:
        The facts, and size and hash of every file by name.

    Raises:
        FileNotFoundError: The folder is not complete.
        ValueError: The manifest is damaged.
    """
    path = folder / COMPLETE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a complete coach ({COMPLETE} is missing); point to a run's coach/ or checkpoint-N folder."
        )
    try:
        content = json.loads(path.read_text())
        files = [(entry["bytes"], entry["sha256"]) for entry in content["files"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); use another checkpoint, or write this one again.") from error
    if not files:
        raise ValueError(f"{path} lists no file, so {folder} holds nothing; use another checkpoint.")
    return content


def identity(folder: Path) -> str:
    """Computes the hash of a complete folder's manifest: the same for the same content, and for no other.

    Args:
        folder: Sealed folder.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        FileNotFoundError: The folder is not complete.
        ValueError: The manifest is damaged.
    """
    read_manifest(folder)
    return sha256_of(folder / COMPLETE)


def added(folder: Path) -> list[str]:
    """Finds the files that a loader might read and that the manifest does not list."""
    return sorted(set(_files(folder)) - read_manifest(folder)["files"].keys())


def problems(folder: Path, everything: bool) -> list[str]:
    """Finds what differs from the manifest: lost, cut, changed or unreadable files that a loader might read.

    Args:
        folder: A sealed folder.
        everything: Also hash large files.

    Returns:
        A sentence for each file.
    """
    try:
        listed = read_manifest(folder)["files"]
    except ValueError as error:
        return [str(error)]
    checked = (_problem(folder, name, was, everything) for name, was in listed.items() if is_for_loaders(name))
    return [problem for problem in checked if problem is not None]


def _problem(folder: Path, name: str, was: dict[str, Any], everything: bool) -> str | None:
    path = folder / name
    try:
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != was["bytes"]:
            return f"{name} has {size} bytes, {was['bytes']} were written"
        if (everything or size <= _ALWAYS_HASHED) and sha256_of(path) != was["sha256"]:
            return f"{name} was changed after it was written"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def is_complete(folder: Path) -> bool:
    """Tells whether a folder holds what was written, by size."""
    try:
        files = read_manifest(folder)["files"]
    except (FileNotFoundError, ValueError):
        return False
    sizes = {folder / name: was["bytes"] for name, was in files.items() if is_for_loaders(name)}
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())
