"""A choice's candidates as tokens, whatever computes their likelihoods."""

from collections.abc import Sequence
from itertools import pairwise

from mm_adapter.inference.scoring import Continuations
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import ClipPoses
from mm_data.tasks.questions import Choice, ClipChoice


def continuations(
    processor: CoachProcessor, poses: ClipPoses, choice: Choice | ClipChoice, sample_id: str
) -> Continuations:
    """Writes a choice in tokens.

    Args:
        processor: Processor of the coach.
        poses: Poses of the clips that are chosen from.
        choice: The choice.
        sample_id: Id of the question, for the error.

    Returns:
        What could follow the question's prompt.

    Raises:
        ValueError: A candidate is the beginning of another one, which would count it twice.
    """
    if isinstance(choice, ClipChoice):
        return Continuations([], [processor.answer_ids(poses[clip]) for clip in choice.clips])
    space = " " if choice.begun else ""
    end = [processor.end_of_turn_id] if choice.ends else []
    tokenizer = processor.tokenizer
    candidates = [tokenizer.encode(space + text, add_special_tokens=False) + end for text in choice.candidates]
    _refuse_beginnings(candidates, choice.candidates, sample_id)
    return Continuations(tokenizer.encode(choice.begun, add_special_tokens=False), candidates)


def _refuse_beginnings(candidates: Sequence[Sequence[int]], texts: Sequence[str], sample_id: str) -> None:
    """Raises ``ValueError`` where a candidate is the beginning of another: whatever is likely after it would count for both."""
    ordered = sorted(zip(map(tuple, candidates), texts, strict=True))  # a beginning comes right before what it begins
    for (first, text), (second, other) in pairwise(ordered):
        if second[: len(first)] == first:
            raise ValueError(
                f"{sample_id}: {text!r} is a beginning of {other!r}, so its score would count twice; let the format's score_slot "
                "give every candidate what ends its number, or say that the answer ends there (last=True)."
            )
