"""Exact likelihoods of many candidates behind one prefix, which runs through the model once.

::

    row        prefix of P tokens    | candidate 1 | candidate 2 | candidate 3 ...
    positions  0, 1, ..., P - 1      | P, P + 1 .. | P, P + 1 .. | P, P + 1 ..
    runs       once, cached          | packed in one row behind the cache, as many as memory holds
    sees       itself, causally      | the prefix and itself, never another candidate (`packed_attention`)
    predicts   first token of every  | each its own later tokens
               candidate             |

The cache is copied for no candidate and no mask spans the row. Engines that serve text compute prompt log-probabilities without
their prefix cache (vLLM's documentation says so), so this one is kept here.

``P`` tokens of the prefix, ``N`` candidates, ``C`` tokens of one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from mm_adapter.model.config import CoachConfig
from mm_adapter.model.loss import CHUNK
from mm_adapter.model.packed_attention import PACKED_SDPA
from mm_adapter.samples.dataset import Sample

if TYPE_CHECKING:
    from mm_adapter.inference.answering import AnsweringCoach


@dataclass(frozen=True)
class Continuations:
    """What could follow a prefix.

    Attributes:
        begun: Tokens that every answer begins with.
        candidates: Tokens of each candidate behind them.
    """

    begun: Sequence[int]
    candidates: Sequence[Sequence[int]]


@dataclass(frozen=True)
class CandidateScores:
    """Log-likelihoods of candidates.

    Attributes:
        total: Sum over each candidate's tokens ``[N]``.
        per_token: Log-likelihood of every token, ``[C]`` for each candidate.
    """

    total: Tensor
    per_token: list[Tensor]

    @property
    def mean(self) -> Tensor:
        """Mean over each candidate's tokens ``[N]``, by which candidates are ranked."""
        return torch.stack([tokens.mean() for tokens in self.per_token])


def score(
    coach: "AnsweringCoach", prefix: Sample, candidates: Sequence[Sequence[int] | str], memory_gib: float = 1.0
) -> CandidateScores:
    """Computes log p(candidate | prefix) for every candidate.

    Args:
        coach: The coach.
        prefix: Prompt that `AnsweringCoach.prompt` made.
        candidates: Token ids (`CoachProcessor.answer_ids` gives a pose sequence's), or words.
        memory_gib: GiB that the cache (the prefix's included), activations and logits of the candidates that run at once may
            take; one candidate always runs.

    Returns:
        The log-likelihoods.

    Raises:
        ValueError: There is no candidate, one is empty, or the language model was loaded with another attention.
    """
    tokenizer = coach.processor.tokenizer
    ids = [tokenizer.encode(c, add_special_tokens=False) if isinstance(c, str) else list(c) for c in candidates]
    return score_choices(coach, prefix, [Continuations([], ids)], memory_gib)[0]


