"""Trains and plans the contrastive baseline (ExpertAF Table 1, InternVideo2-FT)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.checkpoint.seal import seal
from mm_adapter.evaluation.matcher import (
    MATCHER_WIDTH,
    Matcher,
    MatcherConfig,
    MatcherInputs,
    matched_views,
    save_matcher,
)
from mm_adapter.model.config import VIEWS
from mm_adapter.model.language_model import recorded_name, text_config, weights_fingerprint, word_embeddings
from mm_adapter.samples.sources import without_rejected
from mm_adapter.training.arguments import ExpertafArguments
from mm_adapter.training.dry_run import global_batch, missing_inputs
from mm_adapter.training.plan import print_plan
from mm_adapter.training.schedules import optimizer_steps
from mm_adapter.training.stage import settings_of
from mm_adapter.training.trainer_flags import MATCHER, check_flags, settle
from mm_data.features import FeatureStore
from mm_data.tuples.store import read_tuples


def train_matcher(args: ExpertafArguments, training: TrainingArguments) -> None:
    """Trains InternVideo2-FT, the contrastive baseline: no language model, minutes, no checkpoints on the way."""
    if args.features is None:
        raise ValueError("--mode contrastive matches video; give --features.")
    if is_deepspeed_zero3_enabled():
        raise ValueError("--mode contrastive trains a few layers; launch it with cpu.yaml or ddp.yaml.")
    training = settle(training, MATCHER, remove_unused_columns=False, save_strategy="no", gradient_checkpointing=False)
    run, store = Path(str(training.output_dir)), FeatureStore(Path(args.features))
    torch.manual_seed(training.seed)
    tuples, _ = without_rejected(read_tuples(Path(args.tuples), "train")[: args.max_train_tuples], store)
    if not tuples:
        raise ValueError(f"{args.tuples} has no training tuples whose clips have features; build it with some.")
    embeddings = word_embeddings(args.language_model)
    inputs = MatcherInputs(tuples, store, AutoTokenizer.from_pretrained(args.language_model), embeddings)
    video = store.manifest
    matcher = Matcher(
        MatcherConfig(
            video_width=video.width,
            views=matched_views(args.views, video.views),
            word_width=embeddings.shape[1],
            width=MATCHER_WIDTH,
            video_encoder=video.made_by,
            language_model=recorded_name(args.language_model),
            language_model_fingerprint=weights_fingerprint(args.language_model),
        )
    )
    main_process = training.process_index == 0
    if main_process:
        write_run_record(run, settings_of(args, training))
        print(f"[trainable] {sum(p.numel() for p in matcher.parameters()):,} parameters, {len(tuples)} tuples")
    trainer = Trainer(model=matcher, args=training, train_dataset=inputs, data_collator=inputs.collate)
    trainer.train()
    trainer.save_state()
    if main_process:
        save_matcher(matcher.cpu(), run / "coach")
        seal(run / "coach")


def dry_run_matcher(args: ExpertafArguments, training: TrainingArguments, needed: Mapping[str, str | None]) -> None:
    """Prints what ``--mode contrastive`` would train and for how long. Missing inputs are named, not fatal.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.
        needed: What has to be there, and where.

    Raises:
        ValueError: Flags that cannot be honoured, or no features are named.
    """
    check_flags(training, MATCHER)
    if args.features is None:
        raise ValueError("--mode contrastive matches video; give --features.")
    missing = missing_inputs(needed)
    text, origin = text_config(args.language_model)
    store = FeatureStore(Path(args.features)) if Path(args.features).is_dir() else None
    views = matched_views(args.views, store.manifest.views) if store else tuple(args.views or VIEWS)
    width = store.manifest.width if store else args.plan_video_width
    with torch.device("meta"):
        matcher = Matcher(
            MatcherConfig(
                video_width=width,
                views=views,
                word_width=text.hidden_size,
                width=MATCHER_WIDTH,
                video_encoder="",
                language_model=args.language_model,
                language_model_fingerprint="",
            )
        )
    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin}), word embeddings alone",
        "mode": args.mode,
        "views": ", ".join(views),
        "global batch": global_batch(args, training),
    }
    if store is not None and Path(args.tuples).is_dir():
        tuples, _ = without_rejected(read_tuples(Path(args.tuples), "train")[: args.max_train_tuples], store)
        facts["samples per epoch"] = len(tuples)
        facts["optimizer steps"] = optimizer_steps(training, len(tuples), args.plan_world_size)
    print_plan(matcher, facts, {}, None, missing)
