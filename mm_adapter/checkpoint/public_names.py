"""Takes from records where somebody keeps their files, which is nobody's business once a coach is on the Hub."""

import re
import shlex
from collections.abc import Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

BASES = frozenset({"base_model", "_name_or_path", "name_or_path", "base_model_name_or_path"})
"""Settings that name a base model."""
_ON_THE_HUB = BASES | {"language_model", "hub_model_id", "start_from", "coach"}
"""Settings whose ``owner/name`` is a repository, unless such a folder is here."""


def without_places(content: Any, key: str = "", only: Collection[str] | None = None) -> Any:
    """Puts the last part of every local path in its place; names on the Hub stay.

    Args:
        content: The record or a part of it.
        key: The setting whose value it is.
        only: Settings that are looked at, such as `BASES`; None for all.

    Returns:
        The record without places.
    """
    if isinstance(content, dict):
        return {name: without_places(value, str(name), only) for name, value in content.items()}
    if isinstance(content, list):
        return [without_places(value, key, only) for value in content]
    is_text = isinstance(content, str) and (only is None or key in only)
    return _public_text(content, key) if is_text else content


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
    relative = len(parts) == 2 and not text.startswith(("/", ".", "~"))
    repository = relative and key in _ON_THE_HUB and not Path(text).exists()
    return text if len(parts) < 2 or repository else PurePosixPath(text).name