@torch.inference_mode()
def score_choices(
    coach: "AnsweringCoach", prefix: Sample, choices: Sequence[Continuations], memory_gib: float = 1.0
) -> list[CandidateScores]:
    """Computes the likelihoods of several choices behind one prefix, which runs once for all of them.

    Args:
        coach: The coach.
        prefix: Prompt that `AnsweringCoach.prompt` made.
        choices: What could follow the prefix.
        memory_gib: GiB that candidates at once may take, as `score` has it.

    Returns:
        The log-likelihoods of each choice's candidates.

    Raises:
        ValueError: There is no candidate, one is empty, or the language model was loaded with another attention.
    """
    for choice in choices:
        if not choice.candidates:
            raise ValueError("There are no candidates to score.")
        if empty := [index for index, candidate in enumerate(choice.candidates) if not candidate]:
            raise ValueError(f"Candidates {empty} of {len(choice.candidates)} have no tokens.")
    model, inputs = coach.model, coach.inputs([prefix])
    if model.language_model.config._attn_implementation != PACKED_SDPA:
        raise ValueError(f"Scoring needs a language model that was loaded with attn_implementation={PACKED_SDPA!r}.")
    embeddings = model.embed(inputs["input_ids"], inputs.get("ego_features"), inputs.get("exo_features"))
    cached = model.language_model.get_decoder()(inputs_embeds=embeddings, use_cache=True)
    cache, length = cached.past_key_values, embeddings.shape[1]
    scores = []
    for choice in choices:
        hidden = cached.last_hidden_state
        if choice.begun:
            hidden = _run_behind(coach, cache, length, [choice.begun])
        first = model.logits(hidden[0, -1:]).float().log_softmax(-1)[0].cpu()
        behind = length + len(choice.begun)
        per_token: list[Tensor] = [torch.empty(0)] * len(choice.candidates)
        positions = _positions(model.config, behind, embeddings.dtype, memory_gib)
        for members in _chunks([len(candidate) for candidate in choice.candidates], positions):
            candidates = [list(choice.candidates[index]) for index in members]
            rows = _score_row(coach, cache, behind, candidates)
            for index, candidate, later in zip(members, candidates, rows, strict=True):
                per_token[index] = torch.cat([first[candidate[:1]], later])
        scores.append(CandidateScores(torch.stack([tokens.sum() for tokens in per_token]), per_token))
        if choice.begun:
            cache.crop(-len(choice.begun))
    return scores


def _run_behind(
    coach: "AnsweringCoach", cache: DynamicCache, length: int, sequences: Sequence[Sequence[int]]
) -> Tensor:
    """Runs sequences behind a cache of this length, to which they are appended; none sees another. Returns states ``[1, S, H]``."""
    model = coach.model
    row = torch.tensor([[token for tokens in sequences for token in tokens]], device=model.device)
    positions = torch.cat([torch.arange(length, length + len(tokens)) for tokens in sequences])[None].to(model.device)
    return model.language_model.get_decoder()(
        inputs_embeds=model.embed(row, None, None),
        attention_mask=row.new_zeros(1, 1, 1, 1),  # transformers would build one over the whole row
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        sample_lengths=[len(tokens) for tokens in sequences],
    ).last_hidden_state


def _score_row(coach: "AnsweringCoach", cache: DynamicCache, length: int, candidates: list[list[int]]) -> list[Tensor]:
    """Computes the log-likelihoods of every token but the first; leaves the cache as it was."""
    read = [candidate[:-1] for candidate in candidates if len(candidate) > 1]
    if not read:
        return [torch.empty(0)] * len(candidates)
    model = coach.model
    targets = torch.tensor([token for candidate in candidates for token in candidate[1:]], device=model.device)
    hidden = _run_behind(coach, cache, length, read)[0]
    cache.crop(-len(hidden))
    likely = [
        model.logits(states).float().log_softmax(-1).gather(-1, labels[:, None])[:, 0]
        for states, labels in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
    ]
    return list(torch.cat(likely).cpu().split([len(candidate) - 1 for candidate in candidates]))


def _chunks(lengths: Sequence[int], positions: int) -> Iterator[list[int]]:
    """Yields indices of candidates that run together, similar lengths side by side, longest first."""
    chunk: list[int] = []
    used = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if chunk and used + lengths[index] > positions:
            yield chunk
            chunk, used = [], 0
        chunk.append(index)
        used += lengths[index]
    if chunk:
        yield chunk


def _positions(config: CoachConfig, prefix: int, dtype: torch.dtype, memory_gib: float) -> int:
    """Counts the candidate tokens that fit: cache, a layer's activations, and the logits of a chunk in float32, twice.

    The prefix counts twice: appending to a cache copies it.
    """
    text = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cached = 2 * text.num_hidden_layers * text.num_key_value_heads * head
    active = 6 * text.hidden_size + 3 * text.intermediate_size
    logits = 2 * 4 * CHUNK * config.num_predictable
    left = memory_gib * 2**30 - logits - 2 * prefix * cached * dtype.itemsize
    return max(1, math.floor(left / ((cached + active) * dtype.itemsize)))
