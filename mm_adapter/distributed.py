"""Small helpers that make the same code run on one process, DDP and ZeRO-3."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def gathered(parameters: Iterable[nn.Parameter | Tensor]) -> Iterator[None]:
    """Makes ZeRO-3's partitioned parameters whole inside the block; changes of rank 0 are kept. No-op elsewhere."""
    partitioned = [p for p in parameters if hasattr(p, "ds_id")]
    if not partitioned:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(partitioned, modifier_rank=0):
        yield
