"""Chance that depends on a name alone, so that every process and every resumed run draws the same."""

import hashlib


def uniform(name: str) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
