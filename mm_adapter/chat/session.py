"""A conversation about one clip: remarks, follow-up questions, a demonstration and an expert who does it right."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mm_adapter.chat.learner import LEARNER, JoinedPoses
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.retrieval import Gallery, candidate_priors, rank_by_demonstration
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.expertaf_task import ASK_COMMENTARY, ASK_DEMONSTRATION, Message, commentary_prompt
from mm_data.records import CoachingTuple

_SHOW = re.compile(r"\s*(please |can you |could you )*(show|demonstrate)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Experts:
    """Where a demonstration by a person is looked for.

    Attributes:
        gallery: Expert clips.
        activity: Only clips of this one, or None.
        training: Training tuples, for the candidates' priors.
    """

    gallery: Gallery
    activity: str | None
    training: list[CoachingTuple]


@dataclass(frozen=True)
class Demonstration:
    """What "show me" gives.

    Attributes:
        codes: Corrected poses ``[T, M]``.
        ranking: Expert clips and their mean log-likelihoods minus priors, best first; empty without a gallery.
    """

    codes: np.ndarray
    ranking: list[tuple[str, float]]


class ChatSession:
    """One learner's conversation; the coach sees all of it at every turn.

    Args:
        coach: Knows the clip `learner.LEARNER`.
        poses: The coach's poses, which demonstrations are added to.
        experts: Where to look for experts, or None.
        sampling: How words are drawn.
    """

    def __init__(
        self, coach: Coach, poses: JoinedPoses, experts: Experts | None = None, sampling: Sampling = GREEDY
    ) -> None:
        self.coach, self.poses, self.experts, self.sampling = coach, poses, experts, sampling
        self.messages: list[Message] = commentary_prompt(LEARNER)[:1]
        self._prior: dict[str, float] | None = None

    def wants_to_see(self, question: str) -> bool:
        """Whether a question asks for a demonstration; the first one never does, as there is nothing to correct yet."""
        return len(self.messages) > 1 and bool(_SHOW.match(question))

    def ask(self, question: str = ASK_COMMENTARY) -> Iterator[str]:
        """Answers in words, piece by piece."""
        messages = [*self.messages, self._question(question)]
        pieces = []
        for piece in self.coach.stream(messages, f"{LEARNER}, turn {len(messages)}", self.sampling):
            pieces.append(piece)
            yield piece
        self.messages = [*messages, _answer({"type": "text", "text": "".join(pieces).strip()})]

    def show(self) -> Demonstration:
        """Corrected poses after the conversation so far, and experts who do it so."""
        remark = self._last_remark()
        messages = [*self.messages, self._question(ASK_DEMONSTRATION)]
        codes = self.coach.demonstrate_after(messages, LEARNER)
        name = f"demonstration {len(messages)}"
        self.poses.own[name] = codes
        self.messages = [*messages, _answer({"type": "pose", "clip_id": name})]
        return Demonstration(codes, self._experts(remark) if self.experts else [])

    def _experts(self, remark: str) -> list[tuple[str, float]]:
        assert self.experts is not None
        rank = partial(rank_by_demonstration, self.coach)
        activity = self.experts.gallery.activity
        pool = [clip for clip, name in activity.items() if self.experts.activity in (None, name)]
        if self._prior is None:
            gallery = Gallery(self.experts.gallery.represents, {clip: activity[clip] for clip in pool}, True)
            self._prior = candidate_priors(rank, self.experts.training, gallery)
        likely = rank(LEARNER, remark, pool).tolist()
        scores = {clip: value - self._prior[clip] for clip, value in zip(pool, likely, strict=True)}
        return sorted(scores.items(), key=lambda item: -item[1])

    def _last_remark(self) -> str:
        answers = [m["content"][0] for m in self.messages if m["role"] == "assistant"]
        remarks = [part["text"] for part in answers if part["type"] == "text"]
        if not remarks:
            raise ValueError("Ask what to improve first; a demonstration follows a remark.")
        return remarks[-1]

    def _question(self, question: str) -> Message:
        clip = [{"type": "clip", "clip_id": LEARNER}] if len(self.messages) == 1 else []
        return {"role": "user", "content": [*clip, {"type": "text", "text": question}]}


def _answer(part: dict[str, str]) -> Message:
    return {"role": "assistant", "content": [part]}
