"""Reads other people's weight files without running code from them, and says how their keys differ from ours."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

WRAPPERS = ("module", "model", "state_dict")
_SHOWN = 8


def read_torch_file(path: Path, remedy: str) -> object:
    """Reads a file that ``torch.save`` wrote.

    Args:
        path: The file.
        remedy: What to do about a file that needs foreign classes.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Reading would run foreign code, or the file is not a checkpoint at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError) as error:
        words = str(error).split()
        foreign = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "GLOBAL"), None)
        if foreign:
            raise ValueError(
                f"{path}: refused, because reading it would run foreign code ({foreign}). {remedy}"
            ) from error
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes that are not a readable checkpoint (truncated, "
            "or a web page or Git LFS pointer saved in its place); download it again."
        ) from error


def tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint, unwrapped; entries of other types (step counts, settings) are passed over.

    Args:
        content: What the file holds.
        path: The file, for the error.

    Returns:
        Tensors by name.

    Raises:
        ValueError: There is none.
    """
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    entries = content if isinstance(content, Mapping) else {}
    tensors = {key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"{path}: holds no named tensors ({type(content).__name__}), so it is not a checkpoint of weights."
        )
    return tensors


def prefix_of(tensors: Mapping[str, Tensor], anchor: str, path: Path) -> str:
    """Finds what stands before the one key that ends in a whole dotted name.

    Args:
        tensors: Tensors by key.
        anchor: The dotted name.
        path: The file, for the error.

    Returns:
        The prefix, empty where the key is the name itself.

    Raises:
        ValueError: There is no such key, or more than one.
    """
    keys = [key for key in tensors if key == anchor or key.endswith(f".{anchor}")]
    if len(keys) != 1:
        raise ValueError(
            f"{path}: {len(keys)} keys end in {anchor}, where one is expected. "
            f"Its keys begin with {', '.join(sorted(tensors)[:_SHOWN])}."
        )
    return keys[0].removesuffix(anchor)


def differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Lists missing, unknown and mis-shaped keys in one sentence, empty where everything fits."""
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unknown": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(expected[key].shape)}"
            for key in sorted(expected.keys() & state.keys())
            if state[key].shape != expected[key].shape
        ],
    }
    return "; ".join(
        f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for kind, keys in problems.items()
        if keys
    )
