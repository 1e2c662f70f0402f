"""A conversation about one clip: remarks, follow-up questions, a demonstration and an expert who does it right."""

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from mm_adapter.inference.protocols import ExpertFinder, Speaker
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import LEARNER, JoinedPoses
from mm_data.conversation import Message
from mm_data.items.answer import Answer
from mm_data.tasks.coaching import ASK_COMMENTARY, ASK_DEMONSTRATION, system_turn

_SHOW = re.compile(r"\s*(please |can you |could you )*(show|demonstrate)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Demonstration:
    """A coach's answer to "show me".

    Attributes:
        codes: Codes ``[T, M]`` of the corrected poses.
        remark: Remark that they put into practice.
    """

    codes: np.ndarray
    remark: str


class ChatSession:
    """A conversation about one clip; the coach sees all of it at every turn.

    Args:
        coach: The coach, which knows the clip.
        poses: Poses that the coach looks up; demonstrations are added to it.
        experts: Gallery in which experts are looked for, or None.
        sampling: How words are drawn.
        clip: Id of the learner's clip.
    """

    def __init__(
        self,
        coach: Speaker,
        poses: JoinedPoses,
        experts: ExpertFinder | None = None,
        sampling: Sampling = GREEDY,
        clip: str = LEARNER,
    ) -> None:
        self.coach, self.poses, self.experts, self.sampling, self.clip = coach, poses, experts, sampling, clip
        self.restart()

    def wants_to_see(self, question: str) -> bool:
        """Tells whether a question asks for a demonstration; the first one never does, as there is nothing to correct yet."""
        return len(self.messages) > 1 and bool(_SHOW.match(question))

    def task_of(self, question: str) -> str | None:
        """Returns the task that a question asks for by its phrase, such as "score this"; None for any other question."""
        return self.coach.phrases.get(question.strip().lower().rstrip(".!?"))

    def assess(self, task: str) -> Answer:
        """Answers a task's questions about the clip; the conversation stays as it is."""
        return self.coach.assess(self.clip, task)

    def ask(self, question: str = ASK_COMMENTARY) -> Generator[str]:
        """Asks a question and yields the answer piece by piece; one whose reader leaves is no part of the conversation."""
        messages = [*self.messages, self._question(question)]
        pieces = []
        with closing(self.coach.stream(messages, f"{self.clip}, turn {len(messages)}", self.sampling)) as stream:
            for piece in stream:
                pieces.append(piece)
                yield piece
        self.messages = [*messages, _answer({"type": "text", "text": "".join(pieces).strip()})]

    def show(self) -> Demonstration:
        """Returns corrected poses after the conversation so far.

        Returns:
            The demonstration.

        Raises:
            ValueError: There is no remark yet.
        """
        remark = self.last_remark
        if remark is None:
            raise ValueError("Ask what to improve first; a demonstration follows a remark.")
        messages = [*self.messages, self._question(ASK_DEMONSTRATION)]
        codes = self.coach.demonstrate_after(messages, self.clip)
        name = f"demonstration {len(messages)}"
        self.poses.clips[name] = codes
        self.messages = [*messages, _answer({"type": "pose", "clip_id": name})]
        return Demonstration(codes, remark)

    def find_experts(self, shown: Demonstration) -> list[tuple[str, float]]:
        """Ranks experts by how likely they do what a demonstration shows.

        Args:
            shown: The demonstration.

        Returns:
            Expert clips and their mean log-likelihoods minus priors, best first.

        Raises:
            ValueError: There is no gallery.
        """
        if self.experts is None:
            raise ValueError("There is no gallery in which experts could be looked for.")
        return self.experts.search(self.clip, shown.remark)

    @property
    def last_remark(self) -> str | None:
        """The coach's last answer in words, or None before the first one."""
        answers = [message["content"][0] for message in self.messages if message["role"] == "assistant"]
        return next((part["text"] for part in reversed(answers) if part["type"] == "text"), None)

    def restart(self) -> None:
        """Forgets what was said."""
        self.messages: list[Message] = [system_turn()]

    def _question(self, question: str) -> Message:
        clip = [{"type": "clip", "clip_id": self.clip}] if len(self.messages) == 1 else []
        return {"role": "user", "content": [*clip, {"type": "text", "text": question}]}


def _answer(part: dict[str, str]) -> Message:
    return {"role": "assistant", "content": [part]}
