"""Behind ``--dry-run``: builds a run on the meta device and prints what it would do and need."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from mm_adapter.tasks import Task
from mm_adapter.training.arguments import CoachArguments, ExpertafArguments, TaskArguments
from mm_adapter.training.build import coach_config, lora_config, open_pose_tokenizer
from mm_adapter.training.data import TrainingData, expertaf_data, task_data
from mm_adapter.training.plan import GPUS, SHARDINGS, Batch, estimate_memory, print_plan
from mm_adapter.training.schedules import optimizer_steps, samples_per_step
from mm_adapter.training.trainer_flags import COACH, check_flags
from mm_data.features import FeatureManifest
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig


def plan_expertaf(stages: Sequence[tuple[ExpertafArguments, TrainingArguments]]) -> None:
    """Prints what every stage of `recipes/expertaf.py` would do and need."""
    for number, (args, training) in enumerate(stages, start=1):
        if args.stages:
            changes = ", ".join(f"{name} {value}" for name, value in args.stages[number - 1].items())
            print(f"Stage {number} of {len(stages)}: {changes}")
        inputs = {"tuples": args.tuples, "pose codes": args.pose_codes, "features": args.features}
        open_data = partial(expertaf_data, args, training.seed)
        print_dry_run(args, training, inputs, open_data, partial(guessed_samples, args))


def plan_task(args: TaskArguments, training: TrainingArguments, task: Task, options: Any) -> None:
    """Prints what a recipe of a task would do and need.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.
        task: The task that is trained.
        options: The task's switches.
    """
    items = Path(args.items)
    inner = str(items / "features") if (items / "features").is_dir() or not items.is_dir() else None
    inputs = {"items": args.items, "features": args.features or inner}
    open_data = partial(task_data, args, training.seed, task=task, options=options)
    print_dry_run(args, training, inputs, open_data, guessed_items)


def print_dry_run(
    args: CoachArguments,
    training: TrainingArguments,
    inputs: Mapping[str, str | None],
    open_data: Callable[[PoseTokenizer], TrainingData],
    guess: Callable[[CoachConfig], Mapping[str, tuple[int, int]]],
) -> None:
    """Builds the run on the meta device and prints what it would do. Missing inputs are named, not fatal.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.
        inputs: Name to folder of the inputs; None for one that the run does without.
        open_data: Opens the samples with a pose tokenizer, where every input is there.
        guess: Guesses (tokens, supervised tokens) at most by kind of sample, where an input is missing.

    Raises:
        ValueError: Flags that cannot be honoured, or an unknown GPU.
    """
    check_flags(training, COACH)
    if args.plan_gpu is not None and args.plan_gpu not in GPUS:
        raise ValueError(f"Unknown GPU {args.plan_gpu!r}; choose from {', '.join(GPUS)}.")
    missing = missing_inputs({**inputs, "pose tokenizer": args.pose_tokenizer})
    text, origin = text_config(args.language_model)
    if origin == "published shape":
        missing.append(f"the weights of {args.language_model} (its {origin} is used here)")
    is_known = args.pose_tokenizer is None or Path(args.pose_tokenizer).is_dir()
    tokenizer = open_pose_tokenizer(args) if is_known else PoseTokenizer(PoseTokenizerConfig())
    data = None if missing else open_data(tokenizer)
    config = _planned_config(args, text, tokenizer, data, inputs.get("features"))
    model = _model_on_meta(args, config)
    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin})",
        "mode": args.mode + (f", {args.quantization} weights" if args.quantization else ""),
        "global batch": global_batch(training, args.plan_world_size),
    }
    if data is None:
        batch = guessed_batch(guess(config), config, training.per_device_train_batch_size, facts)
    else:
        batch, samples = longest_batch(args, training, config, data, facts)
        facts["samples per epoch"] = samples
        facts["optimizer steps"] = optimizer_steps(training, samples, args.plan_world_size)
    recompute = bool(training.gradient_checkpointing)
    memory = {s.name: estimate_memory(model, batch, recompute, s, args.plan_world_size) for s in SHARDINGS}
    print_plan(model, facts, memory, args.plan_gpu, missing)


def _planned_config(
    args: CoachArguments, text: Any, tokenizer: PoseTokenizer, data: TrainingData | None, features: str | None
) -> CoachConfig:
    """Builds the coach's configuration from the data, from the feature store alone, or from the flags of the plan."""
    video = data.video() if data else None
    if video is None and features and Path(features).is_dir():
        video = FeatureManifest.read(Path(features))
    if data is not None:
        views = data.shown_views(args.views)
    else:
        views = args.views if args.views is not None else [*(video.views if video else VIEWS)]
    config = coach_config(args, text, text.vocab_size, tokenizer, video if views else None, views)
    if features and video is None:
        config.video_tokens, config.video_width = args.plan_video_tokens, args.plan_video_width
    return config


