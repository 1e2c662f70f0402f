"""Vector quantiser with an exponential-moving-average codebook and dead-code revival.

All state, the initialised flag included, lives in buffers, so a resumed run continues instead of starting over. Ranks
exchange counts and sums only, and one rank on a batch equals several ranks on its parts.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def _all_reduce(tensor: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def _all_gather(tensor: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class EmaQuantizer(nn.Module):
    """Nearest-neighbour quantiser (PCT; `systems.md` §1.3), codes ``[K, D]``.

    Args:
        num_codes: K.
        dim: D.
        decay: EMA decay of counts and sums.
        revive_below: Codes whose EMA count falls below this are replaced by encodings of the current global batch.
    """

    codebook: Tensor
    ema_cluster_size: Tensor
    ema_w: Tensor
    initialised: Tensor
    updates: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float, revive_below: float) -> None:
        super().__init__()
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer("codebook", torch.randn(num_codes, dim))
        self.register_buffer("ema_cluster_size", torch.zeros(num_codes))
        self.register_buffer("ema_w", torch.randn(num_codes, dim))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, encodings: Tensor) -> tuple[Tensor, Tensor]:
        """Quantises ``[N, D]``; returns codes with straight-through gradient ``[N, D]`` and indices ``[N]``."""
        if self.training and not self.initialised:
            self._initialise(encodings.detach())
        indices = self.nearest(encodings)
        quantised = F.embedding(indices, self.codebook)
        if self.training:
            self._update(encodings.detach(), indices)
        return encodings + (quantised - encodings).detach(), indices

    def nearest(self, encodings: Tensor) -> Tensor:
        """Index of the nearest code by squared Euclidean distance, ``[N]``."""
        distance = self.codebook.pow(2).sum(1) - 2 * encodings @ self.codebook.T
        return distance.argmin(1)

    def _pick(self, pool: Tensor, count: int) -> Tensor:
        """``count`` rows of the global batch; the same on every rank because the generator's seed is shared state."""
        generator = torch.Generator().manual_seed(int(self.updates))
        rows = torch.randint(len(pool), (count,), generator=generator).to(pool.device)
        return pool[rows]

    def _initialise(self, encodings: Tensor) -> None:
        self.codebook.copy_(self._pick(_all_gather(encodings), len(self.codebook)))
        self.ema_w.copy_(self.codebook)
        self.ema_cluster_size.fill_(1.0)
        self.initialised.fill_(True)

    def _update(self, encodings: Tensor, indices: Tensor) -> None:
        num_codes = len(self.codebook)
        counts = _all_reduce(torch.bincount(indices, minlength=num_codes).to(encodings.dtype))
        sums = _all_reduce(torch.zeros_like(self.codebook).index_add_(0, indices, encodings))
        self.ema_cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.ema_w.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        total = self.ema_cluster_size.sum()
        smoothed = (self.ema_cluster_size + 1e-5) / (total + num_codes * 1e-5) * total
        self.codebook.copy_(self.ema_w / smoothed[:, None])
        self.updates.add_(1)
        dead = self.ema_cluster_size < self.revive_below
        if dead.any():
            fresh = self._pick(_all_gather(encodings), int(dead.sum()))
            self.codebook[dead] = fresh
            self.ema_cluster_size[dead] = 1.0
            self.ema_w[dead] = fresh
