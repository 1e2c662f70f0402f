"""The video encoder's files: published sizes, keys and layouts, and what does not fit."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mm_adapter.cli import app
from mm_adapter.features.encoder import encoder_hash
from mm_adapter.features.internvideo2 import (
    PRESETS,
    InternVideo2,
    InternVideo2Config,
    build_encoder,
    load_published,
)

SMALL = InternVideo2Config(32, 3, 2, 64, frames=4, pool_heads=2, pool_dim=16, embed_dim=8, image_positions=True)
Shapes = dict[str, tuple[int, ...]]


def published_shapes(c: InternVideo2Config, frames: int) -> Shapes:
    """Keys and shapes of a bare vision encoder as systems.md §2.7 lists them, without its distillation decoders."""
    d, h, places = c.width, c.mlp_hidden, (c.image_size // 14) ** 2
    shapes: Shapes = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + frames * places, d),
        "patch_embed.proj.weight": (d, 3, 1, 14, 14),
        "patch_embed.proj.bias": (d,),
    }
    for block in range(c.depth):
        shapes |= {
            f"blocks.{block}.{name}": shape
            for name, shape in {
                "norm1.weight": (d,),
                "attn.qkv.weight": (3 * d, d),
                "attn.q_norm.weight": (d,),
                "attn.k_norm.weight": (d,),
                "attn.proj.weight": (d, d),
                "attn.proj.bias": (d,),
                "ls1.gamma": (d,),
                "norm2.weight": (d,),
                "mlp.fc1.weight": (h, d),
                "mlp.fc1.bias": (h,),
                "mlp.fc2.weight": (d, h),
                "mlp.fc2.bias": (d,),
                "ls2.gamma": (d,),
            }.items()
        }
    for part in "qkv":
        shapes[f"clip_projector.norm1_{part}.weight"] = shapes[f"clip_projector.norm1_{part}.bias"] = (d,)
        shapes[f"clip_projector.cross_attn.{part}_bias"] = (d,)
        shapes[f"clip_projector.cross_attn.{part}.weight"] = (d, d)
    shapes["clip_projector.cross_attn.proj.weight"] = (c.pool_dim, d)
    shapes["clip_projector.cross_attn.proj.bias"] = (c.pool_dim,)
    return shapes


def linear(name: str, into: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def image_positions(c: InternVideo2Config, frames: int) -> Shapes:
    """What only stage-2 1B files have, and their decoders' positions."""
    places = (c.image_size // 14) ** 2
    return {
        "img_pos_embed": (1, 1 + places, c.width),
        "clip_pos_embed": (1, 1 + frames * places, c.width),
        "clip_img_pos_embed": (1, 1 + places, c.width),
    }


def decoders(c: InternVideo2Config, out: int, mlp: bool) -> Shapes:
    """Distillation decoders: linear in stage 2, MLPs in the distilled files."""
    shapes: Shapes = {}
    for name, into, width in [*((f"clip_decoder.{i}", c.width, out) for i in range(6)), ("final_clip_decoder", c.pool_dim, c.pool_dim)]:  # fmt: skip
        shapes |= norm(f"{name}.norm", width)
        shapes |= linear(f"{name}.head.0", into, into) | linear(f"{name}.head.2", into, width) if mlp else linear(f"{name}.head", into, width)  # fmt: skip
    return shapes


def total(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["S", "B", "L", "1B", "6B"])
def test_keys_and_shapes_are_the_published_ones(preset: str) -> None:
    config = PRESETS[preset]
    with torch.device("meta"):
        model = InternVideo2(config)
    expected = published_shapes(config, config.frames)
    if config.image_positions:
        expected["img_pos_embed"] = (1, 257, config.width)
    if config.embed_dim:
        expected |= linear("vision_proj", config.pool_dim, config.embed_dim)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == expected


def test_parameter_counts_are_the_published_ones() -> None:
    """systems.md §2.1 and §2.7; the B/14 figure is the published file's size."""
    one = PRESETS["1B"]
    trunk = {k: v for k, v in published_shapes(one, 4).items() if not k.startswith("clip_projector")}
    assert total(trunk) == 1_012_224_640
    assert total(published_shapes(one, 4)) == 1_019_266_816
    whole = published_shapes(one, 4) | image_positions(one, 4) | decoders(one, 3200, mlp=False)
    assert total(whole) == 1_049_117_056
    base = PRESETS["B"]
    distilled = published_shapes(base, 8) | {"clip_pos_embed": (1, 2049, 768)} | decoders(base, 1408, mlp=True)
    assert total(distilled) == 102_252_288
    rounded = {"S": 22.3e6, "B": 87.1e6, "L": 305.0e6, "6B": 5.905e9}
    for preset, count in rounded.items():
        shapes = published_shapes(PRESETS[preset], PRESETS[preset].frames)
        trunk = {k: v for k, v in shapes.items() if not k.startswith("clip_projector")}
        assert total(trunk) == pytest.approx(count, rel=2e-3)


# --- published layouts -----------------------------------------------------------------------------------------------


def stage2(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A whole stage-2 model: text tower, heads and an optimizer beside the encoder."""
    vision = {f"vision_encoder.{k}": v for k, v in state.items() if not k.startswith("vision_proj")}
    projection = {k: v for k, v in state.items() if k.startswith("vision_proj")}
    return vision | projection | {"text_encoder.bert.x.weight": torch.zeros(2), "temp": torch.ones(()), "itm_head.bias": torch.zeros(2)}  # fmt: skip


PROJECTION = linear("vision_proj", 16, 8)
LAYOUTS: dict[str, tuple[int, Shapes, Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "stage 2 1B": (4, PROJECTION | image_positions(SMALL, 4) | decoders(SMALL, 20, False), lambda s: {"module": stage2(s), "step": 3}, ".pt"),
    "stage 2 in half precision": (4, PROJECTION | image_positions(SMALL, 4), lambda s: {"module": {k: v.half() for k, v in stage2(s).items()}}, ".pt"),
    "stage 2 6B by transformers": (4, PROJECTION, lambda s: {k.replace(".gamma", ".weight"): v for k, v in stage2(s).items()}, ".safetensors"),
    "stage 1 1B": (8, {"clip_pos_embed": (1, 2049, 32), "mae_pos_embed": (1, 2049, 24), **linear("mae_decoder.0.head", 32, 20)}, lambda s: {"module": s}, ".pth"),
    "distilled B14": (8, {"clip_pos_embed": (1, 2049, 32), **decoders(SMALL, 20, True)}, lambda s: s, ".bin"),
    "fine-tuned": (8, norm("fc_norm", 16) | linear("head", 16, 710), lambda s: {"model": s}, ".bin"),
    "vision only": (4, image_positions(SMALL, 4), lambda s: s, ".pt"),
}  # fmt: skip


def write(content: Any, path: Path) -> Path:
    save_file({k: v.contiguous() for k, v in content.items()}, path) if path.suffix == ".safetensors" else torch.save(content, path)  # fmt: skip
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_loads_strictly(layout: str, tmp_path: Path) -> None:
    frames, extra, wrap, ending = LAYOUTS[layout]
    state = random_state(published_shapes(SMALL, frames) | extra)
    model = load_published(write(wrap(state), tmp_path / f"file{ending}"), SMALL)
    assert model.config.frames == frames
    assert model.config.image_positions == ("img_pos_embed" in extra)
    assert model.config.embed_dim == (8 if "vision_proj.weight" in extra else 0)
    for name, value in model.state_dict().items():
        wanted = state[name].half() if "half" in layout else state[name]
        assert torch.equal(value, wanted.to(value.dtype)), name


def test_sharded_safetensors_load_from_their_folder(tmp_path: Path) -> None:
    state = random_state(published_shapes(SMALL, 4) | PROJECTION)
    names = sorted(state)
    parts = {"a.safetensors": names[:10], "b.safetensors": names[10:]}
    for part, keys in parts.items():
        write({key: state[key] for key in keys}, tmp_path / part)
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_published(tmp_path, SMALL).pos_embed, state["pos_embed"])


def test_a_whole_small_file_of_published_size_loads(tmp_path: Path) -> None:
    """S/14 distilled at full size, through the command line's entry point, for another number of frames."""
    config = PRESETS["S"]
    shapes = published_shapes(config, 8) | {"clip_pos_embed": (1, 2049, 384)} | decoders(config, 1408, mlp=True)
    path = write({name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}, tmp_path / "S.bin")
    model, name = build_encoder("S", path, frames=4, image_size=280, dtype=torch.bfloat16)
    assert model.pos_embed.shape == (1, 1601, 384) and model.pos_embed.dtype == torch.bfloat16
    assert model(torch.zeros(1, 3, 4, 280, 280), grid=4)["tokens"].shape == (1, 64, 384)
    assert name == "InternVideo2-S (S.bin)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.2.ls2.gamma"), r"1 missing: blocks\.2\.ls2\.gamma"),
        (lambda s: s.update({"blocks.3.norm1.weight": torch.ones(32)}), r"1 unknown: blocks\.3\.norm1\.weight"),
        (lambda s: s.update({"blocks.1.mlp.fc1.bias": torch.ones(3)}), r"1 of another shape: blocks\.1\.mlp\.fc1\.bias \[3\] instead of \[64\]"),
        (lambda s: s.pop("pos_embed"), "has no pos_embed"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 101, 32)}), "pos_embed has 100 patch rows"),
        (lambda s: s.pop("patch_embed.proj.weight"), "0 keys end in patch_embed"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_are_listed(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    state: dict[str, Any] = random_state(published_shapes(SMALL, 4))
    change(state)
    with pytest.raises(ValueError, match=message):
        load_published(write(state, tmp_path / "file.pt"), SMALL)


def test_another_size_is_named(tmp_path: Path) -> None:
    state = {"cls_token": torch.zeros(1, 1, 768), "pos_embed": torch.zeros(1, 2049, 768), "patch_embed.proj.weight": torch.zeros(768, 3, 1, 14, 14)}  # fmt: skip
    with pytest.raises(ValueError, match=r"By its width the file is B\."):
        load_published(write(state, tmp_path / "file.pt"), PRESETS["S"])


class EasyDict(dict):
    """Stands for the class that the published 6B pickle refers to."""


def test_files_that_cannot_be_trusted_or_read_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pt"
    torch.save({"module": {}, "config": EasyDict(a=1)}, foreign)
    with pytest.raises(
        ValueError, match=r"foreign\.pt: refused, because reading it would run foreign code \(.*EasyDict.*safetensors"
    ):
        load_published(foreign, SMALL)
    cut = tmp_path / "cut.pt"
    torch.save(random_state(published_shapes(SMALL, 4)), cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.pt: 5,000 bytes that are not a readable checkpoint"):
        load_published(cut, SMALL)
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match=r"plain\.safetensors: \d+ bytes that are not a readable checkpoint"):
        load_published(plain, SMALL)
    for name, content in {
        "page.pt": b"<!doctype html>",
        "pointer.pt": b"version https://git-lfs",
        "empty.pt": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: \d+ bytes that are not a readable checkpoint .*web page"):
            load_published(tmp_path / name, SMALL)
    for content in ([1, 2], torch.zeros(3), {1: torch.zeros(2)}, {"module": {}}):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(ValueError, match=r"odd\.pt: holds no named tensors"):
            load_published(tmp_path / "odd.pt", SMALL)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_published(tmp_path / "nothing.pt", SMALL)


@pytest.mark.parametrize("last_block", [True, False])
def test_files_without_pooling_give_tokens_alone(last_block: bool, tmp_path: Path) -> None:
    shapes = {
        name: shape
        for name, shape in published_shapes(SMALL, 4).items()
        if not name.startswith("clip_projector") and (last_block or not name.startswith("blocks.2."))
    }
    state = random_state(shapes)
    model = load_published(write(state, tmp_path / "file.pt"), SMALL).eval()
    pool = {name: shape for name, shape in published_shapes(SMALL, 4).items() if name not in shapes}
    whole = load_published(write(state | random_state(pool), tmp_path / "whole.pt"), SMALL).eval()
    video = torch.randn(1, 3, 4, 224, 224)
    with torch.no_grad():
        out = model(video, 2)
        torch.testing.assert_close(out["tokens"], whole(video, 2)["tokens"])
    assert set(out) == {"tokens"}


def test_encoder_says_when_it_is_random_and_is_reproducible() -> None:
    first, name = build_encoder("tiny", None)
    second, _ = build_encoder("tiny", None)
    assert "random weights" in name and encoder_hash(first) == encoder_hash(second)
    assert encoder_hash(build_encoder("tiny", None, dtype=torch.bfloat16)[0]) != encoder_hash(first)
    with pytest.raises(ValueError, match="Unknown video encoder 'huge'"):
        build_encoder("huge", None)
    with pytest.raises(ValueError, match="0 frames per clip"):
        build_encoder("tiny", None, frames=0)
    with pytest.raises(ValueError, match="Image size 225 is not a multiple of the patch size 14"):
        build_encoder("S", None, image_size=225)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "tiny"])
def test_a_published_size_without_its_weights_is_refused_unless_asked_for(preset: str) -> None:
    with pytest.raises(ValueError, match=rf"encoder {preset} needs its weights: .*--weights FILE.*--random-weights"):
        build_encoder(preset, None)


def test_random_weights_on_request(tmp_path: Path) -> None:
    _, name = build_encoder("S", None, random_weights=True)
    assert name == "InternVideo2-S (random weights)"
    tiny, name = build_encoder("tiny", None, random_weights=True)
    assert name == "InternVideo2-tiny (random weights)"
    assert encoder_hash(tiny) == encoder_hash(build_encoder("tiny", None)[0])
    with pytest.raises(ValueError, match=r"weights\.bin and random weights exclude each other"):
        build_encoder("S", tmp_path / "weights.bin", random_weights=True)


@pytest.mark.parametrize(
    "command", [["features", "extract", "a", "b"], ["export", "a", "b"], ["chat", "a", "--exo", "c.mp4"]]
)
def test_commands_hand_the_wish_for_random_weights_on(command: list[str]) -> None:
    for flags, wish in (["--random-weights"], True), ([], False):
        _, bound, _ = app.parse_args([*command, "--encoder", "S", *flags])
        assert bound.arguments["encoder"].random_weights is wish
