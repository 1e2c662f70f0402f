"""InternVideo2's vision transformer as plain PyTorch (frozen use).

Names follow the published files (`systems.md` §2). Shapes: ``B`` clips, ``T`` frames, ``N`` = 1 + T·S tokens (CLS first),
``S`` patches per frame, ``D`` width.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_adapter.features.encoder import IMAGENET, VideoEncoder

ATTENTION = ("sdpa", "flash")


@dataclass(frozen=True)
class InternVideo2Config:
    """Architecture.

    Attributes:
        width: Width of the residual stream (D).
        depth: Number of blocks.
        heads: Attention heads.
        mlp_hidden: Hidden width of the blocks' MLP.
        frames: T that the position embedding is for.
        image_size: Height and width of the input in pixels.
        patch: Patch size; the tubelet is one frame.
        pool_heads: Heads of the attention pooling.
        pool_dim: Output width of the attention pooling.
        embed_dim: Width of the contrastive projection, 0 without one.
        image_positions: Whether single frames have a position embedding of their own (stage-2 1B only). Without, they use
            the temporal mean. The loader takes this from the file, because a wrong choice degrades features silently.
        pooling: Whether there are attention pooling and, before it, a last block. Some vision-only files lack them; they
            give ``tokens`` alone.
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
    image_positions: bool = False
    pooling: bool = True

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch

    @property
    def steps(self) -> int:
        """Moments that tokens stand for: every frame."""
        return self.frames

    @property
    def antialias(self) -> bool:
        """Frames are made smaller as in training, without."""
        return False

    @property
    def mean(self) -> tuple[float, float, float]:
        """ImageNet's mean."""
        return IMAGENET[0]

    @property
    def std(self) -> tuple[float, float, float]:
        """ImageNet's standard deviation."""
        return IMAGENET[1]

    @property
    def pooled_dim(self) -> int:
        """Width of the output ``pooled``."""
        return self.embed_dim or self.pool_dim


PRESETS: dict[str, InternVideo2Config] = {
    "tiny": InternVideo2Config(64, 3, 4, 128, frames=2, image_size=112, pool_heads=4, pool_dim=64, embed_dim=32),
    "S": InternVideo2Config(384, 12, 6, 1536, frames=8, embed_dim=0),
    "B": InternVideo2Config(768, 12, 12, 3072, frames=8, embed_dim=0),
    "L": InternVideo2Config(1024, 24, 16, 4096, frames=8, embed_dim=0),
    "1B": InternVideo2Config(1408, 40, 16, 6144, image_positions=True),
    "6B": InternVideo2Config(3200, 48, 25, 12800, embed_dim=768),
}
"""Published sizes as their main files have them. ``tiny`` is for tests and the quickstart and has no published weights."""


class _RMSNorm(nn.RMSNorm):
    """Normalises in fp32, then scales in the weight's type, as the reference does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.normalized_shape, eps=self.eps).to(self.weight.dtype) * self.weight


class _LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x.float() * self.gamma.float()


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        # Query and key are normalised over the full width, heads flattened.
        self.q_norm = _RMSNorm(dim, eps=1e-6)
        self.k_norm = _RMSNorm(dim, eps=1e-6)
        self.proj = nn.Linear(dim, dim)
        self.attention = "sdpa"

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)) for t in (self.q_norm(q), self.k_norm(k), v))  # [B, N, heads, d]
        if self.attention == "flash":
            from flash_attn import flash_attn_func  # type: ignore[import-not-found]

            return self.proj(flash_attn_func(q, k, v).flatten(2))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """Pre-norm block; the residual stream is fp32, as in the reference's fused norms, whatever the weights are."""

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.norm1 = _RMSNorm(config.width, eps=1e-6)
        self.attn = _Attention(config.width, config.heads)
        self.ls1 = _LayerScale(config.width)
        self.norm2 = _RMSNorm(config.width, eps=1e-6)
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
        projected = (self.q(query) + self.q_bias, self.k(key) + self.k_bias, self.v(value) + self.v_bias)
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


