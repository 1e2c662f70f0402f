"""Behind ``--dry-run``: builds a run on the meta device and prints what it would do and need."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from mm_adapter.arguments import CoachArguments
from mm_adapter.assembly import coach_config, lora_config, open_dataset, open_poses
from mm_adapter.base_models import text_config
from mm_adapter.batching import WindowSampler, tokens
from mm_adapter.checkpoint import add_lora
from mm_adapter.configuration import CoachConfig
from mm_adapter.modeling import CoachForConditionalGeneration
from mm_adapter.plan import GPUS, SHARDINGS, Batch, estimate_memory, print_plan
from mm_adapter.processing import IGNORE, CoachProcessor
from mm_adapter.training import set_trainable
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_tuples
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, PoseVocabulary, load_tokenizer


def dry_run(args: CoachArguments, training: TrainingArguments) -> None:
    """Builds the run on the meta device and prints what it would do. Missing inputs are named, not fatal."""
    if args.plan_gpu is not None and args.plan_gpu not in GPUS:
        raise ValueError(f"Unknown GPU {args.plan_gpu!r}; choose from {', '.join(GPUS)}.")
    needed = {
        "tuples": args.tuples,
        "pose tokenizer": args.pose_tokenizer,
        "pose codes": args.pose_codes,
        "features": args.features,
    }
    missing = [f"{what} at {path}" for what, path in needed.items() if path is not None and not Path(path).is_dir()]
    text, origin = text_config(args.language_model)
    if origin == "published shape":
        missing.append(f"the weights of {args.language_model} (its {origin} is used here)")
    has_tokenizer = Path(args.pose_tokenizer).is_dir()
    tokenizer = load_tokenizer(Path(args.pose_tokenizer)) if has_tokenizer else PoseTokenizer(PoseTokenizerConfig())
    store = FeatureStore(Path(args.features)) if args.features and Path(args.features).is_dir() else None
    config = coach_config(args, text, text.vocab_size, tokenizer, store)
    if args.features and store is None:
        config.video_tokens, config.video_width = args.plan_video_tokens, args.plan_video_width
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(text, dtype=torch.bfloat16)
        if args.mode == "lora":
            add_lora(language_model, lora_config(args))
        model = CoachForConditionalGeneration(
            config, language_model, torch.empty(config.num_pose_codes, config.pose_code_dim)
        )
    set_trainable(model, args.mode)

    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * args.plan_world_size
    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin})",
        "mode": args.mode + (f", {args.quantization} weights" if args.quantization else ""),
        "global batch": f"{per_step} samples ({args.plan_world_size} processes)",
    }
    if missing:
        batch = guessed_batch(args, config, training.per_device_train_batch_size, facts)
    else:
        batch = longest_batch(args, training, config, tokenizer, store, facts)
    if Path(args.tuples).is_dir():
        weights = args.format_weights or [1.0] * len(args.formats)
        samples = round(len(read_tuples(Path(args.tuples), "train")) * sum(weights))
        steps = (
            training.max_steps if training.max_steps > 0 else int(samples / per_step * training.num_train_epochs + 1)
        )
        facts["samples per epoch"], facts["optimizer steps"] = samples, steps
    memory = {
        sharding.name: estimate_memory(
            model, batch, bool(training.gradient_checkpointing), sharding, args.plan_world_size
        )
        for sharding in SHARDINGS
    }
    print_plan(model, facts, memory, args.plan_gpu, missing)


def guessed_batch(args: CoachArguments, config: CoachConfig, batch_size: int, facts: dict[str, Any]) -> Batch:
    """The longest micro-batch by the sizes of clips and a hundred words; for a plan before the data is there."""
    vocabulary = PoseVocabulary(
        config.first_pose_id, config.num_pose_codes, config.pose_tokens_per_frame, config.pose_frames
    )
    media = vocabulary.clip_length + len(config.views) * config.video_tokens
    words = 110  # template, questions and a one-sentence remark
    budget = {
        "commentary": (words + media * (2 if args.expert_drop < 1 else 1), 40),
        "demonstration": (words + media + vocabulary.clip_length, vocabulary.clip_length + 1),
        "dialogue": (words + media + vocabulary.clip_length, vocabulary.clip_length + 41),
    }
    facts["tokens per clip"] = (
        f"{vocabulary.clip_length} pose + {len(config.views)} × {config.video_tokens} video tokens"
    )
    for form in args.formats:
        facts[f"tokens per sample: {form}"] = f"at most about {budget[form][0]}, {budget[form][1]} supervised"
    lengths, supervised = zip(*(budget[form] for form in args.formats), strict=True)
    return Batch(batch_size * max(lengths), batch_size * max(supervised))


def longest_batch(
    args: CoachArguments,
    training: TrainingArguments,
    config: CoachConfig,
    tokenizer: PoseTokenizer,
    store: FeatureStore | None,
    facts: dict[str, Any],
) -> Batch:
    """The micro-batch that the first step begins with, from the real samples."""
    processor = CoachProcessor(AutoTokenizer.from_pretrained(args.language_model), config.clip_format)
    dataset, _, _ = open_dataset(args, training.seed, processor, open_poses(args, tokenizer), store)
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
    return Batch(tokens(members, dataset.lengths(0)), supervised)
