"""Complete checkpoints for any trainer of a coach, in one format whatever the launcher and the number of ranks."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer

from mm_adapter.checkpoint.coach import load_trainable, trainable_state, write_coach
from mm_adapter.checkpoint.folders import begin_checkpoint, end_checkpoint, remove_older
from mm_adapter.checkpoint.optimizer import read_optimizer, write_optimizer
from mm_adapter.checkpoint.seal import seal
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.processor import CoachProcessor
from mm_tokenizers import PoseTokenizer


class MarkedCheckpoints(Trainer):
    """A part of a trainer whose checkpoints say from their first file whose they are; it is mixed in before the trainer itself.

    Args:
        *args: Passed on to the trainer.
        record: The run's record with its ``identity``, written with every checkpoint.
        **kwargs: Passed on to the trainer.
    """

    def __init__(self, *args: Any, record: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.record = record
        # Older checkpoints go only after a new one is complete, and only this run's.
        self._keep, self.args.save_total_limit = self.args.save_total_limit, None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        run = Path(str(self.args.output_dir))
        folder = run / f"checkpoint-{self.state.global_step}"
        try:
            if self.args.should_save:
                begin_checkpoint(folder, self.record)
            self.accelerator.wait_for_everyone()  # the other ranks write into it too
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # for the other ranks' random states
            if self.args.should_save:
                end_checkpoint(folder)
                self.seal_checkpoint(folder)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"{folder} could not be written: {error}. It does not count; earlier checkpoints are as they were. "
                "Make room and run the same command again."
            ) from error
        if self.args.should_save:
            remove_older(run, self.record.get("identity"), self._keep, self.state.best_model_checkpoint)

    def seal_checkpoint(self, folder: Path) -> None:
        """Does what remains when all files of a checkpoint are written."""

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:  # else a run resumed at its end would take one step more
            super()._run_epoch(*args, **kwargs)


class CompleteCheckpoints(MarkedCheckpoints):
    """A part of a trainer that replaces how a coach is saved and resumed.

    Args:
        *args: Passed on to the trainer.
        processor: Processor that is written with every checkpoint.
        pose_tokenizer: Pose tokenizer that is written with every checkpoint.
        run_config: Resolved configuration that is written with every checkpoint.
        **kwargs: Passed on to the trainer.
    """

    model: CoachModel

    def __init__(
        self,
        *args: Any,
        processor: CoachProcessor,
        pose_tokenizer: PoseTokenizer,
        run_config: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, record=run_config, **kwargs)
        self.processor, self.pose_tokenizer = processor, pose_tokenizer

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes a coach; every rank takes part because sharded parameters have to be gathered.

        Inside a checkpoint it becomes complete only after the rest has been written too.
        """
        folder = Path(output_dir or str(self.args.output_dir))
        state = trainable_state(self.model, self.args.should_save)
        if self.args.should_save:
            write_coach(folder, self.model, state, self.processor, self.pose_tokenizer, self.record)
            if not _internal_call:
                seal(folder, step=self.state.global_step)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        write_optimizer(Path(output_dir), self.model, self.optimizer, self.args.should_save)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")  # type: ignore[union-attr]

    def seal_checkpoint(self, folder: Path) -> None:
        """Lists the checkpoint's files with their hashes, which makes it complete."""
        seal(folder, step=self.state.global_step, world_size=self.args.world_size)

    def _prepare_for_training(self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: Any) -> Any:
        # Weights go in before sharding, the optimizer's state after; the trainer's own way needs the same launcher and ranks.
        if resume_from_checkpoint is not None:
            load_trainable(Path(resume_from_checkpoint), self.model)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint is not None:
            read_optimizer(Path(resume_from_checkpoint), self.model, self.optimizer)
            scheduler = torch.load(Path(resume_from_checkpoint) / "scheduler.pt", weights_only=True)
            self.lr_scheduler.load_state_dict(scheduler)  # type: ignore[union-attr]
            rates = self.lr_scheduler.get_last_lr()  # type: ignore[union-attr]
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):  # type: ignore[union-attr]
                group["lr"] = rate  # a fresh optimizer has the rate of step 0
        return prepared

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: `_prepare_for_training` does it for every launcher alike."""
