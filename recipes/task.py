r"""Trains a coach on whatever task a folder of items holds: a table of one's own, a task of one's own, or a published one.

Does what recipes/expertaf.py does (mappers only, LoRA, QLoRA, full; one process to several nodes; complete checkpoints,
going on after a crash; ``--dry-run``), on items of `mm-coach task read`, alone or with other tasks (``mix``). The items say which
task they are of; its switches are flags.
Does not: score (`mm-coach answer`, then `mm-coach eval`).
Refuses: a mixture with features of several encoders, and what expertaf.py refuses.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/task.py --config recipes/configs/task/small.yaml --items ITEMS
"""

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe, task_of_items
from mm_adapter.training.arguments import TaskArguments
from mm_adapter.training.stage import train_task

if __name__ == "__main__":
    begin_recipe()
    task = task_of_items()
    args, training, options = RecipeParser(TaskArguments, TrainingArguments, task.options).parse_args_and_config()
    train_task(args, training, task, options)
