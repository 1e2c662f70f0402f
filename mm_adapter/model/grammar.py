"""The grammar of answers: words without pose tokens, or one whole pose sequence and the end of the turn."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from mm_tokenizers import PoseVocabulary


class WordsOnly(LogitsProcessor):
    """Commentary is words: pose tokens cannot be generated."""

    def __init__(self, first_pose_id: int) -> None:
        self.first_pose_id = first_pose_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Masks everything from the first pose id on."""
        scores[:, self.first_pose_id :] = -torch.inf
        return scores


class PoseGrammar(LogitsProcessor):
    """Only what the clip grammar allows at each position, so a malformed sequence cannot be generated."""

    def __init__(self, vocabulary: PoseVocabulary, prompt_length: int) -> None:
        self.vocabulary, self.prompt_length = vocabulary, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Masks what the grammar forbids at the next position."""
        allowed = self.vocabulary.allowed(input_ids.shape[1] - self.prompt_length)
        masked = torch.full_like(scores, -torch.inf)
        masked[:, allowed.start : allowed.stop] = scores[:, allowed.start : allowed.stop]
        return masked


class AnswerGrammar:
    """What may come next in an answer whose kind is open: words without pose tokens, or one pose sequence and the end.

    Args:
        vocabulary: Pose tokens.
        ends: Ids that end a turn.
        kind: ``any`` lets the first token decide; ``words`` and ``poses`` fix it.
    """

    def __init__(self, vocabulary: PoseVocabulary, ends: Sequence[int], kind: str = "any") -> None:
        self.vocabulary, self.ends, self.kind = vocabulary, list(ends), kind

    def __call__(self, output_ids: Sequence[int], logits: Tensor) -> Tensor:
        """Masks the logits ``[V]`` of the token after ``output_ids``."""
        first, shape = self.vocabulary.first_id, self.vocabulary
        poses = self.kind == "poses" or (self.kind == "any" and len(output_ids) > 0 and output_ids[0] >= first)
        masked = torch.full_like(logits, -torch.inf)
        if not poses:
            stop = shape.frame_end_id if self.kind == "any" and not output_ids else first
            masked[:stop] = logits[:stop]
        elif len(output_ids) < shape.clip_length:
            allowed = shape.allowed(len(output_ids))
            masked[allowed.start : allowed.stop] = logits[allowed.start : allowed.stop]
        else:
            masked[self.ends] = logits[self.ends]
        return masked
