"""The steps of training one coach, in the order in which `train` takes them: prepare, build, resume, train, finish."""

import dataclasses
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from mm_adapter.checkpoint.coach import (
    SavedCoach,
    check_same_coach,
    coach_folder,
    copy_coach,
    last_complete_checkpoint,
    upload_coach,
)
from mm_adapter.checkpoint.folders import check_output_folder
from mm_adapter.checkpoint.run_record import check_same_run, read_run_record, run_record, write_run_record
from mm_adapter.checkpoint.seal import is_complete
from mm_adapter.distributed import agreed
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.tasks import Task
from mm_adapter.training.arguments import CoachArguments, ExpertafArguments, TaskArguments
from mm_adapter.training.build import build_coach, open_pose_tokenizer, resolve_dtype
from mm_adapter.training.data import TrainingData, task_data
from mm_adapter.training.dry_run import plan_task
from mm_adapter.training.held_out_answers import SampleAnswers
from mm_adapter.training.schedules import optimizer_steps, schedule, steps_per_epoch
from mm_adapter.training.trainer import CoachTrainer
from mm_adapter.training.trainer_flags import COACH, Flags, check_flags, settle
from mm_tokenizers import PoseTokenizer

logger = logging.getLogger(__name__)

SETTINGS = ("coach", "schedule")
"""Parts of a stage's record that must not change while it is trained."""

Stage = tuple[ExpertafArguments, TrainingArguments]


def chain(stages: list[Stage]) -> list[Stage]:
    """Lets each stage begin where the last one ends, in a folder of its own; the last stage's folder is the run's."""
    args, training = stages[0]
    run, start_from, linked = Path(str(training.output_dir)), args.start_from, []
    for number, (args, training) in enumerate(stages, start=1):
        folder = run if number == len(stages) else run / f"stage-{number}"
        begun = dataclasses.replace(args, start_from=start_from)
        linked.append((begun, dataclasses.replace(training, output_dir=str(folder))))
        start_from = str(folder / "coach")
    return linked


def settings_of(args: Any, training: TrainingArguments, options: Any = None) -> dict[str, Any]:
    """Builds a stage's record, of which `SETTINGS` must not change while it is trained.

    Args:
        args: The recipe's arguments, a dataclass.
        training: The trainer's arguments.
        options: The task's switches, a dataclass, or None for a recipe without any.

    Returns:
        The record with its ``identity``, which tells the stage from others.
    """
    settings = {**dataclasses.asdict(args), **(dataclasses.asdict(options) if options else {})}
    settings = {n: value for n, value in settings.items() if n != "dry_run" and not n.startswith("plan_")}
    parts = {"coach": settings, "schedule": schedule(training), "training": training.to_dict()}
    return run_record(*SETTINGS, **parts, seed=training.seed)


def is_trained(args: Any, training: TrainingArguments, options: Any = None, flags: Flags = COACH) -> bool:
    """Looks whether a stage is finished, and that its flags can be honoured and its folder is new or this stage's.

    Args:
        args: The recipe's arguments, a dataclass.
        training: The trainer's arguments as parsed.
        options: The task's switches, or None.
        flags: What the recipe does with the trainer's flags.

    Returns:
        True where the folder holds the finished coach.

    Raises:
        ValueError: Flags that cannot be honoured, or the folder holds what another run wrote.
    """
    check_flags(training, flags)
    run = Path(str(training.output_dir))

    def look() -> bool:
        check_output_folder(run, settings_of(args, training, options), SETTINGS, "coach")
        return is_complete(run / "coach")

    return agreed(look)


def prepare(args: CoachArguments, training: TrainingArguments) -> TrainingArguments:
    """Sets the seed and the trainer's arguments that a coach decides itself; returns the settled arguments."""
    settled = settle(
        training,
        COACH,
        # Mixed precision follows the frozen weights; what trains stays in float32.
        bf16=resolve_dtype(args.dtype, training) == torch.bfloat16,
        use_cpu=training.device.type == "cpu",  # written down, because bf16 without a GPU is refused otherwise
        remove_unused_columns=False,
        logging_nan_inf_filter=False,  # it would hide what `CoachTrainer.compute_loss` stops at
        push_to_hub=False,  # the finished coach is pushed, as a whole
        load_best_model_at_end=False,  # `copy_coach` makes the best checkpoint the coach
        ddp_find_unused_parameters=False,  # every parameter takes part in every step
    )
    torch.manual_seed(settled.seed)
    return settled


