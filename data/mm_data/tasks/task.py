"""What tasks are made of: a data set as read, and the format in which an item is taught, asked and read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mm_data.conversation import Conversation
from mm_data.ground.funnel import Funnel
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.records import Source
from mm_data.tasks.questions import Dialogue

EXPECTED_SCORE = "expected score"
"""The same answer with the mean of the score's distribution instead of the number that was written."""


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


class TaskFormat(ABC):
    """How a task is taught, asked and read; made of the data set's knowledge and the task's switches.

    Attributes:
        inputs: What decides the numbers beside clip and coach, in words; every table prints it. Leaks say so.
        max_new_tokens: Limit of an answer.
    """

    inputs: list[str]
    max_new_tokens: int

    @abstractmethod
    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Returns a training sample that answers with one of the references."""

    @abstractmethod
    def short(self, item: TaskItem) -> Conversation:
        """Returns a training sample that asks for the facts without prose: training may begin with these (`TaskSource`)."""

    @abstractmethod
    def questions(self, item: TaskItem) -> Dialogue:
        """Asks about an item, question by question (`mm_data.tasks.questions`)."""

    @abstractmethod
    def parse(self, text: str) -> Answer:
        """Says what a text answers; never raises. What cannot be read is None and listed as unread."""

    def shared_questions(self, training: Sequence[TaskItem]) -> dict[str, Dialogue]:
        """Asks what is asked once for all items, such as how likely a candidate is for anybody.

        Args:
            training: Training items.

        Returns:
            Name to dialogue.
        """
        return {}

    def read(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Reads what `questions` returned.

        Args:
            record: The item's record.
            shared: What `shared_questions` returned, by name.

        Returns:
            The answer.
        """
        return replace(self.parse(record["text"]), confidence=record["confidence"])

    def variants(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Answer]:
        """Reads the same record in other ways, each of which becomes a row of the table; here with the expected score, if there is one.

        Args:
            record: The item's record.
            shared: What `shared_questions` returned, by name.

        Returns:
            Name to answer.
        """
        expected = record.get("expected")
        return {} if expected is None else {EXPECTED_SCORE: replace(self.read(record, shared), score=expected)}

    def candidates(self, item: TaskItem) -> list[str]:
        """Returns the experts' clips that are ranked for an item; none in tasks without experts."""
        return []

    def truth(self, item: TaskItem) -> Answer:
        """Reads an item's true text, as every answer is read."""
        return self.parse(item.truth.text)

    def taught(self, item: TaskItem) -> Answer:
        """Reads what is taught of a training item, as every answer is read: baselines answer with it."""
        conversation = self.conversation(item, 0)
        answer = self.parse(conversation.messages[conversation.supervised[-1]]["content"][0]["text"])
        return answer if answer.text.strip() else replace(answer, text=item.truth.text)


class DataReader(Protocol):
    """Whatever knows how a task's data set is read: `mm_adapter.tasks.Task`."""

    @property
    def name(self) -> str:
        """Name of the task."""
        ...

    @property
    def read(self) -> Callable[[Path], TaskData]:
        """Reads a data set in its published form; one that is malformed raises `ValueError`."""
        ...
