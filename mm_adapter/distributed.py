"""Small helpers that make the same code run on one process, DDP, ZeRO and FSDP2."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import uuid4

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

T = TypeVar("T")


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


def launched_processes() -> PartialState:
    """Returns this process among those that `accelerate launch` started, or a single one.

    Without being told, accelerate takes several processes on a CPU for single ones.
    """
    return PartialState(cpu=not torch.cuda.is_available())


def launch_name() -> str:
    """Draws a name that the processes of one launch agree on and that no other launch has. Collective: every process asks at the same time.

    Ids of launchers and of their processes repeat from one container to the next, so the main process draws one.
    """
    return agreed(lambda: uuid4().hex)


def is_zero(parameter: Tensor) -> bool:
    """Tells whether DeepSpeed's ZeRO keeps a float32 master and optimizer state of this parameter."""
    return hasattr(parameter, "_hp_mapping") or hasattr(parameter, "_z3_optimizer")


def whole_parameter(parameter: nn.Parameter) -> Tensor:
    """Returns the full value of a trainable parameter, ZeRO's float32 master where there is one. Collective."""
    if is_zero(parameter):
        from deepspeed.utils import safe_get_full_fp32_param

        value = safe_get_full_fp32_param(parameter)
        assert value is not None
        return value.detach().view(whole_shape(parameter))
    with gathered([parameter]):
        return whole_tensor(parameter.detach()).clone()


def whole_shape(parameter: Tensor) -> torch.Size:
    """Returns the shape of the full parameter; a partitioned one has another."""
    return getattr(parameter, "ds_shape", parameter.shape)


def whole_tensor(tensor: Tensor) -> Tensor:
    """Makes FSDP2's sharded tensor whole; others stay as they are. Collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_like(tensor: Tensor, model: Tensor) -> Tensor:
    """Lays out a full tensor, equal on all ranks, on the device and with the sharding of another."""
    if isinstance(model, DTensor):
        return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
    return tensor.to(model.device)


def largest_of_ranks(count: int, parameter: Tensor) -> int:
    """Returns the largest of all ranks' counts where using a parameter is collective (ZeRO-3), this rank's own elsewhere."""
    if not hasattr(parameter, "ds_id") or torch.distributed.get_world_size() == 1:
        return count
    largest = torch.tensor(count, device=parameter.device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return int(largest)


def agreed(choose: Callable[[], T]) -> T:
    """Returns what the main process chooses, on every process; for choices that look at, or clear up, shared files."""
    chosen = [choose() if PartialState().is_main_process else None]
    broadcast_object_list(chosen)
    return chosen[0]  # type: ignore[return-value]


def device_and_dtype(device: torch.device | None = None) -> tuple[torch.device, torch.dtype]:
    """Returns a device, by default this process's own, and the type in which models run on it (`native_dtype`)."""
    device = device or torch.device(launched_processes().device or "cpu")
    return device, native_dtype(device)


def native_dtype(device: torch.device) -> torch.dtype:
    """Returns bfloat16 where the hardware multiplies it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
