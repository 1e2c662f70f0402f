"""Training samples and their batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mm_adapter.processing import IGNORE, CoachProcessor, Encoded
from mm_data.expertaf_task import FORMATS, training_conversation
from mm_data.features import FeatureStore
from mm_data.records import CoachingTuple
from mm_tokenizers.codes import PoseCodeStore

Sample = dict[str, Any]


def without_rejected(tuples: Sequence[CoachingTuple], features: FeatureStore | None) -> tuple[list[CoachingTuple], int]:
    """Tuples whose clips could be encoded, and how many could not because extraction rejected a clip of theirs.

    A clip that extraction never saw is not forgiven here; `CoachDataset` raises for it.
    """
    rejected = features.manifest.rejected if features else {}
    kept = [t for t in tuples if t.learner.clip_id not in rejected and t.expert.clip_id not in rejected]
    return kept, len(tuples) - len(kept)


class CoachDataset(Dataset[Sample]):
    """Tuples times sample formats, tokenized on access.

    Args:
        tuples: Coaching tuples of one split.
        formats: Sample formats per tuple, of `mm_data.expertaf_task.FORMATS`.
        processor: The coach's processor.
        codes: Pose codes of all clips.
        features: Video features of all clips, or None for a pose-only coach.
        expert_drop: Probability that a commentary question lacks the expert's clip.
        max_length: Longest sample in tokens.
        seed: Seed of the drop.

    Raises:
        ValueError: Unknown format, clips without codes or features, or a sample longer than ``max_length``: nothing is
            ever truncated, because that would cut media spans.
    """

    def __init__(
        self,
        tuples: Sequence[CoachingTuple],
        formats: Sequence[str],
        processor: CoachProcessor,
        codes: PoseCodeStore,
        features: FeatureStore | None,
        expert_drop: float,
        max_length: int,
        seed: int,
    ) -> None:
        unknown = [f for f in formats if f not in FORMATS]
        if unknown or not formats:
            raise ValueError(f"Unknown sample formats {unknown or formats}; choose from {', '.join(FORMATS)}.")
        self.items = [(t, form) for t in tuples for form in formats]
        self.processor, self.codes, self.features = processor, codes, features
        self.expert_drop, self.seed, self.epoch = expert_drop, seed, 0
        clips = sorted({c.clip_id for t in tuples for c in (t.learner, t.expert)})
        for what, missing in (
            ("pose codes", codes.missing(clips)),
            ("video features", features.missing(clips) if features else []),
        ):
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(clips)} clips have no {what} (for example {missing[0]}); make them again for this tuple folder."
                )
        self.lengths = [len(self.encode(i).input_ids) for i in range(len(self.items))]
        longest = int(np.argmax(self.lengths))
        if self.lengths[longest] > max_length:
            raise ValueError(
                f"Sample {self.encode(longest).sample_id} has {self.lengths[longest]} tokens, more than max_length {max_length}. "
                "Raise max_length or shorten the remark; samples are never truncated."
            )

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch; decides which questions hold the expert's clip."""
        self.epoch = epoch

    def encode(self, index: int) -> Encoded:
        """Tokenizes one sample."""
        item, form = self.items[index]
        conversation = training_conversation(item, form, self.expert_drop, self.seed, self.epoch)
        return self.processor.encode(conversation, self.codes.__getitem__)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        return with_features(self.encode(index), self.features)


def with_features(encoded: Encoded, features: FeatureStore | None) -> Sample:
    """Adds the video features of the sample's clips, ``[n, V, C]`` per view."""
    sample: Sample = {"sample_id": encoded.sample_id, "input_ids": encoded.input_ids, "labels": encoded.labels}
    for view in ("ego", "exo"):
        arrays = [features.get(clip, view) for clip in encoded.clip_ids] if features else []
        sample[view] = np.stack(arrays) if arrays else None
    return sample


class CoachCollator:
    """Pads samples on one side and joins their video features in placeholder order.

    Args:
        processor: The coach's processor.
        pad_id: Id written into the padding (masked out).
        video_shape: (V, C) of the features, or None for a pose-only coach.
        side: ``right`` for training, ``left`` for generation.
    """

    def __init__(
        self, processor: CoachProcessor, pad_id: int, video_shape: tuple[int, int] | None, side: str = "right"
    ) -> None:
        self.vocabulary = processor.vocabulary
        self.pad_id, self.video_shape, self.side = pad_id, video_shape, side

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Builds a batch.

        Raises:
            ValueError: A sample's placeholders and features differ in number, or it has labels but none supervised.
        """
        length = max(len(s["input_ids"]) for s in samples)
        ids = torch.full((len(samples), length), self.pad_id)
        mask = torch.zeros((len(samples), length), dtype=torch.long)
        labels = torch.full((len(samples), length), IGNORE)
        for row, sample in enumerate(samples):
            self._check(sample)
            n = len(sample["input_ids"])
            place = slice(0, n) if self.side == "right" else slice(length - n, length)
            ids[row, place] = torch.tensor(sample["input_ids"])
            mask[row, place] = 1
            labels[row, place] = torch.tensor(sample["labels"])
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if self.video_shape is not None:
            for view in ("ego", "exo"):
                arrays = [s[view] for s in samples if s[view] is not None]
                joined = np.concatenate(arrays) if arrays else np.zeros((0, *self.video_shape))
                batch[f"{view}_features"] = torch.from_numpy(joined.astype(np.float32))
        return batch

    def _check(self, sample: Sample) -> None:
        name, ids = sample["sample_id"], np.asarray(sample["input_ids"])
        if all(label == IGNORE for label in sample["labels"]) and not sample.get("prompt"):
            raise ValueError(
                f"Sample {name}: no token is supervised, so it cannot teach anything. Remove it or mend its answer."
            )
        first = self.vocabulary.first_id + self.vocabulary.size
        for view, placeholder in (("ego", first), ("exo", first + 1)):
            wanted = int((ids == placeholder).sum())
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
