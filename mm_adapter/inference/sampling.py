"""How tokens are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mm_data.ground.digests import uniform


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p: Smallest set of tokens with this probability; 1 keeps all.
        top_k: This many most likely tokens; 0 keeps all.
        seed: Together with the sample's id it fixes what is drawn, whatever shares the batch.

    Raises:
        ValueError: A value outside its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(
                f"temperature {self.temperature} (0 or more), top_p {self.top_p} (above 0, at most 1) "
                f"and top_k {self.top_k} (0 or more) cannot be used."
            )

    def processors(self, sample_ids: Sequence[str]) -> list[LogitsProcessor]:
        """Returns what runs behind a grammar for a batch of these samples; greedy search over the result is a draw."""
        if self.temperature == 0:
            return []
        chosen: list[LogitsProcessor] = [TemperatureLogitsWarper(self.temperature)]
        if self.top_k:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            chosen.append(TopPLogitsWarper(self.top_p))
        return [*chosen, GumbelNoise(self.seed, sample_ids)]


GREEDY = Sampling()


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise, whose maximum is distributed as a draw from the softmax.

    Every sample has a generator of its own, so what is drawn depends neither on its neighbours nor on where a run was
    interrupted.

    Args:
        seed: Seed of the run.
        sample_ids: Sample ids, one per row.
    """

    def __init__(self, seed: int, sample_ids: Sequence[str]) -> None:
        self.generators = [torch.Generator().manual_seed(int(uniform(f"{seed}/{name}") * 2**53)) for name in sample_ids]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns noisy scores ``[B, V]``."""
        drawn = torch.stack([torch.rand(scores.shape[1], generator=g) for g in self.generators])
        return scores - (-drawn.clamp_min(1e-20).log()).log().to(scores)
