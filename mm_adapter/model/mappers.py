"""Small trainable parts between the frozen encoders and the language model.

Shapes: ``N`` clips of a batch, ``V`` video tokens per view, ``C`` video feature width, ``K`` pose codes, ``D`` code
width, ``H`` language-model width.
"""

import torch
from torch import Tensor, nn


def mlp2x_gelu(in_features: int, out_features: int) -> nn.Sequential:
    """LLaVA-1.5's projector: Linear, GELU, Linear."""
    return nn.Sequential(nn.Linear(in_features, out_features), nn.GELU(), nn.Linear(out_features, out_features))


class FeatureMapper(nn.Module):
    """Video features ``[N, V, C]`` to token embeddings ``[N, V, H]``; a LayerNorm tames the trunk's large activations."""

    def __init__(self, feature_width: int, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_width)
        self.mlp = mlp2x_gelu(feature_width, hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features."""
        return self.mlp(self.norm(features))


class PoseEmbedding(nn.Module):
    """Input embeddings of the pose tokens.

    Args:
        codebook: The frozen tokenizer's codes ``[K, D]``.
        hidden_size: H.
        source: ``mapper`` embeds code k as f_pm(codebook[k]) (ExpertAF's p, few parameters); ``rows`` trains a row per
            token (ExpertAF's p′, for generation with the language model fully tuned).

    Raises:
        ValueError: Unknown source.
    """

    codebook: Tensor

    def __init__(self, codebook: Tensor, hidden_size: int, source: str) -> None:
        super().__init__()
        if source not in ("mapper", "rows"):
            raise ValueError(f"Unknown pose input {source!r}; choose 'mapper' or 'rows'.")
        # Codes are standardised: language models learn little from inputs of arbitrary scale.
        standard = (codebook - codebook.mean(0)) / codebook.std(0).clamp_min(1e-6)
        self.register_buffer("codebook", standard, persistent=False)
        self.mapper = mlp2x_gelu(codebook.shape[1], hidden_size) if source == "mapper" else None
        own_rows = 2 if source == "mapper" else len(codebook) + 2
        self.rows = nn.Parameter(torch.randn(own_rows, hidden_size))

    def forward(self) -> Tensor:
        """The table ``[K + 2, H]``: codes, frame end, sequence end."""
        if self.mapper is None:
            return self.rows
        mapped = self.mapper(self.codebook)
        return torch.cat([mapped, self.rows.to(mapped.dtype)])


@torch.no_grad()
def match_embeddings(mapper: nn.Sequential, inputs: Tensor, mean: Tensor, rms: float) -> None:
    """Rescales a fresh mapper so that its outputs have the language model's embedding statistics.

    Args:
        mapper: `mlp2x_gelu`.
        inputs: Typical inputs ``[*, in]``.
        mean: Mean embedding ``[H]``.
        rms: Root mean square deviation of the embeddings from it.
    """
    last = mapper[-1]
    assert isinstance(last, nn.Linear)
    out = mapper(inputs).flatten(0, -2)
    spread = (out - out.mean(0)).pow(2).mean().sqrt().clamp_min(1e-8)
    last.weight.mul_(rms / spread)
    last.bias.zero_()
    last.bias.copy_(mean - mapper(inputs).flatten(0, -2).mean(0))