def build(
    args: CoachArguments,
    training: TrainingArguments,
    pose_tokenizer: PoseTokenizer,
    data: TrainingData,
    options: Any = None,
) -> SavedCoach:
    """Builds the coach that these samples train, with the record of its run.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments from `prepare`.
        pose_tokenizer: The frozen pose tokenizer.
        data: The samples, whose features say how wide the video mappers are.
        options: The task's switches, or None.

    Returns:
        The coach; what trains of it is set.

    Raises:
        ValueError: Evaluation is to run and nothing is held out, parts that do not belong together, or a view that the
            features lack.
    """
    check_held_out(training, data)
    video, views = data.video(), data.shown_views(args.views)
    dtype = resolve_dtype(args.dtype, training)
    model, processor = build_coach(args, pose_tokenizer, video if views else None, views, dtype)
    if training.gradient_checkpointing:
        model.language_model.enable_input_require_grads()
    earlier = read_run_record(coach_folder(args.start_from)) if args.start_from else {}
    record = settings_of(args, training, options) | {
        "tasks": {**earlier.get("tasks", {}), **data.tasks},
        "knowledge": {**earlier.get("knowledge", {}), **data.knowledge},
        "formats": list(dict.fromkeys([*(earlier.get("formats") or []), *data.formats])),
    }
    return SavedCoach(model, processor, pose_tokenizer, record)


def build_trainer(
    args: CoachArguments, training: TrainingArguments, coach: SavedCoach, data: TrainingData
) -> CoachTrainer:
    """Builds the coach's trainer with its training and held-out samples.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments from `prepare`.
        coach: The coach from `build`.
        data: The samples.

    Returns:
        The trainer, ready for `resume` and its ``train``.

    Raises:
        ValueError: A sample is too long, or training would end before its short epochs do.
    """
    samples = partial(CoachDataset, processor=coach.processor, max_length=args.max_length, seed=training.seed)
    train, held_out = samples(data.train), samples(data.validation) if data.validation else None
    check_training_outlasts_short_epochs(args.short_epochs, training, len(train))
    video = data.video()
    trainer = CoachTrainer(
        processor=coach.processor,
        pose_tokenizer=coach.pose_tokenizer,
        run_config=coach.run_config,
        mapper_learning_rate=args.mapper_learning_rate,
        pose_row_learning_rate=args.pose_row_learning_rate,
        model=coach.model,
        args=training,
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=CoachCollator(
            coach.processor,
            coach.processor.end_of_turn_id,  # padding is masked; Llama-3 has no token of its own for it
            (video.num_tokens, video.width) if video else None,
            layout="packed",
        ),
    )
    if held_out is not None and args.eval_commentaries:
        trainer.add_callback(SampleAnswers(trainer, held_out, args.eval_commentaries))
    return trainer


def check_held_out(training: TrainingArguments, data: TrainingData) -> None:
    """Raises ``ValueError`` where evaluation is to run and nothing is held out for it."""
    if not data.validation and (training.eval_on_start or training.eval_strategy != "no"):
        flag = "--eval_on_start" if training.eval_on_start else "--eval_strategy"
        raise ValueError(f"{flag} needs a --validation_share above 0.")


def check_training_outlasts_short_epochs(short_epochs: int, training: TrainingArguments, samples: int) -> None:
    """Raises ``ValueError`` where training would end before the epochs whose items ask for facts alone.

    Args:
        short_epochs: Number of such epochs at the beginning.
        training: The trainer's arguments.
        samples: Samples of an epoch.
    """
    steps = steps_per_epoch(training, samples, training.world_size)
    last = optimizer_steps(training, samples, training.world_size)
    if short_epochs and last <= short_epochs * steps:
        raise ValueError(
            f"--short_epochs {short_epochs} takes {short_epochs * steps} steps ({steps} per epoch of {samples} samples) "
            f"and training ends after {last}: the coach would never see a whole answer. "
            "Train longer or lower --short_epochs."
        )


