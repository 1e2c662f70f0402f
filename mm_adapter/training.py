"""The coach's trainer: Hugging Face's, with exact batches, our parameter groups and complete checkpoints."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from mm_adapter.batching import WindowSampler
from mm_adapter.checkpoint import load_trainable, trainable_state, write_coach
from mm_adapter.configuration import MODES
from mm_adapter.dataset import CoachDataset
from mm_adapter.epochs import EpochCallback
from mm_adapter.manifest import seal
from mm_adapter.modeling import CoachForConditionalGeneration
from mm_adapter.optimizer_state import read_optimizer, write_optimizer
from mm_adapter.processing import CoachProcessor
from mm_adapter.throughput import Throughput
from mm_tokenizers import PoseTokenizer


def set_trainable(model: CoachForConditionalGeneration, mode: str) -> None:
    """Decides what trains.

    Args:
        model: The coach, with LoRA already injected where the mode wants it.
        mode: ``mappers`` (mappers and pose rows), ``lora`` (those and the adapter) or ``full`` (everything; encoders are
            not part of the model and always frozen).

    Raises:
        ValueError: Unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown training mode {mode!r}; choose from {', '.join(MODES)}.")
    for name, parameter in model.named_parameters():
        inside = name.startswith("language_model.")
        parameter.requires_grad_(not inside or mode == "full" or (mode == "lora" and "lora_" in name))


class TrainingDiverged(RuntimeError):
    """The loss or the gradient is no number any more."""


class StopOnSignal(TrainerCallback):
    """Saves and stops at the end of the step during which any rank received SIGTERM, as clusters send before they take a node.

    Attributes:
        stopped: Whether that happened.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.received, self.stopped = trainer, False, False
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Agrees with the other ranks, which may have been signalled a step apart or not at all."""
        flag = torch.tensor(float(self.received), device=args.device)
        if float(self.trainer.accelerator.reduce(flag, "sum")) > 0:  # type: ignore[arg-type]
            self.stopped = control.should_save = control.should_training_stop = True


