"""Which of the trainer's flags a recipe honours, replaces or refuses. Every one is in exactly one of the three groups.

A flag that transformers accepts is not one that a coach's trainer follows: batches, losses, checkpoints and evaluation are
ours. What would be taken and do nothing, or something else than it says, is refused with the reason.
"""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.training_args import OptimizerNames

logger = logging.getLogger(__name__)

Arguments = TypeVar("Arguments", bound=TrainingArguments)


@dataclasses.dataclass(frozen=True)
class Flags:
    """What a recipe does with the trainer's flags.

    Attributes:
        honoured: Names that do what transformers says.
        replaced: Names that the recipe sets itself, and why.
        refused: Names that have to keep their default, and why.
    """

    honoured: frozenset[str]
    replaced: Mapping[str, str]
    refused: Mapping[str, str]


_HONOURED = frozenset({
    "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "seed",
    "full_determinism", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "optim_args",
    "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "tf32", "use_cpu", "torch_empty_cache_steps",
    "logging_strategy", "logging_steps", "logging_first_step", "log_on_each_node", "log_level", "log_level_replica",
    "disable_tqdm", "report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor", "dataloader_multiprocessing_context",
    "ddp_bucket_cap_mb", "ddp_static_graph", "ddp_backend", "ddp_timeout", "debug", "skip_memory_metrics", "do_train",
    "local_rank",
})  # fmt: skip

_SAVING = frozenset({"save_strategy", "save_steps", "save_total_limit"})
_EVALUATION = frozenset({
    "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size", "do_eval",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better",
})  # fmt: skip
_HUB = frozenset({"push_to_hub", "hub_token", "hub_private_repo", "hub_model_id"})
_CHECKPOINTING = frozenset({"gradient_checkpointing", "gradient_checkpointing_kwargs"})

_NO_COMPILATION = "samples differ in length, so a compiled model would be compiled again and again"
_ONE_SUM = "evaluation sums losses and keeps no predictions"
_ONE_PUSH = "the finished coach is pushed once, as a whole, to the main branch"
_LAUNCH_FILES = "launch with one of recipes/accelerate/ instead, which checkpoints are written for"
_EVERY_SAMPLE = "an epoch shows every sample"
_ORDER = "the samples of a step depend on --seed and the epoch alone, dealt by length"

_REFUSED = {
    "resume_from_checkpoint": (
        "a run goes on from the last checkpoint in its --output_dir by itself when the same command is run again. To begin "
        "another run with the weights of a coach or checkpoint, name it as --start_from (--coach in recipes/preferences.py)"
    ),
    "label_smoothing_factor": (
        "transformers would smooth labels that are not shifted by one, so that a coach learns to repeat the current token; "
        "and a coach's likelihoods, which rank experts, are not to be smoothed"
    ),
    "fp16": "float16 was never tried here; --dtype bfloat16 or float32 decides (--bf16 in recipes/pose_tokenizer.py)",
    "fp16_full_eval": "evaluation has the precision of training",
    "bf16_full_eval": "evaluation has the precision of training",
    "data_seed": "the order of samples depends on --seed",
    "average_tokens_across_devices": "the loss is the mean over the supervised tokens of all processes",
    "auto_find_batch_size": "the samples of a step are fixed before training; lower --per_device_train_batch_size and raise "
    "--gradient_accumulation_steps by the same factor",
    "neftune_noise_alpha": "its noise depends on the length of a batch's row, and rows hold several samples",
    "optim_target_modules": "parameters are grouped by learning rate and decay",
    "torch_compile": _NO_COMPILATION,
    "torch_compile_backend": _NO_COMPILATION,
    "torch_compile_mode": _NO_COMPILATION,
    "use_liger_kernel": "--liger true takes liger's kernels where they exist for a coach",
    "liger_kernel_config": "--liger true takes liger's kernels where they exist for a coach",
    "use_cache": "training has no use for a cache of keys and values",
    "include_num_input_tokens_seen": "tokens_per_second is in every logged line",
    "prediction_loss_only": _ONE_SUM,
    "eval_do_concat_batches": _ONE_SUM,
    "eval_use_gather_object": _ONE_SUM,
    "eval_accumulation_steps": _ONE_SUM,
    "include_for_metrics": _ONE_SUM,
    "batch_eval_metrics": _ONE_SUM,
    "label_names": "the labels are those of the samples",
    "save_only_model": "without the optimizer's state a run could not go on",
    "save_on_each_node": "all nodes share one output folder",
    "enable_jit_checkpoint": "SIGTERM saves and stops a coach's run as it is",
    "hub_strategy": _ONE_PUSH,
    "hub_always_push": _ONE_PUSH,
    "hub_revision": _ONE_PUSH,
    "ignore_data_skip": "a run that goes on would see samples twice and others never",
    "restore_callback_states_from_checkpoint": "a run that SIGTERM stopped would stop again at once",
    "accelerator_config": "batches are made by the recipe and not by accelerate",
    "parallelism_config": "checkpoints know DDP, ZeRO and FSDP2 alone",
    "dataloader_persistent_workers": "workers that live on would repeat the first epoch's samples",
    "dataloader_in_order": "batches in another order make other steps",
    "train_sampling_strategy": _ORDER,
    "length_column_name": _ORDER,
    "fsdp": _LAUNCH_FILES,
    "fsdp_config": _LAUNCH_FILES,
    "deepspeed": _LAUNCH_FILES,
    "do_predict": "a coach is asked with `mm-coach evaluate` or `mm-coach answer`",
}

