"""The metrics as modules of Hugging Face's ``evaluate``: ``evaluate.load(module_path("coaching_text"))``.

``coaching_text``, ``pose_error``, ``aqa_score`` and ``expert_retrieval`` load without a network, combine and accumulate like any other
module. They give values alone; intervals, signatures and what failed are in the functions that they call.
"""

from pathlib import Path


def module_path(name: str) -> str:
    """Returns the folder of a module, for ``evaluate.load``.

    Args:
        name: Name of the module.

    Returns:
        The folder.

    Raises:
        ValueError: There is no such module.
    """
    here = Path(__file__).parent
    if not (here / name / f"{name}.py").is_file():
        known = sorted(path.parent.name for path in here.glob("*/*.py"))
        raise ValueError(f"No module {name!r}; choose from {', '.join(known)}.")
    return str(here / name)
