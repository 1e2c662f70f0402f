"""Chance that depends on a name alone, so that every process and every resumed run draws the same; and hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any


def uniform(name: str) -> float:
    """Returns a number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def hash_of(content: Any, sort_keys: bool = True) -> str:
    """Returns the SHA-256 of JSON content as 64 hexadecimal digits.

    Args:
        content: JSON-ready content.
        sort_keys: Whether content with its keys in another order has the same hash.

    Returns:
        The digest.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=sort_keys).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