def resume(trainer: CoachTrainer, notes: Sequence[str] = ()) -> str | None:
    """Begins a run or goes on with it: writes its record and says what will be trained.

    Args:
        trainer: The run's trainer.
        notes: What was left out of the samples.

    Returns:
        The checkpoint to go on from, or None for a fresh run.

    Raises:
        ValueError: The run was begun with other settings, or its checkpoint is another coach.
    """
    run, record = Path(str(trainer.args.output_dir)), trainer.record
    checkpoint = agreed(lambda: last_complete_checkpoint(run, record["identity"]))
    if checkpoint is not None:
        check_same_run(run, record, (*SETTINGS, "tasks"))
        check_same_coach(checkpoint, trainer.model.config)
    if trainer.is_world_process_zero():
        write_run_record(run, record)
        _announce(trainer, notes)
        if checkpoint is not None:
            logger.info("Resuming from %s", checkpoint)
    return str(checkpoint) if checkpoint else None


def _announce(trainer: CoachTrainer, notes: Sequence[str]) -> None:
    """Logs what was left out and how much trains."""
    for note in notes:
        logger.info("[data] %s", note)
    parameters, samples = list(trainer.model.parameters()), trainer.train_dataset
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    logger.info(
        f"[trainable] {trainable:,} parameters  [frozen] {frozen:,}  weights {trainer.model.language_model.dtype}  "
        f"{len(samples)} samples of up to {samples.longest} tokens"
    )


def finish(trainer: CoachTrainer, push: bool = False) -> None:
    """Writes the coach: the best checkpoint on the held-out learners where one was looked for, otherwise the last state.

    Args:
        trainer: The run's trainer, after ``train``.
        push: Push the coach to the Hub.

    Raises:
        SystemExit: SIGTERM stopped the training, with its status of 143.
    """
    run = Path(str(trainer.args.output_dir))
    if trainer.stop_on_signal.stopped:
        step = trainer.state.global_step
        logger.info("Stopped by SIGTERM after step %d; run the same command again to go on.", step)
        sys.exit(128 + signal.SIGTERM)
    trainer.save_state()
    best = trainer.state.best_model_checkpoint
    if best is None:
        trainer.save_model(str(run / "coach"))
    elif trainer.is_world_process_zero():
        logger.info("Best on the held-out learners: %s", best)
        copy_coach(Path(best), run / "coach")
    trainer.accelerator.wait_for_everyone()  # the next stage reads what the main process wrote
    if push and trainer.is_world_process_zero():
        name, private = trainer.args.hub_model_id or run.name, trainer.args.hub_private_repo
        logger.info("Pushed to %s", upload_coach(run / "coach", name, private, trainer.args.hub_token))


def train(
    args: CoachArguments,
    training: TrainingArguments,
    open_data: Callable[[Any, int, PoseTokenizer], TrainingData],
    options: Any = None,
) -> None:
    """Trains one coach and saves it; run again, it goes on from the last checkpoint.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments as parsed.
        open_data: Opens the samples from the arguments, a seed and the pose tokenizer.
        options: The task's switches, or None.
    """
    settled = prepare(args, training)
    pose_tokenizer = open_pose_tokenizer(args)
    data = open_data(args, settled.seed, pose_tokenizer)
    coach = build(args, settled, pose_tokenizer, data, options)
    trainer = build_trainer(args, settled, coach, data)
    trainer.train(resume_from_checkpoint=resume(trainer, data.notes))
    finish(trainer, push=training.push_to_hub)


def train_task(args: TaskArguments, training: TrainingArguments, task: Task, options: Any) -> None:
    """Trains a coach on a task, alone or in a mixture, or plans it with ``--dry-run``; a finished run is left as it is.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments as parsed.
        task: The task that is trained.
        options: The task's switches.
    """
    if args.dry_run:
        plan_task(args, training, task, options)
        return
    if is_trained(args, training, options):
        coach = Path(str(training.output_dir)) / "coach"
        logger.info("%s is trained; give another --output_dir or delete it to train again", coach)
        return
    train(args, training, partial(task_data, task=task, options=options), options)
