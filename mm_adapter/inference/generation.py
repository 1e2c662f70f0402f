"""Greedy commentary and grammar-constrained pose generation."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from mm_adapter.dataset import ClipPoses, CoachCollator, Sample, with_features
from mm_adapter.modeling import CoachForConditionalGeneration
from mm_adapter.processing import CoachProcessor
from mm_data.expertaf_task import Message, commentary_prompt, demonstration_prompt
from mm_data.features import FeatureStore
from mm_tokenizers import PoseVocabulary
from mm_tokenizers.codes import PoseCodeStore
from mm_tokenizers.coordinates import text_to_poses


class WordsOnly(LogitsProcessor):
    """Commentary is words: pose tokens cannot be generated."""

    def __init__(self, first_pose_id: int) -> None:
        self.first_pose_id = first_pose_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Masks everything from the first pose id on."""
        scores[:, self.first_pose_id :] = -torch.inf
        return scores


class PoseGrammar(LogitsProcessor):
    """Only what the clip grammar allows at each position, so a malformed sequence cannot be generated."""

    def __init__(self, vocabulary: PoseVocabulary, prompt_length: int) -> None:
        self.vocabulary, self.prompt_length = vocabulary, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Masks what the grammar forbids at the next position."""
        allowed = self.vocabulary.allowed(input_ids.shape[1] - self.prompt_length)
        masked = torch.full_like(scores, -torch.inf)
        masked[:, allowed.start : allowed.stop] = scores[:, allowed.start : allowed.stop]
        return masked


class Coach:
    """A loaded coach with the inputs of the clips it is asked about.

    Args:
        model: In evaluation mode.
        processor: Its processor.
        poses: Pose codes of all clips, or joints for a coach that reads text.
        features: Video features of all clips, or None for a pose-only coach.
    """

    def __init__(
        self,
        model: CoachForConditionalGeneration,
        processor: CoachProcessor,
        poses: ClipPoses,
        features: FeatureStore | None,
    ) -> None:
        self.model, self.processor, self.poses, self.features = model, processor, poses, features
        config = model.config
        self.pad_id = processor.end_of_turn_ids[0]
        shape = (config.video_tokens, config.video_width) if config.video_tokens else None
        if (features is None) != (shape is None):
            raise ValueError(
                f"The coach was trained {'with' if shape else 'without'} video features; give {'a' if shape else 'no'} feature store."
            )
        if (
            features is not None
            and f"{features.manifest.encoder} {features.manifest.encoder_hash}" != config.video_encoder
        ):
            raise ValueError(
                f"The feature store was made by {features.manifest.encoder}, the coach was trained on {config.video_encoder.rsplit(' ', 1)[0]} with other weights or preprocessing; extract the features again."
            )
        if isinstance(poses, PoseCodeStore) and poses.tokenizer_fingerprint != config.pose_tokenizer:
            raise ValueError(
                "The pose codes were made by another pose tokenizer than the coach's; run `mm-coach tokenizer encode` with the tokenizer inside the coach's folder."
            )
        self.collate = CoachCollator(processor, self.pad_id, shape, "left")

    def prompt(self, messages: list[Message], sample_id: str) -> Sample:
        """A prompt with its video features."""
        encoded = self.processor.encode_prompt(messages, self.poses.__getitem__, sample_id)
        return {**with_features(encoded, self.features), "prompt": True}

    def inputs(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """A left-padded batch on the model's device."""
        batch = self.collate(samples)
        del batch["labels"], batch["samples"]
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    def _generate(
        self,
        samples: Sequence[Sample],
        limit: int,
        stop: list[int] | None,
        processors: Callable[[int], LogitsProcessor],
    ) -> Tensor:
        batch = self.inputs(samples)
        length = batch["input_ids"].shape[1]
        config = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=stop, pad_token_id=self.pad_id)
        out = self.model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **batch, generation_config=config, logits_processor=LogitsProcessorList([processors(length)])
        )
        return out[:, length:]  # type: ignore[index]

    def comment(
        self,
        learners: Sequence[str],
        experts: Sequence[str] | None = None,
        batch_size: int = 16,
        max_new_tokens: int = 64,
    ) -> Iterator[str]:
        """Commentary on learner clips.

        Args:
            learners: Their clips.
            experts: The experts' clips too, for "full-sup" of ExpertAF's Table 1; without them it is Eq. 1.
            batch_size: Clips at a time.
            max_new_tokens: Limit.
        """
        asked = list(zip(learners, experts or [None] * len(learners), strict=True))
        for batch in _batches(asked, batch_size):
            samples = [self.prompt(commentary_prompt(learner, expert), learner) for learner, expert in batch]
            yield from self._words(samples, max_new_tokens)

    def demonstrate(
        self, learners: Sequence[str], remarks: Sequence[str], batch_size: int = 16
    ) -> Iterator[np.ndarray | None]:
        """Corrected poses (Eq. 3), conditioned on remarks.

        Yields:
            Codes ``[T, M]``, which the grammar keeps well-formed. From a coach that writes poses as text, joints
            ``[T, 17, 3]``, or None where the text is no pose sequence.
        """
        vocabulary, clip = self.processor.vocabulary, self.processor.clip
        for batch in _batches(list(zip(learners, remarks, strict=True)), batch_size):
            samples = [self.prompt(demonstration_prompt(learner, remark), learner) for learner, remark in batch]
            if clip.pose_form == "text":
                longest = max(len(self.processor.answer_ids(self.poses[learner])) for learner, _ in batch)
                for text in self._words(samples, 2 * longest):
                    try:
                        yield text_to_poses(text, clip.frames)
                    except ValueError:
                        yield None
                continue
            generated = self._generate(
                samples, vocabulary.clip_length, None, lambda length: PoseGrammar(vocabulary, length)
            )
            for row in generated:
                yield vocabulary.parse(row.tolist())

    def _words(self, samples: Sequence[Sample], limit: int) -> Iterator[str]:
        words_only = WordsOnly(self.model.config.first_pose_id)
        for row in self._generate(samples, limit, self.processor.end_of_turn_ids, lambda _: words_only):
            yield self.processor.tokenizer.decode(row, skip_special_tokens=True).strip()  # type: ignore[union-attr]


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