def _model_on_meta(args: CoachArguments, config: CoachConfig) -> CoachModel:
    """Builds the coach without weights; what trains is set."""
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(config.text_config, dtype=torch.bfloat16)
        if args.mode == "lora":
            add_lora(language_model, lora_config(args))
        codebook = torch.empty(config.num_pose_codes, config.pose_code_dim)
        model = CoachModel(config, language_model, codebook)
    set_trainable(model, args.mode)
    return model


def missing_inputs(inputs: Mapping[str, str | None]) -> list[str]:
    """Lists the inputs that are not there, each with its path."""
    return [f"{name} at {path}" for name, path in inputs.items() if path is not None and not Path(path).is_dir()]


def global_batch(training: TrainingArguments, processes: int) -> str:
    """Says how many samples an optimizer step has, over how many processes."""
    return f"{samples_per_step(training, processes)} samples ({processes} processes)"


def guessed_samples(args: ExpertafArguments, config: CoachConfig) -> dict[str, tuple[int, int]]:
    """Guesses ExpertAF's samples by the sizes of clips and a hundred words, for a plan before the data is there."""
    answer = config.pose_vocabulary.clip_length
    media = answer + len(config.views) * config.video_tokens
    words = 110  # template, questions and a one-sentence remark
    budget = {
        "commentary": (words + media * (2 if args.expert_drop < 1 else 1), 40),
        "demonstration": (words + media + answer, answer + 1),
        "dialogue": (words + media + answer, answer + 41),
    }
    return {form: budget[form] for form in args.formats}


def guessed_items(config: CoachConfig) -> dict[str, tuple[int, int]]:
    """Guesses a task's samples: a clip, some three hundred words of question and two hundred of answer."""
    poses = config.pose_vocabulary.clip_length if config.pose_form == "tokens" else 0
    return {"item": (poses + len(config.views) * config.video_tokens + 700, 280)}


def guessed_batch(
    budget: Mapping[str, tuple[int, int]], config: CoachConfig, batch_size: int, facts: dict[str, Any]
) -> Batch:
    """Returns the longest micro-batch by guessed sizes of samples."""
    clip = config.pose_vocabulary.clip_length
    facts["tokens per clip"] = f"{clip} pose + {len(config.views)} × {config.video_tokens} video tokens"
    for form, (length, supervised) in budget.items():
        facts[f"tokens per sample: {form}"] = f"at most about {length}, {supervised} supervised"
    lengths, supervised = zip(*budget.values(), strict=True)
    return Batch(batch_size * max(lengths), batch_size * max(supervised))


def longest_batch(
    args: CoachArguments, training: TrainingArguments, config: CoachConfig, data: TrainingData, facts: dict[str, Any]
) -> tuple[Batch, int]:
    """Returns the micro-batch that the first step begins with, from the real samples, and the samples of an epoch."""
    processor = CoachProcessor(AutoTokenizer.from_pretrained(args.language_model), config)
    dataset = CoachDataset(data.train, processor, args.max_length, training.seed)
    sizes = training.per_device_train_batch_size, training.gradient_accumulation_steps, args.plan_world_size
    sampler = WindowSampler(dataset, *sizes, training.seed)
    members = max(sampler.windows()[0], key=lambda batch: tokens(batch, dataset.lengths(0)))
    supervised = sum(label != IGNORE for i in members for label in dataset.encode(i).labels)
    facts["longest sample"] = f"{dataset.longest} tokens"
    facts["longest micro-batch"] = f"{tokens(members, dataset.lengths(0))} tokens, {supervised} supervised"
    return Batch(tokens(members, dataset.lengths(0)), supervised), len(dataset)
