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
from mm_data.records import CoachingTuple

CONFIG = "matcher_config.json"


MATCHER_WIDTH = 512
"""Width of the common space that the recipe trains."""


def matched_views(asked: Sequence[str] | None, there: Sequence[str]) -> tuple[str, ...]:
    """Views that a matcher sees: those of the features, or some of them.

    Raises:
        ValueError: The features lack a view that was asked for, or none was asked for.
    """
    if asked is None:
        return tuple(there)
    if not asked or set(asked) - set(there):
        raise ValueError(
            f"--views {' '.join(asked)}: the features have {' and '.join(there)}; name at least one of these."
        )
    return tuple(view for view in there if view in asked)


@dataclass(frozen=True)
class MatcherConfig:
    """Architecture and inputs.

    Attributes:
        video_width: C.
        views: Views whose projections are added.
        word_width: Width of the word embeddings.
        width: Of the common space.
        video_encoder: Name and hash of the encoder whose features it was trained on.
        language_model: Whose word embeddings it reads: a folder, or a name on the Hub.
        language_model_fingerprint: Of its weights (`base_models.weights_fingerprint`).
    """

    video_width: int
    views: tuple[str, ...]
    word_width: int
    width: int
    video_encoder: str
    language_model: str
    language_model_fingerprint: str


class Matcher(nn.Module):
    """Clips and remarks in one space of unit vectors ``[N, width]``."""

    def __init__(self, config: MatcherConfig) -> None:
        super().__init__()
        self.architecture = config
        self.video = nn.ModuleDict({view: FeatureMapper(config.video_width, config.width) for view in config.views})
        self.text = mlp2x_gelu(config.word_width, config.width)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))  # as in CLIP

    def embed_clips(self, features: dict[str, Tensor]) -> Tensor:
        """Features ``[N, V, C]`` per view to vectors."""
        return F.normalize(
            torch.stack([self.video[view](features[view].mean(1)) for view in self.architecture.views]).sum(0), dim=-1
        )

    def embed_remarks(self, words: Tensor) -> Tensor:
        """Averaged word embeddings ``[N, word_width]`` to vectors."""
        return F.normalize(self.text(words), dim=-1)

    def forward(self, learner: dict[str, Tensor], expert: dict[str, Tensor], words: Tensor) -> dict[str, Tensor]:
        """The loss of a batch of tuples."""
        query = self.embed_clips(learner)
        scale = self.log_scale.clamp(max=np.log(100)).exp()
        same_remark = (torch.cdist(words, words, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6).float()
        itself = torch.eye(len(query), device=query.device)
        loss = info_nce(scale * query @ self.embed_remarks(words).T, same_remark)
        return {"loss": loss + info_nce(scale * query @ self.embed_clips(expert).T, itself)}


def info_nce(similarities: Tensor, matches: Tensor) -> Tensor:
    """Symmetric cross-entropy of rows and columns ``[N, N]`` against their matches (1 where they belong together)."""
    targets = matches / matches.sum(1, keepdim=True)
    return (F.cross_entropy(similarities, targets) + F.cross_entropy(similarities.T, targets)) / 2


class MatcherInputs(Dataset[int]):
    """Tuples with their features and averaged word embeddings; `collate` makes batches.

    Args:
        tuples: Of one split.
        store: Video features.
        tokenizer: The language model's.
        embeddings: Its word embeddings ``[vocabulary, word_width]``.
    """

    def __init__(
        self,
        tuples: Sequence[CoachingTuple],
        store: FeatureStore,
        tokenizer: PreTrainedTokenizerBase,
        embeddings: Tensor,
    ) -> None:
        self.tuples, self.store = tuples, store
        ids = [tokenizer.encode(t.summary, add_special_tokens=False) for t in tuples]
        self.words = torch.stack([embeddings[torch.tensor(own)].float().mean(0) for own in ids])

    def __len__(self) -> int:
        return len(self.tuples)

    def __getitem__(self, index: int) -> int:
        return index

    def clips(self, clip_ids: Sequence[str], views: Sequence[str]) -> dict[str, Tensor]:
        """Features ``[N, V, C]`` per view."""
        return {
            view: torch.from_numpy(np.stack([self.store.get(clip, view) for clip in clip_ids]).astype(np.float32))
            for view in views
        }

    def collate(self, indices: Sequence[int]) -> dict[str, Any]:
        """The matcher's arguments."""
        chosen, views = [self.tuples[i] for i in indices], self.store.manifest.views
        return {
            "learner": self.clips([t.learner.clip_id for t in chosen], views),
            "expert": self.clips([t.expert.clip_id for t in chosen], views),
            "words": self.words[list(indices)],
        }


def save_matcher(matcher: Matcher, folder: Path) -> None:
    """Writes weights and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(matcher.state_dict(), folder / "matcher.safetensors")
    (folder / CONFIG).write_text(json.dumps(asdict(matcher.architecture), indent=2))


def load_matcher(folder: Path) -> Matcher:
    """Opens what `save_matcher` wrote, in evaluation mode."""
    content = json.loads((folder / CONFIG).read_text())
    matcher = Matcher(MatcherConfig(**{**content, "views": tuple(content["views"])}))
    matcher.load_state_dict(load_file(folder / "matcher.safetensors"))
    return matcher.eval()
