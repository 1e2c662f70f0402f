"""From samples to a batch: packed in one row without padding, or padded on one side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mm_adapter.model.config import VIEWS
from mm_adapter.model.processor import IGNORE, CoachProcessor
from mm_adapter.samples.dataset import Sample


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
        self.vocabulary, self.views = processor.vocabulary, processor.config.views
        self.pad_id, self.video_shape, self.layout = pad_id, video_shape, layout

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Builds a batch of any number of samples, none included.

        Args:
            samples: Samples that `CoachDataset` made.

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
            places = int((ids == first + VIEWS.index(view)).sum())
            clips = sample[view]
            tokens = 0 if clips is None else clips.shape[0] * clips.shape[1]
            if places != tokens:
                raise ValueError(
                    f"Sample {name}: {places} {view} placeholders in the text, but {tokens} {view} video tokens in the features. "
                    "Check that the feature store was extracted with the number of tokens that the coach is configured for."
                )
            if clips is not None and clips.shape[1:] != self.video_shape:
                raise ValueError(
                    f"Sample {name}: {view} features have shape {clips.shape[1:]} per clip, the coach expects {self.video_shape}."
                )
