"""Loads InternVideo2's published files, whichever of their layouts they have (`systems.md` §§2.6-2.7).

Files differ in five ways, all of which are read off the file itself: weights wrapped in ``module``, ``model`` or
``state_dict`` or bare; keys behind a prefix such as ``vision_encoder.`` beside a text tower, or bare; LayerScale called
``.gamma`` or, in files that transformers wrote, ``.weight``; positions for 4 or 8 frames; separate image positions or none.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mm_adapter.features.internvideo2.modeling import PRESETS, InternVideo2, InternVideo2Config
from mm_tokenizers.state_dicts import differences, prefix_of, read_torch_file, tensors_of

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


def build_encoder(
    preset: str,
    weights: Path | None,
    frames: int | None = None,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    random_weights: bool = False,
) -> tuple[InternVideo2, str]:
    """Builds a frozen encoder.

    Args:
        preset: Key of `PRESETS`.
        weights: A published file or a folder of safetensors, or None for seeded random weights, which all but ``tiny`` have
            on request only.
        frames: T per clip; positions are interpolated. None keeps the file's, or the preset's without a file.
        image_size: Pixels along one side, a multiple of the patch; positions are interpolated. None keeps the preset's.
        dtype: Type of the weights.
        seed: Seed of random weights.
        random_weights: Whether a published size may have random weights, to try out speed and memory.

    Returns:
        The encoder, and a name that says which weights it has.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown preset, no weights, or a file that does not fit; see `load_published`.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown video encoder {preset!r}; choose one of {', '.join(PRESETS)}.")
    if weights is not None and random_weights:
        raise ValueError(f"{weights} and random weights exclude each other; leave --weights or --random-weights out.")
    if frames is not None and frames < 1:
        raise ValueError(f"{frames} frames per clip; at least 1 is needed.")
    config = replace(PRESETS[preset], image_size=image_size or PRESETS[preset].image_size)
    if config.image_size < config.patch or config.image_size % config.patch:
        raise ValueError(f"Image size {config.image_size} is not a multiple of the patch size {config.patch}.")
    if weights is None and preset != "tiny" and not random_weights:
        raise ValueError(
            f"The video encoder {preset} needs its weights: give the published file with --weights FILE. Features of random weights "
            "are worthless; to try out speed and memory, ask for them with --random-weights."
        )
    if weights is not None:
        encoder, name = load_published(weights, config, frames), f"InternVideo2-{preset} ({weights.name})"
    else:
        encoder = _random_encoder(replace(config, frames=frames or config.frames), seed)
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

    Returns:
        The encoder.

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
        pooling=any(key.startswith("clip_projector.") for key in state),
    )
    if not config.pooling:  # the last block only feeds the pooling
        state = {key: value for key, value in state.items() if not key.startswith(f"blocks.{config.depth - 1}.")}
    frames = frames or config.frames
    state["pos_embed"] = interpolate_positions(state["pos_embed"], config.frames, frames, config.grid)
    config = replace(config, frames=frames)
    if "img_pos_embed" in state:
        state["img_pos_embed"] = interpolate_positions(state["img_pos_embed"], 1, 1, config.grid)
    with torch.device("meta"):
        encoder = InternVideo2(config)
    if wrong := differences(state, encoder.state_dict()):
        width = state["cls_token"].shape[-1] if "cls_token" in state else None
        others = [name for name, preset in PRESETS.items() if preset.width == width != config.width]
        raise ValueError(
            f"{path} does not fit the encoder: {wrong}.{f' By its width the file is {others[0]}.' if others else ''}"
        )
    encoder.load_state_dict(state, assign=True)
    return encoder


def interpolate_positions(positions: Tensor, old_frames: int, new_frames: int, new_grid: int) -> Tensor:
    """Interpolates a position embedding ``[1, 1 + T0·S0, D]`` for another number of frames and patches, CLS row untouched.

    Linear over frames at every place, for a single frame their mean (as the encoder shows one to files without image
    positions), then bicubic over places in every frame (``align_corners`` false), as the
    reference's ``interpolate_pos_embed_internvideo2_new`` does.
    """
    cls, patches = positions[:, :1], positions[:, 1:].float()
    patches = patches.unflatten(1, (old_frames, -1))  # [1, T0, S0, D]
    if new_frames == 1:
        patches = patches.mean(1, keepdim=True)
    elif new_frames != old_frames:
        series = patches[0].permute(1, 2, 0)  # [S0, D, T0]
        patches = F.interpolate(series, size=new_frames, mode="linear").permute(2, 0, 1)[None]
    side = round(patches.shape[2] ** 0.5)
    if new_grid != side:
        maps = patches[0].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # [T, D, side, side]
        maps = F.interpolate(maps, size=(new_grid, new_grid), mode="bicubic", align_corners=False)
        patches = maps.flatten(2).transpose(1, 2)[None]
    return torch.cat([cls, patches.flatten(1, 2).to(positions.dtype)], dim=1)


def _read(path: Path) -> dict[str, Tensor]:
    """The file's tensors, without running any code from it."""
    if path.is_dir():
        return _read_folder(path)
    if path.suffix != ".safetensors":
        remedy = (
            "Use the safetensors of the same model (OpenGVLab/InternVideo2-Stage2_6B for the 6B), or, if you trust the file, save its "
            "weights alone where that class is installed: torch.save(torch.load(FILE, weights_only=False)['module'], 'weights.pt')."
        )
        return tensors_of(read_torch_file(path, remedy), path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the downloaded InternVideo2 file.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes that are not a readable checkpoint ({error}); download it again."
        ) from error


def _read_folder(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        state.update(_read(folder / Path(name).name))
    return state


def _vision_state(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The encoder's weights under our names; everything else in the file is known to be something else."""
    prefix = prefix_of(tensors, "patch_embed.proj.weight", path)
    projection = prefix.removesuffix("vision_encoder.") + "vision_proj."
    state = {}
    for key, value in tensors.items():
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
