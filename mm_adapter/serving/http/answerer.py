"""A coach in a vLLM server, asked like any other (`mm_adapter.inference.protocols.Answerer`)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mm_adapter.inference.continuations import continuations
from mm_adapter.inference.own_clip import decode_codes
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import ClipFeatures, ClipPoses, NoPoses
from mm_adapter.serving.http.conversation import Conversations, clip_parts
from mm_adapter.serving.http.engine import Engine, features_part
from mm_adapter.serving.http.exported_coach import Export
from mm_data.conversation import Message
from mm_data.ground.digests import uniform
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words
from mm_tokenizers.vocabulary import parse_text

Parts = list[dict[str, Any]]


class EngineAnswerer:
    """An exported coach behind vLLM's server. Every question is a request; the engine batches them as it sees fit.

    Args:
        engine: Engine that serves the export.
        coach: The export.
        poses: Pose codes of a data set's clips, or None.
        features: Video features of these clips, or None for a coach that sees no video.
        upload: Returns the parts of a clip that somebody uploaded, or None where the id is of none.
    """

    at_once, can_choose = 32, True

    def __init__(
        self,
        engine: Engine,
        coach: Export,
        poses: ClipPoses | None,
        features: ClipFeatures | None,
        upload: Callable[[str], Parts | None] = lambda clip_id: None,
    ) -> None:
        self.engine, self.coach, self.features, self.upload = engine, coach, features, upload
        self.poses = NoPoses() if poses is None else poses
        self.conversations = Conversations(coach, self._parts)
        self.can_demonstrate = coach.can_demonstrate

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Answers questions in words."""
        bodies = [self._body(name, asked.messages, "words", asked.limit, sampling) for name, asked in questions]
        decode = (
            self.coach.processor.tokenizer.decode
        )  # the engine's own text lacks a character that the limit cuts in two
        return [decode(ids, skip_special_tokens=True).strip() for _, ids in self.engine.complete(bodies)]  # type: ignore[union-attr]

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Computes how likely the candidates of choices are: the engine runs every pair of prompt and candidate in full.

        Args:
            questions: An id and the question.

        Returns:
            Log-likelihoods of each choice's candidates.

        Raises:
            KeyError: A clip is not kept any more.
            ValueError: A conversation cannot be asked about, or a candidate is the beginning of another one.
            EngineError: The engine does not answer.
        """
        replies = []
        for name, question in questions:
            choice = continuations(self.coach.processor, self.poses, question, name)
            if isinstance(question, ClipChoice):
                texts = [self.coach.processor.pose_text(self.poses[clip]) for clip in question.clips]
            else:
                begun = f"{question.begun} " if question.begun else ""
                texts = [begun + text for text in question.candidates]
            messages = self.conversations.rewrite(question.messages)
            tokens = self.engine.likelihoods(messages, texts, [list(ids) for ids in choice.candidates])
            replies.append(Likelihoods.of_tokens(tokens))
        return replies

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY
    ) -> list[np.ndarray | None]:
        """Answers questions in pose codes ``[T, M]``."""
        limit = self.coach.processor.vocabulary.clip_length + 1
        bodies = [self._body(name, asked.messages, "poses", limit, sampling) for name, asked in questions]
        return [parse_text(text) for text, _ in self.engine.complete(bodies)]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes pose codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
        return decode_codes(self.coach.pose_tokenizer, codes)

    def _body(self, name: str, messages: list[Message], answer: str, limit: int, sampling: Sampling) -> dict[str, Any]:
        return {
            "messages": self.conversations.rewrite(messages),
            "max_tokens": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": int(uniform(f"{sampling.seed}/{name}") * 2**31),
            "vllm_xargs": {"coach_answer": answer},
        }

    def _parts(self, clip_id: str) -> Parts:
        """Returns the parts of an uploaded clip, or of one of the data set."""
        uploaded = self.upload(clip_id)
        if uploaded is not None:
            return uploaded
        config = self.coach.config
        has_poses = config.pose_form != "none" and not self.poses.missing([clip_id])
        if not has_poses and (self.features is None or self.features.missing([clip_id])):
            raise KeyError(clip_id)
        videos = [] if self.features is None else [features_part(self.features.get(clip_id, v)) for v in config.views]
        return clip_parts(self.coach, self.poses[clip_id] if has_poses else None, videos)
