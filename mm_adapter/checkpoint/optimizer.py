"""Optimizer state by parameter name, whole: written by any launcher on any number of ranks, read by any other.

DeepSpeed and FSDP have formats of their own that only the same number of ranks can read. What trains here is small next to
the frozen rest, so the state is gathered parameter by parameter instead, into safetensors files of bounded size.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mm_adapter.distributed import gathered, is_zero, laid_out_like, whole_parameter, whole_shape, whole_tensor

INDEX = "optimizer.json"
_SHARD_BYTES = 2 * 2**30
_ADAM = ("exp_avg", "exp_avg_sq")
_MASTER = "master"


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def innermost(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside accelerate's and DeepSpeed's wrappers."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _prepare_zero(optimizer: Any, inner: torch.optim.Optimizer) -> None:
    """Lets DeepSpeed find the state of every parameter, also before the first step."""
    zero: Any = getattr(optimizer, "optimizer", None)
    if not hasattr(zero, "_optimizer_step"):
        return
    sharded = getattr(zero, "fp32_partitioned_groups_flat", None)  # ZeRO-3
    flats = sharded if sharded is not None else zero.single_partition_of_fp32_groups
    if not any(inner.state.values()):
        # A step of size zero on gradients of zero makes the optimizer create its state.
        rates = [group["lr"] for group in inner.param_groups]
        for number, flat in enumerate(flats):
            for group in inner.param_groups:
                group["lr"] = 0.0
            flat.grad = torch.zeros_like(flat)
            zero._optimizer_step(number)
            flat.grad = None
        for group, rate in zip(inner.param_groups, rates, strict=True):
            group["lr"] = rate
    if sharded is None:
        # DeepSpeed links states after the first group's first step, when the other groups have none yet, and never again.
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _entries(parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Whole tensors of one parameter's state. Collective."""
    if is_zero(parameter):
        from deepspeed.utils import safe_get_full_optimizer_state

        for key in _ADAM:
            value = safe_get_full_optimizer_state(parameter, key)
            if value is None:
                raise RuntimeError(f"ZeRO keeps no {key}; checkpoints under DeepSpeed need an Adam optimizer.")
            yield key, value.view(whole_shape(parameter))
        yield _MASTER, whole_parameter(parameter)
        return
    for key, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, Tensor) and key != "step":  # counted once for all (`_steps`)
            if isinstance(parameter, DTensor) and value.shape != parameter.shape:
                raise RuntimeError(
                    f"FSDP2 cannot cut {key} of shape {tuple(value.shape)} up again, because its parameter has {tuple(parameter.shape)}; "
                    "checkpoints under FSDP2 need an Adam optimizer of 32 bits."
                )
            yield key, whole_tensor(value)


def _steps(optimizer: torch.optim.Optimizer) -> float:
    """Updates that the optimizer has made, as it counts them itself."""
    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    counts += [group["step"] for group in optimizer.param_groups if "step" in group]
    return max((float(count) for count in counts), default=0.0)


def write_optimizer(folder: Path, model: nn.Module, optimizer: Any, keep: bool) -> None:
    """Writes ``optimizer-N.safetensors`` and ``optimizer.json``. Collective: every rank calls it.

    Args:
        folder: The checkpoint.
        model: Names the parameters.
        optimizer: As accelerate prepared it.
        keep: Whether this rank writes.
    """
    inner = innermost(optimizer)
    _prepare_zero(optimizer, inner)
    shard: dict[str, Tensor] = {}
    files: list[str] = []

    def flush() -> None:
        files.append(f"optimizer-{len(files) + 1}.safetensors")
        save_file(shard, folder / files[-1])
        shard.clear()

    for name, parameter in _trainable(model):
        for key, value in _entries(parameter, inner):
            if keep:
                shard[f"{name}/{key}"] = value.detach().to("cpu", copy=True).contiguous()
        if sum(tensor.nbytes for tensor in shard.values()) > _SHARD_BYTES:
            flush()
    if keep:
        flush()
        zero = any(is_zero(parameter) for _, parameter in _trainable(model))  # wraps another optimizer than others do
        # bitsandbytes and Adafactor count the updates of each parameter in a plain integer.
        integers = not zero and any(isinstance(state.get("step"), int) for state in inner.state.values())
        names = [name for name, _ in _trainable(model)]  # of those without state too, as with plain SGD
        index = {"files": files, "parameters": names, "steps": _steps(inner), "integers": integers}
        (folder / INDEX).write_text(json.dumps(index))


