"""Questions to a coach in transformers about clips whose poses and features are there: words, choices, poses."""

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import groupby

import numpy as np
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from mm_adapter.inference.continuations import continuations
from mm_adapter.inference.own_clip import decode_codes
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.inference.scoring import score_choices
from mm_adapter.inference.streaming import GivenUp, stream_words
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.grammar import PoseGrammar, WordsOnly
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import ClipFeatures, ClipPoses, NoPoses, check_inputs
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import Sample, with_features
from mm_data.conversation import Message
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words
from mm_tokenizers import PoseTokenizer
from mm_tokenizers.coordinates import read_poses

ANSWER_TOKENS = 128
"""Longest answer in a conversation."""


class AnsweringCoach:
    """A coach that answers questions about clips that are named by their ids (`mm_adapter.inference.protocols.Answerer`).

    Args:
        model: Network in evaluation mode.
        processor: Processor that renders conversations for it.
        poses: Pose codes of the data set's clips, or joints for a coach that reads text; None where no clip has poses.
        features: Video features of the data set's clips, or None for a pose-only coach.
        pose_tokenizer: Frozen tokenizer of the pose tokens; needed for clips of one's own.

    Raises:
        ValueError: Poses or features are not those that the coach was trained on.
    """

    at_once, can_choose = 16, True

    def __init__(
        self,
        model: CoachModel,
        processor: CoachProcessor,
        poses: ClipPoses | None = None,
        features: ClipFeatures | None = None,
        pose_tokenizer: PoseTokenizer | None = None,
    ) -> None:
        check_inputs(model.config, poses, features)
        self.model, self.processor, self.features, self.pose_tokenizer = model, processor, features, pose_tokenizer
        self.poses = NoPoses() if poses is None else poses
        self.pad_id = processor.end_of_turn_id
        self.can_demonstrate = True
        video_shape = (self.config.video_tokens, self.config.video_width) if self.config.video_tokens else None
        self.collate = CoachCollator(processor, self.pad_id, video_shape, "left")

    @property
    def config(self) -> CoachConfig:
        """Configuration of the coach."""
        return self.model.config

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes pose codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
        assert self.pose_tokenizer is not None
        return decode_codes(self.pose_tokenizer, codes)

    def prompt(self, messages: list[Message], sample_id: str) -> Sample:
        """Tokenizes a prompt that ends where the answer begins and adds its clips' video features."""
        encoded = self.processor.encode_prompt(messages, self.poses.__getitem__, sample_id)
        return {**with_features(encoded, self.features), "prompt": True}

    def inputs(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Lays samples out in a left-padded batch on the model's device."""
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
        reader: tuple[TextIteratorStreamer, GivenUp] | None = None,
    ) -> Tensor:
        batch = self.inputs(samples)
        length = batch["input_ids"].shape[1]
        config = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=stop, pad_token_id=self.pad_id)
        processors = [grammar(length), *sampling.processors([sample["sample_id"] for sample in samples])]
        streamer, given_up = reader or (None, None)
        out = self.model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **batch,
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([given_up] if given_up else []),
            streamer=streamer,
        )
        return out[:, length:]  # type: ignore[index]

    def answer_words(
        self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY, batch_size: int = 16
    ) -> list[str]:
        """Answers questions in words.

        Args:
            questions: An id and the question.
            sampling: How tokens are drawn.
            batch_size: Number of questions at a time.

        Returns:
            The answers.
        """
        texts: list[str] = []
        for limit, alike in groupby(questions, key=lambda pair: pair[1].limit):
            for batch in _batches(list(alike), batch_size):
                samples = [self.prompt(question.messages, sample_id) for sample_id, question in batch]
                texts += self._words(samples, limit, sampling)
        return texts

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Computes how likely the candidates of choices are; choices that follow each other after one prompt share it.

        Args:
            questions: An id and the question.

        Returns:
            Log-likelihoods of each choice's candidates.

        Raises:
            ValueError: A candidate is the beginning of another one.
        """
        likely: list[Likelihoods] = []
        for (sample_id, messages), group in groupby(questions, key=lambda pair: (pair[0], pair[1].messages)):
            choices = [continuations(self.processor, self.poses, choice, sample_id) for _, choice in group]
            for scores in score_choices(self, self.prompt(messages, sample_id), choices):
                likely.append(Likelihoods(scores.total.numpy(), scores.mean.numpy()))
        return likely

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY, batch_size: int = 16
    ) -> list[np.ndarray | None]:
        """Answers questions in poses (Eq. 3).

        Args:
            questions: An id and the question.
            sampling: How tokens are drawn.
            batch_size: Number of questions at a time.

        Returns:
            Codes ``[T, M]``, which the grammar keeps well-formed. From a coach that writes poses as text, joints
            ``[T, 17, 3]``, or None where the text is no pose sequence.
        """
        poses: list[np.ndarray | None] = []
        for batch in _batches(questions, batch_size):
            samples = [self.prompt(question.messages, sample_id) for sample_id, question in batch]
            if self.config.pose_form == "text":
                longest = max(self._length_of_poses(question.messages) for _, question in batch)
                texts = self._words(samples, 2 * longest, sampling)
                poses += [read_poses(text, self.config.pose_frames) for text in texts]
            else:
                poses += self._codes(samples, sampling)
        return poses

    def stream(
        self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY, max_new_tokens: int = ANSWER_TOKENS
    ) -> Generator[str]:
        """Answers a conversation in words, as they come; a reader that leaves ends the generation.

        Args:
            messages: Messages up to the question; their content parts name clips that the coach knows.
            sample_id: Id of the conversation, which decides what is drawn.
            sampling: How tokens are drawn.
            max_new_tokens: Longest answer.

        Yields:
            Pieces of the answer.
        """
        samples, words_only = [self.prompt(messages, sample_id)], WordsOnly(self.config.first_pose_id)
        stop = [self.processor.end_of_turn_id]

        def generate(streamer: TextIteratorStreamer, given_up: GivenUp) -> None:
            self._generate(samples, max_new_tokens, stop, lambda _: words_only, sampling, (streamer, given_up))

        yield from stream_words(self.processor.tokenizer, generate)

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Returns codes ``[T, M]`` of the likeliest answer to a conversation that ends in a request for a demonstration."""
        return self._codes([self.prompt(messages, sample_id)], GREEDY)[0]

    def _length_of_poses(self, messages: list[Message]) -> int:
        """Counts the tokens of the longest poses that messages show."""
        clips = [part["clip_id"] for message in messages for part in message["content"] if part["type"] == "clip"]
        return max(len(self.processor.answer_ids(self.poses[clip])) for clip in clips)

    def _codes(self, samples: Sequence[Sample], sampling: Sampling) -> list[np.ndarray]:
        vocabulary = self.processor.vocabulary
        generated = self._generate(
            samples, vocabulary.clip_length, None, lambda length: PoseGrammar(vocabulary, length), sampling
        )
        return [vocabulary.parse(row.tolist()) for row in generated]

    def _words(self, samples: Sequence[Sample], limit: int, sampling: Sampling) -> Iterator[str]:
        words_only = WordsOnly(self.config.first_pose_id)
        for row in self._generate(samples, limit, [self.processor.end_of_turn_id], lambda _: words_only, sampling):
            yield self.processor.tokenizer.decode(row, skip_special_tokens=True).strip()  # type: ignore[union-attr]


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
