r"""Pose tokenizer: trains a 3-D PCT (compositional VQ) on the poses of a tuple folder's training takes.

Does: mirroring and body-size augmentation; EMA codebook with dead-code revival; several processes (same result as one
on the same global batch); resuming by running the same command again; ``--dry-run``.
Does not: read poses of test participants, or tokenize clips (`mm-coach tokenizer encode` does).

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/pose_tokenizer.py \\
        --config recipes/configs/pose_tokenizer/quickstart.yaml --tuples runs/quickstart/tuples
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from trl.scripts.utils import TrlParser

from mm_adapter.run_directory import run_record, write_run_record
from mm_data.files import write_atomically
from mm_data.procrustes import pa_mpjpe
from mm_data.skeleton import MIRRORED_JOINTS
from mm_data.tuple_store import read_tuples
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, canonical_poses, save_tokenizer
from mm_tokenizers.canonical import has_hips


@dataclass
class DataArguments:
    """Where the poses are."""

    tuples: str = field(metadata={"help": "Folder written by `mm-coach data build`."})
    size_jitter: float = field(default=0.1, metadata={"help": "Bodies are scaled by up to this share."})
    dry_run: bool = field(default=False, metadata={"help": "Build everything, print the plan, train nothing."})


def load_split(folder: Path, split: str) -> np.ndarray:
    """Canonical poses ``[N, 17, 4]`` of all takes of a split."""
    takes = sorted({clip.take_uid for t in read_tuples(folder, split) for clip in (t.learner, t.expert)})
    parts = []
    for uid in takes:
        poses = np.load(folder / "poses" / f"{uid}.npy")
        parts.append(canonical_poses(poses[has_hips(poses)]))
    return np.concatenate(parts)


class PoseDataset(Dataset[dict[str, torch.Tensor]]):
    """Poses that are augmented a batch at a time; the augmentation depends on seed, epoch and rows alone."""

    def __init__(self, poses: np.ndarray, size_jitter: float, seed: int) -> None:
        self.poses, self.size_jitter, self.seed, self.epoch = torch.from_numpy(poses), size_jitter, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.poses)

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """One batch: mirrored with probability 1/2 (left and right joints swapped), and resized."""
        poses = self.poses[rows]
        draws = np.stack([np.random.default_rng([self.seed, self.epoch, row]).random(2) for row in rows])
        draws = torch.from_numpy(draws).float()
        flipped = poses[:, MIRRORED_JOINTS] * torch.tensor([-1.0, 1.0, 1.0, 1.0])
        poses = torch.where(draws[:, :1, None] < 0.5, flipped, poses)
        size = 1 + self.size_jitter * (2 * draws[:, 1:, None] - 1)
        return {"poses": torch.cat([poses[..., :3] * size, poses[..., 3:]], dim=-1)}


def main(data: DataArguments, architecture: PoseTokenizerConfig, training: TrainingArguments) -> None:
    """Trains, evaluates on the test participants and saves; run again to resume."""
    torch.manual_seed(training.seed)
    tokenizer = PoseTokenizer(architecture)
    parameters = sum(p.numel() for p in tokenizer.parameters())
    buffers = sum(b.numel() for b in tokenizer.buffers())
    poses = load_split(Path(data.tuples), "train")
    if training.process_index == 0:
        print(f"[trainable] {parameters:,} parameters, {buffers:,} buffer values; {len(poses):,} training poses")
    if data.dry_run:
        return
    run = Path(str(training.output_dir))
    record = run_record(data=data, architecture=architecture, training=training.to_dict(), seed=training.seed)
    if training.process_index == 0:
        write_run_record(run, record)
    training.remove_unused_columns = False
    trainer = Trainer(
        model=tokenizer,
        args=training,
        train_dataset=PoseDataset(poses, data.size_jitter, training.seed),
        data_collator=lambda batch: batch,  # type: ignore[arg-type] # __getitems__ already built the batch
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(run)) if run.is_dir() else None)
    trainer.save_state()
    if training.process_index == 0:
        tokenizer = tokenizer.cpu().eval()
        held_out = torch.from_numpy(load_split(Path(data.tuples), "test")[::5])
        codes = tokenizer.encode(held_out)
        decoded = tokenizer.decode(codes).double().numpy()
        truth, visible = held_out[..., :3].double().numpy(), (held_out[..., 3] > 0).numpy()
        result = {
            "pa_mpjpe_mm": float(np.nanmean(pa_mpjpe(decoded, truth, visible)) * 1000),
            "codes_used": len(codes.unique()) / architecture.num_codes,
            "poses": len(held_out),
            "fingerprint": save_tokenizer(tokenizer, run / "tokenizer"),
        }
        write_atomically(run / "metrics.json", json.dumps(result, indent=2))
        print(
            f"round trip on unseen participants: {result['pa_mpjpe_mm']:.1f} mm PA-MPJPE, {result['codes_used']:.0%} of codes used"
        )


if __name__ == "__main__":
    parser = TrlParser((DataArguments, PoseTokenizerConfig, TrainingArguments))  # type: ignore[arg-type]
    main(*parser.parse_args_and_config())
