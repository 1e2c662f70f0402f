"""The parts of training the contrastive baseline (ExpertAF Table 1, InternVideo2-FT); `recipes/matcher.py` puts them together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from mm_adapter.evaluation.matcher import MATCHER_WIDTH, Matcher, MatcherConfig, MatcherInputs, matched_views
from mm_adapter.model.config import VIEWS
from mm_adapter.model.language_model import recorded_name, text_config, weights_fingerprint, word_embeddings
from mm_adapter.samples.sources import without_rejected
from mm_adapter.training.arguments import ExpertafArguments
from mm_adapter.training.dry_run import global_batch, missing_inputs
from mm_adapter.training.plan import print_plan
from mm_adapter.training.schedules import optimizer_steps
from mm_adapter.training.trainer_flags import MATCHER, check_flags, settle
from mm_data.features import FeatureStore
from mm_data.items.store import read_items


@dataclass(kw_only=True)
class MatcherArguments:
    """Arguments of `recipes/matcher.py`."""

    language_model: str = field(metadata={"help": "Hub name or folder of the model whose word embeddings are read."})
    tuples: str = field(metadata={"help": "Folder written by `mm-coach data build`."})
    features: str = field(metadata={"help": "Feature store."})
    views: list[str] | None = field(default=None, metadata={"help": "Video views; by default those of the features."})
    max_train_tuples: int | None = field(default=None, metadata={"help": "Use only the first tuples."})
    dry_run: bool = field(default=False, metadata={"help": "Build everything, print the plan, train nothing."})
    plan_video_width: int = field(default=1408, metadata={"help": "Dry run without features: feature width."})
    plan_world_size: int = field(default=1, metadata={"help": "Dry run: number of processes."})

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a number below 1."""
        for name in ("max_train_tuples", "plan_video_width", "plan_world_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value} has to be at least 1.")


def matcher_settings(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those settings of a preset of `recipes/expertaf.py` that a matcher has too."""
    coaches_alone = {f.name for f in fields(ExpertafArguments)} - {f.name for f in fields(MatcherArguments)}
    return {name: value for name, value in preset.items() if name not in coaches_alone}


def prepare_matcher(training: TrainingArguments) -> TrainingArguments:
    """Sets the seed and the trainer's arguments that the matcher decides itself.

    Args:
        training: The trainer's arguments as parsed.

    Returns:
        The settled arguments.

    Raises:
        ValueError: The launch file shards weights, which are too few for that.
    """
    if is_deepspeed_zero3_enabled():
        raise ValueError("A matcher trains a few layers; launch it with cpu.yaml or ddp.yaml.")
    settled = settle(training, MATCHER, remove_unused_columns=False, save_strategy="no", gradient_checkpointing=False)
    torch.manual_seed(settled.seed)
    return settled


def open_inputs(args: MatcherArguments) -> MatcherInputs:
    """Opens the training tuples with their features and averaged word embeddings.

    Args:
        args: The recipe's arguments.

    Returns:
        The inputs of every training tuple whose clips have features.

    Raises:
        ValueError: No training tuple has features.
    """
    store = FeatureStore(Path(args.features))
    items, _ = without_rejected(read_items(Path(args.tuples), "train")[: args.max_train_tuples], store)
    if not items:
        raise ValueError(f"{args.tuples} has no training tuples whose clips have features; build it with some.")
    tokenizer = AutoTokenizer.from_pretrained(args.language_model)
    return MatcherInputs(items, store, tokenizer, word_embeddings(args.language_model))


def build_matcher(args: MatcherArguments, inputs: MatcherInputs) -> Matcher:
    """Builds a matcher with fresh weights for these inputs."""
    video = inputs.store.manifest
    return Matcher(
        MatcherConfig(
            video_width=video.width,
            views=matched_views(args.views, video.views),
            word_width=inputs.words.shape[1],
            width=MATCHER_WIDTH,
            video_encoder=video.made_by,
            language_model=recorded_name(args.language_model),
            language_model_fingerprint=weights_fingerprint(args.language_model),
        )
    )


def plan_matcher(args: MatcherArguments, training: TrainingArguments) -> None:
    """Prints what would be trained and for how long. Missing inputs are named, not fatal.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.

    Raises:
        ValueError: Flags that cannot be honoured.
    """
    check_flags(training, MATCHER)
    text, origin = text_config(args.language_model)
    store = FeatureStore(Path(args.features)) if Path(args.features).is_dir() else None
    views = matched_views(args.views, store.manifest.views) if store else tuple(args.views or VIEWS)
    width = store.manifest.width if store else args.plan_video_width
    with torch.device("meta"):
        matcher = Matcher(MatcherConfig(width, views, text.hidden_size, MATCHER_WIDTH, "", args.language_model, ""))
    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin}), word embeddings alone",
        "views": ", ".join(views),
        "global batch": global_batch(training, args.plan_world_size),
    }
    if store is not None and Path(args.tuples).is_dir():
        items, _ = without_rejected(read_items(Path(args.tuples), "train")[: args.max_train_tuples], store)
        facts["samples per epoch"] = len(items)
        facts["optimizer steps"] = optimizer_steps(training, len(items), args.plan_world_size)
    print_plan(matcher, facts, {}, None, missing_inputs({"tuples": args.tuples, "features": args.features}))