class InternVideo2(VideoEncoder):
    """The encoder with its two outputs.

    Args:
        config: Architecture of the encoder.
    """

    config: InternVideo2Config

    def __init__(self, config: InternVideo2Config) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = _PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.frames * config.grid**2, config.width))
        if config.image_positions:
            self.img_pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))
            nn.init.trunc_normal_(self.img_pos_embed, std=0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth if config.pooling else config.depth - 1))
        self.clip_projector = _AttentionPool(config) if config.pooling else None
        self.vision_proj = nn.Linear(config.pool_dim, config.embed_dim) if config.embed_dim else None
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def use_attention(self, kind: str) -> None:
        """Chooses the attention kernel: ``sdpa`` (PyTorch's, the default) or ``flash`` (the flash-attn package).

        Args:
            kind: ``sdpa`` or ``flash``.

        Raises:
            ValueError: Unknown kind, or flash attention in fp32 or without CUDA.
            ModuleNotFoundError: flash-attn is not installed.
        """
        if kind not in ATTENTION:
            raise ValueError(f"Unknown attention {kind!r}; choose {' or '.join(ATTENTION)}.")
        if kind == "flash":
            weight = self.cls_token
            if weight.device.type != "cuda" or weight.dtype not in (torch.float16, torch.bfloat16):
                raise ValueError(
                    f"flash-attn needs fp16 or bf16 on CUDA; the encoder is {weight.dtype} on {weight.device}. Use --attention sdpa."
                )
            if find_spec("flash_attn") is None:
                raise ModuleNotFoundError(
                    "flash-attn is not installed: pip install flash-attn, or use --attention sdpa."
                )
        for block in self.blocks:
            block.attn.attention = kind  # type: ignore[union-attr]

    def forward(self, video: Tensor, grid: int) -> dict[str, Tensor]:
        """Encodes clips.

        Args:
            video: ``[B, 3, T, H, W]``, from `mm_adapter.features.preprocessing.normalise`. T is the configuration's
                number of frames, or 1 for images.
            grid: g; each frame's patches are averaged to a g×g grid.

        Returns:
            ``tokens`` ``[B, T·g·g, D]``: the penultimate block without CLS, layer-normalised (the trunk has no final
            norm), averaged; and ``pooled`` ``[B, P]``: attention pooling over the last block, through the contrastive
            projection where the configuration has one, L2-normalised; not without ``pooling``. Both fp32.

        Raises:
            ValueError: Another number of frames.
        """
        frames, side = video.shape[2], self.config.grid
        x = self.patch_embed(video.to(self.cls_token.dtype))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1).float() + self._positions(frames).float()
        for block in self.blocks[: self.config.depth - 1]:
            x = block(x)
        patches = F.layer_norm(x[:, 1:], (self.config.width,)).unflatten(1, (frames, side, side))
        patches = patches.flatten(0, 1).permute(0, 3, 1, 2)  # [B·T, D, side, side]
        tokens = F.adaptive_avg_pool2d(patches, grid).flatten(2).transpose(1, 2)  # [B·T, g·g, D]
        out = {"tokens": tokens.unflatten(0, (len(video), frames)).flatten(1, 2)}
        if self.clip_projector is not None:
            pooled = self.clip_projector(self.blocks[-1](x).to(self.cls_token.dtype))
            pooled = pooled if self.vision_proj is None else self.vision_proj(pooled)
            out["pooled"] = F.normalize(pooled.float(), dim=-1)
        return out

    def _positions(self, frames: int) -> Tensor:
        if frames == 1 and self.config.image_positions:
            return self.img_pos_embed
        if frames == self.config.frames:
            return self.pos_embed
        if frames == 1:
            cls, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
            return torch.cat([cls, patches.unflatten(1, (self.config.frames, -1)).mean(1)], dim=1)
        raise ValueError(
            f"{frames} frames, but the encoder's positions are for {self.config.frames} (or 1); build it with frames={frames}."
        )
