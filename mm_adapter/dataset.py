"""Training samples and their batches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from mm_adapter.configuration import VIEWS
from mm_adapter.processing import IGNORE, CoachProcessor, Encoded
from mm_data.expertaf_task import FORMATS, offers_expert, training_conversation
from mm_data.features import FeatureManifest, FeatureStore
from mm_data.hashing import uniform
from mm_data.records import CoachingTuple

Sample = dict[str, Any]


def without_rejected(tuples: Sequence[CoachingTuple], features: FeatureStore | None) -> tuple[list[CoachingTuple], int]:
    """Tuples whose clips could be encoded, and how many could not because extraction rejected a clip of theirs.

    A clip that extraction never saw is not forgiven here; `CoachDataset` raises for it.
    """
    rejected = features.manifest.rejected if features else {}
    kept = [t for t in tuples if t.learner.clip_id not in rejected and t.expert.clip_id not in rejected]
    return kept, len(tuples) - len(kept)


def hold_out(
    tuples: Sequence[CoachingTuple], share: float, seed: int
) -> tuple[list[CoachingTuple], list[CoachingTuple]]:
    """Splits off the tuples of a share of the learners: (to train on, to evaluate on while training)."""
    learners = sorted({t.learner.participant for t in tuples}, key=lambda name: uniform(f"{seed}/{name}"))
    held_out = set(learners[: math.ceil(share * len(learners))])
    return (
        [t for t in tuples if t.learner.participant not in held_out],
        [t for t in tuples if t.learner.participant in held_out],
    )


class ClipPoses(Protocol):
    """Poses of clips in the form that the processor expects: `PoseCodeStore` or `JointStore`."""

    def __getitem__(self, clip: str, /) -> np.ndarray: ...

    def missing(self, clips: Iterable[str], /) -> list[str]:
        """Clips it does not hold."""
        ...


class ClipFeatures(Protocol):
    """Video features of clips: `FeatureStore`, or what stands for one."""

    @property
    def manifest(self) -> FeatureManifest:
        """What made them."""
        ...

    def get(self, clip: str, view: str) -> np.ndarray:
        """Features ``[V, C]``."""
        ...

    def missing(self, clips: Iterable[str]) -> list[str]:
        """Clips it does not hold."""
        ...


class CoachDataset(Dataset[Sample]):
    """Tuples in one or several sample formats, tokenized on access.

    Args:
        tuples: Coaching tuples of one split.
        formats: Sample format, of `mm_data.expertaf_task.FORMATS`, to how often an epoch shows each tuple in it: 1 once, 2
            twice, 0.5 every other tuple, and the others in the next epoch.
        processor: The coach's processor.
        poses: Pose codes of all clips, or joints for a coach that reads text.
        features: Video features of all clips, or None for a pose-only coach.
        expert_drop: Probability that a commentary question lacks the expert's clip.
        max_length: Longest sample in tokens.
        seed: Seed of the drop and of the order in which fractions go round.

    Raises:
        ValueError: Unknown format, share of no samples, clips without codes or features, or a sample longer than
            ``max_length``: nothing is ever truncated, because that would cut media spans.
    """

    def __init__(
        self,
        tuples: Sequence[CoachingTuple],
        formats: Mapping[str, float],
        processor: CoachProcessor,
        poses: ClipPoses,
        features: FeatureStore | None,
        expert_drop: float,
        max_length: int,
        seed: int,
    ) -> None:
        unknown = [f for f in formats if f not in FORMATS]
        if unknown or not formats:
            raise ValueError(f"Unknown sample formats {unknown or [*formats]}; choose from {', '.join(FORMATS)}.")
        self.counts = {form: round(share * len(tuples)) for form, share in formats.items()}
        if empty := [form for form, count in self.counts.items() if count < 1]:
            raise ValueError(
                f"Formats {empty} would have no sample; {len(tuples)} tuples × {[formats[f] for f in empty]}."
            )
        self.tuples, self.processor, self.poses, self.features = tuples, processor, poses, features
        self.expert_drop, self.seed = expert_drop, seed
        clips = sorted({c.clip_id for t in tuples for c in (t.learner, t.expert)})
        for what, missing in (
            ("poses", poses.missing(clips)),
            ("video features", features.missing(clips) if features else []),
        ):
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(clips)} clips have no {what} (for example {missing[0]}); make them again for this tuple folder."
                )
        self._going_round = sorted(range(len(tuples)), key=lambda i: uniform(f"{seed}/{tuples[i].tuple_id}"))
        # A commentary question is longer with the expert's clip, and that varies from epoch to epoch: both are measured.
        offers = [offer for offer, never in ((False, 0.0), (True, 1.0)) if expert_drop != never]
        variants = [
            (index, form, offer)
            for form in formats
            for index in range(len(tuples))
            for offer in (offers if form == "commentary" else [False])
        ]
        conversations = [training_conversation(tuples[index], form, offer) for index, form, offer in variants]
        if mute := [t.tuple_id for t in tuples if not t.summary.strip()]:
            raise ValueError(f"{len(mute)} tuples have no remark, such as {mute[0]}; remove them.")
        self._measured = dict(zip(variants, processor.lengths(conversations, poses.__getitem__), strict=True))
        (index, form, _), longest = max(self._measured.items(), key=lambda item: item[1])
        if longest > max_length:
            raise ValueError(
                f"Sample {tuples[index].tuple_id}#{form} has {longest} tokens, more than max_length {max_length}. "
                "Raise max_length or shorten the remark; samples are never truncated."
            )
        self.longest = longest
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch; decides which questions hold the expert's clip."""
        self.epoch, self.items = epoch, self._items(epoch)

    def lengths(self, epoch: int) -> list[int]:
        """Tokens of every sample of an epoch, media included."""
        items = self.items if epoch == self.epoch else self._items(epoch)
        return [self._measured[i, form, self._offers_expert(i, form, epoch)] for i, form in items]

    def encode(self, index: int) -> Encoded:
        """Tokenizes one sample."""
        i, form = self.items[index]
        return self._encode(i, form, self._offers_expert(i, form, self.epoch))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        return with_features(self.encode(index), self.features)

    def _encode(self, index: int, form: str, offer_expert: bool) -> Encoded:
        conversation = training_conversation(self.tuples[index], form, offer_expert)
        return self.processor.encode(conversation, self.poses.__getitem__)

    def _offers_expert(self, index: int, form: str, epoch: int) -> bool:
        return form == "commentary" and offers_expert(self.tuples[index], self.expert_drop, self.seed, epoch)

    def _items(self, epoch: int) -> list[tuple[int, str]]:
        """(tuple, format) of every sample of an epoch; the tuples of a fraction go round from epoch to epoch."""
        order = self._going_round
        return [
            (order[(epoch * count + place) % len(order)], form)
            for form, count in self.counts.items()
            for place in range(count)
        ]


