"""Writing files: apart from what is read, only over what we wrote, and so that a crash leaves the old content or the new; and locks."""

import errno
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

BEGUN = "begun.json"
"""Marks a folder as ours, from before anything else is written into it, and says what it is made from."""


def check_apart(out: Path, *inputs: Path | None, inside: bool = False) -> None:
    """Refuses an output that would replace, hold or become part of what is read, symbolic links followed.

    Args:
        out: File or folder that is written.
        *inputs: Files and folders that are read; None is passed over.
        inside: The output may lie in an input, as features do in a folder of items.

    Raises:
        ValueError: They are not apart; names both.
    """
    target = out.resolve()
    for path in inputs:
        if path is None:
            continue
        source = path.resolve()
        if target == source:
            problem = f"{out} is what is read ({path}), and would be written over"
        elif source.is_relative_to(target):
            problem = f"{out} holds what is read ({path})"
        elif target.is_relative_to(source) and not inside:
            problem = f"{out} lies in what is read ({path})"
        else:
            continue
        raise ValueError(
            f"{problem}. What is read and what is written must not lie inside each other; "
            "nothing was changed, give another place."
        )


def check_ours(folder: Path, marks: Collection[str], may_hold: Collection[str] = ()) -> None:
    """Refuses a folder with content that this command did not write.

    Args:
        folder: Where a command is about to write; it need not exist.
        marks: Names of which one at least lies in every folder that the command began.
        may_hold: Names that people may have put there before.

    Raises:
        ValueError: It is a file, or holds something and none of the marks; names what.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder for the result.")
    if not folder.is_dir():
        return
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]  # .DS_Store and the like
    foreign = sorted(name for name in names if name not in may_hold and not name.endswith(".partial"))
    # Marks are looked for last: another process may have begun the folder meanwhile.
    if foreign and not any((folder / mark).exists() for mark in marks):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ValueError(
            f"{folder} holds {foreign[0]}{more}, which this command did not write. Nothing was changed; "
            "give a new or empty folder."
        )


def claim_folder(
    folder: Path,
    identity: dict[str, Any],
    may_hold: Collection[str] = (),
    mark: str = BEGUN,
    other_marks: Collection[str] = (),
) -> None:
    """Marks a folder as begun from certain inputs.

    Args:
        folder: Folder that is claimed; it is made where it is missing.
        identity: What the folder is made from (JSON-ready).
        may_hold: Names that people may have put there before.
        mark: Name of the file that says so.
        other_marks: Names of which one is enough to know a folder as ours where the mark is missing or empty.

    Raises:
        ValueError: The folder was begun from something else, or holds what we did not write.
    """
    begun = _read_mark(folder / mark)
    if begun is None:
        check_ours(folder, other_marks, may_hold)
    else:
        check_same_inputs(folder, begun, identity)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / mark, json.dumps(identity, indent=2))


def check_same_inputs(folder: Path, begun: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raises ``ValueError``, which names what differs, where a folder was begun from other inputs than those it is claimed for."""
    differing = [
        f"{name} was {begun.get(name)!r}, is {identity.get(name)!r}"
        for name in {**begun, **identity}
        if begun.get(name) != identity.get(name)
    ]
    if differing:
        raise ValueError(
            f"{folder} was begun with other inputs: {', '.join(differing)}. Give another folder or delete it."
        )


def _read_mark(path: Path) -> dict[str, Any] | None:
    """What a folder was begun from; None where the file is missing or not ours."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_text(path: Path) -> str:
    """Reads a text in UTF-8 that people wrote, without the mark that some editors put at its beginning.

    Args:
        path: The file.

    Returns:
        The text.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is in another encoding; names the line and the byte.
    """
    text = decode_utf8(path, path.read_bytes(), "save the file in UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_utf8(path: Path, content: bytes, fix: str) -> str:
    """Decodes what a file holds, without the mark that some editors put at its beginning.

    Args:
        path: The file, for the error.
        content: Its bytes.
        fix: What to do where it is in another encoding.

    Returns:
        The text, with its line ends as they are.

    Raises:
        ValueError: It is in another encoding; names the line and the byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", content[: error.start]))
        raise ValueError(f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8 text; {fix}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside the target to write to, and moves it into place at the end; where the block raises, nothing is left of it.

    The name is no other process's, so several may write the same target at once, and the last one stays.

    Args:
        path: The target.

    Yields:
        The path to write to.

    Raises:
        FileNotFoundError: The target's folder is missing.
        IsADirectoryError: The target is a folder.
        ValueError: The target is a device or a pipe, which a file would replace.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a device or a pipe, which a file would replace; give the path of a file.")
    partial = path.with_name(f"{path.name}.{uuid4().hex[:12]}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes bytes, or text in UTF-8, at once or not at all; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is inside the block with the same lock file, which holds nothing else. A process that dies lets go."""
    with FileLock(path):
        yield


def take_lock(path: Path, message: str) -> FileLock:
    """Takes a lock file until the result is released or the process ends.

    Args:
        path: The lock file.
        message: Message of the error.

    Returns:
        The lock.

    Raises:
        ValueError: Another process has it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(message) from error
    return lock
