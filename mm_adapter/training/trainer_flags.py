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


def _named(reasons: Mapping[str, str]) -> dict[str, str]:
    """Turns reasons, each with the names of flags that it is about, into names with their reason."""
    return {name: reason for reason, names in reasons.items() for name in names.split()}


_REFUSED = _named({
    "a run goes on from the last checkpoint in its --output_dir by itself when the same command is run again. To begin another run "
    "with the weights of a coach or checkpoint, name it as --start_from (--coach in recipes/preferences.py)": "resume_from_checkpoint",
    "transformers would smooth labels that are not shifted by one, so that a coach learns to repeat the current token; "
    "and a coach's likelihoods, which rank experts, are not to be smoothed": "label_smoothing_factor",
    "float16 was never tried here; --dtype bfloat16 or float32 decides (--bf16 in recipes/pose_tokenizer.py)": "fp16",
    "evaluation has the precision of training": "fp16_full_eval bf16_full_eval",
    "the order of samples depends on --seed": "data_seed",
    "the loss is the mean over the supervised tokens of all processes": "average_tokens_across_devices",
    "the samples of a step are fixed before training; lower --per_device_train_batch_size and raise "
    "--gradient_accumulation_steps by the same factor": "auto_find_batch_size",
    "its noise depends on the length of a batch's row, and rows hold several samples": "neftune_noise_alpha",
    "parameters are grouped by learning rate and decay": "optim_target_modules",
    "samples differ in length, so a compiled model would be compiled again and again": (
        "torch_compile torch_compile_backend torch_compile_mode"
    ),
    "--liger true takes liger's kernels where they exist for a coach": "use_liger_kernel liger_kernel_config",
    "training has no use for a cache of keys and values": "use_cache",
    "tokens_per_second is in every logged line": "include_num_input_tokens_seen",
    "evaluation sums losses and keeps no predictions": (
        "prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics"
    ),
    "the labels are those of the samples": "label_names",
    "without the optimizer's state a run could not go on": "save_only_model",
    "all nodes share one output folder": "save_on_each_node",
    "SIGTERM saves and stops a coach's run as it is": "enable_jit_checkpoint",
    "the finished coach is pushed once, as a whole, to the main branch": "hub_strategy hub_always_push hub_revision",
    "a run that goes on would see samples twice and others never": "ignore_data_skip",
    "a run that SIGTERM stopped would stop again at once": "restore_callback_states_from_checkpoint",
    "batches are made by the recipe and not by accelerate": "accelerator_config",
    "checkpoints know DDP, ZeRO and FSDP2 alone": "parallelism_config",
    "workers that live on would repeat the first epoch's samples": "dataloader_persistent_workers",
    "batches in another order make other steps": "dataloader_in_order",
    "the samples of a step depend on --seed and the epoch alone, dealt by length": "train_sampling_strategy length_column_name",
    "launch with one of recipes/accelerate/ instead, which checkpoints are written for": "fsdp fsdp_config deepspeed",
    "a coach is asked with `mm-coach answer`": "do_predict",
})  # fmt: skip

_EVERY_SAMPLE = {"dataloader_drop_last": "an epoch shows every sample"}
_COLUMNS = {"remove_unused_columns": "collators need everything that a sample holds"}
_PRECISION = {"bf16": "mixed precision follows the frozen weights' type"}
_NOTHING_HELD_OUT = dict.fromkeys(_EVALUATION, "this recipe holds nothing out for evaluation while it trains")
_NOT_PUSHED = dict.fromkeys(_HUB, "this recipe pushes nothing; `SavedCoach.push_to_hub` does")

COACH = Flags(
    _HONOURED | _SAVING | _EVALUATION | _HUB | _CHECKPOINTING | {"ddp_broadcast_buffers"},
    _COLUMNS
    | _PRECISION
    | {
        "logging_nan_inf_filter": "a loss that is not finite stops the run",
        "ddp_find_unused_parameters": "every parameter takes part in every step",
    },
    _REFUSED | _EVERY_SAMPLE,
)
"""Flags of the recipes that train a coach."""

MATCHER = Flags(
    _HONOURED | {"bf16", "logging_nan_inf_filter", "ddp_find_unused_parameters", "ddp_broadcast_buffers"},
    _COLUMNS
    | dict.fromkeys(sorted(_SAVING), "the matcher trains in minutes and has no checkpoints on the way")
    | dict.fromkeys(sorted(_CHECKPOINTING), "the matcher is a few layers"),
    _REFUSED | _EVERY_SAMPLE | _NOTHING_HELD_OUT | _NOT_PUSHED,
)
"""Flags of recipes/matcher.py."""

TOKENIZER = Flags(
    _HONOURED | _SAVING | {"bf16", "logging_nan_inf_filter", "ddp_find_unused_parameters"},
    _COLUMNS
    | {
        "ddp_broadcast_buffers": "every process computes the same codebook",
        "dataloader_drop_last": "an incomplete batch would be filled up differently on several processes",
    },
    _REFUSED
    | _NOTHING_HELD_OUT
    | _NOT_PUSHED
    | dict.fromkeys(_CHECKPOINTING, "a pose tokenizer's activations are small"),
)
"""Flags of recipes/pose_tokenizer.py."""

PREFERENCES = Flags(
    _HONOURED
    | _SAVING
    | _CHECKPOINTING
    | {"logging_nan_inf_filter", "ddp_find_unused_parameters", "ddp_broadcast_buffers", "dataloader_drop_last"}
    | {
        "beta", "loss_type", "loss_weights", "label_smoothing", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef",
        "discopop_tau", "disable_dropout", "max_length",
    },
    _COLUMNS | _PRECISION,
    _REFUSED | _NOTHING_HELD_OUT | _NOT_PUSHED | _named({
        "the coach is opened by its own settings": "model_init_kwargs trust_remote_code",
        "a coach is no mixture of experts": "router_aux_loss_coef",
        "the coach's own collator makes the batches; longer samples than --max_length are refused": (
            "dataset_num_proc truncation_mode padding_free pad_to_multiple_of pad_token"
        ),
        "the reference coach is asked as it trains": "precompute_ref_log_probs precompute_ref_batch_size",
        "a coach does not tell the probabilities that the weights need": "use_weighting",
        "it was never tried with a coach": "activation_offloading",
        "the reference is the coach that the run begins with": "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps",
    }),
)  # fmt: skip
"""Flags of recipes/preferences.py."""

_OPTIMIZERS = _named({
    "needs other parameter groups than those by learning rate": "galore apollo",
    "steps inside the backward pass": "lomo adalomo",
    "keeps other weights for training than for use, which checkpoints do not know": "schedule_free",
})  # fmt: skip
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
