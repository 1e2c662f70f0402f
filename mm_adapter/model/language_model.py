"""Language models the coach is built on: real checkpoints, and published shapes without weights."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel

from mm_adapter.model.packed_attention import PACKED_SDPA
from mm_data.ground.safe_load import read_json

PUBLISHED_SHAPES: dict[str, dict[str, Any]] = {
    "meta-llama/Meta-Llama-3-8B-Instruct": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 128000,
        "eos_token_id": 128009,
    }
}
"""Shapes that a dry run uses when the checkpoint itself is out of reach."""

ATTENTIONS = (PACKED_SDPA, "flash_attention_2")

LLAMA = "LlamaForCausalLM"
"""The architecture of every base model, by the name that checkpoints and engines give it."""

_SAMPLE = 4096
"""Bytes per place that `weights_fingerprint` reads."""


def text_config(name: str) -> tuple[PretrainedConfig, str]:
    """Reads the configuration of a language model without its weights.

    Args:
        name: Hub name or local folder.

    Returns:
        The configuration, and where it came from.

    Raises:
        FileNotFoundError: The checkpoint cannot be reached and its shape is not among `PUBLISHED_SHAPES`.
    """
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, HFValidationError) as error:
        if name in PUBLISHED_SHAPES:
            return LlamaConfig(**PUBLISHED_SHAPES[name]), "published shape"
        raise _unreadable(name, error) from error
    refuse_other_architecture(config, name)
    return config, "checkpoint"


def refuse_other_architecture(config: PretrainedConfig, name: str) -> None:
    """Makes sure that a language model is a Llama with an output head: what coaches are built on and exports claim to be.

    Args:
        config: Configuration of the language model.
        name: Name of the language model in the message.

    Raises:
        ValueError: It is another one; names it.
    """
    kind = f"model_type {config.model_type}"
    if config.model_type == LlamaConfig.model_type:
        if not config.architectures or LLAMA in config.architectures:
            return
        kind = f"architecture {', '.join(config.architectures)}"
    raise ValueError(
        f"{name} is no Llama language model: its config.json says {kind}. A coach needs {LLAMA} (model_type llama), such as "
        "Llama 2 and 3, SmolLM2, TinyLlama or Vicuna; engines would load an export of another one with the wrong layers."
    )


def load_language_model(
    name: str, dtype: torch.dtype, quantization: str | None = None, attention: str = PACKED_SDPA
) -> PreTrainedModel:
    """Loads a causal language model.

    Args:
        name: Hub name or local folder.
        dtype: Type of the frozen weights.
        quantization: ``nf4`` loads the linear layers in 4 bits (QLoRA), None does not.
        attention: ``packed_sdpa`` or ``flash_attention_2``; others cannot keep packed samples apart.

    Returns:
        The model.

    Raises:
        FileNotFoundError: Neither a folder nor a reachable hub name.
        ValueError: Unknown quantization or attention, or not a Llama.
    """
    if attention not in ATTENTIONS:
        raise ValueError(f"Unknown attention {attention!r}; choose from {', '.join(ATTENTIONS)}.")
    extra: dict[str, Any] = {}
    if quantization == "nf4":
        from transformers import BitsAndBytesConfig

        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    elif quantization is not None:
        raise ValueError(f"Unknown quantization {quantization!r}; choose nf4 or leave it out.")
    text_config(name)
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, attn_implementation=attention, **extra)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> FileNotFoundError:
    return FileNotFoundError(
        f"Language model {name!r} cannot be read: {error}. Give a local folder (`mm-coach language-model DIR` writes the embedded default)."
    )


def public_name(base_model: str) -> str:
    """Returns the name on the Hub, or the last part of a local path: where somebody keeps their files is nobody's business."""
    return Path(base_model).name if Path(base_model).is_dir() or not _may_be_on_the_hub(base_model) else base_model


def recorded_name(language_model: str) -> str:
    """Returns how a coach notes its language model: a Hub name as it is, a folder by its absolute path."""
    return str(Path(language_model).absolute()) if Path(language_model).is_dir() else language_model


