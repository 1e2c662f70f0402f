"""What trains a pose tokenizer: varied poses, and a trainer that watches the codes. `recipes/pose_tokenizer.py` uses it."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainingArguments

from mm_adapter.checkpoint.folders import check_output_folder, own_checkpoints, unfinished
from mm_adapter.checkpoint.run_record import run_record
from mm_adapter.checkpoint.trainer import MarkedCheckpoints
from mm_adapter.training.schedules import schedule
from mm_data.folders import pose_files
from mm_data.poses.skeleton import MIRRORED_JOINTS, NUM_JOINTS
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig
from mm_tokenizers.quantizer import EmaQuantizer

SETTINGS = ("data", "architecture", "schedule")
"""Parts of the record that must not change while a tokenizer is trained."""


@dataclass
class PoseArguments:
    """Where poses are, and how they are varied in training.

    Attributes:
        poses: Folders written by `mm-coach data build`, `mm-coach task read` or `mm-coach poses import`.
        mirror: Share of poses that are mirrored, left and right swapped.
        size_jitter: Bodies are scaled by up to this share.
        yaw_jitter: Bodies are turned about the vertical, up to degrees.
        tilt_jitter: Bodies are tilted, up to degrees.
        joint_drop: Probability that a joint is hidden from the encoder.
        intact: Share of poses of which no joint is hidden.
        test_frames: Frames per test sequence in the final figures.
        dry_run: Build everything, print the plan, train nothing.
    """

    poses: list[str]
    mirror: float = 0.5
    size_jitter: float = 0.1
    yaw_jitter: float = 10.0
    tilt_jitter: float = 5.0
    joint_drop: float = 0.2
    intact: float = 0.0
    test_frames: int = 300
    dry_run: bool = False


class PoseDataset(Dataset[dict[str, torch.Tensor]]):
    """Canonical poses ``[N, 17, 4]``, varied a batch at a time.

    The variation depends on seed, epoch and row alone, not on the process.

    Args:
        poses: The poses.
        options: How much they are varied.
        seed: Seed of the variations.
    """

    def __init__(self, poses: torch.Tensor, options: PoseArguments, seed: int) -> None:
        self.poses, self.options, self.seed, self.epoch = poses, options, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Changes the variations at the start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.poses)

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Returns one batch: ``poses`` ``[B, 17, 4]`` and ``hidden`` ``[B, 17]``."""
        draws = np.stack([np.random.default_rng([self.seed, self.epoch, row]).random(6 + NUM_JOINTS) for row in rows])
        poses = vary(self.poses[rows], torch.from_numpy(draws[:, :5]).float(), self.options)
        hidden = (draws[:, 6:] < self.options.joint_drop) & (draws[:, 5:6] >= self.options.intact)
        return {"poses": poses, "hidden": torch.from_numpy(hidden)}


def vary(poses: torch.Tensor, draws: torch.Tensor, options: PoseArguments) -> torch.Tensor:
    """Mirrors, resizes, turns and tilts canonical poses.

    Args:
        poses: Poses ``[B, 17, 4]``.
        draws: Draws ``[B, 5]`` in [0, 1): mirror, size, yaw, tilt forward, tilt sideways.
        options: How much they are varied.

    Returns:
        Poses of the same shape.
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


class TokenizerTrainer(MarkedCheckpoints):
    """Trains a pose tokenizer; every log line also has both losses, the use of codes, and the error on unseen performers.

    Args:
        held_out: Poses ``[N, 17, 4]`` of unseen performers.
        **kwargs: Passed on to `MarkedCheckpoints` and `transformers.Trainer`.
    """

    model: PoseTokenizer

    def __init__(self, held_out: torch.Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held_out = held_out
        self._counts = torch.zeros(self.model.architecture.num_codes, device=self.args.device)
        self._losses = torch.zeros(3, device=self.args.device)  # joint, commitment, batches

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """Returns the model's own loss and counts its codes."""
        out = model(**inputs)
        self._counts += torch.bincount(out["indices"].flatten(), minlength=len(self._counts))
        self._losses += torch.stack([out["joint_loss"], out["commitment_loss"], torch.ones_like(out["joint_loss"])])
        return out["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was counted since the last line. Every process takes part."""
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


def last_checkpoint(run: Path, record: dict[str, Any]) -> str | None:
    """Finds the latest checkpoint of this run whose state can be read; one that a crash cut short is passed over.

    Args:
        run: The run's folder.
        record: The run's record, with its ``identity``.

    Returns:
        The checkpoint's folder, or None for a fresh run.

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
    """Maps names to files of a split's pose arrays; names say the folder where there are several."""
    if len(folders) == 1:
        return pose_files(Path(folders[0]), split)
    return {f"{folder}/{name}": path for folder in folders for name, path in pose_files(Path(folder), split).items()}


def record_of(data: PoseArguments, architecture: PoseTokenizerConfig, training: TrainingArguments) -> dict[str, Any]:
    """Builds the run's record, of which `SETTINGS` must not change while it is trained."""
    parts = {"data": data, "architecture": architecture, "schedule": schedule(training)}
    return run_record(*SETTINGS, **parts, training=training.to_dict(), seed=training.seed)
