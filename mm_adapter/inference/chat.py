"""A conversation about one clip: remarks, follow-up questions, a demonstration and an expert who does it right."""

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import LEARNER, JoinedPoses
from mm_data.conversation import Message
from mm_data.tasks.expertaf import ASK_COMMENTARY, ASK_DEMONSTRATION, commentary_prompt

_SHOW = re.compile(r"\s*(please |can you |could you )*(show|demonstrate)\b", re.IGNORECASE)


class Answering(Protocol):
    """What answers: `Coach`, or a server that has one."""

    def stream(self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY) -> Generator[str]:
        """Words, piece by piece."""
        ...

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Codes ``[T, M]`` of corrected poses."""
        ...


class Searching(Protocol):
    """What finds experts: `ExpertSearch`, or a server that has one."""

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Expert clips and their scores, best first."""
        ...


@dataclass(frozen=True)
class Demonstration:
    """What "show me" gives.

    Attributes:
        codes: Corrected poses ``[T, M]``.
        remark: What they correct.
    """

    codes: np.ndarray
    remark: str


class ChatSession:
    """One learner's conversation; the coach sees all of it at every turn.

    Args:
        coach: Knows the clip.
        poses: What the coach looks poses up in; demonstrations are added to it.
        experts: Where to look for experts, or None.
        sampling: How words are drawn.
        clip: Id of the learner's clip.
    """

    def __init__(
        self,
        coach: Answering,
        poses: JoinedPoses,
        experts: Searching | None = None,
        sampling: Sampling = GREEDY,
        clip: str = LEARNER,
    ) -> None:
        self.coach, self.poses, self.experts, self.sampling, self.clip = coach, poses, experts, sampling, clip
        self.messages: list[Message] = commentary_prompt(clip)[:1]

    def wants_to_see(self, question: str) -> bool:
        """Whether a question asks for a demonstration; the first one never does, as there is nothing to correct yet."""
        return len(self.messages) > 1 and bool(_SHOW.match(question))

    def ask(self, question: str = ASK_COMMENTARY) -> Generator[str]:
        """Answers in words, piece by piece; a reader that leaves ends the answer, which then is no part of the conversation."""
        messages = [*self.messages, self._question(question)]
        pieces = []
        with closing(self.coach.stream(messages, f"{self.clip}, turn {len(messages)}", self.sampling)) as stream:
            for piece in stream:
                pieces.append(piece)
                yield piece
        self.messages = [*messages, _answer({"type": "text", "text": "".join(pieces).strip()})]

    def show(self) -> Demonstration:
        """Corrected poses after the conversation so far."""
        remark = self._last_remark()
        messages = [*self.messages, self._question(ASK_DEMONSTRATION)]
        codes = self.coach.demonstrate_after(messages, self.clip)
        name = f"demonstration {len(messages)}"
        self.poses.own[name] = codes
        self.messages = [*messages, _answer({"type": "pose", "clip_id": name})]
        return Demonstration(codes, remark)

    def find_experts(self, shown: Demonstration) -> list[tuple[str, float]]:
        """Expert clips who do what was shown, and their mean log-likelihoods minus priors, best first.

        Raises:
            ValueError: There is no gallery.
        """
        if self.experts is None:
            raise ValueError("There is no gallery in which experts could be looked for.")
        return self.experts.search(self.clip, shown.remark)

    def _last_remark(self) -> str:
        answers = [m["content"][0] for m in self.messages if m["role"] == "assistant"]
        remarks = [part["text"] for part in answers if part["type"] == "text"]
        if not remarks:
            raise ValueError("Ask what to improve first; a demonstration follows a remark.")
        return remarks[-1]

    def _question(self, question: str) -> Message:
        clip = [{"type": "clip", "clip_id": self.clip}] if len(self.messages) == 1 else []
        return {"role": "user", "content": [*clip, {"type": "text", "text": question}]}


def _answer(part: dict[str, str]) -> Message:
    return {"role": "assistant", "content": [part]}
