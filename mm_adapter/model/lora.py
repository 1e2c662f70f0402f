"""What trains: LoRA in the language model, and which parameters each mode leaves free."""

from peft import LoraConfig, inject_adapter_in_model
from transformers import PreTrainedModel

from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import MODES

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Every linear layer of a Llama block, as QLoRA found best."""


def add_lora(language_model: PreTrainedModel, config: LoraConfig) -> None:
    """Injects LoRA into a language model; the adapter's weights are float32 whatever the base is."""
    inject_adapter_in_model(config, language_model, adapter_name="default")
    language_model.peft_config = {"default": config}  # type: ignore[assignment]
    for name, parameter in language_model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def set_trainable(model: CoachModel, mode: str) -> None:
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


def part_of(name: str) -> str:
    """The part of a coach that a parameter belongs to, by which its learning rate is chosen."""
    if name.startswith("language_model."):
        return "language_model"
    return "rows" if name.startswith(("pose_head", "pose_embedding.rows")) else "mapper"
