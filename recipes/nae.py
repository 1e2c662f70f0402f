r"""NAE: trains a coach to narrate a performance with its actions and its score (MTL-NAE, FineGym-NAE).

Does what recipes/expertaf.py does (mappers only, LoRA, QLoRA, full; one process to several nodes; complete checkpoints,
going on after a crash; ``--dry-run``), on items of `mm-coach task read nae`, alone or with other tasks (``mix``).
Switches: ``--difficulty`` tells the dive's difficulty, which published code does at test time too; ``--score_intervals N``
lists the training scores' quantile bounds in words (PGMI §4.2).
Does not: score (`mm-coach answer`, then `mm-coach eval`).
Refuses: items of another task, a mixture with features of several encoders, and what expertaf.py refuses.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/nae.py --config recipes/configs/nae/quickstart.yaml
    accelerate launch --config_file recipes/accelerate/zero2.yaml recipes/nae.py \\
        --config recipes/configs/nae/llama3_8b_lora.yaml --mix.0.items runs/desccoach/items
"""

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.tasks.nae import NAE
from mm_adapter.training.arguments import TaskArguments
from mm_adapter.training.stage import train_task

if __name__ == "__main__":
    begin_recipe()
    args, training, options = RecipeParser(TaskArguments, TrainingArguments, NAE.options).parse_args_and_config()
    train_task(args, training, NAE, options)
