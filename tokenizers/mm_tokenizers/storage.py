"""Saves, loads and fingerprints pose tokenizers."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from mm_data.ground.files import replacing
from mm_tokenizers.pct import PoseTokenizer, PoseTokenizerConfig
from mm_tokenizers.state_dicts import differences

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def save_tokenizer(tokenizer: PoseTokenizer, folder: Path) -> str:
    """Writes ``config.json`` and ``model.safetensors``, both whole or not at all; returns the fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG_FILE) as config, replacing(folder / WEIGHTS_FILE) as weights:
        config.write_text(json.dumps(asdict(tokenizer.architecture), indent=2))
        save_file({name: value.contiguous() for name, value in tokenizer.state_dict().items()}, weights)
    return fingerprint(tokenizer)


def load_tokenizer(folder: Path) -> PoseTokenizer:
    """Loads a frozen tokenizer in evaluation mode.

    Args:
        folder: Folder of the tokenizer.

    Returns:
        The tokenizer.

    Raises:
        FileNotFoundError: The folder holds no tokenizer.
        ValueError: The weights do not fit the configuration; lists the keys.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; train a pose tokenizer with recipes/pose_tokenizer.py or give another "
                "folder."
            )
    tokenizer = PoseTokenizer(PoseTokenizerConfig(**json.loads((folder / CONFIG_FILE).read_text())))
    state = load_file(folder / WEIGHTS_FILE)
    if wrong := differences(state, tokenizer.state_dict()):
        raise ValueError(f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}: {wrong}.")
    tokenizer.load_state_dict(state)
    return tokenizer.eval().requires_grad_(False)


def fingerprint(tokenizer: PoseTokenizer) -> str:
    """Returns the SHA-256 of configuration and weights; every artefact made with a tokenizer carries it."""
    digest = hashlib.sha256(json.dumps(asdict(tokenizer.architecture), sort_keys=True).encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