_COLUMNS = {"remove_unused_columns": "collators need everything that a sample holds"}
_PRECISION = {"bf16": "mixed precision follows the frozen weights' type"}
_NOTHING_HELD_OUT = dict.fromkeys(sorted(_EVALUATION), "this recipe holds nothing out for evaluation while it trains")
_NOT_PUSHED = dict.fromkeys(sorted(_HUB), "this recipe pushes nothing; `SavedCoach.push_to_hub` does")

COACH = Flags(
    _HONOURED | _SAVING | _EVALUATION | _HUB | _CHECKPOINTING | {"ddp_broadcast_buffers"},
    {
        **_COLUMNS,
        **_PRECISION,
        "logging_nan_inf_filter": "a loss that is not finite stops the run",
        "ddp_find_unused_parameters": "every parameter takes part in every step",
    },
    {**_REFUSED, "dataloader_drop_last": _EVERY_SAMPLE},
)
"""Flags of the recipes that train a coach."""

MATCHER = Flags(
    _HONOURED | {"bf16", "logging_nan_inf_filter", "ddp_find_unused_parameters", "ddp_broadcast_buffers"},
    {
        **_COLUMNS,
        **dict.fromkeys(sorted(_SAVING), "the matcher trains in minutes and has no checkpoints on the way"),
        **dict.fromkeys(sorted(_CHECKPOINTING), "the matcher is a few layers"),
    },
    {**_REFUSED, **_NOTHING_HELD_OUT, **_NOT_PUSHED, "dataloader_drop_last": _EVERY_SAMPLE},
)
"""Flags of recipes/matcher.py."""

TOKENIZER = Flags(
    _HONOURED | _SAVING | {"bf16", "logging_nan_inf_filter", "ddp_find_unused_parameters"},
    {
        **_COLUMNS,
        "ddp_broadcast_buffers": "every process computes the same codebook",
        "dataloader_drop_last": "an incomplete batch would be filled up differently on several processes",
    },
    {
        **_REFUSED,
        **_NOTHING_HELD_OUT,
        **_NOT_PUSHED,
        **dict.fromkeys(sorted(_CHECKPOINTING), "a pose tokenizer's activations are small"),
    },
)
"""Flags of recipes/pose_tokenizer.py."""

_OWN_BATCHES = "the coach's own collator makes the batches; longer samples than --max_length are refused"

