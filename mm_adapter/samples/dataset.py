"""Training samples and their batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mm_adapter.model.config import VIEWS
from mm_adapter.model.processor import CoachProcessor, Encoded
from mm_adapter.samples.clip_stores import ClipFeatures
from mm_adapter.samples.sources import SampleSource, Variant, check_clips
from mm_data.conversation import Conversation
from mm_data.ground.digests import uniform

Sample = dict[str, Any]


def _check_views(source: SampleSource, conversations: Sequence[Conversation], views: Sequence[str]) -> None:
    """Raises ``ValueError`` where samples show a view that their features lack."""
    if source.features is None:
        return
    parts = [p for c in conversations for message in c.messages for p in message["content"] if p["type"] == "clip"]
    needed = {view for part in parts for view in part.get("views", views)} & set(views)
    there = source.features.manifest.views
    if missing := sorted(needed - set(there)):
        raise ValueError(
            f"{source.name}: the coach sees {' and '.join(views)}, and these clips' features have {' and '.join(there)} alone, no "
            f"{missing[0]}. Give --views with what all features have, or extract features of these clips with the same views."
        )


class CoachDataset(Dataset[Sample]):
    """Samples of one or several sources, tokenized on access.

    Args:
        sources: Sources of samples, each with the share of its samples that an epoch shows.
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
            variants = [(index, variant) for index in range(len(source.ids)) for variant in source.variants(index)]
            conversations = [source.conversation(index, variant) for index, variant in variants]
            _check_views(source, conversations, processor.config.views)
            lengths = processor.lengths(conversations, source.poses.__getitem__)
            self._measured |= {(number, *variant): length for variant, length in zip(variants, lengths, strict=True)}
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
        """Decides which samples and which variants of them an epoch shows."""
        self.epoch, self.items = epoch, self._items(epoch)

    def lengths(self, epoch: int) -> list[int]:
        """Returns the number of tokens of every sample of an epoch, media included."""
        items = self.items if epoch == self.epoch else self._items(epoch)
        return [self._measured[n, i, self.sources[n].variant(i, epoch)] for n, i in items]

    def conversation(self, index: int) -> Conversation:
        """Returns the conversation of one sample of this epoch."""
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
    """Returns a sample with the video features of its clips, ``[n, V, C]`` per view."""
    sample: Sample = {"sample_id": encoded.sample_id, "input_ids": encoded.input_ids, "labels": encoded.labels}
    for view in VIEWS:
        arrays = [features.get(clip, view) for clip in encoded.clips.get(view, ())] if features else []
        sample[view] = np.stack(arrays) if arrays else None
    return sample
