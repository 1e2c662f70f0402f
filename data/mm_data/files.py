"""Writing files so that a crash leaves the old content or the new, never half of it; and locks between processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes bytes, or text in UTF-8, beside the target and moves it into place; processes may do so at once, and the last one stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is inside the block with the same lock file. A process that dies lets go."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_lock(path: Path, message: str) -> IO[bytes]:
    """Locks a file until the result is closed or the process ends.

    Raises:
        ValueError: Another process has it; with the given message.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ValueError(message) from error
    return file