PREFERENCES = Flags(
    _HONOURED
    | _SAVING
    | _CHECKPOINTING
    | {"logging_nan_inf_filter", "ddp_find_unused_parameters", "ddp_broadcast_buffers", "dataloader_drop_last"}
    | {
        "beta", "loss_type", "loss_weights", "label_smoothing", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef",
        "discopop_tau", "disable_dropout", "max_length",
    },
    {**_COLUMNS, **_PRECISION},
    {
        **_REFUSED,
        **_NOTHING_HELD_OUT,
        **_NOT_PUSHED,
        "model_init_kwargs": "the coach is opened by its own settings",
        "trust_remote_code": "the coach is opened by its own settings",
        "router_aux_loss_coef": "a coach is no mixture of experts",
        "dataset_num_proc": _OWN_BATCHES,
        "truncation_mode": _OWN_BATCHES,
        "padding_free": _OWN_BATCHES,
        "pad_to_multiple_of": _OWN_BATCHES,
        "pad_token": _OWN_BATCHES,
        "precompute_ref_log_probs": "the reference coach is asked as it trains",
        "precompute_ref_batch_size": "the reference coach is asked as it trains",
        "use_weighting": "a coach does not tell the probabilities that the weights need",
        "activation_offloading": "it was never tried with a coach",
        "sync_ref_model": "the reference is the coach that the run begins with",
        "ref_model_mixup_alpha": "the reference is the coach that the run begins with",
        "ref_model_sync_steps": "the reference is the coach that the run begins with",
    },
)  # fmt: skip
"""Flags of recipes/preferences.py."""

_OPTIMIZERS = {
    "galore": "needs other parameter groups than those by learning rate",
    "apollo": "needs other parameter groups than those by learning rate",
    "lomo": "steps inside the backward pass",
    "adalomo": "steps inside the backward pass",
    "schedule_free": "keeps other weights for training than for use, which checkpoints do not know",
}
"""Beginnings of names of optimizers that a run cannot honour."""


def changed_flags(training: TrainingArguments) -> dict[str, Any]:
    """Returns the flags whose value is not their default, by name."""
    changed = {}
    for field in dataclasses.fields(training):
        default = field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]
        value = getattr(training, field.name)
        empty = isinstance(value, (str, list, dict)) and not value and not default
        if field.name == "accelerator_config":
            default = AcceleratorConfig()
        if value is not None and value != default and not empty:
            changed[field.name] = value
    return changed


def check_flags(training: TrainingArguments, flags: Flags) -> None:
    """Makes sure that every flag of the trainer that was set will be followed.

    Args:
        training: The trainer's arguments as parsed.
        flags: What the recipe does with the trainer's flags.

    Raises:
        ValueError: Flags that would do nothing, or something else than they say; names them with the reasons.
    """
    changed = changed_flags(training)
    wrong = [f"--{name} {changed[name]}: {flags.refused[name]}" for name in changed if name in flags.refused]
    optimizer = OptimizerNames(training.optim).value
    wrong += [f"--optim {optimizer}: {why}" for begins, why in _OPTIMIZERS.items() if optimizer.startswith(begins)]
    if "do_eval" in flags.honoured and training.do_eval and training.eval_strategy == "no":
        wrong.append("--do_eval True: say when, with --eval_strategy steps or epoch")
    if wrong:
        raise ValueError(f"Flags of the trainer that cannot be honoured here: {'; '.join(wrong)}.")


def settle(training: Arguments, flags: Flags, **replacements: Any) -> Arguments:
    """Returns the arguments that a trainer is made with: what the recipe sets itself replaces what was parsed, aloud.

    Args:
        training: The trainer's arguments as parsed.
        flags: What the recipe does with the trainer's flags.
        **replacements: Values that the recipe sets, by name.

    Returns:
        A copy with the replacements, on one GPU.
    """
    changed = changed_flags(training)
    if training.process_index == 0:
        for name, why in flags.replaced.items():
            if name in changed and replacements.get(name) != changed[name]:
                logger.info("[training] --%s %s is not followed: %s", name, changed[name], why)
    settled = dataclasses.replace(training, **replacements)
    if settled.n_gpu > 1:  # transformers would wrap the model in `torch.nn.DataParallel`
        logger.info(
            f"[training] This process sees {settled.n_gpu} GPUs and trains on the first of them. "
            "Launch one process per GPU to use all (recipes/accelerate/ddp.yaml --num_processes N)."
        )
        settled._n_gpu = 1
    return settled
