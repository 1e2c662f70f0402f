r"""CoT-AFA: trains a coach to name an exercise, judge its form and explain it step by step.

Does what recipes/expertaf.py does (mappers only, LoRA, QLoRA, full; one process to several nodes; complete checkpoints,
going on after a crash; ``--dry-run``), on items of `mm-coach task read cot-afa`, alone or with other tasks (``mix``).
Switch: ``--steps`` says whose technical steps the explanation is given: of the class that the coach predicts (two passes), of
the three likeliest (``retrieved``), ``none``, or ``ground-truth``, which is a leak that published code has.
Does not: score (`mm-coach answer`, then `mm-coach eval`).
Refuses: items of another task, a mixture with features of several encoders, and what expertaf.py refuses.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/cot_afa.py \\
        --config recipes/configs/cot_afa/quickstart.yaml
    accelerate launch --config_file recipes/accelerate/zero2.yaml recipes/cot_afa.py \\
        --config recipes/configs/cot_afa/llama3_8b_lora.yaml
"""

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.tasks.cot_afa import COT_AFA
from mm_adapter.training.arguments import TaskArguments
from mm_adapter.training.stage import train_task

if __name__ == "__main__":
    begin_recipe()
    args, training, options = RecipeParser(TaskArguments, TrainingArguments, COT_AFA.options).parse_args_and_config()
    train_task(args, training, COT_AFA, options)
