r"""Pose tokenizer: trains a 3-D PCT (compositional VQ) on poses.

Does: poses of a tuple folder (`mm-coach data build`) or of a pose folder (`mm-coach poses import`: Ego-Exo4D, the
miniature, BVH, joint arrays); mirroring, resizing, turning and hiding joints; EMA codebook with dead-code revival, or FSQ;
several processes (same result as one on the same global batch); resuming by running the same command again; ``--dry-run``.
Does not: train on test performers, or tokenize clips (`mm-coach tokenizer encode` does).

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/pose_tokenizer.py \\
        --config recipes/configs/pose_tokenizer/compact.yaml --poses runs/quickstart/tuples
    accelerate launch --num_processes 8 recipes/pose_tokenizer.py --config recipes/configs/pose_tokenizer/paper.yaml
"""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import TrainingArguments

from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.cli.recipe_parser import RecipeParser, begin_recipe
from mm_adapter.distributed import agreed
from mm_adapter.samples.batching import EpochCallback
from mm_adapter.training.pose_tokenizer import (
    PoseArguments,
    PoseDataset,
    TokenizerTrainer,
    last_checkpoint,
    record_of,
    sequences_of,
)
from mm_adapter.training.trainer_flags import TOKENIZER, check_flags, settle
from mm_data.ground.files import write_atomically
from mm_data.tuples.store import is_synthetic
from mm_eval.metrics.pose_round_trip import Motion, evaluate_tokenizer, read_motions
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, canonical_poses, numpy_codec, save_tokenizer
from mm_tokenizers.canonical import has_hips

HELD_OUT_FRAMES = 512  # for the curve; the final figures use every test sequence


def all_poses(motions: list[Motion]) -> torch.Tensor:
    """Returns the canonical poses of every sequence, ``[N, 17, 4]``; all of Ego-Exo4D's are 2.4 GB."""
    return torch.from_numpy(np.concatenate([motion.poses for motion in motions]))


def train(args: PoseArguments, architecture: PoseTokenizerConfig, training: TrainingArguments) -> None:
    """Trains, measures on the test performers and saves; run again, it goes on from the last checkpoint."""
    check_flags(training, TOKENIZER)
    torch.manual_seed(training.seed)
    tokenizer = PoseTokenizer(architecture)
    seen = read_motions(sequences_of(args.poses, "train"), has_hips, canonical_poses)
    dataset, sequences = PoseDataset(all_poses(seen), args, training.seed), len(seen)
    del seen  # the data set has a copy
    unseen = read_motions(sequences_of(args.poses, "test"), has_hips, canonical_poses, args.test_frames)
    main_process = training.process_index == 0
    if main_process:
        parameters = sum(p.numel() for p in tokenizer.parameters())
        buffers = sum(b.numel() for b in tokenizer.buffers() if b.is_floating_point())
        print(f"[trainable] {parameters:,} parameters, {buffers:,} buffer values")
        print(f"{len(dataset):,} training poses of {sequences} sequences, {len(unseen)} test sequences")
    if args.dry_run:
        return
    run, record = Path(str(training.output_dir)), record_of(args, architecture, training)
    checkpoint = agreed(lambda: last_checkpoint(run, record))
    if main_process:
        print(f"Resuming from {checkpoint}" if checkpoint else f"Training into {run}")
        write_run_record(run, record)
    held_out = all_poses(unseen)
    evenly_spaced = torch.linspace(0, len(held_out) - 1, min(HELD_OUT_FRAMES, len(held_out))).long()
    trainer = TokenizerTrainer(
        held_out=held_out[evenly_spaced],
        record=record,
        model=tokenizer,
        args=settle(
            training, TOKENIZER, remove_unused_columns=False, ddp_broadcast_buffers=False, dataloader_drop_last=True
        ),
        train_dataset=dataset,
        data_collator=lambda batch: batch,  # `PoseDataset.__getitems__` already built the batch
        callbacks=[EpochCallback(dataset)],
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()
    if main_process:
        finish(tokenizer.eval(), unseen, args, run)


def finish(tokenizer: PoseTokenizer, unseen: list[Motion], args: PoseArguments, run: Path) -> None:
    """Measures the round trip on unseen performers, and writes the tokenizer and ``metrics.json``."""
    result = evaluate_tokenizer(unseen, *numpy_codec(tokenizer), tokenizer.architecture.num_codes)
    result["synthetic_data"] = any(is_synthetic(Path(folder)) for folder in args.poses)
    result["fingerprint"] = save_tokenizer(tokenizer.cpu(), run / "tokenizer")
    write_atomically(run / "metrics.json", json.dumps(result, indent=2))
    aligned, plain, mean = result["pa_mpjpe_mm"]["value"], result["mpjpe_mm"]["value"], result["mean_pose"]
    print(
        f"round trip on unseen performers: {aligned:.1f} mm PA-MPJPE, {plain:.1f} mm MPJPE "
        f"(mean pose {mean['pa_mpjpe_mm']:.0f} and {mean['mpjpe_mm']:.0f}), "
        f"{result['codes_used']:.0%} of codes used{' (synthetic data)' if result['synthetic_data'] else ''}"
    )


if __name__ == "__main__":
    begin_recipe()
    train(*RecipeParser(PoseArguments, PoseTokenizerConfig, TrainingArguments).parse_args_and_config())
