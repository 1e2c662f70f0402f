"""Direct preference optimisation of a trained coach, from pairs of remarks about one clip. TRL does it; this is the adapter.

A pair is one line of JSON: ``{"tuple_id": ..., "chosen": ..., "rejected": ...}``, preferred by a person or a judge. Other
keys, such as who preferred it, are passed over.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.dpo_trainer import DPOTrainer

from mm_adapter.checkpoint.trainer import CompleteCheckpoints
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.processor import IGNORE, CoachProcessor, Encoded
from mm_adapter.samples.clip_stores import ClipPoses
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import with_features
from mm_data.conversation import Conversation
from mm_data.features import FeatureStore
from mm_data.ground.files import read_text
from mm_data.records import CoachingTuple
from mm_data.tasks.coaching import commentary_prompt

SIDES = ("chosen", "rejected")


def read_pairs(path: Path, tuples: Sequence[CoachingTuple]) -> list[dict[str, str]]:
    """Reads pairs of remarks.

    Args:
        path: File of one JSON object per line.
        tuples: Training tuples that the pairs are about.

    Returns:
        Pairs with the learner's clip: ``clip``, ``chosen``, ``rejected``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line that is no pair, an unknown tuple, or two equal remarks; says which line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a .jsonl of tuple_id, chosen and rejected.")
    clips = {t.tuple_id: t.learner.clip_id for t in tuples}
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            pair = json.loads(line)
            tuple_id, chosen, rejected = pair["tuple_id"], pair["chosen"].strip(), pair["rejected"].strip()
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{where}: not an object with tuple_id, chosen and rejected texts ({error}).") from error
        if tuple_id not in clips:
            raise ValueError(f"{where}: tuple {tuple_id!r} is not in the training split of the tuple folder.")
        if not chosen or not rejected or chosen == rejected:
            raise ValueError(f"{where}: chosen and rejected have to be two different remarks.")
        pairs.append({"clip": clips[tuple_id], "chosen": chosen, "rejected": rejected})
    if not pairs:
        raise ValueError(f"{path} holds no pairs.")
    return pairs


@dataclass(frozen=True)
class PreferenceCollator:
    """Collator that makes the batch which `trl.DPOTrainer` expects: all chosen, then all rejected, padded on the right.

    Attributes:
        processor: The coach's processor.
        poses: Poses by clip.
        features: Video features, or None for a pose-only coach.
        collate: A `CoachCollator` with layout ``right``.
        max_length: Longest sample in tokens.
    """

    processor: CoachProcessor
    poses: ClipPoses
    features: FeatureStore | None
    collate: CoachCollator
    max_length: int

    def encode(self, clip: str, remark: str) -> Encoded:
        """Encodes the question about a clip, answered with a remark.

        Args:
            clip: Id of the clip.
            remark: The remark.

        Returns:
            The sample; the remark is supervised.

        Raises:
            ValueError: The sample is longer than ``max_length``.
        """
        answer = {"role": "assistant", "content": [{"type": "text", "text": remark}]}
        conversation = Conversation(clip, [*commentary_prompt(clip), answer], (2,))
        encoded = self.processor.encode(conversation, self.poses.__getitem__)
        if len(encoded.input_ids) > self.max_length:
            raise ValueError(
                f"The remark {remark[:60]!r} on clip {clip} makes {len(encoded.input_ids)} tokens, more than max_length {self.max_length}."
            )
        return encoded

    def __call__(self, pairs: Sequence[dict[str, str]]) -> dict[str, torch.Tensor]:
        """Builds the batch of these pairs."""
        samples = [self.encode(pair["clip"], pair[side]) for side in SIDES for pair in pairs]
        batch = self.collate([with_features(sample, self.features) for sample in samples])
        del batch["samples"]
        batch["completion_mask"] = (batch.pop("labels") != IGNORE).long()
        return batch


class CoachDPOTrainer(CompleteCheckpoints, DPOTrainer):
    """TRL's trainer, fed with ready batches and writing a coach's checkpoints.

    Args:
        model: The coach; what trains of it is set.
        reference: The same coach, frozen.
        **kwargs: Passed on to `trl.DPOTrainer`.
    """

    def __init__(self, model: CoachModel, reference: CoachModel, **kwargs: Any) -> None:
        super().__init__(model=model, ref_model=reference, **kwargs)
        for patched in (model, reference):  # TRL computes with one head's weight; the coach has two and does it itself
            vars(patched).pop("forward", None)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # the collator renders and tokenizes, because of media spans
