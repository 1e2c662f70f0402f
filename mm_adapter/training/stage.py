"""Trains one stage of a coach: what all recipes share once their samples are known."""

import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from mm_adapter.checkpoint.coach import (
    check_same_coach,
    coach_folder,
    copy_coach,
    last_complete_checkpoint,
    upload_coach,
)
from mm_adapter.checkpoint.folders import check_output_folder, identity_of
from mm_adapter.checkpoint.run_record import check_same_run, read_run_record, run_record, write_run_record
from mm_adapter.checkpoint.seal import is_complete
from mm_adapter.distributed import agreed
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.training.arguments import CoachArguments, TaskArguments
from mm_adapter.training.build import build_coach, open_pose_tokenizer, resolve_dtype
from mm_adapter.training.data import TrainingData, task_data
from mm_adapter.training.dry_run import dry_run, guessed_items
from mm_adapter.training.held_out_answers import SampleAnswers
from mm_adapter.training.schedules import optimizer_steps, schedule, steps_per_epoch
from mm_adapter.training.trainer import CoachTrainer
from mm_adapter.training.trainer_flags import COACH, MATCHER, check_flags, settle
from mm_data.tasks import Task
from mm_tokenizers import PoseTokenizer

SETTINGS = ("coach", "schedule")
"""Parts of a stage's record that must not change on the way."""


def settings_of(args: CoachArguments, training: TrainingArguments) -> dict[str, Any]:
    """A stage's record; `SETTINGS` are the parts of it that must not change on the way."""
    wanted = {name: value for name, value in vars(args).items() if name != "dry_run" and not name.startswith("plan_")}
    record = run_record(coach=wanted, schedule=schedule(training), training=training.to_dict(), seed=training.seed)
    return {**record, "identity": identity_of(record, SETTINGS)}


def is_trained(args: CoachArguments, training: TrainingArguments) -> bool:
    """Whether a stage is finished, after making sure that its flags can be honoured and its folder is new or this stage's.

    Raises:
        ValueError: Flags that cannot be honoured, or the folder holds what another run wrote.
    """
    check_flags(training, MATCHER if args.mode == "contrastive" else COACH)
    run = Path(str(training.output_dir))

    def look() -> bool:
        check_output_folder(run, settings_of(args, training), SETTINGS, "coach")
        return is_complete(run / "coach")

    return agreed(look)


def fine_tune(
    args: CoachArguments, training: TrainingArguments, open_data: Callable[[PoseTokenizer], TrainingData]
) -> None:
    """Trains one stage and saves; run again to resume.

    Args:
        args: Of the recipe.
        training: Of the trainer.
        open_data: Pose tokenizer to the samples.

    Raises:
        ValueError: Inputs that do not belong together, a run that was begun with other settings, or one that would end before
            its short epochs do.
    """
    dtype, push = resolve_dtype(args.dtype, training), training.push_to_hub
    # Mixed precision follows the frozen weights; what trains stays in float32. `replace` runs the argument checks again.
    on_cpu = training.device.type == "cpu"  # said aloud, because bf16 without a GPU is refused otherwise
    training = settle(
        training,
        COACH,
        bf16=dtype == torch.bfloat16,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        logging_nan_inf_filter=False,  # it would hide what `CoachTrainer.compute_loss` stops at
        push_to_hub=False,  # the finished coach is pushed, as a whole
        load_best_model_at_end=False,  # `copy_coach` makes the best checkpoint the coach
        ddp_find_unused_parameters=False,  # every parameter takes part in every step
    )
    run, main_process = Path(str(training.output_dir)), training.process_index == 0
    torch.manual_seed(training.seed)

    # --- samples and model -----------------------------------------------------------------------------------------
    pose_tokenizer = open_pose_tokenizer(args)
    data = open_data(pose_tokenizer)
    asked = ["--eval_on_start"] * training.eval_on_start + ["--eval_strategy"] * (training.eval_strategy != "no")
    if asked and not data.validation:
        raise ValueError(f"{asked[0]} needs a --validation_share above 0.")
    video = data.video()
    views = data.shown_views(args.views)
    model, processor = build_coach(args, pose_tokenizer, video if views else None, views, dtype)
    if training.gradient_checkpointing:
        model.language_model.enable_input_require_grads()
    dataset = CoachDataset(data.train, processor, args.max_length, training.seed)
    _refuse_short_answers_alone(args.short_epochs, training, len(dataset))
    validation = CoachDataset(data.validation, processor, args.max_length, training.seed) if data.validation else None
    collator = CoachCollator(
        processor,
        processor.end_of_turn_id,  # padding is masked; Llama-3 has no token of its own for it
        (video.num_tokens, video.width) if video else None,
        layout="packed",
    )

    # --- train -----------------------------------------------------------------------------------------------------
    earlier = read_run_record(coach_folder(args.start_from)) if args.start_from else {}
    record = settings_of(args, training) | {
        "tasks": {**earlier.get("tasks", {}), **data.tasks},
        "formats": list(dict.fromkeys([*(earlier.get("formats") or []), *data.formats])),
    }
    checkpoint = agreed(lambda: last_complete_checkpoint(run, record["identity"]))
    if checkpoint is not None:
        check_same_run(run, record, (*SETTINGS, "tasks"))
        check_same_coach(checkpoint, model.config)
    if main_process:
        for note in data.notes:
            print(f"[data] {note}")
        write_run_record(run, record)
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        print(
            f"[trainable] {trainable:,} parameters  [frozen] {frozen:,}  weights {dtype}  {len(dataset)} samples of up to {dataset.longest} tokens"
        )
        if checkpoint is not None:
            print(f"Resuming from {checkpoint}")
    trainer = CoachTrainer(
        processor=processor,
        pose_tokenizer=pose_tokenizer,
        run_config=record,
        mapper_learning_rate=args.mapper_learning_rate,
        pose_row_learning_rate=args.pose_row_learning_rate,
        model=model,
        args=training,
        train_dataset=dataset,
        eval_dataset=validation,
        data_collator=collator,
    )
    if validation is not None and args.eval_commentaries:
        trainer.add_callback(SampleAnswers(trainer, validation, args.eval_commentaries))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.stop_on_signal.stopped:
        print(f"Stopped by SIGTERM after step {trainer.state.global_step}; run the same command again to go on.")
        sys.exit(128 + signal.SIGTERM)
    trainer.save_state()
    if trainer.state.best_model_checkpoint is None:
        trainer.save_model(str(run / "coach"))
    elif main_process:
        print(f"Best on the held-out learners: {trainer.state.best_model_checkpoint}")
        copy_coach(Path(trainer.state.best_model_checkpoint), run / "coach")
    trainer.accelerator.wait_for_everyone()  # the next stage reads what the main process wrote
    if push and main_process:
        name = training.hub_model_id or run.name
        print(f"Pushed to {upload_coach(run / 'coach', name, training.hub_private_repo, training.hub_token)}")


def _refuse_short_answers_alone(short_epochs: int, training: TrainingArguments, samples: int) -> None:
    steps = steps_per_epoch(training, samples, training.world_size)
    last = optimizer_steps(training, samples, training.world_size)
    if short_epochs and last <= short_epochs * steps:
        raise ValueError(
            f"--short_epochs {short_epochs} takes {short_epochs * steps} steps ({steps} per epoch of {samples} samples) and training ends "
            f"after {last}: the coach would never see a whole answer. Train longer or lower --short_epochs."
        )


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
