"""What a system is asked about an item: words, a choice among candidates, or poses.

A task's format asks in a generator (`TaskFormat.questions`). It yields questions that do not wait for each other, is sent their
replies, and returns the record that is kept of the item. So a later question can contain an earlier reply, and whoever runs the
generators of many items asks their questions together.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from mm_data.conversation import Message


@dataclass(frozen=True)
class Words:
    """A question that is answered in words.

    Attributes:
        messages: Messages up to the question.
        limit: Longest answer in tokens.
    """

    messages: list[Message]
    limit: int


@dataclass(frozen=True)
class Choice:
    """A question about how likely each of several answers is; the reply is `Likelihoods`.

    Attributes:
        messages: Messages up to the question.
        candidates: What could stand in the answer.
        begun: Words that the answer begins with, before each candidate.
        ends: Whether the answer ends with the candidate. Then the end of the turn counts too, so that no candidate gains by
            being the beginning of another.
    """

    messages: list[Message]
    candidates: Sequence[str]
    begun: str = ""
    ends: bool = True


@dataclass(frozen=True)
class ClipChoice:
    """A question about how likely each of several clips' poses is as the answer; the reply is `Likelihoods`.

    Attributes:
        messages: Messages up to the question.
        clips: Ids of the clips.
    """

    messages: list[Message]
    clips: Sequence[str]


@dataclass(frozen=True)
class Poses:
    """A question that is answered in poses.

    Attributes:
        messages: Messages up to the question.
    """

    messages: list[Message]


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods of a choice's candidates.

    Attributes:
        total: Sum over each candidate's tokens ``[N]``.
        mean: Mean over each candidate's tokens ``[N]``.
    """

    total: np.ndarray
    mean: np.ndarray

    @classmethod
    def of_tokens(cls, tokens: Sequence[np.ndarray]) -> "Likelihoods":
        """Sums and averages each candidate's log-likelihoods per token."""
        return cls(np.array([each.sum() for each in tokens]), np.array([each.mean() for each in tokens]))


class Unanswered(Enum):
    """The reply to a question that whoever answers has no means to answer, such as poses of a coach that only comments."""

    CANNOT = "cannot"


CANNOT = Unanswered.CANNOT
Question = Words | Choice | ClipChoice | Poses
Dialogue = Generator[Sequence[Question], Sequence[Any], dict[str, Any]]
"""Yields questions, is sent one reply for each (text, `Likelihoods`, poses or `CANNOT`), and returns the item's record, JSON-ready."""


@dataclass(frozen=True)
class ScoreSlot:
    """Where the score of an answer stands, and what could stand there.

    Attributes:
        before: The answer up to it, without a space at its end.
        values: Continuation to the score that it states, each with what ends the number: none may be the beginning of another,
            as "7." is of "7.5 points".
        last: Whether the answer ends there, which then ends the number too.
    """

    before: str
    values: dict[str, float]
    last: bool = False

    def expected(self, likely: Likelihoods) -> float:
        """Averages the scores, weighted by how likely their continuations are."""
        shares = np.exp(likely.total - likely.total.max())
        return float(shares @ np.array(list(self.values.values())) / shares.sum())


def ask_for_words(
    messages: list[Message], limit: int, score_slot: Callable[[str], ScoreSlot | None] = lambda text: None
) -> Dialogue:
    """Asks for an answer in words, then how sure the system is of it and, where it states a score, of other scores.

    Args:
        messages: Messages up to the question.
        limit: Longest answer in tokens.
        score_slot: Says where an answer states its score; None where it states none.

    Returns:
        A record with ``text``, ``confidence`` (mean log-probability per token, its end included; None of an empty answer, and of a
        system that has no likelihoods) and ``expected`` score (None without one).
    """
    (text,) = yield [Words(messages, limit)]
    slot, choices = score_slot(text), []
    if text:
        choices.append(Choice(messages, [text]))
    if slot is not None:
        choices.append(Choice(messages, list(slot.values), slot.before, slot.last))
    likely = yield choices
    if CANNOT in likely:
        return {"text": text, "confidence": None, "expected": None}
    return {
        "text": text,
        "confidence": float(likely[0].mean[0]) if text else None,
        "expected": None if slot is None else slot.expected(likely[-1]),
    }
