"""One clip with what experts said about it."""

from dataclasses import dataclass, field
from typing import Any

from mm_data.conversation import clip_part
from mm_data.items.answer import Answer
from mm_data.records import VideoClip


@dataclass(frozen=True)
class TaskItem:
    """One clip with what experts said about it.

    Attributes:
        item_id: Unique in its data set.
        split: ``train`` or ``test``.
        cluster: What items share that are not independent: the take, the participant or the broadcast.
        category: Activity or action class; baselines answer with other items of it.
        clip: Its video.
        truth: What experts said, taken apart.
        references: Their texts, as a coach should answer; several where several were written.
        facts: What else the task's format needs (JSON-ready).
        has_poses: Whether the folder holds its poses.
        person: Who is seen, where the data set says so.
        expert: An expert's clip that shows how it is done right, where there is one.
        expert_person: Who is seen there.
    """

    item_id: str
    split: str
    cluster: str
    category: str
    clip: VideoClip
    truth: Answer
    references: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    has_poses: bool = False
    person: str | None = None
    expert: VideoClip | None = None
    expert_person: str | None = None

    @property
    def clips(self) -> list[VideoClip]:
        """The item's clip and, where there is one, the expert's."""
        return [self.clip] if self.expert is None else [self.clip, self.expert]

    @property
    def part(self) -> dict[str, Any]:
        """The clip as a part of a message."""
        return clip_part(self.clip.clip_id, self.clip.videos, self.has_poses)


@dataclass(frozen=True)
class GalleryClip:
    """An expert's clip that is ranked, beyond those of the items.

    Attributes:
        clip: Its video.
        category: Activity.
        person: Who is seen.
        facts: What else is known of it (JSON-ready).
    """

    clip: VideoClip
    category: str
    person: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
