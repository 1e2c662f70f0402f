"""The coach's trainer: Hugging Face's, with our parameter groups and complete checkpoints."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from mm_adapter.checkpoint import load_trainable, trainable_state, write_coach
from mm_adapter.epochs import EpochCallback
from mm_adapter.modeling import CoachForConditionalGeneration
from mm_adapter.processing import CoachProcessor
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
    if mode not in ("mappers", "lora", "full"):
        raise ValueError(f"Unknown training mode {mode!r}; choose mappers, lora or full.")
    for name, parameter in model.named_parameters():
        inside = name.startswith("language_model.")
        parameter.requires_grad_(not inside or mode == "full" or (mode == "lora" and "lora_" in name))


class CoachTrainer(Trainer):
    """Trains a coach.

    Args:
        processor: Written with every checkpoint.
        pose_tokenizer: Written with every checkpoint.
        run_config: Resolved configuration, written with every checkpoint.
        mapper_learning_rate: Learning rate of the video and pose mappers.
        pose_row_learning_rate: Learning rate of the pose tokens' rows.
        **kwargs: Passed on to `transformers.Trainer`.
    """

    model: CoachForConditionalGeneration

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
        if self.train_dataset is not None:
            self.add_callback(EpochCallback(self.train_dataset))  # type: ignore[arg-type]
        self.processor, self.pose_tokenizer, self.run_config = processor, pose_tokenizer, run_config
        self.mapper_learning_rate, self.pose_row_learning_rate = mapper_learning_rate, pose_row_learning_rate

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with three learning rates; fresh parts need larger steps than a pretrained model."""
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

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes a complete coach; every rank takes part because ZeRO-3 has to gather."""
        state = trainable_state(self.model)
        if self.args.should_save:
            write_coach(
                Path(output_dir or str(self.args.output_dir)),
                self.model,
                state,
                self.processor,
                self.pose_tokenizer,
                self.run_config,
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trainable(Path(resume_from_checkpoint), self.model)
