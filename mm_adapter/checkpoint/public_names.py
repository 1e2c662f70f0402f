"""Takes from records where somebody keeps their files, which is nobody's business once a coach is on the Hub."""

import re
import shlex
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_BASES = frozenset({"base_model", "_name_or_path", "name_or_path", "base_model_name_or_path"})
_ON_THE_HUB = _BASES | {"language_model", "hub_model_id", "start_from", "coach"}
"""Settings whose ``owner/name`` is a repository, unless such a folder is here."""


def without_base_places(content: Any) -> Any:
    """Configuration with a name in the place of the base model's folder; nothing else changes."""
    if isinstance(content, dict):
        return {
            name: _public_text(value, name) if name in _BASES and isinstance(value, str) else without_base_places(value)
            for name, value in content.items()
        }
    return [without_base_places(value) for value in content] if isinstance(content, list) else content


def without_places(content: Any, key: str = "") -> Any:
    """A run's record with the last part of every local path in its place; names on the Hub stay.

    Args:
        content: The record or a part of it.
        key: The setting whose value it is.

    Returns:
        The record without places.
    """
    if isinstance(content, dict):
        return {name: without_places(value, str(name)) for name, value in content.items()}
    if isinstance(content, list):
        return [without_places(value, key) for value in content]
    return _public_text(content, key) if isinstance(content, str) else content


def _public_text(text: str, key: str) -> str:
    """A setting's text: a path, ``FOLDER,features=FOLDER,...``, or flags with paths among them."""
    if "/" not in text and "\\" not in text:
        return text
    if text.lstrip().startswith("-"):
        return shlex.join(_public_text(word, key) for word in shlex.split(text))
    pieces = re.split(r"([,=])", text)
    return "".join(piece if piece in ",=" else _public_path(piece, key) for piece in pieces)


def _public_path(text: str, key: str) -> str:
    if "\\" in text:
        return PureWindowsPath(text).name
    parts = PurePosixPath(text).parts
    repository = (
        len(parts) == 2 and key in _ON_THE_HUB and not text.startswith(("/", ".", "~")) and not Path(text).exists()
    )
    return text if len(parts) < 2 or repository else PurePosixPath(text).name
