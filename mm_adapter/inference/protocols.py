"""The protocols by which a coach in transformers, one in vLLM and one behind a server stand for each other."""

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import numpy as np

from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.conversation import Message


class Answerer(Protocol):
    """Anything that comments on clips and demonstrates corrections: `Coach`, or `VllmCoach` for its export."""

    def comments(
        self, learners: Sequence[str], experts: Sequence[str] | None = None, sampling: Sampling = GREEDY
    ) -> Iterator[str]:
        """Yields a remark on each clip."""
        ...

    def demonstrations(
        self, learners: Sequence[str], remarks: Sequence[str], sampling: Sampling = GREEDY
    ) -> Iterator[np.ndarray | None]:
        """Yields corrected poses for each clip and remark."""
        ...


class Speaker(Protocol):
    """Anything that answers a conversation: `Coach`, or `CoachClient` for one behind a server."""

    def stream(self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY) -> Generator[str]:
        """Yields the words of an answer, piece by piece."""
        ...

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Returns codes ``[T, M]`` of corrected poses."""
        ...


class ExpertFinder(Protocol):
    """Anything that finds experts: `ExpertSearch`, or `CoachClient` for the gallery of a server."""

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Returns expert clips and their scores, best first."""
        ...
