"""What several test files use: launching as a user would, and a small random coach in memory."""

import importlib.util
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import AutoTokenizer, TrainingArguments

from mm_adapter.cli import main as mm_coach
from mm_adapter.inference.protocols import Answerer
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.language_model import load_language_model, weights_fingerprint
from mm_adapter.model.lora import add_lora, set_trainable
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import ClipPoses
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.samples.sources import tuple_sources
from mm_adapter.training.trainer import CoachTrainer
from mm_data.features import FeatureStore
from mm_data.tasks.coaching import ask_demonstration, commentary_prompt
from mm_data.tasks.questions import Words
from mm_data.tuples.store import read_tuples
from mm_tokenizers import fingerprint, load_tokenizer
from mm_tokenizers.codes import PoseCodeStore

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 3
CONFIG = ["--config", "recipes/configs/expertaf/tiny.yaml"]


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


# A wide terminal: tables would break long paths, and with them what tests look for.
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}


def launch(
    *arguments: str, check: bool = True, fresh: bool = False, at: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Runs a command from the project's root, or another folder, as a user would.

    `mm-coach` and recipes run in this process, which has loaded what they import; in one of their own where ``fresh`` is
    given. Everything else is a process of its own.
    """
    recipe = arguments[0] == sys.executable and arguments[1].startswith("recipes/")
    if (recipe or arguments[0] == "mm-coach") and not fresh:
        done = _run_here(arguments, at)
    else:
        # The limit is there for what hangs alone: another worker of the suite may need both cores meanwhile.
        done = subprocess.run(
            arguments, cwd=at, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=900
        )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done


def _run_here(arguments: Sequence[str], at: Path) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(at)
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", [*arguments[1:]])
        patch.setattr(sys, "excepthook", sys.excepthook)  # a recipe sets its own
        status: str | int | None = 0
        try:
            if arguments[0] == "mm-coach":
                status = mm_coach(arguments[1:])
            else:
                runpy.run_path(arguments[1], run_name="__main__")
        except SystemExit as end:
            status = end.code
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            status = 1
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    return subprocess.CompletedProcess(arguments, status or 0, out.getvalue(), err.getvalue())


def remarks_of(asked: Answerer, learners: Sequence[str], limit: int = 64, **how: Any) -> list[str]:
    """A coach's remarks on clips; ``how`` it draws, and how many at a time."""
    return asked.answer_words([(clip, Words(commentary_prompt(clip), limit)) for clip in learners], **how)


def poses_after(asked: Answerer, learners: Sequence[str], remarks: Sequence[str], **how: Any) -> list[Any]:
    """A coach's corrected poses of clips after remarks."""
    return asked.answer_poses([ask_demonstration(*pair) for pair in zip(learners, remarks, strict=True)], **how)


def paths(tiny: Path, out: Path) -> list[str]:
    """Flags of recipes/expertaf.py with the inputs of the tiny set."""
    return [
        *("--language_model", str(tiny / "language_model")),
        *("--tuples", str(tiny / "tuples")),
        *("--pose_tokenizer", str(tiny / "pose_tokenizer" / "tokenizer")),
        *("--pose_codes", str(tiny / "pose_codes")),
        *("--features", str(tiny / "features")),
        *("--output_dir", str(out)),
    ]


class TinyCoach:
    """A small random coach in memory, with its inputs."""

    def __init__(
        self,
        tiny: Path,
        mode: str = "lora",
        pose_input: str = "mapper",
        video: bool = True,
        quantization: str | None = None,
        lora_targets: Sequence[str] = ("q_proj", "v_proj", "down_proj"),
        pose_form: str = "tokens",
    ) -> None:
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
        text_tokenizer = AutoTokenizer.from_pretrained(tiny / "language_model")
        language_model = load_language_model(str(tiny / "language_model"), torch.float32, quantization)
        if mode == "lora":
            add_lora(language_model, LoraConfig(r=4, lora_alpha=8, target_modules=[*lora_targets]))
        encoder = self.features.manifest.made_by if self.features else ""
        config = CoachConfig(
            text_config=language_model.config,
            base_model=str(tiny / "language_model"),
            base_model_fingerprint=weights_fingerprint(str(tiny / "language_model")),
            mode=mode,
            quantization=quantization,
            first_pose_id=len(text_tokenizer),
            num_pose_codes=shape.num_codes,
            pose_tokens_per_frame=shape.num_tokens,
            pose_frames=FRAMES,
            pose_code_dim=shape.token_dim,
            pose_input=pose_input,
            pose_form=pose_form,
            pose_tokenizer=fingerprint(self.pose_tokenizer),
            video_tokens=tokens,
            video_width=width,
            video_encoder=encoder,
        )
        self.processor = CoachProcessor(text_tokenizer, config)
        self.model = CoachModel(config, language_model, self.pose_tokenizer.quantizer.codebook)
        self.model.initialise_new_parts()
        set_trainable(self.model, mode)


def dataset(
    coach: TinyCoach,
    formats: Sequence[str] | Mapping[str, float],
    count: int = 6,
    expert_drop: float = 0.0,
    poses: ClipPoses | None = None,
    max_length: int = 512,
) -> CoachDataset:
    """The first training tuples in these formats, with their shares or once each."""
    shares = formats if isinstance(formats, Mapping) else dict.fromkeys(formats, 1.0)
    sources = tuple_sources(coach.train[:count], shares, poses or coach.codes, coach.features, expert_drop, seed=0)
    return CoachDataset(sources, coach.processor, max_length, seed=0)


def collator(coach: TinyCoach, layout: str = "right") -> CoachCollator:
    config = coach.model.config
    shape = (config.video_tokens, config.video_width) if coach.features else None
    return CoachCollator(coach.processor, coach.processor.end_of_turn_id, shape, layout)


def collated(coach: TinyCoach, samples: list, layout: str = "right") -> dict[str, torch.Tensor]:
    batch = collator(coach, layout)(samples)
    del batch["samples"]
    return batch


def batch_of(coach: TinyCoach, formats: list[str], **kwargs) -> dict[str, torch.Tensor]:
    data = dataset(coach, formats, **kwargs)
    return collated(coach, [data[i] for i in range(len(data))])


def perturb(coach: TinyCoach) -> None:
    """Moves everything that trains away from its initial value."""
    with torch.no_grad():
        for parameter in coach.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def trainer(
    coach: TinyCoach, out: Path, train: CoachDataset, evaluation: CoachDataset | None = None, **settings
) -> CoachTrainer:
    """The real trainer around a tiny coach."""
    settings = {
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
    } | settings
    arguments = TrainingArguments(
        output_dir=str(out), use_cpu=True, remove_unused_columns=False, report_to="none", disable_tqdm=True,
        lr_scheduler_type="linear", warmup_steps=2, **settings,
    )  # fmt: skip
    return CoachTrainer(
        processor=coach.processor,
        pose_tokenizer=coach.pose_tokenizer,
        run_config={"seed": 0},
        mapper_learning_rate=1e-2,
        pose_row_learning_rate=1e-2,
        model=coach.model,
        args=arguments,
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=collator(coach, "packed"),
    )


def trained_losses(made: CoachTrainer) -> list[float]:
    """Loss of every logged step."""
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]
