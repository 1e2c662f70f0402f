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

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser
from mm_adapter.errors import show_sentences
from mm_adapter.evaluation.matcher_training import dry_run_matcher, train_matcher
from mm_adapter.training.arguments import ExpertafArguments
from mm_adapter.training.data import expertaf_data
from mm_adapter.training.dry_run import dry_run, guessed_samples
from mm_adapter.training.stage import fine_tune, is_trained

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


if __name__ == "__main__":
    show_sentences()
    parser = RecipeParser(ExpertafArguments, TrainingArguments)
    arguments, training_arguments = parser.parse_args_and_config()
    if arguments.dry_run:
        plan_stages(parser, arguments, training_arguments)
    else:
        run_stages(parser, arguments, training_arguments)
