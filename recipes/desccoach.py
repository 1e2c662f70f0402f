r"""DescCoach: trains a coach to say per TechPoint what is done well and what to improve, then a commentary and a score.

Does what recipes/expertaf.py does (mappers only, LoRA, QLoRA, full; one process to several nodes; complete checkpoints,
going on after a crash; ``--dry-run``), on items of `mm-coach task read desccoach`, alone or with other tasks (``mix``).
Switches: ``--output commentary`` for the commentary alone; ``--techpoints false`` leaves the general TechPoints out;
``--hint`` names the dimensions that the truth talks about, as the paper does for every method.
Does not: score (`mm-coach answer`, then `mm-coach eval`).
Refuses: items of another task, a mixture with features of several encoders, and what expertaf.py refuses.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/desccoach.py \\
        --config recipes/configs/desccoach/quickstart.yaml
    accelerate launch --config_file recipes/accelerate/zero2.yaml recipes/desccoach.py \\
        --config recipes/configs/desccoach/llama3_8b_lora.yaml
"""

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.tasks.desccoach import DESCCOACH
from mm_adapter.training.arguments import TaskArguments
from mm_adapter.training.stage import train_task

if __name__ == "__main__":
    begin_recipe()
    args, training, options = RecipeParser(TaskArguments, TrainingArguments, DESCCOACH.options).parse_args_and_config()
    train_task(args, training, DESCCOACH, options)
