"""What a coach is taught and asked: chat messages whose content parts name clips.

A message is ``{"role": ..., "content": [part, ...]}``, with the parts ``{"type": "text", "text": ...}``,
``{"type": "clip", "clip_id": ...}`` and, as an answer, ``{"type": "pose", "clip_id": ...}``. A clip part may say ``views``,
the views that it has, and ``pose``, whether its poses are known; without them it has all that the coach sees.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages with content parts; ``supervised`` lists the indices of the assistant turns that carry the loss."""

    sample_id: str
    messages: list[Message]
    supervised: tuple[int, ...]


def text_part(text: str) -> dict[str, str]:
    """Makes a part of words."""
    return {"type": "text", "text": text}


def clip_part(clip_id: str, views: Collection[str] | None = None, pose: bool = True) -> dict[str, Any]:
    """Makes a part of a clip: all that the coach sees of one, or only these views, with or without poses."""
    part: dict[str, Any] = {"type": "clip", "clip_id": clip_id}
    if views is not None:
        part["views"] = list(views)
    return part if pose else {**part, "pose": False}


def said(role: str, *parts: dict[str, Any] | str) -> Message:
    """Makes a turn of ``system``, ``user`` or ``assistant``; strings are words."""
    return {"role": role, "content": [text_part(part) if isinstance(part, str) else part for part in parts]}
