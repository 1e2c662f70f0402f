"""The protocols by which a coach in transformers, one in vLLM and one behind a server stand for each other."""

from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np

from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.conversation import Message
from mm_data.items.answer import Answer
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words


class Answerer(Protocol):
    """Anything that answers questions about the clips of a data set: `Coach`, or `VllmCoach` for its export.

    Questions come with an id, which decides what is drawn whatever else is asked at the time.
    """

    @property
    def at_once(self) -> int:
        """Number of questions that are best asked together."""
        ...

    @property
    def can_demonstrate(self) -> bool:
        """Whether it learned to answer in poses."""
        ...

    @property
    def can_choose(self) -> bool:
        """Whether it can say how likely candidates are."""
        ...

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Answers in words."""
        ...

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Says how likely the candidates of each choice are."""
        ...

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY
    ) -> list[np.ndarray | None]:
        """Answers in pose codes ``[T, M]``, or in joints ``[T, 17, 3]``; None where an answer is no pose sequence."""
        ...

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes pose codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
        ...


class Speaker(Protocol):
    """Anything that answers a conversation: `Coach`, or `CoachClient` for one behind a server."""

    def stream(self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY) -> Generator[str]:
        """Yields the words of an answer, piece by piece."""
        ...

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Returns codes ``[T, M]`` of corrected poses."""
        ...

    @property
    def phrases(self) -> dict[str, str]:
        """What a person says to be answered in a task, such as "score this", to the task's name."""
        ...

    def assess(self, clip_id: str, task: str) -> Answer:
        """Answers a task's questions about a clip, apart from the conversation."""
        ...


class ExpertFinder(Protocol):
    """Anything that finds experts: `ExpertSearch`, or `CoachClient` for the gallery of a server."""

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Returns expert clips and their scores, best first."""
        ...
