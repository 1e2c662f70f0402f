"""Exchange with PCT's and ExpertAF's own code: their state dicts, bare or behind ``keypoint_head.tokenizer.``.

Their networks take bare metres, so `PoseTokenizerConfig.coordinate_scale` is folded into the first and the last layer.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mm_tokenizers.pct import PoseTokenizer, PoseTokenizerConfig
from mm_tokenizers.quantizer import EmaQuantizer
from mm_tokenizers.state_dicts import differences, prefix_of, read_torch_file, tensors_of

PREFIX = "keypoint_head.tokenizer."
_CODEBOOK = ("codebook", "ema_cluster_size", "ema_w")  # top-level buffers there, the quantiser's here


def pct_state_dict(tokenizer: PoseTokenizer, prefix: str = PREFIX) -> dict[str, Tensor]:
    """Returns the weights under PCT's names.

    Args:
        tokenizer: Tokenizer with a codebook.
        prefix: What stands before every name.

    Returns:
        Tensors by name.

    Raises:
        ValueError: The tokenizer has no codebook of PCT's kind (FSQ).
    """
    if not isinstance(tokenizer.quantizer, EmaQuantizer):
        raise ValueError("A tokenizer with finite scalar quantisation has no counterpart in PCT's code.")
    scale = tokenizer.architecture.coordinate_scale
    factors = {"start_embed.weight": scale, "recover_embed.weight": 1 / scale, "recover_embed.bias": 1 / scale}
    state = {}
    for name, value in tokenizer.state_dict().items():
        ours = name.removeprefix("quantizer.")
        if ours == name or ours in _CODEBOOK:
            state[prefix + ours] = (value * factors[ours] if ours in factors else value.clone()).contiguous()
    return state


def save_pct_checkpoint(tokenizer: PoseTokenizer, path: Path, prefix: str = PREFIX) -> None:
    """Writes ``{"state_dict": ...}`` as PCT does."""
    torch.save({"state_dict": pct_state_dict(tokenizer, prefix)}, path)


def load_pct_checkpoint(path: Path) -> PoseTokenizer:
    """Reads a checkpoint of PCT's or ExpertAF's code; its sizes are read off the shapes.

    Keys outside the prefix (a pose detector around the tokenizer) are not ours and are passed over.

    Args:
        path: The checkpoint.

    Returns:
        The tokenizer, frozen.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a checkpoint, one that would run foreign code, 2-D or image-guided, or one whose keys do not fit;
            lists them.
    """
    remedy = (
        "If you trust the file, save its weights alone: "
        "torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, 'weights.pth')."
    )
    tensors = tensors_of(read_torch_file(path, remedy), path)
    prefix = prefix_of(tensors, "token_mlp.weight", path)
    state = {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}
    tokenizer = PoseTokenizer(_architecture(state, path))
    expected = tokenizer.state_dict()
    ours = {f"quantizer.{name}" if name in _CODEBOOK else name: value for name, value in state.items()}
    ours |= {f"quantizer.{name}": expected[f"quantizer.{name}"] for name in ("updates", "revived")}
    ours["quantizer.initialised"] = torch.ones((), dtype=torch.bool)
    if wrong := differences(ours, expected):
        raise ValueError(f"{path} is not a 3-D PCT tokenizer: {wrong}.")
    tokenizer.load_state_dict(ours)
    return tokenizer.eval().requires_grad_(False)


def _architecture(state: Mapping[str, Tensor], path: Path) -> PoseTokenizerConfig:
    needed = {
        "start_embed.weight",
        "codebook",
        "decoder_start.weight",
        "encoder.0.MLP_token.ff.0.weight",
        "decoder.0.MLP_token.ff.0.weight",
    }
    if missing := sorted(needed - state.keys()):
        raise ValueError(f"{path} is not a PCT tokenizer: missing {', '.join(missing)}.")
    width, coordinates = state["start_embed.weight"].shape
    if "start_img_embed.weight" in state or coordinates != 3:
        raise ValueError(
            f"{path}: takes {coordinates} coordinates"
            + (" and image features" if "start_img_embed.weight" in state else "")
            + "; only 3-D tokenizers without image guidance can be used. PCT's released files are 2-D: train one with "
            "recipes/pose_tokenizer.py."
        )
    blocks = {
        part: 1 + max(int(match[1]) for key in state if (match := re.match(rf"{part}\.(\d+)\.", key)))
        for part in ("encoder", "decoder")
    }
    return PoseTokenizerConfig(
        num_tokens=len(state["token_mlp.weight"]),
        num_codes=len(state["codebook"]),
        token_dim=state["codebook"].shape[1],
        encoder_blocks=blocks["encoder"],
        encoder_width=width,
        decoder_blocks=blocks["decoder"],
        decoder_width=len(state["decoder_start.weight"]),
        token_hidden=len(state["encoder.0.MLP_token.ff.0.weight"]),
        coordinate_scale=1.0,
    )
