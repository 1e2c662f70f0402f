"""How much memory vLLM may take on a CPU, where it shares that memory with everything else that runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import torch

MOST_CACHE = 4 * 2**30
"""Bytes of a cache of keys and values: some 30,000 tokens of an 8B model, far more than a coach's conversations need."""
LEAST_CACHE = 2**28

_DECIDES = ("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--config")
_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"


def cache_flags(export: Path, flags: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Flags that give vLLM a modest cache on a CPU; none with an accelerator, or where somebody decided.

    By itself vLLM asks for 0.92 of all memory, and stops where so much is not free. Here the cache gets half of what the
    weights leave free, up to `MOST_CACHE`.

    Args:
        export: Folder with the weights.
        flags: Further flags for vLLM, which may decide.
        environment: Environment variables, which may decide too.

    Returns:
        The flags.
    """
    named = {flag.partition("=")[0].replace("_", "-") for flag in flags}
    if torch.accelerator.is_available() or environment.get(_VARIABLE) or named.intersection(_DECIDES):
        return []
    weights = sum(file.stat().st_size for file in export.rglob("*.safetensors"))
    free = psutil.virtual_memory().available - weights
    return ["--kv-cache-memory-bytes", str(min(MOST_CACHE, max(LEAST_CACHE, free // 2)))]
