"""InternVideo2-FT of ExpertAF's Table 1: frozen video features matched with remarks and demonstrations by contrast.

The paper says no more than that the learner's demonstration is matched contrastively with the expert's commentary and
demonstration. Here: one projection of video features for both sides, one of averaged word embeddings (the language model's,
frozen), and the symmetric InfoNCE loss of each pair. Identical remarks in a batch count as matches.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from mm_adapter.model.mappers import FeatureMapper, mlp2x_gelu
from mm_data.features import FeatureStore
from mm_data.tasks import TaskItem

CONFIG = "matcher_config.json"

MATCHER_WIDTH = 512
"""Width of the common space that the recipe trains."""


def matched_views(names: Sequence[str] | None, available: Sequence[str]) -> tuple[str, ...]:
    """Chooses the views that a matcher sees: those of the features, or some of them.

    Args:
        names: Names of the views, or None for all.
        available: Views of the features.

    Returns:
        The views, in the features' order.

    Raises:
        ValueError: The features lack a view, or none is named.
    """
    if names is None:
        return tuple(available)
    if not names or set(names) - set(available):
        views = " and ".join(available)
        raise ValueError(f"--views {' '.join(names)}: the features have {views}; name at least one of these.")
    return tuple(view for view in available if view in names)


@dataclass(frozen=True)
class MatcherConfig:
    """The architecture of a matcher and the inputs that it was trained on.

    Attributes:
        video_width: Width of the features (C).
        views: Views whose projections are added.
        word_width: Width of the word embeddings.
        width: Width of the common space.
        video_encoder: Name and hash of the encoder whose features it was trained on.
        language_model: Folder or name on the Hub of the model whose word embeddings it reads.
        language_model_fingerprint: Fingerprint of that model's weights (`weights_fingerprint`).
    """

    video_width: int
    views: tuple[str, ...]
    word_width: int
    width: int
    video_encoder: str
    language_model: str
    language_model_fingerprint: str


class Matcher(nn.Module):
    """A model that places clips and remarks in one space of unit vectors ``[N, width]``."""

    def __init__(self, config: MatcherConfig) -> None:
        super().__init__()
        self.architecture = config
        self.video = nn.ModuleDict({view: FeatureMapper(config.video_width, config.width) for view in config.views})
        self.text = mlp2x_gelu(config.word_width, config.width)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))  # as in CLIP

    def embed_clips(self, features: dict[str, Tensor]) -> Tensor:
        """Places clips by their features ``[N, V, C]`` per view."""
        return F.normalize(
            torch.stack([self.video[view](features[view].mean(1)) for view in self.architecture.views]).sum(0), dim=-1
        )

    def embed_remarks(self, words: Tensor) -> Tensor:
        """Places remarks by their averaged word embeddings ``[N, word_width]``."""
        return F.normalize(self.text(words), dim=-1)

    def forward(self, learner: dict[str, Tensor], expert: dict[str, Tensor], words: Tensor) -> dict[str, Tensor]:
        """Computes the loss of a batch of tuples."""
        query = self.embed_clips(learner)
        scale = self.log_scale.clamp(max=np.log(100)).exp()
        same_remark = (torch.cdist(words, words, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6).float()
        itself = torch.eye(len(query), device=query.device)
        loss = info_nce(scale * query @ self.embed_remarks(words).T, same_remark)
        return {"loss": loss + info_nce(scale * query @ self.embed_clips(expert).T, itself)}


def info_nce(similarities: Tensor, matches: Tensor) -> Tensor:
    """Computes the symmetric cross-entropy of rows and columns ``[N, N]`` against their matches (1 where they belong together)."""
    targets = matches / matches.sum(1, keepdim=True)
    return (F.cross_entropy(similarities, targets) + F.cross_entropy(similarities.T, targets)) / 2


class MatcherInputs(Dataset[int]):
    """Items with experts, their features and averaged word embeddings; `collate` makes batches.

    Args:
        items: Items of one split.
        store: Video features.
        tokenizer: The language model's tokenizer.
        embeddings: The language model's word embeddings ``[vocabulary, word_width]``.
    """

    def __init__(
        self,
        items: Sequence[TaskItem],
        store: FeatureStore,
        tokenizer: PreTrainedTokenizerBase,
        embeddings: Tensor,
    ) -> None:
        self.items, self.store = items, store
        ids = [tokenizer.encode(item.references[0], add_special_tokens=False) for item in items]
        self.words = torch.stack([embeddings[torch.tensor(words)].float().mean(0) for words in ids])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> int:
        return index

    def clips(self, clip_ids: Sequence[str], views: Sequence[str]) -> dict[str, Tensor]:
        """Reads features ``[N, V, C]`` per view."""
        return {
            view: torch.from_numpy(np.stack([self.store.get(clip, view) for clip in clip_ids]).astype(np.float32))
            for view in views
        }

    def collate(self, indices: Sequence[int]) -> dict[str, Any]:
        """Makes the matcher's arguments of a batch."""
        chosen, views = [self.items[i] for i in indices], self.store.manifest.views
        return {
            "learner": self.clips([item.clip.clip_id for item in chosen], views),
            "expert": self.clips([item.expert.clip_id for item in chosen if item.expert is not None], views),
            "words": self.words[list(indices)],
        }


def save_matcher(matcher: Matcher, folder: Path) -> None:
    """Writes a matcher's weights and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(matcher.state_dict(), folder / "matcher.safetensors")
    (folder / CONFIG).write_text(json.dumps(asdict(matcher.architecture), indent=2))


def load_matcher(folder: Path) -> Matcher:
    """Opens what `save_matcher` wrote, in evaluation mode."""
    content = json.loads((folder / CONFIG).read_text())
    matcher = Matcher(MatcherConfig(**{**content, "views": tuple(content["views"])}))
    matcher.load_state_dict(load_file(folder / "matcher.safetensors"))
    return matcher.eval()
