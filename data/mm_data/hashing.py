"""Chance that depends on a name alone, so that every process and every resumed run draws the same; and hashes of files."""

import hashlib
from pathlib import Path


def uniform(name: str) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
