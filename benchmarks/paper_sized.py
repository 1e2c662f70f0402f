"""SmolLM2-135M as a coach on samples of the paper's size: 351 pose tokens and two views of 32 video tokens per clip.

Poses and features are random, lengths and remarks are real; what is measured on it is time and memory, not skill.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from transformers import AutoTokenizer

from mm_adapter.checkpoint.embedded import ensure_embedded_language_model
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.language_model import load_language_model
from mm_adapter.model.lora import LORA_TARGETS, add_lora, set_trainable
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.samples.sources import tuple_sources
from mm_data.features import FeatureManifest, FeatureStore, FeatureStoreWriter
from mm_data.tuples.store import clips_of_folder, read_tuples
from mm_tokenizers import PoseCodeStore

ROOT = Path(__file__).resolve().parents[1]
VIDEO_TOKENS, VIDEO_WIDTH = 32, 1408  # 8 frames of a 2×2 grid from the 1B encoder
CODES, TOKENS_PER_FRAME, FRAMES, CODE_DIM = 2048, 34, 10, 512


def make_tiny(work: Path) -> Path:
    """The inputs of the `tiny` presets."""
    tiny = work / "tiny"
    if not (tiny / "language_model" / "model.safetensors").is_file():
        subprocess.run([sys.executable, "scripts/make_tiny.py", str(tiny)], cwd=ROOT, check=True, stdout=sys.stderr)
    return tiny


def random_store(folder: Path, names: list[str], views: tuple[str, ...]) -> Path:
    """A feature store of random features of the 1B encoder's size."""
    if not (folder / "manifest.json").is_file():
        manifest = FeatureManifest("benchmark", "none", "none", VIDEO_TOKENS, VIDEO_WIDTH, "float16", views)
        writer = FeatureStoreWriter(folder, manifest, dict.fromkeys(names))
        values = np.random.default_rng(0).normal(size=(100, VIDEO_TOKENS, VIDEO_WIDTH)).astype(np.float16)
        for shard in writer.shards:
            for batch in shard.pending(100):
                shard.write(batch, dict.fromkeys(views, values[: len(batch)]), {})
        writer.finish()
    return folder


@dataclass(frozen=True)
class PaperSized:
    """A coach and its training data."""

    model: CoachModel
    processor: CoachProcessor
    dataset: CoachDataset


def paper_sized(work: Path, device: torch.device, dtype: torch.dtype) -> PaperSized:
    """SmolLM2-135M-Instruct with LoRA (r = 64 on all linear layers) on the joint task mix."""
    tuples = make_tiny(work) / "tuples"
    clips = list(clips_of_folder(tuples))
    store = FeatureStore(random_store(work / "paper_sized_features", clips, ("ego", "exo")))
    draws = np.random.default_rng(0)
    codes = PoseCodeStore(draws.integers(CODES, size=(len(clips), FRAMES, TOKENS_PER_FRAME)), clips, "random")
    ensure_embedded_language_model(work / "smollm2")
    torch.manual_seed(0)
    language_model = load_language_model(str(work / "smollm2"), dtype)
    add_lora(language_model, LoraConfig(r=64, lora_alpha=128, target_modules=LORA_TARGETS))
    tokenizer = AutoTokenizer.from_pretrained(work / "smollm2")
    config = CoachConfig(
        text_config=language_model.config, first_pose_id=len(tokenizer), num_pose_codes=CODES,
        pose_tokens_per_frame=TOKENS_PER_FRAME, pose_frames=FRAMES, pose_code_dim=CODE_DIM, video_tokens=VIDEO_TOKENS,
        video_width=VIDEO_WIDTH,
    )  # fmt: skip
    processor = CoachProcessor(tokenizer, config)
    model = CoachModel(config, language_model, torch.randn(CODES, CODE_DIM))
    model.initialise_new_parts()
    set_trainable(model, "lora")
    language_model.enable_input_require_grads()
    formats = {"commentary": 1.0, "demonstration": 1.0}
    sources = tuple_sources(read_tuples(tuples, "train"), formats, codes, store, 0.5, seed=0)
    dataset = CoachDataset(sources, processor, 2048, seed=0)
    return PaperSized(model.to(device), processor, dataset)  # type: ignore[arg-type]