def read_optimizer(folder: Path, model: nn.Module, optimizer: Any) -> None:
    """Puts a written state into a fresh optimizer, on every rank.

    Args:
        folder: Folder of the checkpoint.
        model: Model with the same trainable parameters.
        optimizer: Fresh optimizer, prepared by accelerate.

    Raises:
        ValueError: The state belongs to other parameters; lists them.
    """
    inner = innermost(optimizer)
    _prepare_zero(optimizer, inner)
    index = json.loads((folder / INDEX).read_text())
    parameters = dict(_trainable(model))
    written = set(index["parameters"])
    if written != set(parameters):
        raise ValueError(
            f"{folder}: optimizer state of {sorted(written - set(parameters))[:4]} has no parameter, and "
            f"{sorted(set(parameters) - written)[:4]} have no state; resume with the settings that the run was begun with."
        )
    for file in index["files"]:
        with safe_open(folder / file, "pt") as opened:
            for entry in opened.keys():  # noqa: SIM118 (not a dictionary)
                name, key = entry.rsplit("/", 1)
                _restore(parameters[name], inner, key, opened.get_tensor(entry))
    in_groups = [group for group in inner.param_groups if "step" in group]
    for group in in_groups:
        group["step"] = int(index["steps"])
    for state in inner.state.values() if not in_groups else ():
        if index["integers"] or isinstance(state.get("step"), int):
            state["step"] = int(index["steps"])
            continue
        # Fused kernels want the count beside the parameter, others on the CPU.
        beside = inner.defaults.get("fused") or inner.defaults.get("capturable")
        device = next(value.device for value in state.values() if isinstance(value, Tensor)) if beside else "cpu"
        state["step"] = torch.tensor(index["steps"], device=device)


def _restore(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, key: str, value: Tensor) -> None:
    if is_zero(parameter):
        _restore_zero(parameter, key, value.to(parameter.device))
    elif key != _MASTER:
        optimizer.state[parameter][key] = _placed(value, parameter, optimizer)


def _placed(value: Tensor, parameter: nn.Parameter, optimizer: Any) -> Tensor:
    """A part of a parameter's state beside it, whatever its shape; in paged memory where the optimizer keeps it there."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    if hasattr(optimizer, "get_state_buffer"):  # bitsandbytes
        return optimizer.get_state_buffer(parameter, dtype=value.dtype).copy_(value)
    return laid_out_like(value, parameter)


def _restore_zero(parameter: nn.Parameter, key: str, value: Tensor) -> None:
    from deepspeed import utils

    if hasattr(parameter, "ds_id"):
        # Each rank's part by hand: DeepSpeed's own setter fails where the ranks do not divide the parameter.
        part = utils.safe_get_local_fp32_param(parameter)
        assert part is not None
        rank = torch.distributed.get_rank(parameter.ds_process_group)  # type: ignore[attr-defined]
        padded = F.pad(value.flatten(), (0, part.numel() * (rank + 1)))
        local = padded[part.numel() * rank : part.numel() * (rank + 1)]
        if key == _MASTER:
            utils.safe_set_local_fp32_param(parameter, local)
        elif key in _ADAM:
            utils.safe_set_local_optimizer_state(parameter, local, key)
    elif key == _MASTER:
        utils.safe_set_full_fp32_param(parameter, value)
    elif key in _ADAM:
        utils.safe_set_full_optimizer_state(parameter, value, key)
    if key == _MASTER:
        with torch.no_grad(), gathered([parameter]):
            parameter.copy_(value)  # what the forward pass reads
