"""Training samples and their batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mm_adapter.configuration import VIEWS
from mm_adapter.processing import IGNORE, CoachProcessor, Encoded
from mm_adapter.sources import ClipFeatures, SampleSource, Variant, check_clips
from mm_data.conversation import Conversation
from mm_data.ground.digests import uniform

Sample = dict[str, Any]


def _check_views(source: SampleSource, conversations: Sequence[Conversation], views: Sequence[str]) -> None:
    """Raises ``ValueError`` where samples show a view that their features lack."""
    if source.features is None:
        return
    parts = [p for c in conversations for message in c.messages for p in message["content"] if p["type"] == "clip"]
    shown = {view for part in parts for view in part.get("views", views)} & set(views)
    there = source.features.manifest.views
    if missing := sorted(shown - set(there)):
        raise ValueError(
            f"{source.name}: the coach sees {' and '.join(views)}, and these clips' features have {' and '.join(there)} alone, no "
            f"{missing[0]}. Give --views with what all features have, or extract features of these clips with the same views."
        )


class CoachDataset(Dataset[Sample]):
    """Samples of one or several sources, tokenized on access.

    Args:
        sources: Where they come from, each with the share of its samples that an epoch shows.
        processor: The coach's processor.
        max_length: Longest sample in tokens.
        seed: Seed of the order in which fractions of a source go round.

    Raises:
        ValueError: A share of no samples, clips without codes or features, or a sample longer than ``max_length``: nothing is
            ever truncated, because that would cut media spans.
    """

    def __init__(self, sources: Sequence[SampleSource], processor: CoachProcessor, max_length: int, seed: int) -> None:
        self.sources, self.processor = sources, processor
        self.counts = [round(source.share * len(source.ids)) for source in sources]
        if empty := [source.name for source, count in zip(sources, self.counts, strict=True) if count < 1]:
            sizes = {source.name: f"{len(source.ids)} × {source.share:g}" for source in sources}
            raise ValueError(f"{empty} would have no sample; samples × share: {sizes}.")
        self._going_round = [
            sorted(range(len(source.ids)), key=lambda i, ids=source.ids: uniform(f"{seed}/{ids[i]}"))
            for source in sources
        ]
        self._measured: dict[tuple[int, int, Variant], int] = {}
        for number, source in enumerate(sources):
            check_clips(source)
            forms = [(index, variant) for index in range(len(source.ids)) for variant in source.variants(index)]
            conversations = [source.conversation(index, variant) for index, variant in forms]
            _check_views(source, conversations, processor.clip.views)
            lengths = processor.lengths(conversations, source.poses.__getitem__)
            self._measured |= {(number, *form): length for form, length in zip(forms, lengths, strict=True)}
        (number, index, variant), longest = max(self._measured.items(), key=lambda item: item[1])
        if longest > max_length:
            sample_id = sources[number].conversation(index, variant).sample_id
            raise ValueError(
                f"Sample {sample_id} has {longest} tokens, more than max_length {max_length}. "
                "Raise max_length or shorten the sample; samples are never truncated."
            )
        self.longest = longest
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch; decides which samples and which variants of them it shows."""
        self.epoch, self.items = epoch, self._items(epoch)

    def lengths(self, epoch: int) -> list[int]:
        """Tokens of every sample of an epoch, media included."""
        items = self.items if epoch == self.epoch else self._items(epoch)
        return [self._measured[n, i, self.sources[n].variant(i, epoch)] for n, i in items]

    def conversation(self, index: int) -> Conversation:
        """What one sample of this epoch says."""
        number, i = self.items[index]
        source = self.sources[number]
        return source.conversation(i, source.variant(i, self.epoch))

    def encode(self, index: int) -> Encoded:
        """Tokenizes one sample."""
        poses = self.sources[self.items[index][0]].poses
        return self.processor.encode(self.conversation(index), poses.__getitem__)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        return with_features(self.encode(index), self.sources[self.items[index][0]].features)

    def _items(self, epoch: int) -> list[tuple[int, int]]:
        """(source, index) of every sample of an epoch; the samples of a fraction go round from epoch to epoch."""
        return [
            (number, order[(epoch * count + place) % len(order)])
            for number, (order, count) in enumerate(zip(self._going_round, self.counts, strict=True))
            for place in range(count)
        ]


def with_features(encoded: Encoded, features: ClipFeatures | None) -> Sample:
    """Adds the video features of the sample's clips, ``[n, V, C]`` per view."""
    sample: Sample = {"sample_id": encoded.sample_id, "input_ids": encoded.input_ids, "labels": encoded.labels}
    for view in VIEWS:
        arrays = [features.get(clip, view) for clip in encoded.clips.get(view, ())] if features else []
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
