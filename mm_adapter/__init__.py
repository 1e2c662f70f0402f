"""The coach: frozen encoders, mappers, a Llama-architecture language model, its training and its use.

`Coach` and `score` are loaded when they are first used, so that `import mm_adapter` and the command line start without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_adapter.evaluation.score import score
    from mm_adapter.inference.coach import Coach

__all__ = ["Coach", "score"]

_HOMES = {"Coach": "mm_adapter.inference.coach", "score": "mm_adapter.evaluation.score"}


def __getattr__(name: str) -> Any:
    """Loads a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
