"""OpenAI's messages with a learner's clip in them, rewritten for the engine: poses as tokens, videos as frames."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mm_adapter.model.config import VIEWS
from mm_adapter.model.processor import EGO_TOKEN, EXO_TOKEN
from mm_adapter.serving.http.clips import ClipShelf, Upload
from mm_adapter.serving.http.data_urls import decode_data_url
from mm_adapter.serving.http.exported_coach import Export
from mm_adapter.serving.http.fields import check_message

Part = dict[str, Any]
ROLES = ("system", "user", "assistant")
_POSE = "<|pose_"


class Conversations:
    """Rewrites messages.

    A message's content is a text or a list of parts: ``text``, ``clip`` (``clip_id`` of a clip that the server keeps) and
    ``pose`` (``codes`` ``[T, M]``, such as an earlier demonstration). Pose tokens may also stand in a text of their own.

    Args:
        coach: Its export.
        clip_parts: A clip's parts for the engine: its pose tokens, then a video per view.
    """

    def __init__(self, coach: Export, clip_parts: Callable[[str], list[Part]]) -> None:
        self.coach, self.clip_parts = coach, clip_parts

    def rewrite(self, messages: Any) -> list[dict[str, Any]]:
        """Rewrites messages for the engine.

        Args:
            messages: The messages as they came.

        Returns:
            Messages for the engine.

        Raises:
            ValueError: They are malformed; says which message and why.
            KeyError: A clip is not there.
        """
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages has to be a list of at least one message.")
        return [self._message(message, turn) for turn, message in enumerate(messages)]

    def _message(self, message: Any, turn: int) -> dict[str, Any]:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ValueError(f"Message {turn}: needs a role, one of {', '.join(ROLES)}.")
        content = message.get("content")
        if message["role"] == "assistant" and not content:
            content = ""  # clients write null for an answer without words
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not parts:
            raise ValueError(f"Message {turn}: content has to be a text or a list of parts.")
        try:
            check_message(message)
            return {"role": message["role"], "content": [made for part in parts for made in self._part(part)]}
        except ValueError as error:
            raise ValueError(f"Message {turn}: {error}") from error

    def _part(self, part: Any) -> list[Part]:
        kind = _kind(part)
        if kind == "text" and isinstance(part.get("text"), str):
            return [{"type": "text", "text": self._checked(part["text"])}]
        if kind == "clip" and isinstance(part.get("clip_id"), str):
            return self.clip_parts(part["clip_id"])
        if kind == "pose":
            codes = self.coach.pose_codes(None, part.get("codes"))
            return [{"type": "text", "text": self.coach.processor.pose_text(codes)}]
        raise ValueError(
            f"a part of type {kind!r} cannot be read; give text, clip (clip_id), pose (codes) or video_url."
        )

    def _checked(self, text: str) -> str:
        if EGO_TOKEN in text or EXO_TOKEN in text:
            raise ValueError("a text may not hold video placeholders; give a clip or a video_url.")
        return self.coach.processor.pose_text(self.coach.pose_codes(text, None)) if _POSE in text else text


def clip_parts(coach: Export, codes: np.ndarray | None, videos: Iterable[Part]) -> list[Part]:
    """Returns a clip for the engine: its pose tokens, where the coach sees poses, then a video per view."""
    if coach.config.pose_form == "none" or codes is None:
        return [*videos]
    return [{"type": "text", "text": coach.processor.pose_text(codes)}, *videos]


def shelf_parts(coach: Export, shelf: ClipShelf) -> Callable[[str], list[Part] | None]:
    """Returns what gives an uploaded clip's parts by its id, or None where it is not kept, or not any more."""

    def parts(clip_id: str) -> list[Part] | None:
        clip = shelf.get(clip_id)
        return clip and clip_parts(coach, clip.codes, map(frames_part, clip.frames.values()))

    return parts


def frames_part(frames: list[bytes]) -> Part:
    """Frames (files of pictures) as a video for the engine, which takes them as they are."""
    data = ",".join(base64.b64encode(frame).decode() for frame in frames)
    return {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{data}"}}


UPLOADED: Part = {"type": "clip"}
"""Stands where an upload's clip belongs."""


def take_upload(message: Any) -> tuple[Upload, list[Any]] | None:
    """Takes the videos (``video_url``) and poses (``pose_file``) out of a message.

    Two videos are ego, then exo, as vLLM takes them from this coach; a part's ``view`` may say otherwise. One is exo.

    Args:
        message: A message as it came.

    Returns:
        The upload, and the message's parts with `UPLOADED` where its first part stood; None where there is no video.

    Raises:
        ValueError: Too many, or their data cannot be read.
    """
    content = message.get("content") if isinstance(message, Mapping) else None
    media = [p for p in content if _kind(p) in _MEDIA] if isinstance(content, list) else []
    videos = sum(_kind(part) == "video_url" for part in media)
    if not isinstance(content, list) or not videos:
        return None
    named = [part.get("view") for part in media if _kind(part) == "video_url"]
    if any(view is not None and view not in VIEWS for view in named):
        raise ValueError(f"A video's view is {' or '.join(VIEWS)}.")
    # Videos that name no view get the views that nobody named, in order: ego then exo of two, exo where there is one.
    free = iter([view for view in (VIEWS if videos > 1 else ("exo",)) if view not in named])
    files: dict[str, bytes] = {}
    for part in media:
        name = "pose" if part["type"] == "pose_file" else part.get("view") or next(free, None)
        if name is None or name in files:
            raise ValueError("A message takes one video per view (ego, exo) and one pose_file.")
        value = part.get(part["type"])
        what = "The pose file" if name == "pose" else f"The {name} video"
        files[name] = decode_data_url(value.get("url") if isinstance(value, Mapping) else None, what)
    first = content.index(media[0])
    parts = [UPLOADED if at == first else part for at, part in enumerate(content) if at == first or part not in media]
    return Upload({name: data for name, data in files.items() if name != "pose"}, files.get("pose")), parts


_MEDIA = ("video_url", "pose_file")


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None
