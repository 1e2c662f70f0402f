r"""ExpertAF: trains one coach for commentary (F_t), expert retrieval (F_r) and corrected poses (F_g).

Does: mappers only, LoRA, QLoRA (NF4) or full fine-tuning of a Llama-architecture model; the three functions jointly in set
proportions or separately (``--formats``, ``--format_weights``); several stages in one run (``--stages``); one process, DDP,
ZeRO-2, ZeRO-3, FSDP2 and several nodes through the files in `recipes/accelerate/`; evaluation on held-out learners while
it trains; complete checkpoints; going on after a crash or SIGTERM by running the same command again, also on another number
of processes with the same number of samples per step; ``--dry-run``.
Does not: encode video or poses (`mm-coach features extract` and `mm-coach tokenizer encode` do, once), or evaluate on
the test split (`mm-coach evaluate`).
Refuses: unknown keys; features or pose codes of another encoder or tokenizer; clips that extraction never saw (tuples of clips
that it rejected are left out and counted); samples without supervised tokens or longer than ``max_length``; going on under
other settings than the run was begun with; a loss or gradient that is not finite.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/quickstart.yaml --learning_rate 1e-3
    accelerate launch --config_file recipes/accelerate/zero3.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/llama3_8b_lora.yaml
    python recipes/expertaf.py --config recipes/configs/expertaf/llama3_8b_lora.yaml --dry-run
"""

import dataclasses
import gc
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl.scripts.utils import TrlParser

from mm_adapter.arguments import CoachArguments
from mm_adapter.assembly import build_coach, open_dataset, open_poses, resolve_dtype
from mm_adapter.base_models import word_embeddings
from mm_adapter.checkpoint import check_same_coach, copy_coach, last_complete_checkpoint, upload_coach
from mm_adapter.contrastive import Matcher, MatcherConfig, MatcherInputs, save_matcher
from mm_adapter.dataset import CoachCollator, without_rejected
from mm_adapter.distributed import agreed, refuse_data_parallel
from mm_adapter.dry_run import dry_run
from mm_adapter.manifest import is_complete, seal
from mm_adapter.monitoring import SampleCommentaries
from mm_adapter.run_directory import check_same_run, run_record, write_run_record
from mm_adapter.training import CoachTrainer
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_tuples
from mm_tokenizers import load_tokenizer

SETTINGS = ("coach", "schedule")


def schedule(training: TrainingArguments) -> dict[str, Any]:
    """What decides the course of a run besides the coach's arguments; a run that goes on must agree with it."""
    names = (
        "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "num_train_epochs",
        "max_steps", "seed",
    )  # fmt: skip
    resolved = training.to_dict()
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    return {**{name: resolved[name] for name in names}, "samples_per_step": per_step}


def settings_of(args: CoachArguments, training: TrainingArguments) -> dict[str, Any]:
    """A stage's record; `SETTINGS` are the parts of it that must not change on the way."""
    wanted = {name: value for name, value in vars(args).items() if name != "dry_run" and not name.startswith("plan_")}
    return run_record(coach=wanted, schedule=schedule(training), training=training.to_dict(), seed=training.seed)


def run_stages(parser: TrlParser, args: CoachArguments, training: TrainingArguments) -> None:
    """Trains every stage from where the last one ended; all settings are checked before the first begins."""
    refuse_data_parallel(training.n_gpu)
    stages = [parser.parse_args_and_config([*sys.argv[1:], *shlex.split(stage)]) for stage in args.stages or [""]]
    run, start_from = Path(str(training.output_dir)), args.start_from
    for number, (own, settings) in enumerate(stages, start=1):
        last = number == len(stages)
        folder = run if last else run / f"stage-{number}"
        own = dataclasses.replace(own, start_from=start_from)
        if is_complete(folder / "coach"):
            check_same_run(folder, settings_of(own, settings), SETTINGS)
        else:
            (train_matcher if own.mode == "contrastive" else train)(
                own, dataclasses.replace(settings, output_dir=str(folder))
            )
        gc.collect()
        start_from = str(folder / "coach")