class _OptimizerClock(TrainerCallback):
    """Times the optimizer, which the trainer calls between these two events."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Starts."""
        self._phase = self.throughput.phase("optimizer")
        self._phase.__enter__()

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Stops."""
        self._phase.__exit__(None, None, None)
        self.throughput.steps += 1


class CoachTrainer(Trainer):
    """Trains a coach.

    Batches come from `WindowSampler`: the samples of an optimizer step do not depend on the number of processes or
    micro-batches. The loss is the sum over supervised tokens divided by the supervised tokens of the whole step. Checkpoints
    hold everything by parameter name, so a run may go on under another launcher and on another number of ranks.

    Args:
        processor: Written with every checkpoint.
        pose_tokenizer: Written with every checkpoint.
        run_config: Resolved configuration, written with every checkpoint.
        mapper_learning_rate: Learning rate of the video and pose mappers.
        pose_row_learning_rate: Learning rate of the pose tokens' rows.
        **kwargs: Passed on to `transformers.Trainer`.
    """

    model: CoachForConditionalGeneration
    train_dataset: CoachDataset

    def __init__(
        self,
        processor: CoachProcessor,
        pose_tokenizer: PoseTokenizer,
        run_config: dict[str, Any],
        mapper_learning_rate: float,
        pose_row_learning_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.processor, self.pose_tokenizer, self.run_config = processor, pose_tokenizer, run_config
        self.mapper_learning_rate, self.pose_row_learning_rate = mapper_learning_rate, pose_row_learning_rate
        self.throughput = Throughput(self.model, self.args.device)
        self.sampler = self._sampler(self.train_dataset, self.args.train_batch_size, self.args.seed)
        self.stop_on_signal = StopOnSignal(self)
        for callback in (
            EpochCallback(self.train_dataset, self.sampler),
            self.stop_on_signal,
            _OptimizerClock(self.throughput),
        ):
            self.add_callback(callback)
        # Older checkpoints go only after a new one is complete (`_save_checkpoint`).
        self._keep, self.args.save_total_limit = self.args.save_total_limit, None
        self.args.logging_nan_inf_filter = False  # it would hide what `training_step` stops at

    # --- batches ---------------------------------------------------------------------------------------------------

    def _sampler(self, dataset: CoachDataset, batch_size: int, seed: int | None) -> WindowSampler:
        accumulation = self.args.gradient_accumulation_steps if seed is not None else 1
        return WindowSampler(dataset, batch_size, accumulation, self.args.world_size, seed)

    def _loader(self, dataset: Dataset, sampler: WindowSampler) -> DataLoader:
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and self.args.device.type == "cuda",
        )
        return prepare_data_loader(
            loader,
            self.args.device,
            num_processes=self.args.world_size,
            process_index=self.args.process_index,
            put_on_device=True,
            even_batches=False,  # the sampler already gives every process the same number of batches
        )

    def get_train_dataloader(self) -> DataLoader:
        """Batches of this process."""
        return self._loader(self.train_dataset, self.sampler)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Every sample once, over all processes."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        assert isinstance(dataset, CoachDataset)
        return self._loader(dataset, self._sampler(dataset, self.args.eval_batch_size, None))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Times the wait for data."""
        with self.throughput.phase("data_wait"):
            return super().get_batch_samples(*args, **kwargs)

    # --- steps -----------------------------------------------------------------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The configured optimizer with three learning rates; fresh parts need larger steps than a pretrained model."""
        if self.optimizer is None:
            groups: dict[str, list[nn.Parameter]] = {"language_model": [], "mapper": [], "rows": []}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    fresh = "rows" if name.startswith(("pose_head", "pose_embedding.rows")) else "mapper"
                    groups["language_model" if name.startswith("language_model.") else fresh].append(parameter)
            rates = {
                "language_model": self.args.learning_rate,
                "mapper": self.mapper_learning_rate,
                "rows": self.pose_row_learning_rate,
            }
            cls, options = self.get_optimizer_cls_and_kwargs(self.args)
            options.pop("lr", None)
            self.optimizer = cls(
                [
                    {"params": members, "lr": rates[name], "weight_decay": self.args.weight_decay}
                    for name, members in groups.items()
                    if members
                ],
                **options,
            )
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch.

        Raises:
            TrainingDiverged: The loss is not finite; names step and samples.
        """
        samples = inputs.pop("samples")
        self.throughput.count([length for _, length in samples], int((inputs["labels"] != -100).sum()))
        with self.throughput.phase("forward_backward"):
            loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            names = ", ".join(name for name, _ in samples)
            raise TrainingDiverged(
                f"The loss of step {self.state.global_step + 1} is {loss.item()} on these samples: {names}. Look at their features "
                "and poses (`mm-coach features verify`), or lower the learning rate and run again: it goes on from the last checkpoint."
            )
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not torch.isfinite(torch.as_tensor(norm)):
            raise TrainingDiverged(
                f"The gradient of step {self.state.global_step + 1} is not finite although its loss is. Lower the learning rate and run "
                "again: it goes on from the last checkpoint."
            )
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds throughput to the lines that hold the loss. Called on every process."""
        if "loss" in logs:
            logs |= self.throughput.report(self.accelerator.gather)  # type: ignore[arg-type]
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean loss per supervised token of the whole set, every sample counted once whatever the number of processes."""
        model: Any = self.model_wrapped
        model.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch in self.get_eval_dataloader(eval_dataset):
            del batch["samples"]
            with self.compute_loss_context_manager():
                loss = model(**batch, num_items_in_batch=1).loss
            totals += torch.stack([loss.double(), (batch["labels"] != -100).sum()])
        loss, count = self.accelerator.reduce(totals, "sum").tolist()  # type: ignore[union-attr]
        metrics = {f"{metric_key_prefix}_loss": loss / count, f"{metric_key_prefix}_supervised_tokens": count}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes a coach; every rank takes part because sharded parameters have to be gathered.

        Inside a checkpoint it becomes complete only after the rest has been written too.
        """
        folder = Path(output_dir or str(self.args.output_dir))
        state = trainable_state(self.model, self.args.should_save)
        if self.args.should_save:
            write_coach(folder, self.model, state, self.processor, self.pose_tokenizer, self.run_config)
            if not _internal_call:
                seal(folder, step=self.state.global_step)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        write_optimizer(Path(output_dir), self.model, self.optimizer, self.args.should_save)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")  # type: ignore[union-attr]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # for the other ranks' random states
            if self.args.should_save:
                seal(folder, step=self.state.global_step, world_size=self.args.world_size)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"{folder} could not be written: {error}. It does not count; earlier checkpoints are as they were. "
                "Make room and run the same command again."
            ) from error
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(self.args.output_dir),
                save_total_limit=self._keep,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )

    def _prepare_for_training(self, max_steps: int, train_dataloader: DataLoader, resume_from_checkpoint: Any) -> Any:
        # Weights go in before sharding, the optimizer's state after; the trainer's own way needs the same launcher and ranks.
        if resume_from_checkpoint is not None:
            load_trainable(Path(resume_from_checkpoint), self.model)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint is not None:
            read_optimizer(Path(resume_from_checkpoint), self.model, self.optimizer)
            scheduler = torch.load(Path(resume_from_checkpoint) / "scheduler.pt", weights_only=True)
            self.lr_scheduler.load_state_dict(scheduler)  # type: ignore[union-attr]
        return prepared

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: `_prepare_for_training` does it for every launcher alike."""
