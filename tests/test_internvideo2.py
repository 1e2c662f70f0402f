"""The video encoder: the mathematics against the definition, preprocessing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mm_adapter.features.internvideo2 import (
    InternVideo2,
    InternVideo2Config,
    load_published,
)
from mm_adapter.features.internvideo2.weights import interpolate_positions
from mm_adapter.features.preprocessing import normalise, resize_frames

SMALL = InternVideo2Config(32, 3, 2, 64, frames=4, pool_heads=2, pool_dim=16, embed_dim=8, image_positions=True)


# --- mathematics -----------------------------------------------------------------------------------------------------


def random_model(config: InternVideo2Config, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = InternVideo2(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def layer_norm(x: torch.Tensor, module: Any | None = None) -> torch.Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return x if module is None else x * module.weight + module.bias


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Softmax attention head by head."""
    width = q.shape[-1] // heads
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = torch.einsum("bqd,bkd->bqk", q[..., part], k[..., part]) * width**-0.5
        out.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ v[..., part])
    return torch.cat(out, -1)


def by_definition(model: Any, video: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Penultimate tokens ``[B, T·S, D]`` and the pooled embedding."""
    c = model.config
    patches = video.unfold(3, 14, 14).unfold(4, 14, 14)  # [B, 3, T, side, side, 14, 14]
    patches = patches.permute(0, 2, 3, 4, 1, 5, 6).flatten(4).flatten(1, 3)
    proj = model.patch_embed.proj
    x = patches @ proj.weight.flatten(1).T + proj.bias
    x = torch.cat([model.cls_token.expand(len(x), 1, -1), x], 1) + positions
    penultimate = x
    for block in model.blocks:
        penultimate = x
        q, k, v = (rms(x, block.norm1.weight) @ block.attn.qkv.weight.T).split(c.width, -1)
        out = attend(rms(q, block.attn.q_norm.weight), rms(k, block.attn.k_norm.weight), v, c.heads)
        x = x + (out @ block.attn.proj.weight.T + block.attn.proj.bias) * block.ls1.gamma
        hidden = rms(x, block.norm2.weight) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        x = x + (hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias) * block.ls2.gamma
    pool, cross = model.clip_projector, model.clip_projector.cross_attn
    q = layer_norm(x.mean(1, keepdim=True), pool.norm1_q) @ cross.q.weight.T + cross.q_bias
    k = layer_norm(x, pool.norm1_k) @ cross.k.weight.T + cross.k_bias
    v = layer_norm(x, pool.norm1_v) @ cross.v.weight.T + cross.v_bias
    pooled = attend(q, k, v, c.pool_heads)[:, 0] @ cross.proj.weight.T + cross.proj.bias
    if model.vision_proj is not None:
        pooled = pooled @ model.vision_proj.weight.T + model.vision_proj.bias
    return layer_norm(penultimate[:, 1:]), pooled / pooled.pow(2).sum(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("embed_dim", [8, 0])
def test_both_outputs_equal_the_definition(embed_dim: int) -> None:
    model = random_model(replace(SMALL, image_size=56, embed_dim=embed_dim))
    video = torch.randn(2, 3, 4, 56, 56)
    tokens, pooled = by_definition(model, video, model.pos_embed)
    out = model(video, grid=4)
    torch.testing.assert_close(out["tokens"], tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["pooled"], pooled, atol=1e-5, rtol=1e-5)
    coarse = tokens.view(2, 4, 2, 2, 2, 2, 32).mean((3, 5)).flatten(1, 3)  # frames, then a 2×2 grid of 2×2 patches
    torch.testing.assert_close(model(video, grid=2)["tokens"], coarse, atol=1e-5, rtol=1e-5)


def test_single_frames_use_image_positions_or_the_temporal_mean() -> None:
    image = torch.randn(1, 3, 1, 56, 56)
    own = random_model(replace(SMALL, image_size=56))
    torch.testing.assert_close(own(image, 4)["pooled"], by_definition(own, image, own.img_pos_embed)[1], atol=1e-5, rtol=1e-5)  # fmt: skip
    mean = random_model(replace(SMALL, image_size=56, image_positions=False))
    patches = sum(mean.pos_embed[:, 1 + 16 * t : 17 + 16 * t] for t in range(4)) / 4
    positions = torch.cat([mean.pos_embed[:, :1], torch.as_tensor(patches)], 1)
    torch.testing.assert_close(mean(image, 4)["pooled"], by_definition(mean, image, positions)[1], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"3 frames, but the encoder's positions are for 4 \(or 1\)"):
        own(torch.randn(1, 3, 3, 56, 56), 4)


def cubic(x: float) -> float:
    x = abs(x)
    a = -0.75
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def cubic_matrix(old: int, new: int) -> np.ndarray:
    """Cubic convolution with half-pixel centres and repeated edges, ``[new, old]``."""
    matrix = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[i, min(max(tap, 0), old - 1)] += cubic(centre - tap)
    return matrix


def linear_matrix(old: int, new: int) -> np.ndarray:
    matrix = np.zeros((new, old))
    for i in range(new):
        centre = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        low = int(centre)
        matrix[i, low] += 1 - (centre - low)
        matrix[i, min(low + 1, old - 1)] += centre - low
    return matrix


@pytest.mark.parametrize(("frames", "grid"), [(8, 16), (2, 16), (4, 10), (8, 20)])
def test_positions_are_interpolated_over_time_then_space(frames: int, grid: int) -> None:
    positions = torch.randn(1, 1 + 4 * 256, 6)
    out = interpolate_positions(positions, 4, frames, grid)
    grid_values = positions[0, 1:].view(4, 16, 16, 6).double().numpy()
    over_time = np.einsum("uf,fyxd->uyxd", linear_matrix(4, frames), grid_values)
    if grid != 16:
        space = cubic_matrix(16, grid)
        over_time = np.einsum("vy,wx,uyxd->uvwd", space, space, over_time)
    assert torch.equal(out[:, :1], positions[:, :1])
    np.testing.assert_allclose(out[0, 1:].numpy(), over_time.reshape(-1, 6), atol=1e-5)


def test_interpolated_file_equals_a_model_with_those_positions(tmp_path: Path) -> None:
    state = random_model(SMALL).state_dict()
    torch.save(state, tmp_path / "file.pt")
    model = load_published(tmp_path / "file.pt", SMALL, frames=2).eval()
    video = torch.randn(1, 3, 2, 224, 224)
    expected = by_definition(model, video, interpolate_positions(state["pos_embed"], 4, 2, 16))
    with torch.no_grad():
        torch.testing.assert_close(model(video, 16)["tokens"], expected[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("old_frames", [4, 8])
@pytest.mark.parametrize("side", [16, 10])
def test_positions_of_a_single_frame_are_the_mean_over_time(old_frames: int, side: int) -> None:
    positions = torch.randn(1, 1 + old_frames * 256, 6)
    out = interpolate_positions(positions, old_frames, 1, side)
    expected = sum(positions[0, 1 + t * 256 : 1 + (t + 1) * 256].double() for t in range(old_frames)) / old_frames
    grid = torch.as_tensor(expected).view(16, 16, 6).numpy()
    if side != 16:
        grid = np.einsum("vy,wx,yxd->vwd", cubic_matrix(16, side), cubic_matrix(16, side), grid)
    assert torch.equal(out[:, :1], positions[:, :1])
    np.testing.assert_allclose(out[0, 1:].numpy(), grid.reshape(-1, 6), atol=1e-5)


@pytest.mark.parametrize("image_positions", [False, True])
def test_a_file_loaded_for_single_frames_sees_an_image_as_the_whole_file_does(
    image_positions: bool, tmp_path: Path
) -> None:
    config = replace(SMALL, image_positions=image_positions)
    torch.save(random_model(config).state_dict(), tmp_path / "file.pt")
    image = torch.randn(1, 3, 1, 224, 224)
    with torch.no_grad():
        whole, single = (load_published(tmp_path / "file.pt", config, frames).eval()(image, 4) for frames in (None, 1))
    for output in ("tokens", "pooled"):
        torch.testing.assert_close(single[output], whole[output], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    model = random_model(replace(SMALL, image_size=56))
    video = torch.randn(4, 3, 4, 56, 56)
    with torch.no_grad():
        full, half = model(video, 4), model.to(dtype)(video, 4)
    for name in ("tokens", "pooled"):
        assert half[name].dtype == torch.float32
        assert F.cosine_similarity(full[name], half[name], dim=-1).min() > 0.999


def test_compiles_without_graph_breaks() -> None:
    model = random_model(replace(SMALL, image_size=56))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for frames in (4, 1):
        video = torch.randn(2, 3, frames, 56, 56)
        with torch.no_grad():
            torch.testing.assert_close(compiled(video, 2), model(video, 2), atol=1e-5, rtol=1e-5)


def test_flash_attention_is_refused_where_it_cannot_run() -> None:
    model = random_model(SMALL)
    with pytest.raises(ValueError, match="flash-attn needs fp16 or bf16 on CUDA"):
        model.use_attention("flash")
    with pytest.raises(ValueError, match="Unknown attention 'sparse'"):
        model.use_attention("sparse")


# --- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(30, 40), (37, 21), (448, 448)])
def test_resize_is_cubic_convolution_rounded_to_bytes(height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    exact = np.einsum("vy,wx,tyxc->ctvw", cubic_matrix(height, 28), cubic_matrix(width, 28), frames.astype(float))
    difference = np.abs(resize_frames(frames, replace(SMALL, image_size=28)).numpy().astype(float) - exact.clip(0, 255))
    assert difference.max() <= 0.5 + 1e-3


def test_normalisation_uses_imagenet_statistics() -> None:
    video = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1, 1).expand(1, 3, 2, 1, 1)
    expected = [[(value - m) / s for value in (0, 1)] for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]  # fmt: skip
    np.testing.assert_allclose(normalise(video, SMALL)[0, :, :, 0, 0].numpy(), expected, rtol=1e-5)