def train(args: CoachArguments, training: TrainingArguments) -> None:
    """Trains one stage and saves; run again to resume."""
    dtype, push = resolve_dtype(args.dtype, training), training.push_to_hub
    # Mixed precision follows the frozen weights; what trains stays in float32. `replace` runs the argument checks again.
    on_cpu = training.device.type == "cpu"  # said aloud, because bf16 without a GPU is refused otherwise
    training = dataclasses.replace(
        training,
        bf16=dtype == torch.bfloat16,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        push_to_hub=False,  # the finished coach is pushed, as a whole
        load_best_model_at_end=False,  # `copy_coach` makes the best checkpoint the coach
        ddp_find_unused_parameters=False,  # every parameter takes part in every step
    )
    run, main_process = Path(str(training.output_dir)), training.process_index == 0
    torch.manual_seed(training.seed)

    # --- frozen inputs ---------------------------------------------------------------------------------------------
    pose_tokenizer = load_tokenizer(Path(args.pose_tokenizer))
    poses = open_poses(args, pose_tokenizer)
    store = FeatureStore(Path(args.features)) if args.features and args.views else None

    # --- model -----------------------------------------------------------------------------------------------------
    model, processor = build_coach(args, pose_tokenizer, store, dtype)
    if training.gradient_checkpointing:
        model.language_model.enable_input_require_grads()

    # --- data ------------------------------------------------------------------------------------------------------
    dataset, validation, unusable = open_dataset(args, training.seed, processor, poses, store)
    if unusable and main_process:
        print(f"[data] {unusable} tuples left out: feature extraction rejected their clips")
    if training.eval_strategy != "no" and validation is None:
        raise ValueError(f"--eval_strategy {training.eval_strategy} needs a --validation_share above 0.")
    collator = CoachCollator(
        processor,
        processor.end_of_turn_ids[0],  # padding is masked; Llama-3 has no token of its own for it
        (store.manifest.num_tokens, store.manifest.width) if store else None,
        layout="packed",
    )

    # --- train -----------------------------------------------------------------------------------------------------
    record = settings_of(args, training)
    checkpoint = agreed(lambda: last_complete_checkpoint(run))
    if checkpoint is not None:
        check_same_run(run, record, SETTINGS)
        check_same_coach(checkpoint, model.config)
    if main_process:
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
        trainer.add_callback(SampleCommentaries(trainer, validation, args.eval_commentaries))
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


def train_matcher(args: CoachArguments, training: TrainingArguments) -> None:
    """Trains InternVideo2-FT, the contrastive baseline: no language model, minutes, no checkpoints on the way."""
    if args.features is None:
        raise ValueError("--mode contrastive matches video; give --features.")
    if is_deepspeed_zero3_enabled():
        raise ValueError("--mode contrastive trains a few layers; launch it with cpu.yaml or ddp.yaml.")
    training = dataclasses.replace(training, remove_unused_columns=False, save_strategy="no", eval_strategy="no")
    run, store = Path(str(training.output_dir)), FeatureStore(Path(args.features))
    torch.manual_seed(training.seed)
    tuples, _ = without_rejected(read_tuples(Path(args.tuples), "train")[: args.max_train_tuples], store)
    embeddings = word_embeddings(args.language_model)
    inputs = MatcherInputs(tuples, store, AutoTokenizer.from_pretrained(args.language_model), embeddings)
    video = store.manifest
    matcher = Matcher(
        MatcherConfig(
            video_width=video.width,
            views=tuple(video.views),
            word_width=embeddings.shape[1],
            width=512,
            video_encoder=video.made_by,
            language_model=args.language_model,
        )
    )
    main_process = training.process_index == 0
    if main_process:
        write_run_record(run, settings_of(args, training))
        print(f"[trainable] {sum(p.numel() for p in matcher.parameters()):,} parameters, {len(tuples)} tuples")
    trainer = Trainer(model=matcher, args=training, train_dataset=inputs, data_collator=inputs.collate)
    trainer.train()
    trainer.save_state()
    if main_process:
        save_matcher(matcher.cpu(), run / "coach")
        seal(run / "coach")


if __name__ == "__main__":
    parser = TrlParser((CoachArguments, TrainingArguments))  # type: ignore[arg-type]
    arguments, training_arguments = parser.parse_args_and_config()
    if arguments.dry_run:
        dry_run(arguments, training_arguments)
    else:
        run_stages(parser, arguments, training_arguments)
