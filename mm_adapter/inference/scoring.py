"""Exact likelihoods of many candidates behind one prefix, in one forward pass per row.

The prefix is computed once; all candidates are packed behind it with a block mask (each sees the prefix and itself) and
positions that restart after the prefix. ``P`` prefix length, ``C`` candidate length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_adapter.dataset import Sample
from mm_adapter.inference.generation import Coach


@dataclass(frozen=True)
class CandidateScores:
    """Log-likelihoods per candidate: summed over its tokens, and per token ``[C]``."""

    total: Tensor
    per_token: list[Tensor]

    @property
    def mean(self) -> Tensor:
        """Mean log-likelihood per token, the default ranking score."""
        return torch.stack([tokens.mean() for tokens in self.per_token])


@torch.inference_mode()
def score_candidates(
    coach: Coach, prompt: Sample, candidates: Sequence[list[int]], max_row: int = 4096
) -> CandidateScores:
    """Log p(candidate | prompt) for every candidate.

    Args:
        coach: The coach.
        prompt: As `Coach.prompt` made it.
        candidates: Token ids of each candidate.
        max_row: Longest packed row in tokens; more candidates go into further rows.

    Raises:
        ValueError: A candidate is empty, or does not fit a row with the prompt.
    """
    prefix = len(prompt["input_ids"])
    rows: list[list[int]] = []
    used = 0
    for index, candidate in enumerate(candidates):
        if not candidate:
            raise ValueError(f"Candidate {index} has no tokens.")
        if prefix + len(candidate) > max_row:
            raise ValueError(
                f"Prompt ({prefix} tokens) and candidate {index} ({len(candidate)}) exceed the row limit of {max_row}."
            )
        if not rows or used + len(candidate) > max_row:
            rows.append([])
            used = prefix
        rows[-1].append(index)
        used += len(candidate)
    per_token: list[Tensor] = [torch.empty(0)] * len(candidates)
    for members in rows:
        scored = _score_row(coach, prompt, [candidates[i] for i in members])
        for index, tokens in zip(members, scored, strict=True):
            per_token[index] = tokens
    return CandidateScores(torch.stack([tokens.sum() for tokens in per_token]), per_token)


def _score_row(coach: Coach, prompt: Sample, candidates: list[list[int]]) -> list[Tensor]:
    model = coach.model
    inputs = coach.inputs([prompt])
    device, prefix = model.device, inputs["input_ids"].shape[1]
    lengths = [len(c) for c in candidates]
    flat = torch.tensor([token for c in candidates for token in c], device=device)
    ids = torch.cat([inputs["input_ids"][0], flat])[None]
    starts = torch.tensor([0, *lengths[:-1]], device=device).cumsum(0)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), torch.tensor(lengths, device=device))
    positions = torch.cat(
        [torch.arange(prefix, device=device), prefix + torch.arange(len(flat), device=device) - starts[owner]]
    )
    # Segment -1 is the prefix: everybody sees it; candidates otherwise see only themselves.
    segment = torch.cat([torch.full((prefix,), -1, device=device), owner])
    order = torch.arange(len(segment), device=device)
    sees = (order[None] <= order[:, None]) & ((segment[None] == -1) | (segment[None] == segment[:, None]))
    embeddings = model.embed(ids, inputs.get("ego_features"), inputs.get("exo_features"))
    mask = torch.zeros(sees.shape, dtype=embeddings.dtype, device=device).masked_fill_(
        ~sees, torch.finfo(embeddings.dtype).min
    )
    hidden = model.language_model.get_decoder()(
        inputs_embeds=embeddings, attention_mask=mask[None, None], position_ids=positions[None], use_cache=False
    ).last_hidden_state[0]
    # Each candidate's first token is predicted by the last prefix position, the others by their predecessor.
    predictor = prefix + torch.arange(len(flat), device=device) - 1
    predictor[starts] = prefix - 1
    logits = model.logits(hidden[predictor]).float()
    chosen = logits.gather(-1, flat[:, None])[:, 0] - logits.logsumexp(-1)
    return list(chosen.cpu().split(lengths))
