"""What a task is: a reader, a conversation format with its parser, and, under the same name, a suite of metrics.

`docs/adding-a-task.md` shows how to add one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mm_data.conversation import Conversation, clip_part
from mm_data.ground.funnel import Funnel
from mm_data.records import Source, VideoClip
from mm_data.tasks.answer import Answer
from mm_data.tasks.questions import Dialogue


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

    @property
    def part(self) -> dict[str, Any]:
        """The clip as a part of a message."""
        return clip_part(self.clip.clip_id, self.clip.videos, self.has_poses)


@dataclass(frozen=True)
class TaskData:
    """A data set as read.

    Attributes:
        items: Items of both splits.
        knowledge: What all items share: class names and their steps, the scale of scores (JSON-ready).
        funnels: What reading kept, dropped and noted.
        videos: Folder that the clips' videos lie in.
        synthetic: Whether the data is made up.
        source: Where the poses of clips come from, for data sets that bring their own.
    """

    items: list[TaskItem]
    knowledge: dict[str, Any]
    funnels: list[Funnel]
    videos: Path
    synthetic: bool
    source: Source | None = None


class TaskFormat(Protocol):
    """How a task is taught, asked and read; made of the data set's knowledge and the task's switches.

    Attributes:
        inputs: What decides the numbers beside clip and coach, in words; every table prints it. Leaks say so.
        max_new_tokens: Limit of an answer.
    """

    inputs: list[str]
    max_new_tokens: int

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """A training sample that answers with one of the references."""
        ...

    def short(self, item: TaskItem) -> Conversation:
        """A training sample that asks for the facts without prose: training may begin with these (`TaskSource`)."""
        ...

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks about an item, question by question (`mm_data.tasks.questions`)."""
        ...

    def read(self, record: Mapping[str, Any]) -> Answer:
        """Reads what `questions` returned."""
        ...

    def parse(self, text: str) -> Answer:
        """What an answer says; never raises. What cannot be read is None and listed as unread."""
        ...


@dataclass(frozen=True)
class Task:
    """A task: how its data is read, taught and asked for.

    Attributes:
        name: Name in commands, and of the suite.
        read: Reads a data set in its published form; one that is malformed raises `ValueError`.
        options: Dataclass of its switches.
        format: Knowledge and switches to its format.
    """

    name: str
    read: Callable[[Path], TaskData]
    options: type
    format: Callable[[dict[str, Any], Any], TaskFormat]
