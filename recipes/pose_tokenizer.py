r"""Pose tokenizer: trains a 3-D PCT (compositional VQ) on poses.

Does: poses of a tuple folder (`mm-coach data build`) or of a pose folder (`mm-coach poses import`: Ego-Exo4D, the
miniature, BVH, joint arrays); mirroring, resizing, turning and hiding joints; EMA codebook with dead-code revival, or FSQ;
several processes (same result as one on the same global batch); resuming by running the same command again; ``--dry-run``.
Does not: train on test performers, or tokenize clips (`mm-coach tokenizer encode` does).

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/pose_tokenizer.py \\
        --config recipes/configs/pose_tokenizer/compact.yaml --poses runs/quickstart/tuples
    accelerate launch --num_processes 8 recipes/pose_tokenizer.py --config recipes/configs/pose_tokenizer/paper.yaml
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from mm_adapter.checkpoint.folders import (
    begin_checkpoint,
    check_output_folder,
    end_checkpoint,
    identity_of,
    own_checkpoints,
    remove_older,
    unfinished,
)
from mm_adapter.checkpoint.run_record import run_record, write_run_record
from mm_adapter.cli.recipe_parser import RecipeParser
from mm_adapter.distributed import agreed
from mm_adapter.errors import show_sentences
from mm_adapter.samples.batching import EpochCallback
from mm_adapter.training.schedules import schedule
from mm_adapter.training.trainer_flags import TOKENIZER, check_flags, settle
from mm_data.folders import pose_files
from mm_data.ground.files import write_atomically
from mm_data.poses.skeleton import MIRRORED_JOINTS, NUM_JOINTS
from mm_data.tuples.store import is_synthetic
from mm_eval.metrics.pose_round_trip import Motion, evaluate_tokenizer, read_motions
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, canonical_poses, numpy_codec, save_tokenizer
from mm_tokenizers.canonical import has_hips
from mm_tokenizers.quantizer import EmaQuantizer

SETTINGS = ("data", "architecture", "schedule")
"""Parts of the record that must not change on the way."""

HELD_OUT_FRAMES = 512  # for the curve; the final figures use every test sequence


@dataclass
class DataArguments:
    """Where the poses are, and how they are varied."""

    poses: list[str] = field(
        metadata={"help": "Folders written by `mm-coach data build`, `mm-coach task read` or `mm-coach poses import`."}
    )
    mirror: float = field(default=0.5, metadata={"help": "Share of poses that are mirrored, left and right swapped."})
    size_jitter: float = field(default=0.1, metadata={"help": "Bodies are scaled by up to this share."})
    yaw_jitter: float = field(default=10.0, metadata={"help": "Bodies are turned about the vertical, up to degrees."})
    tilt_jitter: float = field(default=5.0, metadata={"help": "Bodies are tilted, up to degrees."})
    joint_drop: float = field(default=0.2, metadata={"help": "Probability that a joint is hidden from the encoder."})
    intact: float = field(default=0.0, metadata={"help": "Share of poses of which no joint is hidden."})
    test_frames: int = field(default=300, metadata={"help": "Frames per test sequence in the final figures."})
    dry_run: bool = field(default=False, metadata={"help": "Build everything, print the plan, train nothing."})


class PoseDataset(Dataset[dict[str, torch.Tensor]]):
    """Poses, varied a batch at a time; the variation depends on seed, epoch and row alone, not on the process."""

    def __init__(self, poses: torch.Tensor, options: DataArguments, seed: int) -> None:
        self.poses, self.options, self.seed, self.epoch = poses, options, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.poses)

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """One batch: ``poses`` ``[B, 17, 4]`` and ``hidden`` ``[B, 17]``."""
        draws = np.stack([np.random.default_rng([self.seed, self.epoch, row]).random(6 + NUM_JOINTS) for row in rows])
        poses = vary(self.poses[rows], torch.from_numpy(draws[:, :5]).float(), self.options)
        hidden = (draws[:, 6:] < self.options.joint_drop) & (draws[:, 5:6] >= self.options.intact)
        return {"poses": poses, "hidden": torch.from_numpy(hidden)}


def vary(poses: torch.Tensor, draws: torch.Tensor, options: DataArguments) -> torch.Tensor:
    """Mirrors, resizes, turns and tilts canonical poses.

    Args:
        poses: ``[B, 17, 4]``.
        draws: ``[B, 5]`` in [0, 1): mirror, size, yaw, tilt forward, tilt sideways.
        options: How much.
    """
    flipped = poses[:, MIRRORED_JOINTS] * torch.tensor([-1.0, 1.0, 1.0, 1.0])
    poses = torch.where(draws[:, :1, None] < options.mirror, flipped, poses)
    spread = 2 * draws[:, 1:] - 1
    yaw, pitch, roll = torch.deg2rad(spread[:, 1:] * torch.tensor([options.yaw_jitter, *[options.tilt_jitter] * 2])).T
    generator = torch.zeros(len(poses), 3, 3)  # of a small rotation, antisymmetric
    generator[:, 1, 0], generator[:, 2, 1], generator[:, 0, 2] = yaw, pitch, roll
    turn = torch.linalg.matrix_exp(generator - generator.transpose(1, 2))
    size = 1 + options.size_jitter * spread[:, :1, None]
    return torch.cat([(poses[..., :3] @ turn.transpose(1, 2)) * size, poses[..., 3:]], dim=-1)


class TokenizerTrainer(Trainer):
    """Adds to every log line the two losses, use of the codes since the last line, and the error on unseen performers."""

    model: PoseTokenizer

    def __init__(self, held_out: torch.Tensor, record: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held_out, self.record = held_out, record
        # Older checkpoints go only after a new one is complete, and only this run's.
        self.keep, self.args.save_total_limit = self.args.save_total_limit, None
        self._counts = torch.zeros(self.model.architecture.num_codes, device=self.args.device)
        self._losses = torch.zeros(3, device=self.args.device)  # joint, commitment, batches

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """The model's own loss."""
        out = model(**inputs)
        self._counts += torch.bincount(out["indices"].flatten(), minlength=len(self._counts))
        self._losses += torch.stack([out["joint_loss"], out["commitment_loss"], torch.ones_like(out["joint_loss"])])
        return out["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called on every process."""
        if "loss" in logs:
            counts, losses = self._total(self._counts), self._total(self._losses)
            share = counts[counts > 0] / counts.sum()
            logs["joint_loss"], logs["commitment_loss"] = (losses[:2] / losses[2]).tolist()
            logs["codes_used"] = float((counts > 0).float().mean())
            logs["perplexity"] = float(torch.exp(-(share * share.log()).sum()))
            if isinstance(self.model.quantizer, EmaQuantizer):
                logs["revived"] = int(self.model.quantizer.revived)
            logs["held_out_mpjpe_mm"] = self._held_out_error()
            self._counts.zero_()
            self._losses.zero_()
        super().log(logs, start_time)

    def _total(self, tensor: torch.Tensor) -> torch.Tensor:
        total = self.accelerator.reduce(tensor, "sum")
        assert isinstance(total, torch.Tensor)
        return total

    def _held_out_error(self) -> float:
        poses = self.held_out.to(self.args.device)
        joints = self.model.decode(self.model.encode(poses))
        error = (joints - poses[..., :3]).norm(dim=-1)
        return float(error[poses[..., 3] > 0].mean()) * 1000

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:  # else a run resumed at its end would take one step more
            super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Marks the folder as this run's while it is written, and then removes this run's older ones."""
        run = Path(str(self.args.output_dir))
        folder = run / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            begin_checkpoint(folder, self.record)
        self.accelerator.wait_for_everyone()  # the other ranks write into it too
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            end_checkpoint(folder)
            remove_older(run, self.record["identity"], self.keep, None)


def last_checkpoint(run: Path, record: dict[str, Any]) -> str | None:
    """The latest checkpoint of this run whose state can be read; one that a crash cut short is passed over.

    Raises:
        ValueError: The folder holds what another run wrote.
    """
    check_output_folder(run, record, SETTINGS, "tokenizer")
    for folder in reversed(own_checkpoints(run, record["identity"])):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            json.loads((folder / "trainer_state.json").read_text())
            if not unfinished(folder):
                return str(folder)
    return None


def sequences_of(folders: list[str], split: str) -> dict[str, Path]:
    """Pose arrays of several folders; names say the folder where there are several."""
    if len(folders) == 1:
        return pose_files(Path(folders[0]), split)
    return {f"{folder}/{name}": path for folder in folders for name, path in pose_files(Path(folder), split).items()}


def all_poses(motions: list[Motion]) -> torch.Tensor:
    """Canonical poses of every sequence, ``[N, 17, 4]``; all of Ego-Exo4D's are 2.4 GB."""
    return torch.from_numpy(np.concatenate([motion.poses for motion in motions]))


def evenly_spaced(poses: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` of the poses."""
    return poses[torch.linspace(0, len(poses) - 1, min(count, len(poses))).long()]


def main(data: DataArguments, architecture: PoseTokenizerConfig, training: TrainingArguments) -> None:
    """Trains, evaluates on the test performers and saves; run again to resume."""
    check_flags(training, TOKENIZER)
    torch.manual_seed(training.seed)
    tokenizer = PoseTokenizer(architecture)
    parameters = sum(p.numel() for p in tokenizer.parameters())
    buffers = sum(b.numel() for b in tokenizer.buffers() if b.is_floating_point())
    seen = read_motions(sequences_of(data.poses, "train"), has_hips, canonical_poses)
    dataset = PoseDataset(all_poses(seen), data, training.seed)
    sequences = len(seen)
    del seen  # the data set has a copy
    motions = read_motions(sequences_of(data.poses, "test"), has_hips, canonical_poses, data.test_frames)
    main_process = training.process_index == 0
    if main_process:
        print(
            f"[trainable] {parameters:,} parameters, {buffers:,} buffer values; {len(dataset):,} training poses of "
            f"{sequences} sequences, {len(motions)} test sequences"
        )
    if data.dry_run:
        return
    run = Path(str(training.output_dir))
    record = run_record(
        data=data,
        architecture=architecture,
        schedule=schedule(training),
        training=training.to_dict(),
        seed=training.seed,
    )
    record["identity"] = identity_of(record, SETTINGS)
    checkpoint = agreed(lambda: last_checkpoint(run, record))
    if main_process:
        print(f"Resuming from {checkpoint}" if checkpoint else f"Training into {run}")
        write_run_record(run, record)
    training = settle(
        training, TOKENIZER, remove_unused_columns=False, ddp_broadcast_buffers=False, dataloader_drop_last=True
    )
    trainer = TokenizerTrainer(
        held_out=evenly_spaced(all_poses(motions), HELD_OUT_FRAMES),
        record=record,
        model=tokenizer,
        args=training,
        train_dataset=dataset,
        data_collator=lambda batch: batch,  # __getitems__ already built the batch
        callbacks=[EpochCallback(dataset)],
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()
    if main_process:
        tokenizer = tokenizer.eval()
        result = evaluate_tokenizer(motions, *numpy_codec(tokenizer), architecture.num_codes)
        result["synthetic_data"] = any(is_synthetic(Path(folder)) for folder in data.poses)
        result["fingerprint"] = save_tokenizer(tokenizer.cpu(), run / "tokenizer")
        write_atomically(run / "metrics.json", json.dumps(result, indent=2))
        print(
            f"round trip on unseen performers: {result['pa_mpjpe_mm']['value']:.1f} mm PA-MPJPE, {result['mpjpe_mm']['value']:.1f} mm "
            f"MPJPE (mean pose {result['mean_pose']['pa_mpjpe_mm']:.0f} and {result['mean_pose']['mpjpe_mm']:.0f}), "
            f"{result['codes_used']:.0%} of codes used{' (synthetic data)' if result['synthetic_data'] else ''}"
        )


if __name__ == "__main__":
    show_sentences()
    parser = RecipeParser(DataArguments, PoseTokenizerConfig, TrainingArguments)
    main(*parser.parse_args_and_config())
