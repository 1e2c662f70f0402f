r"""ExpertAF: trains one coach for commentary (F_t), expert retrieval (F_r) and corrected poses (F_g).

Does: mappers only, LoRA, QLoRA (NF4) or full fine-tuning of a Llama-architecture model; the three functions jointly in set
proportions or separately (``--formats``, ``--format_weights``), also together with other tasks (``--mix``); several stages in one run (``--stages``); one process, DDP,
ZeRO-2, ZeRO-3, FSDP2 and several nodes through the files in `recipes/accelerate/`; evaluation on held-out learners while
it trains; complete checkpoints; going on after a crash or SIGTERM by running the same command again, also on another number
of processes with the same number of samples per step; ``--dry-run``.
Does not: encode video or poses (`mm-coach features extract` and `mm-coach tokenizer encode` do, once), or evaluate on
the test split (`mm-coach evaluate`).
Refuses: unknown keys; features or pose codes of another encoder or tokenizer; clips that extraction never saw (tuples of clips
that it rejected are left out and counted); samples without supervised tokens or longer than ``max_length``; going on under
other settings than the run was begun with; a loss or gradient that is not finite.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/quickstart.yaml --learning_rate 1e-3
    accelerate launch --config_file recipes/accelerate/zero3.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/llama3_8b_lora.yaml
    python recipes/expertaf.py --config recipes/configs/expertaf/llama3_8b_lora.yaml --dry-run
"""

import dataclasses
import gc
import shlex
import sys
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from mm_adapter.arguments import ExpertafArguments
from mm_adapter.base_models import recorded_name, weights_fingerprint, word_embeddings
from mm_adapter.contrastive import (
    MATCHER_WIDTH,
    Matcher,
    MatcherConfig,
    MatcherInputs,
    matched_views,
    save_matcher,
)
from mm_adapter.dry_run import dry_run, dry_run_matcher, guessed_samples
from mm_adapter.errors import show_sentences
from mm_adapter.fine_tuning import fine_tune, is_trained, settings_of
from mm_adapter.manifest import seal
from mm_adapter.recipe_parser import RecipeParser
from mm_adapter.run_directory import write_run_record
from mm_adapter.sources import without_rejected
from mm_adapter.trainer_flags import MATCHER, settle
from mm_adapter.training_data import expertaf_data
from mm_data.features import FeatureStore
from mm_data.tuples.store import read_tuples

Stage = tuple[ExpertafArguments, TrainingArguments]


def stages_of(parser: RecipeParser, args: ExpertafArguments, training: TrainingArguments) -> list[Stage]:
    """The arguments of every stage: each begins where the last one ends, in a folder of its own; the last one's is the run's."""
    run, start_from, stages = Path(str(training.output_dir)), args.start_from, []
    for number, flags in enumerate(args.stages or [""], start=1):
        own, settings = parser.parse_args_and_config([*sys.argv[1:], *shlex.split(flags)])
        folder = run if number == len(args.stages or [""]) else run / f"stage-{number}"
        stages.append(
            (dataclasses.replace(own, start_from=start_from), dataclasses.replace(settings, output_dir=str(folder)))
        )
        start_from = str(folder / "coach")
    return stages


def run_stages(parser: RecipeParser, args: ExpertafArguments, training: TrainingArguments) -> None:
    """Trains every stage from where the last one ended; all settings are checked before the first begins."""
    stages = stages_of(parser, args, training)
    trained = [is_trained(*stage) for stage in stages]
    for done, (own, settings) in zip(trained, stages, strict=True):
        if not done:
            (train_matcher if own.mode == "contrastive" else train)(own, settings)
        gc.collect()


def plan_stages(parser: RecipeParser, args: ExpertafArguments, training: TrainingArguments) -> None:
    """Prints what every stage would do and need."""
    stages = stages_of(parser, args, training)
    for number, (own, settings) in enumerate(stages, start=1):
        if len(stages) > 1:
            print(f"Stage {number} of {len(stages)}: {(args.stages or [''])[number - 1]}")
        needed = {"tuples": own.tuples, "pose codes": own.pose_codes, "features": own.features}
        if own.mode == "contrastive":
            dry_run_matcher(own, settings, {name: path for name, path in needed.items() if name != "pose codes"})
        else:
            open_data = partial(expertaf_data, own, settings.seed)
            dry_run(own, settings, needed, open_data, partial(guessed_samples, own))


def train(args: ExpertafArguments, training: TrainingArguments) -> None:
    """Trains one stage and saves; run again to resume."""
    fine_tune(args, training, partial(expertaf_data, args, training.seed))


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


if __name__ == "__main__":
    show_sentences()
    parser = RecipeParser(ExpertafArguments, TrainingArguments)
    arguments, training_arguments = parser.parse_args_and_config()
    if arguments.dry_run:
        plan_stages(parser, arguments, training_arguments)
    else:
        run_stages(parser, arguments, training_arguments)
