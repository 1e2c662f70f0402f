"""Behind ``--dry-run``: builds a run on the meta device and prints what it would do and need."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import VIEWS, CoachConfig
from mm_adapter.model.language_model import text_config
from mm_adapter.model.lora import add_lora, set_trainable
from mm_adapter.model.processor import IGNORE, CoachProcessor
from mm_adapter.samples.batching import WindowSampler, tokens
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.training.arguments import CoachArguments, ExpertafArguments
from mm_adapter.training.build import coach_config, lora_config, open_pose_tokenizer
from mm_adapter.training.data import TrainingData
from mm_adapter.training.plan import GPUS, SHARDINGS, Batch, estimate_memory, print_plan
from mm_adapter.training.schedules import optimizer_steps, samples_per_step
from mm_adapter.training.trainer_flags import COACH, check_flags
from mm_data.features import FeatureManifest
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, PoseVocabulary


def dry_run(
    args: CoachArguments,
    training: TrainingArguments,
    needed: Mapping[str, str | None],
    open_data: Callable[[PoseTokenizer], TrainingData],
    guess: Callable[[CoachConfig], Mapping[str, tuple[int, int]]],
) -> None:
    """Builds the run on the meta device and prints what it would do. Missing inputs are named, not fatal.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.
        needed: What has to be there, and where.
        open_data: Pose tokenizer to the samples, where everything is there.
        guess: Kind of sample to (tokens, supervised tokens) at most, where something is missing.

    Raises:
        ValueError: Flags that cannot be honoured, or an unknown GPU.
    """
    check_flags(training, COACH)
    if args.plan_gpu is not None and args.plan_gpu not in GPUS:
        raise ValueError(f"Unknown GPU {args.plan_gpu!r}; choose from {', '.join(GPUS)}.")
    needed = {**needed, "pose tokenizer": args.pose_tokenizer}
    missing = missing_inputs(needed)
    text, origin = text_config(args.language_model)
    if origin == "published shape":
        missing.append(f"the weights of {args.language_model} (its {origin} is used here)")
    given = args.pose_tokenizer
    known = given is None or Path(given).is_dir()
    tokenizer = open_pose_tokenizer(args) if known else PoseTokenizer(PoseTokenizerConfig())
    data = None if missing else open_data(tokenizer)
    features = needed.get("features")
    video = data.video() if data else None
    if video is None and features and Path(features).is_dir():
        video = FeatureManifest.read(Path(features))
    known_views = [*video.views] if video else [*VIEWS]
    shown = data.shown_views(args.views) if data else known_views if args.views is None else args.views
    config = coach_config(args, text, text.vocab_size, tokenizer, video if shown else None, shown)
    if features and video is None:
        config.video_tokens, config.video_width = args.plan_video_tokens, args.plan_video_width
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(text, dtype=torch.bfloat16)
        if args.mode == "lora":
            add_lora(language_model, lora_config(args))
        model = CoachModel(config, language_model, torch.empty(config.num_pose_codes, config.pose_code_dim))
    set_trainable(model, args.mode)

    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin})",
        "mode": args.mode + (f", {args.quantization} weights" if args.quantization else ""),
        "global batch": global_batch(args, training),
    }
    if data is None:
        batch = guessed_batch(guess(config), config, training.per_device_train_batch_size, facts)
    else:
        batch, samples = longest_batch(args, training, config, data, facts)
        facts["samples per epoch"] = samples
        facts["optimizer steps"] = optimizer_steps(training, samples, args.plan_world_size)
    memory = {
        sharding.name: estimate_memory(
            model, batch, bool(training.gradient_checkpointing), sharding, args.plan_world_size
        )
        for sharding in SHARDINGS
    }
    print_plan(model, facts, memory, args.plan_gpu, missing)


def missing_inputs(needed: Mapping[str, str | None]) -> list[str]:
    """What is needed and not there, each with its path."""
    return [f"{what} at {path}" for what, path in needed.items() if path is not None and not Path(path).is_dir()]


def global_batch(args: CoachArguments, training: TrainingArguments) -> str:
    """Samples per optimizer step, and of how many processes."""
    return f"{samples_per_step(training, args.plan_world_size)} samples ({args.plan_world_size} processes)"


def guessed_samples(args: ExpertafArguments, config: CoachConfig) -> dict[str, tuple[int, int]]:
    """ExpertAF's samples by the sizes of clips and a hundred words; for a plan before the data is there."""
    answer = vocabulary_of(config).clip_length
    media = answer + len(config.views) * config.video_tokens
    words = 110  # template, questions and a one-sentence remark
    budget = {
        "commentary": (words + media * (2 if args.expert_drop < 1 else 1), 40),
        "demonstration": (words + media + answer, answer + 1),
        "dialogue": (words + media + answer, answer + 41),
    }
    return {form: budget[form] for form in args.formats}


def guessed_items(config: CoachConfig) -> dict[str, tuple[int, int]]:
    """A task's samples: a clip, some three hundred words of question and two hundred of answer."""
    poses = vocabulary_of(config).clip_length if config.pose_form == "tokens" else 0
    return {"item": (poses + len(config.views) * config.video_tokens + 700, 280)}


def vocabulary_of(config: CoachConfig) -> PoseVocabulary:
    """Pose tokens of a coach."""
    return PoseVocabulary(config.first_pose_id, config.num_pose_codes, config.pose_tokens_per_frame, config.pose_frames)


def guessed_batch(
    budget: Mapping[str, tuple[int, int]], config: CoachConfig, batch_size: int, facts: dict[str, Any]
) -> Batch:
    """The longest micro-batch by guessed sizes of samples."""
    clip = vocabulary_of(config).clip_length
    facts["tokens per clip"] = f"{clip} pose + {len(config.views)} × {config.video_tokens} video tokens"
    for form, (length, supervised) in budget.items():
        facts[f"tokens per sample: {form}"] = f"at most about {length}, {supervised} supervised"
    lengths, supervised = zip(*budget.values(), strict=True)
    return Batch(batch_size * max(lengths), batch_size * max(supervised))


def longest_batch(
    args: CoachArguments,
    training: TrainingArguments,
    config: CoachConfig,
    data: TrainingData,
    facts: dict[str, Any],
) -> tuple[Batch, int]:
    """The micro-batch that the first step begins with, from the real samples, and how many samples an epoch has."""
    processor = CoachProcessor(AutoTokenizer.from_pretrained(args.language_model), config.clip_format)
    dataset = CoachDataset(data.train, processor, args.max_length, training.seed)
    sampler = WindowSampler(
        dataset,
        training.per_device_train_batch_size,
        training.gradient_accumulation_steps,
        args.plan_world_size,
        training.seed,
    )
    members = max(sampler.windows()[0], key=lambda batch: tokens(batch, dataset.lengths(0)))
    supervised = sum(label != IGNORE for i in members for label in dataset.encode(i).labels)
    facts["longest sample"] = f"{dataset.longest} tokens"
    facts["longest micro-batch"] = f"{tokens(members, dataset.lengths(0))} tokens, {supervised} supervised"
    return Batch(tokens(members, dataset.lengths(0)), supervised), len(dataset)
