"""Quantisers of encodings ``[N, D]`` with K codes: a moving-average codebook (PCT's) and finite scalar quantisation.

Both have a ``codebook`` ``[K, D]``, give ``nearest`` indices, and return from ``forward`` the codes with a straight-through
gradient, the indices and a commitment loss. All state, the initialised flag included, lives in buffers, so a resumed run
continues instead of starting over. Ranks exchange counts and sums only, and one rank on a batch equals several ranks on
its parts.
"""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-5


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
    """Nearest-neighbour quantiser whose codebook follows its encodings (PCT; `systems.md` §1.3).

    Beyond the reference, the codebook starts as encodings of the first global batch, and codes that fall out of use are
    replaced by encodings of the current one.

    Args:
        num_codes: K, codes in the codebook.
        dim: D, width of a code.
        decay: EMA decay of counts and sums.
        revive_below: EMA count under which a code is replaced; 0 never replaces.
    """

    codebook: Tensor
    ema_cluster_size: Tensor
    ema_w: Tensor
    initialised: Tensor
    updates: Tensor
    revived: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float, revive_below: float) -> None:
        super().__init__()
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer("codebook", torch.randn(num_codes, dim))
        self.register_buffer("ema_cluster_size", torch.zeros(num_codes))
        self.register_buffer("ema_w", torch.randn(num_codes, dim))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("revived", torch.zeros((), dtype=torch.long))

    def forward(self, encodings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantises ``[N, D]``: codes ``[N, D]``, indices ``[N]``, mean squared distance to the codes."""
        if self.training and not self.initialised:
            self._initialise(encodings.detach())
        indices = self.nearest(encodings)
        quantised = F.embedding(indices, self.codebook).detach()
        if self.training:
            self._update(encodings.detach(), indices)
        return encodings + (quantised - encodings).detach(), indices, F.mse_loss(encodings, quantised)

    def nearest(self, encodings: Tensor) -> Tensor:
        """Returns the index of the nearest code by squared Euclidean distance, ``[N]``."""
        return torch.addmm(self.codebook.pow(2).sum(1), encodings, self.codebook.T, alpha=-2).argmin(1)

    def _pick(self, pool: Tensor, count: int) -> Tensor:
        """``count`` rows of the global batch; the same on every rank because the generator's seed is shared state."""
        generator = torch.Generator().manual_seed(int(self.updates))
        rows = torch.randperm(len(pool), generator=generator)
        if count > len(pool):
            rows = torch.randint(len(pool), (count,), generator=generator)
        return pool[rows[:count].to(pool.device)]

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
        total = self.ema_cluster_size.sum()
        self.ema_cluster_size.add_(_EPSILON).mul_(total / (total + num_codes * _EPSILON))
        self.ema_w.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        self.codebook.copy_(self.ema_w / self.ema_cluster_size[:, None])
        self.updates.add_(1)
        dead = self.ema_cluster_size < self.revive_below
        if dead.any():
            fresh = self._pick(_all_gather(encodings), int(dead.sum()))
            self.codebook[dead] = fresh
            self.ema_cluster_size[dead] = 1.0
            self.ema_w[dead] = fresh
            self.revived.add_(len(fresh))


class FsqQuantizer(nn.Module):
    """Finite scalar quantisation (Mentzer et al. 2023, §3): each of a few channels is rounded to a fixed number of levels.

    Nothing is learned but a linear layer on each side, so there is no codebook to collapse and no commitment loss. Code
    k is the mixed-radix number of its levels, first channel fastest.

    Args:
        levels: Levels per channel; K is their product.
        dim: D, width of a code.
    """

    grid: Tensor

    def __init__(self, levels: Sequence[int], dim: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, len(levels))
        self.project_out = nn.Linear(len(levels), dim)
        self.levels = tuple(levels)
        axes = torch.meshgrid(*(torch.arange(count) for count in reversed(levels)), indexing="ij")
        digits = torch.stack([axis.flatten() for axis in reversed(axes)], dim=-1)  # [K, channels]
        half = torch.tensor(levels).float().sub(1) / 2
        self.register_buffer("grid", (digits - half) / half, persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All codes ``[K, D]``."""
        return self.project_out(self.grid)

    def forward(self, encodings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantises ``[N, D]``: codes ``[N, D]``, indices ``[N]``, and a commitment loss of zero."""
        bounded, half, digits = self._rounded(encodings)
        codes = self.project_out(bounded + ((digits - half) / half - bounded).detach())
        return codes, self._index(digits), encodings.new_zeros(())

    def nearest(self, encodings: Tensor) -> Tensor:
        """Returns the index of the code that each encoding is rounded to, ``[N]``."""
        return self._index(self._rounded(encodings)[2])

    def _rounded(self, encodings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Channels in (-1, 1), half the distance between the outermost levels of each in steps, and the levels they are rounded to.

        Channels are stretched a little so that the outermost levels are as wide as the others.
        """
        half = encodings.new_tensor(self.levels).sub(1) / 2
        bounded = torch.tanh(self.project_in(encodings)) * ((half + 0.5 - 1e-3) / half)
        return bounded, half, (bounded * half + half).round()

    def _index(self, digits: Tensor) -> Tensor:
        radix = [math.prod(self.levels[:channel]) for channel in range(len(self.levels))]
        return (digits.long() * torch.tensor(radix, device=digits.device)).sum(-1)
