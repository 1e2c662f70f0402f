"""The embedded language model as a folder that says which file it was written from."""

import json
from pathlib import Path

from mm_adapter.model.language_model import embedded_source_hash, weights_fingerprint, write_embedded_language_model
from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import read_json

RECORD = "embedded.json"
"""Hashes of the embedded file and of the weights that were written from it; written last."""


def ensure_embedded_language_model(out: Path) -> bool:
    """Writes SmolLM2-135M-Instruct as a checkpoint folder, unless it is there.

    Args:
        out: The folder.

    Returns:
        Whether it was written now.

    Raises:
        ModuleNotFoundError: The package that embeds the model is not installed.
        ValueError: The folder holds something else, or what an interrupted run left.
    """
    if (out / RECORD).is_file():
        before, now = read_json(out / RECORD, ""), _hashes(out)
        if changed := [f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]]:
            raise ValueError(f"{out} holds another model: {'; '.join(changed)}. Give another folder.")
        return False
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(
            f"{out} is not empty and holds no finished model of this command ({RECORD} is missing); "
            "give another folder, or delete it."
        )
    out.mkdir(parents=True, exist_ok=True)  # transformers only logs that a folder cannot be made
    write_embedded_language_model(out)
    write_atomically(out / RECORD, json.dumps(_hashes(out), indent=1))
    return True


def _hashes(folder: Path) -> dict[str, str]:
    return {"source": embedded_source_hash(), "weights": weights_fingerprint(str(folder))}
