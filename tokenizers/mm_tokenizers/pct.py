"""Compositional pose tokenizer (PCT) in 3-D: one pose to M tokens of a shared codebook, and back.

Architecture and names follow Gengzigang/PCT (guide ratio 0, three coordinates); `systems.md` §1. Shapes: ``B`` poses,
``J`` joints, ``M`` tokens per pose, ``K`` codes, ``D`` code width.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_data.poses.skeleton import NUM_JOINTS
from mm_tokenizers.quantizer import EmaQuantizer, FsqQuantizer


@dataclass(frozen=True)
class PoseTokenizerConfig:
    """Architecture and loss. The defaults are the published size (34 tokens of 2,048 codes, width 512).

    Attributes:
        num_tokens: M, tokens per pose.
        num_codes: K, codes in the codebook.
        token_dim: D, width of a code.
        encoder_blocks: Mixer blocks of the encoder; the decoder has ``decoder_blocks``.
        encoder_width: Channels of the encoder.
        decoder_width: Channels of the decoder.
        token_hidden: Hidden width of the mixers' joint-axis MLP.
        fsq_levels: Levels per channel of finite scalar quantisation, whose product has to be K; empty for PCT's codebook.
        ema_decay: Decay of the codebook's moving averages.
        revive_below: EMA count under which a code is replaced; 0 keeps the reference behaviour.
        joint_beta: Transition of the smooth-L1 joint loss, in metres.
        coordinate_scale: Metres are multiplied by this inside the network and the loss. PCT's weights were tuned on
            pixels; in bare metres its commitment term would drown the joint loss (`systems.md` §1.4).
        commitment_weight: Weight of the commitment loss.
    """

    num_tokens: int = 34
    num_codes: int = 2048
    token_dim: int = 512
    encoder_blocks: int = 4
    encoder_width: int = 512
    decoder_blocks: int = 1
    decoder_width: int = 32
    token_hidden: int = 64
    fsq_levels: list[int] = field(default_factory=list)
    ema_decay: float = 0.9
    revive_below: float = 0.01
    joint_beta: float = 0.05
    coordinate_scale: float = 10.0
    commitment_weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises ``ValueError`` where sizes contradict each other."""
        if self.fsq_levels and (math.prod(self.fsq_levels) != self.num_codes or min(self.fsq_levels) < 2):
            raise ValueError(
                f"fsq_levels {self.fsq_levels} make {math.prod(self.fsq_levels)} codes, "
                f"but num_codes is {self.num_codes}; "
                "give levels of at least 2 whose product is num_codes, such as [8, 8, 8, 4] for 2048."
            )


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        # Dropout 0 keeps the reference's parameter names (ff.0 and ff.3).
        self.ff = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class MixerLayer(nn.Module):
    """Pre-norm MLP-Mixer block over ``[B, tokens, channels]``."""

    def __init__(self, tokens: int, channels: int, token_hidden: int, channel_hidden: int) -> None:
        super().__init__()
        self.layernorm1 = nn.LayerNorm(channels)
        self.MLP_token = _Mlp(tokens, token_hidden)
        self.layernorm2 = nn.LayerNorm(channels)
        self.MLP_channel = _Mlp(channels, channel_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes over tokens, then over channels."""
        x = x + self.MLP_token(self.layernorm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.MLP_channel(self.layernorm2(x))


class PoseTokenizer(nn.Module):
    """The network that turns canonical 3-D poses into tokens and back.

    Args:
        config: Architecture and loss.
    """

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__()
        self.architecture = config
        c = config
        self.invisible_token = nn.Parameter(torch.zeros(1, 1, c.encoder_width))
        nn.init.trunc_normal_(self.invisible_token, std=0.02, a=-0.02, b=0.02)
        self.start_embed = nn.Linear(3, c.encoder_width)
        self.encoder = nn.ModuleList(
            MixerLayer(NUM_JOINTS, c.encoder_width, c.token_hidden, c.encoder_width) for _ in range(c.encoder_blocks)
        )
        self.encoder_layer_norm = nn.LayerNorm(c.encoder_width)
        self.token_mlp = nn.Linear(NUM_JOINTS, c.num_tokens)
        self.feature_embed = nn.Linear(c.encoder_width, c.token_dim)
        self.quantizer = (
            FsqQuantizer(c.fsq_levels, c.token_dim)
            if c.fsq_levels
            else EmaQuantizer(c.num_codes, c.token_dim, c.ema_decay, c.revive_below)
        )
        self.decoder_token_mlp = nn.Linear(c.num_tokens, NUM_JOINTS)
        self.decoder_start = nn.Linear(c.token_dim, c.decoder_width)
        self.decoder = nn.ModuleList(
            MixerLayer(NUM_JOINTS, c.decoder_width, c.token_hidden, 2 * c.decoder_width)
            for _ in range(c.decoder_blocks)
        )
        self.decoder_layer_norm = nn.LayerNorm(c.decoder_width)
        self.recover_embed = nn.Linear(c.decoder_width, 3)

    def _embed(self, poses: Tensor, visible: Tensor) -> Tensor:
        """``[B, J, 4]`` and ``[B, J, 1]`` to encodings before quantisation ``[B·M, D]``."""
        x = self.start_embed(poses[..., :3] * self.architecture.coordinate_scale)
        x = torch.where(visible, x, self.invisible_token)
        for block in self.encoder:
            x = block(x)
        x = self.encoder_layer_norm(x)
        x = self.token_mlp(x.transpose(1, 2)).transpose(1, 2)  # [B, M, width]
        return self.feature_embed(x).flatten(0, 1)

    def _recover(self, codes: Tensor) -> Tensor:
        """Code vectors ``[B·M, D]`` to joints ``[B, J, 3]`` in metres."""
        x = codes.view(-1, self.architecture.num_tokens, self.architecture.token_dim)
        x = self.decoder_start(self.decoder_token_mlp(x.transpose(1, 2)).transpose(1, 2))
        for block in self.decoder:
            x = block(x)
        return self.recover_embed(self.decoder_layer_norm(x)) / self.architecture.coordinate_scale

    def forward(self, poses: Tensor, hidden: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstructs canonical poses and computes the training loss, in fp32 even under autocast.

        Args:
            poses: ``[B, 17, 4]``, as `mm_tokenizers.canonical.canonical_poses` gives them.
            hidden: ``[B, 17]``, true for joints that the encoder must do without although they are visible. The decoder
                is still asked for them (PCT's joint masking).

        Returns:
            ``loss``, ``joint_loss``, ``commitment_loss`` (scalars), ``joints`` ``[B, 17, 3]``, ``indices`` ``[B, M]``.
        """
        with torch.autocast(poses.device.type, enabled=False):
            poses = poses.float()
            visible = poses[..., 3:] > 0
            encodings = self._embed(poses, visible if hidden is None else visible & ~hidden[..., None])
            codes, indices, commitment_loss = self.quantizer(encodings)
            joints = self._recover(codes)
            scale = self.architecture.coordinate_scale
            distance = F.smooth_l1_loss(
                joints * scale, poses[..., :3] * scale, beta=self.architecture.joint_beta * scale, reduction="none"
            )
            joint_loss = (distance * visible).mean()
        return {
            "loss": joint_loss + self.architecture.commitment_weight * commitment_loss,
            "joint_loss": joint_loss.detach(),
            "commitment_loss": commitment_loss.detach(),
            "joints": joints,
            "indices": indices.view(-1, self.architecture.num_tokens),
        }

    @torch.inference_mode()
    def encode(self, poses: Tensor) -> Tensor:
        """Encodes canonical poses ``[B, 17, 4]`` as token indices ``[B, M]``, in fp32 even under autocast."""
        with torch.autocast(poses.device.type, enabled=False):
            encodings = self._embed(poses.float(), poses[..., 3:] > 0)
            return self.quantizer.nearest(encodings).view(-1, self.architecture.num_tokens)

    @torch.inference_mode()
    def decode(self, indices: Tensor) -> Tensor:
        """Decodes token indices ``[B, M]`` to joints ``[B, 17, 3]`` in canonical metres, in fp32 even under autocast.

        Args:
            indices: Token indices ``[B, M]``.

        Returns:
            Joints ``[B, 17, 3]``.

        Raises:
            ValueError: The number of tokens per pose is not M, or an index is outside the codebook.
        """
        if indices.shape[-1] != self.architecture.num_tokens:
            raise ValueError(
                f"{indices.shape[-1]} tokens per pose, but this tokenizer has {self.architecture.num_tokens}."
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.architecture.num_codes:
            raise ValueError(
                f"Token indices span {int(indices.min())}..{int(indices.max())}, "
                f"but the codebook has {self.architecture.num_codes} codes."
            )
        with torch.autocast(indices.device.type, enabled=False):
            return self._recover(F.embedding(indices.flatten(), self.quantizer.codebook))
