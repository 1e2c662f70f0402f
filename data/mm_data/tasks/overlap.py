"""People, takes and clips on both sides of training and testing: one count for every task and every mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mm_data.items.item import TaskItem

Stretch = tuple[str, float, float]
"""Recording, first second and end."""


@dataclass(frozen=True)
class Material:
    """What is trained on, or tested on.

    Attributes:
        people: Performers that are known.
        takes: Their takes, or what else a data set groups its clips by, such as broadcasts.
        clips: Stretches of recordings.
        anonymous: Clips whose performer is unknown.
    """

    people: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    clips: frozenset[Stretch] = frozenset()
    anonymous: frozenset[Stretch] = frozenset()

    def __or__(self, other: Material) -> Material:
        return Material(
            self.people | other.people,
            self.takes | other.takes,
            self.clips | other.clips,
            self.anonymous | other.anonymous,
        )


def material_of_items(task: str, items: Sequence[TaskItem]) -> Material:
    """Collects the clips of a task's items, those of experts among them.

    Names of takes that come with people are a release's, which several tasks share. Others belong to their task: "1" of one data set
    is not "1" of another.

    Args:
        task: Name of the task.
        items: Items of one split.

    Returns:
        People, takes and clips.
    """
    people: set[str] = set()
    takes: set[str] = set()
    clips: set[Stretch] = set()
    anonymous: set[Stretch] = set()
    for item in items:
        recording, colon, _ = item.clip.clip_id.partition(":")
        space = f"{task}/" if item.person is None else ""
        takes.add(space + (recording if colon else item.cluster))
        stretch = (space + recording, item.clip.start, item.clip.stop)
        clips.add(stretch)
        if item.person is None:
            anonymous.add(stretch)
        else:
            people.add(item.person)
        if item.expert is not None and item.expert_person is not None:
            take = item.expert.clip_id.partition(":")[0]
            takes.add(take)
            clips.add((take, item.expert.start, item.expert.stop))
            people.add(item.expert_person)
    return Material(frozenset(people), frozenset(takes), frozenset(clips), frozenset(anonymous))


@dataclass(frozen=True)
class Overlap:
    """What is tested on and was trained on too.

    Attributes:
        people: Performers on both sides.
        takes: Takes on both sides.
        clips: Tested stretches that share time with a trained one.
        tested: Everything that is tested on.
        trained: Everything that was trained on.
        unread: What was trained on and could not be read, so is not counted.
    """

    people: list[str]
    takes: list[str]
    clips: list[Stretch]
    tested: Material
    trained: Material
    unread: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Says the count in words, as tables print it."""
        tested = self.tested
        people = f"{len(self.people)} of {len(tested.people)} test participants"
        if not tested.people:
            people = "Test participants unknown"
        elif tested.anonymous:
            people += f" ({len(tested.anonymous)} clips are of unknown people)"
        counts = f"{people}, {len(self.takes)} of {len(tested.takes)} takes and {len(self.clips)} of {len(tested.clips)} clips also in training."
        if tested.people and self.trained.anonymous:
            counts += f" Who {len(self.trained.anonymous)} of the training clips show is unknown."
        if self.unread:
            counts += f" Not counted, because it could not be read: {', '.join(self.unread)}."
        return counts

    def to_json(self) -> dict[str, Any]:
        """Returns the counts for ``metrics.json``."""
        return {
            "people": self.people,
            "takes": self.takes,
            "clips": [list(stretch) for stretch in self.clips],
            "sentence": self.sentence(),
        }


def overlap(trained: Material, tested: Material, unread: Sequence[str] = ()) -> Overlap:
    """Counts what stands on both sides.

    Args:
        trained: Everything that was trained on: all parts of a mixture and all stages together.
        tested: Everything that is tested on.
        unread: Names of what was trained on and could not be read.

    Returns:
        The counts.
    """
    of_recording: dict[str, list[tuple[float, float]]] = {}
    for recording, start, stop in trained.clips:
        of_recording.setdefault(recording, []).append((start, stop))
    clips = [
        (recording, start, stop)
        for recording, start, stop in sorted(tested.clips)
        if any(start < end and begin < stop for begin, end in of_recording.get(recording, ()))
    ]
    return Overlap(
        sorted(tested.people & trained.people),
        sorted(tested.takes & trained.takes),
        clips,
        tested,
        trained,
        tuple(unread),
    )
