"""Commentary and grammar-constrained pose generation with transformers."""

from collections.abc import Callable, Generator, Iterator, Sequence
from threading import Event, Thread
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.grammar import PoseGrammar, WordsOnly
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import ClipFeatures, ClipPoses, NoPoses
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import Sample, with_features
from mm_data.conversation import Message
from mm_data.tasks.expertaf import commentary_prompt, demonstration_prompt
from mm_tokenizers import PoseTokenizer, numpy_codec
from mm_tokenizers.codes import PoseCodeStore
from mm_tokenizers.coordinates import text_to_poses

ANSWER_TOKENS = 128
"""Limit of an answer in a conversation."""


class Answerer(Protocol):
    """What answers questions about clips: `Coach`, or an engine that serves its export."""

    def comment(
        self, learners: Sequence[str], experts: Sequence[str] | None = None, sampling: Sampling = GREEDY
    ) -> Iterator[str]:
        """Remarks."""
        ...

    def demonstrate(
        self, learners: Sequence[str], remarks: Sequence[str], sampling: Sampling = GREEDY
    ) -> Iterator[np.ndarray | None]:
        """Corrected poses."""
        ...


class Coach:
    """A loaded coach with the inputs of the clips it is asked about.

    Args:
        model: In evaluation mode.
        processor: Its processor.
        poses: Pose codes of all clips, or joints for a coach that reads text; None where no clip has poses.
        features: Video features of all clips, or None for a pose-only coach.
    """

    def __init__(
        self,
        model: CoachModel,
        processor: CoachProcessor,
        poses: ClipPoses | None,
        features: ClipFeatures | None,
    ) -> None:
        self.model, self.processor, self.features = model, processor, features
        self.poses = NoPoses() if poses is None else poses
        config = model.config
        self.pad_id = processor.end_of_turn_ids[0]
        shape = (config.video_tokens, config.video_width) if config.video_tokens else None
        if (features is None) != (shape is None):
            raise ValueError(
                f"The coach was trained {'with' if shape else 'without'} video features; give {'a' if shape else 'no'} feature store."
            )
        if features is not None and features.manifest.made_by != config.video_encoder:
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
        grammar: Callable[[int], LogitsProcessor],
        sampling: Sampling,
        streamer: TextIteratorStreamer | None = None,
        given_up: Event | None = None,
    ) -> Tensor:
        batch = self.inputs(samples)
        length = batch["input_ids"].shape[1]
        config = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=stop, pad_token_id=self.pad_id)
        processors = [grammar(length), *sampling.processors([sample["sample_id"] for sample in samples])]
        stopping = [] if given_up is None else [_GivenUp(given_up)]
        out = self.model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **batch,
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList(stopping),
            streamer=streamer,
        )
        return out[:, length:]  # type: ignore[index]

    def comment(
        self,
        learners: Sequence[str],
        experts: Sequence[str] | None = None,
        sampling: Sampling = GREEDY,
        batch_size: int = 16,
        max_new_tokens: int = 64,
    ) -> Iterator[str]:
        """Commentary on learner clips.

        Args:
            learners: Their clips.
            experts: The experts' clips too, for "full-sup" of ExpertAF's Table 1; without them it is Eq. 1.
            sampling: How tokens are drawn.
            batch_size: Clips at a time.
            max_new_tokens: Limit.
        """
        shown = zip(learners, experts or [None] * len(learners), strict=True)
        asked = [(learner, commentary_prompt(learner, expert)) for learner, expert in shown]
        yield from self.answer(asked, max_new_tokens, sampling, batch_size)

    def answer(
        self,
        asked: Sequence[tuple[str, list[Message]]],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        batch_size: int = 16,
    ) -> Iterator[str]:
        """Words in answer to conversations.

        Args:
            asked: An id and the messages up to the question, of each.
            max_new_tokens: Limit.
            sampling: How tokens are drawn.
            batch_size: Conversations at a time.
        """
        for batch in _batches(asked, batch_size):
            samples = [self.prompt(messages, sample_id) for sample_id, messages in batch]
            yield from self._words(samples, max_new_tokens, sampling)

    def demonstrate(
        self, learners: Sequence[str], remarks: Sequence[str], sampling: Sampling = GREEDY, batch_size: int = 16
    ) -> Iterator[np.ndarray | None]:
        """Corrected poses (Eq. 3), conditioned on remarks.

        Args:
            learners: Their clips.
            remarks: What was said about them.
            sampling: How tokens are drawn.
            batch_size: Clips at a time.

        Yields:
            Codes ``[T, M]``, which the grammar keeps well-formed. From a coach that writes poses as text, joints
            ``[T, 17, 3]``, or None where the text is no pose sequence.
        """
        clip = self.processor.clip
        for batch in _batches(list(zip(learners, remarks, strict=True)), batch_size):
            samples = [
                self.prompt(demonstration_prompt(learner, remark), f"{learner} after {remark!r}")
                for learner, remark in batch
            ]
            if clip.pose_form == "text":
                longest = max(len(self.processor.answer_ids(self.poses[learner])) for learner, _ in batch)
                for text in self._words(samples, 2 * longest, sampling):
                    try:
                        yield text_to_poses(text, clip.frames)
                    except ValueError:
                        yield None
                continue
            yield from self._codes(samples, sampling)

    def stream(
        self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY, max_new_tokens: int = ANSWER_TOKENS
    ) -> Generator[str]:
        """The words of an answer to a conversation, as they come; a reader that leaves ends the generation.

        Args:
            messages: Content parts name clips that the coach knows.
            sample_id: Of the conversation, for the draws.
            sampling: How tokens are drawn.
            max_new_tokens: Limit.
        """
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)  # type: ignore[arg-type]
        samples, failure = [self.prompt(messages, sample_id)], []
        words_only, given_up = WordsOnly(self.model.config.first_pose_id), Event()

        def generate() -> None:
            try:
                stop = self.processor.end_of_turn_ids
                self._generate(samples, max_new_tokens, stop, lambda _: words_only, sampling, streamer, given_up)
            except BaseException as error:  # handed over to the reader of the stream
                failure.append(error)
                streamer.end()

        worker = Thread(target=generate, daemon=True)
        worker.start()
        try:
            yield from streamer
        finally:
            given_up.set()
            worker.join()  # the next question must not find the model at work
        if failure:
            raise failure[0]

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Codes ``[T, M]`` of the likeliest answer to a conversation that ends in a request for a demonstration."""
        return self._codes([self.prompt(messages, sample_id)], GREEDY)[0]

    def _codes(self, samples: Sequence[Sample], sampling: Sampling) -> list[np.ndarray]:
        vocabulary = self.processor.vocabulary
        generated = self._generate(
            samples, vocabulary.clip_length, None, lambda length: PoseGrammar(vocabulary, length), sampling
        )
        return [vocabulary.parse(row.tolist()) for row in generated]

    def _words(self, samples: Sequence[Sample], limit: int, sampling: Sampling) -> Iterator[str]:
        words_only = WordsOnly(self.model.config.first_pose_id)
        for row in self._generate(samples, limit, self.processor.end_of_turn_ids, lambda _: words_only, sampling):
            yield self.processor.tokenizer.decode(row, skip_special_tokens=True).strip()  # type: ignore[union-attr]


class _GivenUp(StoppingCriteria):
    """Ends a generation that nobody reads any more."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:  # type: ignore[override]
        return torch.full((len(input_ids),), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def decode_codes(tokenizer: PoseTokenizer, codes: np.ndarray) -> np.ndarray:
    """Codes ``[T, M]`` to joints ``[T, 17, 3]`` with the frozen decoder."""
    return numpy_codec(tokenizer)[1](codes)
