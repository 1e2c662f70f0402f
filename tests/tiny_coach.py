"""What several test files use: launching as a user would, and a small random coach in memory."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from mm_adapter.checkpoint import add_lora
from mm_adapter.modeling import CoachConfig, CoachForConditionalGeneration
from mm_adapter.processing import CoachProcessor
from mm_adapter.training import set_trainable
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_tuples
from mm_tokenizers import fingerprint, load_tokenizer
from mm_tokenizers.codes import PoseCodeStore

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 3


class Silent:
    """A build's report that says nothing."""

    def line(self, text: str) -> None: ...

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


def load_script(path: Path) -> ModuleType:
    """Imports a runnable file that is not part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def launch(*arguments: str, check: bool = True, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Runs a command from the project's root, as a user would."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done


class TinyCoach:
    """A small random coach in memory, with its inputs."""

    def __init__(self, tiny: Path, mode: str = "lora", pose_input: str = "mapper", video: bool = True) -> None:
        torch.manual_seed(0)
        self.folder = tiny
        self.pose_tokenizer = load_tokenizer(tiny / "pose_tokenizer" / "tokenizer")
        self.codes = PoseCodeStore.load(tiny / "pose_codes")
        self.features = FeatureStore(tiny / "features") if video else None
        self.train = read_tuples(tiny / "tuples", "train")
        self.test = read_tuples(tiny / "tuples", "test")
        shape = self.pose_tokenizer.architecture
        tokens = self.features.manifest.num_tokens if self.features else 0
        width = self.features.manifest.width if self.features else 0
        self.processor = CoachProcessor(
            AutoTokenizer.from_pretrained(tiny / "language_model"), shape.num_codes, shape.num_tokens, FRAMES, tokens
        )
        language_model = AutoModelForCausalLM.from_pretrained(tiny / "language_model", dtype=torch.float32)
        if mode == "lora":
            add_lora(language_model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]))
        encoder = f"{self.features.manifest.encoder} {self.features.manifest.encoder_hash}" if self.features else ""
        config = CoachConfig(
            text_config=language_model.config,
            base_model=str(tiny / "language_model"),
            first_pose_id=self.processor.vocabulary.first_id,
            num_pose_codes=shape.num_codes,
            pose_tokens_per_frame=shape.num_tokens,
            pose_frames=FRAMES,
            pose_code_dim=shape.token_dim,
            pose_input=pose_input,
            pose_tokenizer=fingerprint(self.pose_tokenizer),
            video_tokens=tokens,
            video_width=width,
            video_encoder=encoder,
        )
        self.model = CoachForConditionalGeneration(config, language_model, self.pose_tokenizer.quantizer.codebook)
        self.model.initialise_new_parts()
        set_trainable(self.model, mode)
