"""Where training samples come from: coaching tuples in one of ExpertAF's formats, or the items of another task."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, TypeVar

from mm_adapter.samples.clip_stores import ClipPoses, NoPoses
from mm_data.conversation import Conversation
from mm_data.features import FeatureStore
from mm_data.ground.digests import uniform
from mm_data.records import CoachingTuple
from mm_data.tasks import TaskFormat, TaskItem
from mm_data.tasks.expertaf import FORMATS, offers_expert, training_conversation

Row = TypeVar("Row")
Variant = Hashable
"""One of the forms that a sample takes from epoch to epoch."""


class SampleSource(Protocol):
    """Samples of one kind with what their clips are made of.

    Attributes:
        name: Name of the source in messages.
        ids: Sample ids, one per sample.
        share: How often an epoch shows each sample: 1 once, 2 twice, 0.5 every other one, and the others in the next epoch.
        poses: Poses of the clips.
        features: Video features of the clips, or None for a pose-only coach.
    """

    name: str
    ids: list[str]
    share: float
    poses: ClipPoses
    features: FeatureStore | None

    def clips(self) -> tuple[set[str], set[str]]:
        """Returns the clips whose poses are shown, and those whose video is."""
        ...

    def variants(self, index: int) -> Sequence[Variant]:
        """Returns all forms of a sample; every one is measured before training."""
        ...

    def variant(self, index: int, epoch: int) -> Variant:
        """Returns the form of a sample in an epoch; it depends on nothing else but the seed, so that every rank and every resumed run agrees."""
        ...

    def conversation(self, index: int, variant: Variant) -> Conversation:
        """Returns what a sample says in one of its forms."""
        ...


def check_clips(source: SampleSource) -> None:
    """Raises ``ValueError`` where clips lack poses or features."""
    posed, filmed = source.clips()
    for what, clips, store in (("poses", posed, source.poses), ("video features", filmed, source.features)):
        if store is not None and (missing := store.missing(sorted(clips))):
            raise ValueError(
                f"{source.name}: {len(missing)} of {len(clips)} clips have no {what} (for example {missing[0]}); make them again for this folder."
            )


class TupleSource:
    """Coaching tuples in one of ExpertAF's formats.

    Args:
        tuples: Tuples of one split.
        form: One of `mm_data.tasks.expertaf.FORMATS`.
        share: How often an epoch shows each sample.
        poses: Pose codes of all clips, or joints for a coach that reads text.
        features: Video features of all clips, or None for a pose-only coach.
        expert_drop: Probability that a commentary question lacks the expert's clip.
        seed: Seed for dropping the expert's clip.

    Raises:
        ValueError: Unknown format, or tuples without a remark.
    """

    def __init__(
        self,
        tuples: Sequence[CoachingTuple],
        form: str,
        share: float,
        poses: ClipPoses,
        features: FeatureStore | None,
        expert_drop: float,
        seed: int,
    ) -> None:
        if form not in FORMATS:
            raise ValueError(f"Unknown sample format {form!r}; choose from {', '.join(FORMATS)}.")
        if mute := [t.tuple_id for t in tuples if not t.summary.strip()]:
            raise ValueError(f"{len(mute)} tuples have no remark, such as {mute[0]}; remove them.")
        self.name, self.ids, self.share = form, [t.tuple_id for t in tuples], share
        self.tuples, self.form, self.poses, self.features = tuples, form, poses, features
        self.expert_drop, self.seed = expert_drop, seed

    def clips(self) -> tuple[set[str], set[str]]:
        """Returns the learners' and experts' clips, whose poses and video are shown."""
        clips = {c.clip_id for t in self.tuples for c in (t.learner, t.expert)}
        return clips, clips

    def variants(self, index: int) -> Sequence[bool]:
        """Returns the forms of a question: without and with the expert's clip."""
        if self.form != "commentary":
            return [False]
        return [offer for offer, never in ((False, 0.0), (True, 1.0)) if self.expert_drop != never]

    def variant(self, index: int, epoch: int) -> bool:
        """Tells whether an epoch's question holds the expert's clip."""
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


SHORT = -1
"""Variant of an item that asks for facts without prose."""


class TaskSource:
    """Items of a task.

    Args:
        name: Name of the task.
        items: Items of one split.
        form: Format in which the task is asked.
        share: How often an epoch shows each sample.
        poses: Pose codes of the clips that have poses, or None.
        features: Video features, or None for a pose-only coach.
        seed: Seed for which reference text comes first.
        short_epochs: Epochs at the beginning that ask for facts without prose. In an answer of fifty tokens the two or three that
            depend on the clip hardly count; here they are all there is, so mappers learn to see first.
    """

    def __init__(
        self,
        name: str,
        items: Sequence[TaskItem],
        form: TaskFormat,
        share: float,
        poses: ClipPoses | None,
        features: FeatureStore | None,
        seed: int,
        short_epochs: int = 0,
    ) -> None:
        self.items, self.form, self.seed, self.short_epochs = items, form, seed, short_epochs
        self.name, self.ids, self.share = name, [item.item_id for item in items], share
        self.poses: ClipPoses = NoPoses() if poses is None else poses
        self.features = features

    def clips(self) -> tuple[set[str], set[str]]:
        """Returns the clips with poses, and all clips."""
        posed = {item.clip.clip_id for item in self.items if item.has_poses and not isinstance(self.poses, NoPoses)}
        return posed, {item.clip.clip_id for item in self.items}

    def variants(self, index: int) -> Sequence[int]:
        """Returns one form per reference text, and the short one if training begins with it."""
        return [*range(len(self.items[index].references)), *([SHORT] if self.short_epochs else [])]

    def variant(self, index: int, epoch: int) -> int:
        """Returns the number of an epoch's reference text; they take turns, beginning anywhere."""
        if epoch < self.short_epochs:
            return SHORT
        count = len(self.items[index].references)
        return (int(uniform(f"{self.seed}/{self.ids[index]}") * count) + epoch) % count

    def conversation(self, index: int, variant: Variant) -> Conversation:
        """Returns an item with one of its reference texts as the answer, or with the facts alone."""
        assert isinstance(variant, int)
        if variant == SHORT:
            return self.form.short(self.items[index])
        return self.form.conversation(self.items[index], variant)


def without_rejected(tuples: Sequence[CoachingTuple], features: FeatureStore | None) -> tuple[list[CoachingTuple], int]:
    """Returns tuples whose clips could be encoded, and how many could not because extraction rejected a clip of theirs.

    A clip that extraction never saw is not forgiven here; `CoachDataset` raises for it.
    """
    rejected = features.manifest.rejected if features else {}
    encoded = [t for t in tuples if t.learner.clip_id not in rejected and t.expert.clip_id not in rejected]
    return encoded, len(tuples) - len(encoded)


def hold_out(rows: Sequence[Row], group: Callable[[Row], str], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Splits off the rows of a share of the learners, or of what else groups them: (to train on, to evaluate on meanwhile)."""
    groups = sorted({group(row) for row in rows}, key=lambda name: uniform(f"{seed}/{name}"))
    held_out = set(groups[: math.ceil(share * len(groups))])
    return [row for row in rows if group(row) not in held_out], [row for row in rows if group(row) in held_out]
