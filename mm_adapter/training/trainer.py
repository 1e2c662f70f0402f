"""The coach's trainer: Hugging Face's, with exact batches, our parameter groups and complete checkpoints."""

from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer
from transformers.trainer_utils import TrainOutput

from mm_adapter.checkpoint.trainer import CompleteCheckpoints
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.lora import part_of
from mm_adapter.samples.batching import EpochCallback, WindowSampler
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.training.callbacks import OptimizerClock, StopOnSignal
from mm_adapter.training.throughput import Throughput


class TrainingDiverged(RuntimeError):
    """Error of a run whose loss or gradient is no number any more."""


class CoachTrainer(CompleteCheckpoints, Trainer):
    """The trainer of a coach.

    Batches come from `WindowSampler`: the samples of an optimizer step do not depend on the number of processes or
    micro-batches. The loss is the sum over supervised tokens divided by the supervised tokens of the whole step. Checkpoints
    hold everything by parameter name, so a run may go on under another launcher and on another number of ranks.

    Args:
        mapper_learning_rate: Learning rate of the video and pose mappers.
        pose_row_learning_rate: Learning rate of the pose tokens' rows.
        **kwargs: Passed on to `CompleteCheckpoints` and `transformers.Trainer`.
    """

    model: CoachModel
    train_dataset: CoachDataset

    def __init__(self, mapper_learning_rate: float, pose_row_learning_rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mapper_learning_rate, self.pose_row_learning_rate = mapper_learning_rate, pose_row_learning_rate
        self.throughput = Throughput(self.model, self.args.device)
        self.sampler = self._sampler(self.train_dataset, self.args.train_batch_size, self.args.seed)
        self.stop_on_signal = StopOnSignal(self)
        epochs = EpochCallback(self.train_dataset, self.sampler)
        for callback in (epochs, self.stop_on_signal, OptimizerClock(self.throughput)):
            self.add_callback(callback)

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
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context,
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
        """Returns the batches of this process."""
        return self._loader(self.train_dataset, self.sampler)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Returns batches that show every sample once, over all processes."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        assert isinstance(dataset, CoachDataset)
        return self._loader(dataset, self._sampler(dataset, self.args.eval_batch_size, None))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Times the wait for data."""
        with self.throughput.phase("data_wait"):
            return super().get_batch_samples(*args, **kwargs)

    # --- steps -----------------------------------------------------------------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Makes the configured optimizer with three learning rates; fresh parts need larger steps than a pretrained model.

        Weight decay spares biases, norms (as transformers does) and the pose tokens' rows.
        """
        if self.optimizer is None:
            rates = {
                "language_model": self.args.learning_rate,
                "mapper": self.mapper_learning_rate,
                "rows": self.pose_row_learning_rate,
            }
            decays = set(self.get_decay_parameter_names(self.model))
            groups: dict[tuple[str, float], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    part = part_of(name)
                    decay = self.args.weight_decay if name in decays and part != "rows" else 0.0
                    groups.setdefault((part, decay), []).append(parameter)
            cls, options = self.get_optimizer_cls_and_kwargs(self.args)
            options.pop("lr", None)
            settings = [
                {"params": members, "lr": rates[part], "weight_decay": decay}
                for (part, decay), members in groups.items()
            ]
            self.optimizer = cls(settings, **options)
        return self.optimizer

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains, and stops in good order where SIGTERM arrives."""
        with self.stop_on_signal.listening():
            return super().train(*args, **kwargs)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Trains on one micro-batch, counted and timed."""
        samples = self._samples = inputs.pop("samples")
        self.throughput.count([length for _, length in samples], int((inputs["labels"] != -100).sum()))
        with self.throughput.phase("forward_backward"):
            return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the loss and checks it before its backward pass (DeepSpeed steps inside that).

        Args:
            *args: Arguments of `transformers.Trainer.compute_loss`.
            **kwargs: Its further arguments.

        Returns:
            The loss.

        Raises:
            TrainingDiverged: It is not finite; names step and samples.
        """
        loss: Any = super().compute_loss(*args, **kwargs)
        if not torch.isfinite(loss):
            names = ", ".join(name for name, _ in self._samples)
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
        """Logs the mean loss per supervised token of the whole set, every sample counted once whatever the number of processes."""
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
