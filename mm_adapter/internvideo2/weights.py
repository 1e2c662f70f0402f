"""Loads InternVideo2's published files, whichever of their layouts they have (`systems.md` §§2.6-2.7).

Files differ in five ways, all of which are read off the file itself: weights wrapped in ``module``, ``model`` or
``state_dict`` or bare; keys behind a prefix such as ``vision_encoder.`` beside a text tower, or bare; LayerScale called
``.gamma`` or, in files that transformers wrote, ``.weight``; positions for 4 or 8 frames; separate image positions or none.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mm_adapter.internvideo2.modeling import PRESETS, InternVideo2, InternVideo2Config

_WRAPPERS = ("module", "model", "state_dict")
_ANCHOR = "patch_embed.proj.weight"
_PUBLISHED_PATCHES = 256  # per frame: every published file is for 224 pixels in patches of 14
_TRAINING_ONLY = (
    "clip_decoder.",  # distillation targets of stages 1 and 2
    "final_clip_decoder.",
    "clip_pos_embed",
    "clip_img_pos_embed",
    "mae_decoder.",
    "mae_pos_embed",
    "fc_norm.",  # the classifier of fine-tuned files
    "head.",
)
_SHOWN = 8  # keys listed per kind in an error


def build_encoder(
    preset: str,
    weights: Path | None,
    frames: int | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[InternVideo2, str]:
    """A frozen encoder and its honest name.

    Args:
        preset: Key of `PRESETS`.
        weights: A published file or a folder of safetensors, or None for seeded random weights.
        frames: T per clip; positions are interpolated. None keeps the file's, or the preset's without a file.
        dtype: Type of the weights.
        seed: Seed of random weights.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown preset, or a file that does not fit; see `load_published`.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown video encoder {preset!r}; choose one of {', '.join(PRESETS)}.")
    if frames is not None and frames < 1:
        raise ValueError(f"{frames} frames per clip; at least 1 is needed.")
    if weights is not None:
        encoder, name = load_published(weights, PRESETS[preset], frames), f"InternVideo2-{preset} ({weights.name})"
    else:
        encoder = _random_encoder(replace(PRESETS[preset], frames=frames or PRESETS[preset].frames), seed)
        name = f"InternVideo2-{preset} (random weights)"
    return encoder.to(dtype).eval().requires_grad_(False), name


def _random_encoder(config: InternVideo2Config, seed: int) -> InternVideo2:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = InternVideo2(config)
    # The published initial LayerScale of 1e-5 makes an untrained trunk the identity; let random blocks contribute.
    for name, parameter in encoder.named_parameters():
        if name.endswith(".gamma"):
            nn.init.constant_(parameter, 0.5)
    return encoder


def load_published(path: Path, config: InternVideo2Config, frames: int | None = None) -> InternVideo2:
    """Loads a published file, strictly.

    Args:
        path: ``.pt``, ``.pth``, ``.bin`` or ``.safetensors``, or a folder with (sharded) safetensors.
        config: Size that the file has to have. Frames, image positions and the projection are taken from the file.
        frames: T to interpolate the positions to; None keeps the file's.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a checkpoint, a pickle that needs foreign classes, or keys that are unknown, missing or
            mis-shaped; lists them.
    """
    state = _vision_state(_read(path), path)
    config = replace(
        config,
        frames=_frames_of(state, path),
        image_positions="img_pos_embed" in state,
        embed_dim=len(state["vision_proj.weight"]) if "vision_proj.weight" in state else 0,
    )
    if frames is not None and frames != config.frames:
        state["pos_embed"] = interpolate_positions(state["pos_embed"], config.frames, frames, config.grid)
        config = replace(config, frames=frames)
    elif config.grid**2 != _PUBLISHED_PATCHES:
        state["pos_embed"] = interpolate_positions(state["pos_embed"], config.frames, config.frames, config.grid)
    if "img_pos_embed" in state:
        state["img_pos_embed"] = interpolate_positions(state["img_pos_embed"], 1, 1, config.grid)
    with torch.device("meta"):
        encoder = InternVideo2(config)
    _check_keys(state, encoder.state_dict(), path)
    encoder.load_state_dict(state, assign=True)
    return encoder


