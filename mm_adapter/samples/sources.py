"""Where training samples come from: coaching tuples in one of ExpertAF's formats, or the items of another task."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mm_adapter.samples.clip_stores import ClipPoses, NoPoses
from mm_data.conversation import Conversation
from mm_data.features import FeatureStore
from mm_data.ground.digests import uniform
from mm_data.records import Clip, CoachingTuple, VideoClip
from mm_data.tasks import TaskFormat, TaskItem
from mm_data.tasks.coaching import FORMATS, offers_expert, training_conversation

Row = TypeVar("Row")
Variant = Hashable
"""One of the forms that a sample takes from epoch to epoch."""

SHORT = -1
"""Variant of an item that asks for facts without prose."""


@dataclass
class TupleSource:
    """Coaching tuples in one of ExpertAF's formats.

    Attributes:
        tuples: Tuples of one split.
        form: One of `mm_data.tasks.coaching.FORMATS`.
        share: How often an epoch shows each sample: 1 once, 2 twice, 0.5 every other one, and the others in the next epoch.
        poses: Pose codes of all clips, or joints for a coach that reads text.
        features: Video features of all clips, or None for a pose-only coach.
        expert_drop: Probability that a commentary question lacks the expert's clip.
        seed: Seed for dropping the expert's clip.
        name: Name of the source in messages: the format.
        ids: Ids of the tuples.

    Raises:
        ValueError: Unknown format, or tuples without a remark.
    """

    tuples: Sequence[CoachingTuple]
    form: str
    share: float
    poses: ClipPoses
    features: FeatureStore | None
    expert_drop: float
    seed: int

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise ValueError(f"Unknown sample format {self.form!r}; choose from {', '.join(FORMATS)}.")
        if mute := [t.tuple_id for t in self.tuples if not t.summary.strip()]:
            raise ValueError(f"{len(mute)} tuples have no remark, such as {mute[0]}; remove them.")
        self.name, self.ids = self.form, [t.tuple_id for t in self.tuples]

    def clips(self) -> tuple[set[str], set[str]]:
        """Returns the learners' and experts' clips, whose poses and video are shown."""
        clips = {c.clip_id for t in self.tuples for c in (t.learner, t.expert)}
        return clips, clips

    def variants(self, index: int) -> Sequence[bool]:
        """Returns the forms of a question, all of which are measured before training: without and with the expert's clip."""
        if self.form != "commentary":
            return [False]
        return [offer for offer, never in ((False, 0.0), (True, 1.0)) if self.expert_drop != never]

    def variant(self, index: int, epoch: int) -> bool:
        """Tells whether an epoch's question holds the expert's clip, the same on every rank and in every resumed run."""
        return self.form == "commentary" and offers_expert(self.tuples[index], self.expert_drop, self.seed, epoch)

    def conversation(self, index: int, variant: Variant) -> Conversation:
        """Returns a tuple as a conversation."""
        return training_conversation(self.tuples[index], self.form, bool(variant))


def tuple_sources(
    tuples: Sequence[CoachingTuple],
    formats: Mapping[str, float],
    poses: ClipPoses,
    features: FeatureStore | None,
    expert_drop: float,
    seed: int,
) -> list[TupleSource]:
    """Returns tuples in several formats, each with its share."""
    return [TupleSource(tuples, form, share, poses, features, expert_drop, seed) for form, share in formats.items()]


@dataclass
class TaskSource:
    """Items of a task.

    Attributes:
        name: Name of the task.
        items: Items of one split.
        form: Format in which the task is asked.
        share: How often an epoch shows each sample.
        poses: Pose codes of the clips that have poses, or `NoPoses`.
        features: Video features, or None for a pose-only coach.
        seed: Seed for which reference text comes first.
        short_epochs: Epochs at the beginning that ask for facts without prose. In an answer of fifty tokens the two or three that
            depend on the clip hardly count; here they are all there is, so mappers learn to see first.
        ids: Ids of the items.
    """

    name: str
    items: Sequence[TaskItem]
    form: TaskFormat
    share: float
    poses: ClipPoses
    features: FeatureStore | None
    seed: int
    short_epochs: int = 0

    def __post_init__(self) -> None:
        self.ids = [item.item_id for item in self.items]

    def clips(self) -> tuple[set[str], set[str]]:
        """Returns the clips with poses, and all clips."""
        posed = {item.clip.clip_id for item in self.items if item.has_poses and not isinstance(self.poses, NoPoses)}
        return posed | self.pose_answers(), {item.clip.clip_id for item in self.items}

    def variants(self, index: int) -> Sequence[int]:
        """Returns one form per reference text, or one where there is none, and the short one if training begins with it."""
        return [*range(max(1, len(self.items[index].references))), *([SHORT] if self.short_epochs else [])]

    def variant(self, index: int, epoch: int) -> int:
        """Returns the number of an epoch's reference text; they take turns, beginning anywhere."""
        if epoch < self.short_epochs:
            return SHORT
        count = max(1, len(self.items[index].references))
        return (int(uniform(f"{self.seed}/{self.ids[index]}") * count) + epoch) % count

    def conversation(self, index: int, variant: Variant) -> Conversation:
        """Returns an item with one of its reference texts as the answer, or with the facts alone."""
        assert isinstance(variant, int)
        if variant == SHORT:
            return self.form.short(self.items[index])
        return self.form.conversation(self.items[index], variant)

    def pose_answers(self) -> set[str]:
        """Returns the clips whose poses are an answer: the experts', in tasks that show them."""
        turns = (turn for item in self.items for turn in self.form.conversation(item, 0).messages)
        return {
            part["clip_id"]
            for turn in turns
            if turn["role"] == "assistant"
            for part in turn["content"]
            if part["type"] == "pose"
        }


SampleSource = TupleSource | TaskSource
"""Samples of one kind with what their clips are made of."""


def check_clips(source: SampleSource) -> None:
    """Raises ``ValueError`` where clips lack poses or features."""
    posed, filmed = source.clips()
    for what, clips, store in (("poses", posed, source.poses), ("video features", filmed, source.features)):
        if store is not None and (missing := store.missing(sorted(clips))):
            raise ValueError(
                f"{source.name}: {len(missing)} of {len(clips)} clips have no {what} (for example {missing[0]}); make them again for this folder."
            )


class ShowsClips(Protocol):
    """A tuple or an item."""

    @property
    def clips(self) -> Sequence[Clip | VideoClip]:
        """Its clips."""
        ...


Shows = TypeVar("Shows", bound=ShowsClips)


def without_rejected(rows: Sequence[Shows], features: FeatureStore | None) -> tuple[list[Shows], int]:
    """Returns tuples or items whose clips could be encoded, and how many could not because extraction rejected a clip of theirs.

    A clip that extraction never saw is not forgiven here; `CoachDataset` raises for it.
    """
    rejected = features.manifest.rejected if features else {}
    encoded = [row for row in rows if not any(clip.clip_id in rejected for clip in row.clips)]
    return encoded, len(rows) - len(encoded)


def hold_out(rows: Sequence[Row], group: Callable[[Row], str], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Splits off the rows of a share of the learners, or of what else groups them: (to train on, to evaluate on meanwhile)."""
    groups = sorted({group(row) for row in rows}, key=lambda name: uniform(f"{seed}/{name}"))
    held_out = set(groups[: math.ceil(share * len(groups))])
    return [row for row in rows if group(row) not in held_out], [row for row in rows if group(row) in held_out]
