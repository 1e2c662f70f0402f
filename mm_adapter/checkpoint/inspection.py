"""Looks at a coach on disk without opening it as a model."""

import math
from pathlib import Path

from safetensors import safe_open

from mm_adapter.checkpoint.coach import read_config, weight_problem
from mm_adapter.checkpoint.seal import problems, read_manifest
from mm_adapter.model.language_model import find_base_model


def tensor_sizes(path: Path) -> list[int]:
    """Number of values of each tensor of a safetensors file, from its header."""
    with safe_open(path, "pt") as file:
        return [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118


def verify_coach(folder: Path, base_model: str | None = None) -> tuple[list[str], str | None]:
    """Checks every file's hash, every trained weight's values, and the base model's fingerprint.

    Args:
        folder: A coach or a checkpoint.
        base_model: Folder or Hub name of the language model, where it is not where training had it.

    Returns:
        What is wrong, a sentence each, and the base model's name where it is not here and was not checked.

    Raises:
        FileNotFoundError: ``folder`` is no coach, or there is no language model at ``base_model``.
    """
    faults = problems(folder, everything=True)
    config, unchecked = read_config(folder), None
    for file in map(folder.joinpath, read_manifest(folder)["files"]):
        if file.suffix != ".safetensors" or file.parent.name == "pose_tokenizer" or file.name.startswith("optimizer"):
            continue
        if not file.is_file() or any(problem.startswith(f"{file.relative_to(folder)} ") for problem in faults):
            continue  # its values mean nothing
        with safe_open(file, "pt") as tensors:
            wrong = [weight_problem(key, tensors.get_tensor(key)) for key in tensors.keys()]  # noqa: SIM118
        faults += [f"{file.relative_to(folder)}: {problem}" for problem in wrong if problem]
    if config.mode != "full":
        try:
            find_base_model(config.base_model, config.base_model_fingerprint, folder, base_model)
        except FileNotFoundError:
            if base_model is not None:
                raise
            unchecked = config.base_model
        except ValueError as error:
            faults.append(str(error))
    return faults, unchecked
