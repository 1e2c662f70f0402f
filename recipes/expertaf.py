r"""ExpertAF: trains one coach for commentary (F_t), expert retrieval (F_r) and corrected poses (F_g).

Does: mappers only, LoRA, QLoRA (NF4) or full fine-tuning of a Llama-architecture model; the three functions jointly in set
proportions or separately (``--formats``, ``--format_weights``), also together with other tasks (``mix``); several stages in
one run (``stages``); one process, DDP, ZeRO-2, ZeRO-3, FSDP2 and several nodes through the files in `recipes/accelerate/`;
evaluation on held-out learners while it trains; complete checkpoints; going on after a crash or SIGTERM by running the same
command again, also on another number of processes with the same number of samples per step; ``--dry-run``.
Does not: encode video or poses (`mm-coach features extract` and `mm-coach tokenizer encode` do, once), or evaluate on
the test split (`mm-coach answer`, then `mm-coach eval`).
Refuses: unknown keys; features or pose codes of another encoder or tokenizer; clips that extraction never saw (tuples of clips
that it rejected are left out and counted); samples without supervised tokens or longer than ``max_length``; going on under
other settings than the run was begun with; a loss or gradient that is not finite.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/quickstart.yaml --learning_rate 1e-3
    accelerate launch --config_file recipes/accelerate/zero3.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/llama3_8b_lora.yaml
    python recipes/expertaf.py --config recipes/configs/expertaf/llama3_8b_lora.yaml --dry-run
"""

import gc

from transformers import TrainingArguments

from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.training.arguments import ExpertafArguments
from mm_adapter.training.data import expertaf_data
from mm_adapter.training.dry_run import plan_expertaf
from mm_adapter.training.stage import chain, is_trained, train

if __name__ == "__main__":
    begin_recipe()
    stages = chain(RecipeParser(ExpertafArguments, TrainingArguments).parse_stages())
    if stages[0][0].dry_run:
        plan_expertaf(stages)
    else:
        trained = [is_trained(*stage) for stage in stages]  # the settings of all are checked before the first begins
        for stage in [stage for stage, is_done in zip(stages, trained, strict=True) if not is_done]:
            train(*stage, expertaf_data)
            gc.collect()
