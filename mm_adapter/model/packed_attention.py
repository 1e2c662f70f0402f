"""Attention over several samples in one row, without padding and without one sample seeing another.

Each sample goes through PyTorch's causal attention by itself, which needs no mask and so may use its fastest kernel. It costs
what the samples cost one by one; everything else of the model runs on the whole row. FlashAttention's kernels take the same
boundaries (``cu_seq_lens_q``) and need nothing from here. Samples behind a cached prefix each see it and themselves: that is
how candidates are scored.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_SDPA = "packed_sdpa"
"""Name under which transformers knows it: ``attn_implementation="packed_sdpa"``."""


def packed_sdpa_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sample_lengths: list[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Computes attention behind transformers' interface.

    Args:
        module: The attention layer.
        query: Queries ``[B, heads, S, D]``.
        key: Keys ``[B, key heads, prefix + S, D]``.
        value: Values of the same shape as the keys.
        attention_mask: Mask as ``sdpa`` takes it; not used where samples are packed.
        sample_lengths: Tokens of each sample in a batch of one row; None for ordinary batches. Keys and values that come
            before theirs are a cached prefix.
        **kwargs: Passed on to ``sdpa``.

    Returns:
        ``[B, S, heads, D]``.
    """
    if sample_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[return-value]
    prefix = key.shape[2] - query.shape[2]
    before = key[:, :, :prefix], value[:, :, :prefix]
    packed = query, key[:, :, prefix:], value[:, :, prefix:]
    attended = []
    for q, k, v in zip(*(tensor.split(sample_lengths, dim=2) for tensor in packed), strict=True):
        mask = None
        if prefix:
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(prefix)[None, None]
        attended.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(attended, dim=1), None


def _mask(batch_size: int, q_length: int, kv_length: int, **kwargs: Any) -> Tensor | None:
    if kwargs.get("attention_mask") is None and q_length == kv_length:
        return None  # causal, and samples are kept apart by their lengths
    return sdpa_mask(batch_size, q_length, kv_length, **kwargs)


AttentionInterface.register(PACKED_SDPA, packed_sdpa_attention)
AttentionMaskInterface.register(PACKED_SDPA, _mask)
