"""InternVideo2's vision transformer as plain PyTorch (frozen use).

Names follow the published files (`systems.md` §2). Shapes: ``B`` clips, ``T`` frames, ``N`` = 1 + T·S tokens (CLS first),
``S`` patches per frame, ``D`` width.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InternVideo2Config:
    """Architecture.

    Attributes:
        width: D.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_hidden: Hidden width of the blocks' MLP.
        frames: T that the position embedding is for.
        image_size: Height and width of the input in pixels.
        patch: Patch size; the tubelet is one frame.
        pool_heads: Heads of the attention pooling.
        pool_dim: Output width of the attention pooling.
        embed_dim: Width of the contrastive embedding (``pooled``), 0 without one.
    """

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    frames: int = 4
    image_size: int = 224
    patch: int = 14
    pool_heads: int = 16
    pool_dim: int = 768
    embed_dim: int = 512

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch


PRESETS: dict[str, InternVideo2Config] = {
    "tiny": InternVideo2Config(64, 3, 4, 128, frames=2, image_size=112, pool_heads=4, pool_dim=64, embed_dim=32),
    "S": InternVideo2Config(384, 12, 6, 1536, frames=8, embed_dim=0),
    "B": InternVideo2Config(768, 12, 12, 3072, frames=8, embed_dim=0),
    "L": InternVideo2Config(1024, 24, 16, 4096, frames=8, embed_dim=0),
    "1B": InternVideo2Config(1408, 40, 16, 6144),
    "6B": InternVideo2Config(3200, 48, 25, 12800, embed_dim=768),
}
"""``tiny`` is for tests and the quickstart and has no published weights."""


class _LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() * self.gamma.float()).to(x.dtype)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        # Query and key are normalised over the full width, heads flattened.
        self.q_norm = nn.RMSNorm(dim, eps=1e-6)
        self.k_norm = nn.RMSNorm(dim, eps=1e-6)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # [B, heads, N, d]
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, eps=1e-6)
        self.attn = _Attention(config.width, config.heads)
        self.ls1 = _LayerScale(config.width)
        self.norm2 = nn.RMSNorm(config.width, eps=1e-6)
        self.mlp = _Mlp(config.width, config.mlp_hidden)
        self.ls2 = _LayerScale(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _PatchEmbed(nn.Module):
    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        size = (1, config.patch, config.patch)
        self.proj = nn.Conv3d(3, config.width, kernel_size=size, stride=size)

    def forward(self, video: Tensor) -> Tensor:
        return self.proj(video).flatten(2).transpose(1, 2)  # [B, T·S, D]


class _CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int, out_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.q_bias, self.k_bias, self.v_bias = (nn.Parameter(torch.zeros(dim)) for _ in range(3))
        self.proj = nn.Linear(dim, out_dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        projected = (
            self.q(query) + self.q_bias,
            self.k(key) + self.k_bias,
            self.v(value) + self.v_bias,
        )
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in projected)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _AttentionPool(nn.Module):
    """The mean over all tokens asks, every token (CLS included) answers."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(config.width, eps=1e-5) for _ in range(3))
        self.cross_attn = _CrossAttention(config.width, config.pool_heads, config.pool_dim)

    def forward(self, x: Tensor) -> Tensor:
        query = self.norm1_q(x.mean(1, keepdim=True))
        return self.cross_attn(query, self.norm1_k(x), self.norm1_v(x))[:, 0]


class InternVideo2(nn.Module):
    """The encoder with its two outputs.

    Args:
        config: See `InternVideo2Config`.
    """

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = _PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.frames * config.grid**2, config.width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.clip_projector = _AttentionPool(config)
        self.vision_proj = nn.Linear(config.pool_dim, config.embed_dim) if config.embed_dim else None
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, video: Tensor, grid: int) -> dict[str, Tensor]:
        """Encodes clips.

        Args:
            video: ``[B, 3, T, H, W]``, preprocessed by `preprocess`.
            grid: g; each frame's patches are averaged to a g×g grid.

        Returns:
            ``tokens`` ``[B, T·g·g, D]``: the penultimate block without CLS, layer-normalised (the trunk has no final
            norm), pooled; and ``pooled`` ``[B, embed_dim]``, the L2-normalised contrastive embedding, where the
            configuration has one.
        """
        x = self.patch_embed(video)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks[:-1]:
            x = block(x)
        side, frames = self.config.grid, video.shape[2]
        patches = F.layer_norm(x[:, 1:], (self.config.width,)).unflatten(1, (frames, side, side))
        patches = patches.flatten(0, 1).permute(0, 3, 1, 2)  # [B·T, D, side, side]
        tokens = F.adaptive_avg_pool2d(patches, grid).flatten(2).transpose(1, 2)  # [B·T, g·g, D]
        out = {"tokens": tokens.unflatten(0, (len(video), frames)).flatten(1, 2)}
        if self.vision_proj is not None:
            pooled = self.vision_proj(self.clip_projector(self.blocks[-1](x)))
            out["pooled"] = F.normalize(pooled, dim=-1)
        return out


def build_encoder(preset: str, weights: Path | None, seed: int = 0) -> tuple[InternVideo2, str]:
    """A frozen encoder and its honest name.

    Args:
        preset: Key of `PRESETS`.
        weights: safetensors file with exactly this architecture's keys, or None for seeded random weights.
        seed: Seed of random weights.

    Raises:
        ValueError: Unknown preset, or keys that do not fit; lists them.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown video encoder {preset!r}; choose one of {', '.join(PRESETS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = InternVideo2(PRESETS[preset])
    name = f"InternVideo2-{preset}"
    if weights is None:
        # The published initial LayerScale of 1e-5 makes an untrained trunk the identity; let random blocks contribute.
        for block in encoder.blocks:
            for scale in (block.ls1, block.ls2):  # type: ignore[union-attr]
                nn.init.constant_(scale.gamma, 0.5)  # type: ignore[union-attr, arg-type]
        name += " (random weights)"
    else:
        state = load_file(weights)
        result = encoder.load_state_dict(state, strict=False)
        if result.missing_keys or result.unexpected_keys:
            raise ValueError(
                f"{weights} does not fit InternVideo2-{preset}: missing {result.missing_keys}, unexpected {result.unexpected_keys}."
            )
    return encoder.eval().requires_grad_(False), name


def encoder_hash(encoder: InternVideo2) -> str:
    """SHA-256 over configuration and weights."""
    digest = hashlib.sha256(json.dumps(asdict(encoder.config), sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def preprocess(frames: np.ndarray, size: int) -> Tensor:
    """RGB frames ``[T, H, W, 3]`` uint8 to ``[3, T, size, size]``: direct bicubic resize, ImageNet statistics."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
    video = F.interpolate(video, size=(size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    video = (video - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    return video.transpose(0, 1)