def interpolate_positions(positions: Tensor, old_frames: int, new_frames: int, new_grid: int) -> Tensor:
    """Position embedding ``[1, 1 + T0·S0, D]`` for another number of frames and patches, CLS row untouched.

    Linear over frames at every place, then bicubic over places in every frame (``align_corners`` false), as the
    reference's ``interpolate_pos_embed_internvideo2_new`` does.
    """
    cls, patches = positions[:, :1], positions[:, 1:].float()
    patches = patches.unflatten(1, (old_frames, -1))  # [1, T0, S0, D]
    if new_frames != old_frames:
        series = patches[0].permute(1, 2, 0)  # [S0, D, T0]
        patches = F.interpolate(series, size=new_frames, mode="linear").permute(2, 0, 1)[None]
    side = round(patches.shape[2] ** 0.5)
    if new_grid != side:
        maps = patches[0].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # [T, D, side, side]
        maps = F.interpolate(maps, size=(new_grid, new_grid), mode="bicubic", align_corners=False)
        patches = maps.flatten(2).transpose(1, 2)[None]
    return torch.cat([cls, patches.flatten(1, 2).to(positions.dtype)], dim=1)


def _read(path: Path) -> Mapping[str, Any]:
    """The file's content, without running any code from it."""
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the downloaded InternVideo2 file.")
    size = path.stat().st_size
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, because reading it would run foreign code ({_foreign_class(error)}). Use the safetensors of the "
            "same model (OpenGVLab/InternVideo2-Stage2_6B for the 6B), or, if you trust the file, save its weights alone where "
            "that class is installed: torch.save(torch.load(FILE, weights_only=False)['module'], 'weights.pt')."
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: {size:,} bytes that are not a readable checkpoint ({str(error).splitlines()[0]}); download it again."
        ) from error


def _read_folder(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    )
    state: dict[str, Tensor] = {}
    for name in names:
        state.update(_read(folder / Path(name).name))
    return state


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _foreign_class(error: Exception) -> str:
    words = str(error).split()
    return next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "GLOBAL"), "a class that is not a tensor")


def _vision_state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The encoder's weights under our names; everything else in the file is known to be something else."""
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    anchors = [key for key in content if key.endswith(_ANCHOR)]
    if len(anchors) != 1:
        raise ValueError(
            f"{path}: {len(anchors)} keys end in {_ANCHOR}, where an InternVideo2 file has one. Its keys begin with "
            f"{', '.join(sorted(map(str, content))[:_SHOWN]) or 'nothing'}."
        )
    prefix = anchors[0].removesuffix(_ANCHOR)
    projection = prefix.removesuffix("vision_encoder.") + "vision_proj."
    state = {}
    for key, value in content.items():
        if key.startswith(projection):
            state["vision_proj." + key.removeprefix(projection)] = value
        elif key.startswith(prefix) and not key.removeprefix(prefix).startswith(_TRAINING_ONLY):
            name = key.removeprefix(prefix)
            state[name.replace(".ls1.weight", ".ls1.gamma").replace(".ls2.weight", ".ls2.gamma")] = value
    return state


def _frames_of(state: Mapping[str, Tensor], path: Path) -> int:
    if "pos_embed" not in state:
        raise ValueError(f"{path}: has no pos_embed, so it is not a whole InternVideo2 encoder (an adapter, perhaps).")
    rows = state["pos_embed"].shape[1] - 1
    if rows < _PUBLISHED_PATCHES or rows % _PUBLISHED_PATCHES:
        raise ValueError(
            f"{path}: pos_embed has {rows} patch rows; published files have a multiple of {_PUBLISHED_PATCHES} (224 pixels, patch 14)."
        )
    return rows // _PUBLISHED_PATCHES


def _check_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unknown": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(expected[key].shape)}"
            for key in sorted(expected.keys() & state.keys())
            if state[key].shape != expected[key].shape
        ],
    }
    if any(problems.values()):
        shown = "; ".join(
            f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
            for kind, keys in problems.items()
            if keys
        )
        width = state["cls_token"].shape[-1] if "cls_token" in state else None
        fitting = [name for name, config in PRESETS.items() if config.width == width]
        hint = f" By its width the file is {fitting[0]}." if fitting and "cls_token" in shown else ""
        raise ValueError(f"{path} does not fit the encoder: {shown}.{hint}")
