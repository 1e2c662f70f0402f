r"""Preference tuning: direct preference optimisation (TRL) of a trained coach on pairs of remarks.

Does: trains what the coach was trained with (mappers, LoRA or everything) so that it prefers the chosen remarks; all launch
files of `recipes/accelerate/`; complete checkpoints; going on by running the same command again.
Does not: judge remarks, or tune retrieval and poses.
Refuses: unknown keys; pairs about unknown tuples or of equal remarks; samples longer than ``max_length``.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/preferences.py --coach RUN/coach \\
        --pairs pairs.jsonl --tuples TUPLES --pose_codes CODES --features FEATURES --output_dir OUT
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig

from mm_adapter.checkpoint.coach import SavedCoach, last_complete_checkpoint
from mm_adapter.checkpoint.folders import check_output_folder
from mm_adapter.checkpoint.run_record import run_record, write_run_record
from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.distributed import agreed, native_dtype
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.lora import set_trainable
from mm_adapter.samples.clip_stores import ClipPoses, JointStore, check_inputs
from mm_adapter.samples.collator import CoachCollator
from mm_adapter.training.preferences import CoachDPOTrainer, PreferenceCollator, read_pairs
from mm_adapter.training.schedules import schedule
from mm_adapter.training.trainer_flags import PREFERENCES, check_flags, settle
from mm_data.features import FeatureStore
from mm_data.tuples.store import read_tuples
from mm_tokenizers.codes import PoseCodeStore


@dataclass
class PreferenceArguments:
    """Which coach is tuned, on which pairs, and the inputs of their clips.

    Attributes:
        coach: Coach to begin with: a run's coach/ folder or a name on the Hub.
        pairs: .jsonl of tuple_id, chosen and rejected.
        tuples: Folder written by `mm-coach data build`.
        pose_codes: Folder written by `mm-coach tokenizer encode`.
        features: Feature store, unless the coach is pose-only.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
    """

    coach: str
    pairs: str
    tuples: str
    pose_codes: str
    features: str | None = None
    base_model: str | None = None


@dataclass
class PreferenceConfig(DPOConfig):
    """TRL's arguments; mixed precision follows the frozen weights, so it is not assumed before they are seen.

    Attributes:
        bf16: Mixed precision; it follows the type of the coach's frozen weights.
    """

    bf16: bool | None = False


SETTINGS = ("preferences", "schedule")
"""Parts of the record that must not change while a coach is tuned."""

LOSS = ("beta", "loss_type", "loss_weights", "label_smoothing", "ld_alpha", "f_divergence_type", "max_length")
"""Arguments of TRL that decide the course of a run beside the schedule."""


def record_of(args: PreferenceArguments, training: PreferenceConfig, coach: dict[str, Any]) -> dict[str, Any]:
    """Builds the run's record, which keeps what the coach was trained for: preferences do not change that.

    Args:
        args: The recipe's arguments.
        training: The trainer's arguments.
        coach: Record of the run that trained the coach.

    Returns:
        The record with its ``identity``.
    """
    lasting = {name: coach[name] for name in ("coach", "tasks", "formats") if name in coach}
    parts = {"preferences": args, "schedule": schedule(training, LOSS), "training": training.to_dict()}
    return run_record(*SETTINGS, **lasting, **parts, seed=training.seed)


def last_checkpoint(run: Path, record: dict[str, Any]) -> Path | None:
    """Finds the checkpoint from which the run goes on, after making sure that the folder is new or this run's."""
    check_output_folder(run, record, SETTINGS, "coach")
    return last_complete_checkpoint(run, record["identity"])


def prepare(training: PreferenceConfig, dtype: torch.dtype) -> PreferenceConfig:
    """Sets the trainer's arguments that a coach decides itself."""
    return settle(
        training,
        PREFERENCES,
        bf16=dtype == torch.bfloat16,
        use_cpu=training.device.type == "cpu",
        remove_unused_columns=False,
        max_length=training.max_length or 2048,
    )


def open_poses(args: PreferenceArguments, config: CoachConfig) -> ClipPoses:
    """Opens the poses of the pairs' clips in the form that the coach sees."""
    if config.pose_form == "text":
        return JointStore.read(Path(args.tuples), config.pose_frames)
    return PoseCodeStore.load(Path(args.pose_codes))


def train(args: PreferenceArguments, training: PreferenceConfig) -> None:
    """Trains and saves; run again, it goes on from the last checkpoint."""
    check_flags(training, PREFERENCES)
    dtype = native_dtype(training.device)
    training = prepare(training, dtype)
    run = Path(str(training.output_dir))
    pairs = read_pairs(Path(args.pairs), read_tuples(Path(args.tuples), "train"))
    reference = SavedCoach.from_pretrained(args.coach, "cpu", dtype, base_model=args.base_model)
    config = reference.model.config
    precision = torch.float32 if config.mode == "full" else dtype
    policy = SavedCoach.from_pretrained(args.coach, "cpu", precision, base_model=args.base_model)
    poses, store = open_poses(args, config), FeatureStore(Path(args.features)) if args.features else None
    check_inputs(config, poses, store)
    set_trainable(policy.model, config.mode)
    video = (store.manifest.num_tokens, store.manifest.width) if store else None
    collate = CoachCollator(policy.processor, policy.processor.end_of_turn_id, video, layout="right")
    record = record_of(args, training, policy.run_config)
    checkpoint = agreed(lambda: last_checkpoint(run, record))
    if training.process_index == 0:
        write_run_record(run, record)
        trainable = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
        print(f"[trainable] {trainable:,}  {len(pairs)} pairs")
    trainer = CoachDPOTrainer(
        model=policy.model,
        reference=reference.model,
        args=training,
        train_dataset=Dataset.from_list(pairs),
        data_collator=PreferenceCollator(policy.processor, poses, store, collate, int(training.max_length or 2048)),
        processing_class=policy.processor.tokenizer,
        processor=policy.processor,
        pose_tokenizer=policy.pose_tokenizer,
        run_config=record,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_state()
    trainer.save_model(str(run / "coach"))


if __name__ == "__main__":
    begin_recipe()
    train(*RecipeParser(PreferenceArguments, PreferenceConfig).parse_args_and_config())
