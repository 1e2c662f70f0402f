r"""Matcher: trains InternVideo2-FT, the contrastive baseline of ExpertAF's Table 1, in minutes.

Does: matches a learner's clip with the expert's remark and demonstration in one space; one process or DDP; ``--dry-run``.
Does not: train a language model, write checkpoints on the way, or score (`mm-coach answer` takes the result as it
takes a coach).
Refuses: unknown keys; launch files that shard weights; a folder that another run wrote.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/matcher.py \\
        --config recipes/configs/matcher/quickstart.yaml
"""

from pathlib import Path

from transformers import Trainer, TrainingArguments

from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.checkpoint.seal import seal
from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.evaluation.matcher import save_matcher
from mm_adapter.evaluation.matcher_training import (
    MatcherArguments,
    build_matcher,
    open_inputs,
    plan_matcher,
    prepare_matcher,
)
from mm_adapter.training.stage import is_trained, settings_of
from mm_adapter.training.trainer_flags import MATCHER


def train(args: MatcherArguments, training: TrainingArguments) -> None:
    """Trains the matcher and saves it."""
    training = prepare_matcher(training)
    inputs = open_inputs(args)
    matcher = build_matcher(args, inputs)
    run, main_process = Path(str(training.output_dir)), training.process_index == 0
    if main_process:
        write_run_record(run, settings_of(args, training))
        parameters = sum(p.numel() for p in matcher.parameters())
        print(f"[trainable] {parameters:,} parameters, {len(inputs)} tuples")
    trainer = Trainer(model=matcher, args=training, train_dataset=inputs, data_collator=inputs.collate)
    trainer.train()
    trainer.save_state()
    if main_process:
        save_matcher(matcher.cpu(), run / "coach")
        seal(run / "coach")


if __name__ == "__main__":
    begin_recipe()
    args, training = RecipeParser(MatcherArguments, TrainingArguments).parse_args_and_config()
    if args.dry_run:
        plan_matcher(args, training)
    elif is_trained(args, training, flags=MATCHER):
        print(f"{training.output_dir}/coach is trained; give another --output_dir or delete it to train again")
    else:
        train(args, training)