def find_base_model(recorded: str, fingerprint: str, beside: Path, place: str | Path | None = None) -> str:
    """Finds a coach's base model; wherever that is, the weights have to be those of the training.

    Without ``place`` it is looked for where the training had it, then, for a run that moved as a whole, beside the coach's
    folder and each one above: there under the recorded path, and under ever fewer of its last parts.

    Args:
        recorded: Folder or Hub name that the coach notes.
        fingerprint: Fingerprint of the weights in training (`weights_fingerprint`).
        beside: Folder of the coach.
        place: Folder or Hub name where it is now, or None.

    Returns:
        A folder or a name on the Hub.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: Other weights are there.
    """
    expected = recorded if place is None else str(place)
    others, reasons = [], []
    for name in [expected] if place is not None else _places(recorded, beside):
        if not Path(name).is_dir() and not _may_be_on_the_hub(name):
            continue
        try:
            here = weights_fingerprint(name)
        except FileNotFoundError as error:
            reasons.append(f" ({error})")
            continue
        if here == fingerprint:
            return name
        others.append(f"the weights at {name} are {here[:12]}")
    if others:
        raise ValueError(
            f"{beside} was trained on {recorded} with weights {fingerprint[:12]}, but {'; '.join(others)}. "
            "Give the original as --base-model FOLDER; an adapter is useless on another model."
        )
    raise FileNotFoundError(
        f"{beside}: its base model folder {expected} is not here{''.join(reasons)}; give --base-model FOLDER (base_model=FOLDER in Python)."
    )


def _places(recorded: str, beside: Path) -> list[str]:
    """Where a base model may be: as recorded, or below the coach's folder or one above it under the path's last parts."""
    path = Path(recorded)
    if path.is_absolute():
        path = path.relative_to(path.anchor)
    tails = [Path(*path.parts[start:]) for start in range(len(path.parts))]
    above = beside.absolute(), *beside.absolute().parents
    near = (str(folder / tail) for folder in above for tail in tails if (folder / tail).is_dir())
    return list(dict.fromkeys([recorded_name(recorded), *near]))


def _may_be_on_the_hub(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _weight_files(name: str) -> list[Path]:
    folder = Path(name)
    if not folder.is_dir():
        try:
            # Not the twins in other layouts, such as consolidated.safetensors or original/.
            patterns = ["model*.safetensors", "model.safetensors.index.json"]
            folder = Path(snapshot_download(name, allow_patterns=patterns))
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise FileNotFoundError(f"Language model {name!r} is neither a folder nor on the Hub: {error}") from error
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index, "")["weight_map"].values()))
        if missing := [part for part in names if not (folder / part).is_file()]:
            raise FileNotFoundError(f"Language model {name!r} lacks {', '.join(missing)}; download it again.")
        return [folder / part for part in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    files = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))
    if not files:
        raise FileNotFoundError(
            f"Language model {name!r} has no safetensors files; write it again with save_pretrained."
        )
    return files


def weights_fingerprint(name: str) -> str:
    """Computes the identity of a language model's weights from names, types, shapes and a sample of every tensor's bytes.

    Reads 12 KiB per tensor, so that an 8B model takes a fraction of a second. Where the files lie and how they are cut does
    not matter.

    Args:
        name: Hub name (in the cache) or local folder.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        FileNotFoundError: No safetensors files.
    """
    tensors = {}
    for path in _weight_files(name):
        with path.open("rb") as file:
            header, size = _header(path, file)
            header.pop("__metadata__", None)
            for tensor, entry in header.items():
                start, stop = entry["data_offsets"]
                digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
                for place in (start, (start + stop) // 2, max(start, stop - _SAMPLE)):
                    file.seek(8 + size + place)
                    digest.update(file.read(min(_SAMPLE, stop - place)))
                tensors[tensor] = digest.hexdigest()
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def _header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """A safetensors file's header and its size in bytes."""
    try:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size)), size
    except (struct.error, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); download or copy it again.") from error


def word_embeddings(name: str) -> Tensor:
    """Reads a language model's input embeddings ``[vocabulary, H]``, without the rest of it."""
    for path in _weight_files(name):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key.endswith("embed_tokens.weight"):
                    return file.get_tensor(key)
    raise FileNotFoundError(f"Language model {name!r} has no tensor named embed_tokens.weight.")