def with_features(encoded: Encoded, features: ClipFeatures | None) -> Sample:
    """Adds the video features of the sample's clips, ``[n, V, C]`` per view."""
    sample: Sample = {"sample_id": encoded.sample_id, "input_ids": encoded.input_ids, "labels": encoded.labels}
    for view in VIEWS:
        arrays = [features.get(clip, view) for clip in encoded.clip_ids] if features else []
        sample[view] = np.stack(arrays) if arrays else None
    return sample


class CoachCollator:
    """Lays samples out in rows and joins their video features in placeholder order.

    Args:
        processor: The coach's processor.
        pad_id: Id written into the padding.
        video_shape: (V, C) of the features, or None for a pose-only coach.
        layout: ``packed`` for training: all samples in one row without any padding, kept apart by ``cu_seq_lens_q`` and
            positions that restart. ``right`` or ``left``: one sample per row, padded on that side.
    """

    def __init__(
        self, processor: CoachProcessor, pad_id: int, video_shape: tuple[int, int] | None, layout: str
    ) -> None:
        self.vocabulary, self.views = processor.vocabulary, processor.clip.views
        self.pad_id, self.video_shape, self.layout = pad_id, video_shape, layout

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Builds a batch of any number of samples, none included.

        Returns:
            ``input_ids`` and ``labels`` ``[B, S]``; ``attention_mask``, or where packed ``position_ids`` and what
            transformers' `DataCollatorWithFlattening` adds; ``ego_features`` and ``exo_features`` ``[N, V, C]``; and
            ``samples``, a list of (sample id, tokens).

        Raises:
            ValueError: A sample's placeholders and features differ in number, or it has labels but none supervised.
        """
        for sample in samples:
            self._check(sample)
        batch = self._packed(samples) if self.layout == "packed" else self._padded(samples)
        if self.video_shape is not None:
            for view in self.views:
                arrays = [sample[view] for sample in samples if sample[view] is not None]
                joined = np.concatenate(arrays) if arrays else np.zeros((0, *self.video_shape))
                batch[f"{view}_features"] = torch.from_numpy(joined.astype(np.float32))
        batch["samples"] = [(sample["sample_id"], len(sample["input_ids"])) for sample in samples]
        return batch

    def _packed(self, samples: Sequence[Sample]) -> dict[str, Any]:
        if not samples:  # a process that gets nothing of a short window still runs the model
            samples = [{"input_ids": [self.pad_id], "labels": [IGNORE]}]
        lengths = [len(sample["input_ids"]) for sample in samples]
        starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return {
            "input_ids": torch.tensor([[token for sample in samples for token in sample["input_ids"]]]),
            "labels": torch.tensor([[label for sample in samples for label in sample["labels"]]]),
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), starts),
            **dict.fromkeys(("max_length_q", "max_length_k"), max(lengths)),
        }

    def _padded(self, samples: Sequence[Sample]) -> dict[str, Any]:
        shape = len(samples), max(len(sample["input_ids"]) for sample in samples)
        ids, labels = torch.full(shape, self.pad_id), torch.full(shape, IGNORE)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, sample in enumerate(samples):
            length = len(sample["input_ids"])
            place = slice(0, length) if self.layout == "right" else slice(shape[1] - length, shape[1])
            ids[row, place] = torch.tensor(sample["input_ids"])
            labels[row, place] = torch.tensor(sample["labels"])
            mask[row, place] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}

    def _check(self, sample: Sample) -> None:
        name, ids = sample["sample_id"], np.asarray(sample["input_ids"])
        if all(label == IGNORE for label in sample["labels"]) and not sample.get("prompt"):
            raise ValueError(
                f"Sample {name}: no token is supervised, so it cannot teach anything. Remove it or mend its answer."
            )
        first = self.vocabulary.first_id + self.vocabulary.size
        for view in self.views:
            wanted = int((ids == first + VIEWS.index(view)).sum())
            clips = sample[view]
            given = 0 if clips is None else clips.shape[0] * clips.shape[1]
            if wanted != given:
                raise ValueError(
                    f"Sample {name}: {wanted} {view} placeholders in the text, but {given} {view} video tokens in the features. "
                    "Check that the feature store was extracted with the number of tokens that the coach is configured for."
                )
            if clips is not None and clips.shape[1:] != self.video_shape:
                raise ValueError(
                    f"Sample {name}: {view} features have shape {clips.shape[1:]} per clip, the coach expects {self.video_shape}."
                )
