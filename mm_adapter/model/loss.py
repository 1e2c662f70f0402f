"""Cross-entropy at supervised positions alone, in pieces where there are many.

With Llama-3's vocabulary the logits of one position take half a MiB in float32. A remark supervises some forty of six
hundred positions, a demonstration hundreds.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 512
"""Positions whose logits exist at the same time."""


def supervised_cross_entropy(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    chunk: int = CHUNK,
    agree: Callable[[int], int] = lambda pieces: pieces,
) -> tuple[Tensor, Tensor]:
    """Sums the losses of all supervised tokens.

    Args:
        head: Hidden states ``[N, H]`` to logits ``[N, V]``.
        hidden: ``[B, S, H]``; position s predicts the label at s + 1.
        labels: ``[B, S]``, -100 where unsupervised.
        chunk: Beyond so many supervised positions logits are computed piece by piece and again in the backward pass.
        agree: This rank's number of pieces to the number that every rank computes, for heads that are gathered from the
            ranks at every use; the further ones are empty.

    Returns:
        The sum, and the number of supervised tokens.
    """
    targets = labels[:, 1:]
    supervised = targets != -100
    states, targets = hidden[:, :-1][supervised], targets[supervised]

    def piece(states: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(head(states).float(), targets, reduction="sum")

    pieces = [(states[i : i + chunk], targets[i : i + chunk]) for i in range(0, max(len(targets), 1), chunk)]
    pieces += [(states[:0], targets[:0])] * (agree(len(pieces)) - len(pieces))
    if len(pieces) == 1 or not torch.is_grad_enabled():
        parts = [piece(*pair) for pair in pieces]
    else:
        parts = [checkpoint(piece, *pair, use_reentrant=False) for pair in pieces]
    return torch.stack(parts).sum(), supervised.sum()  # type: ignore[arg-type]


def token_statistics(head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Computes what TRL's preference trainers ask of every supervised token, 0 elsewhere: ``[B, S - 1]`` each.

    Args:
        head: Hidden states ``[N, H]`` to logits ``[N, V]``.
        hidden: ``[B, S, H]``; position s predicts the label at s + 1.
        labels: ``[B, S]``, -100 where unsupervised.

    Returns:
        ``log_probs``, ``entropy``, ``mean_logits`` and ``is_top1``.
    """
    targets = labels[:, 1:]
    supervised = targets != -100
    logits, targets = head(hidden[:, :-1][supervised]).float(), targets[supervised]
    likely = logits.log_softmax(-1)
    statistics = {
        "log_probs": likely.gather(-1, targets[:, None])[:, 0],
        "entropy": -(likely.exp() * likely).sum(-1),
        "mean_logits": logits.mean(-1),
        "is_top1": logits.argmax(-1) == targets,
    }
    return {
        name: value.new_zeros(supervised.shape).masked_scatter(supervised, value) for name, value in statistics.items()
    }
