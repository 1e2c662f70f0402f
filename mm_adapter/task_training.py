"""What the recipes of NAE, CoT-AFA and DescCoach run: the same fine-tuning as ExpertAF's, on a task's items."""

from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from mm_adapter.arguments import TaskArguments
from mm_adapter.dry_run import dry_run, guessed_items
from mm_adapter.fine_tuning import fine_tune, is_trained
from mm_adapter.training_data import task_data
from mm_data.tasks import Task


def train_task(args: TaskArguments, training: TrainingArguments, task: Task, options: Any) -> None:
    """Trains a coach on a task, alone or in a mixture; or prints the plan with ``--dry-run``. A finished run is left as it is.

    Args:
        args: Of the recipe.
        training: Of the trainer.
        task: What is trained.
        options: Its switches.
    """
    open_data = partial(task_data, args, training.seed, task=task, options=options)
    if args.dry_run:
        inside = Path(args.items) / "features"
        features = args.features or (str(inside) if inside.is_dir() or not Path(args.items).is_dir() else None)
        dry_run(args, training, {"items": args.items, "features": features}, open_data, guessed_items)
        return
    if is_trained(args, training):
        print(
            f"{Path(str(training.output_dir)) / 'coach'} is trained; give another --output_dir or delete it to train again"
        )
    else:
        fine_tune(args, training, open_data)
