"""Opens an export, and makes sure first that it is as it was written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from mm_adapter.checkpoint.seal import EXPORT_RECORD, added, identity, problems
from mm_adapter.features.encoder import VideoEncoder
from mm_adapter.features.encoders import empty_encoder, read_encoder_config
from mm_adapter.model.config import VIEWS, CoachConfig, read_config
from mm_adapter.model.mappers import FeatureMapper
from mm_adapter.model.packed_attention import PACKED_SDPA
from mm_data.ground.safe_load import read_json

RECORD = EXPORT_RECORD
ARCHITECTURE = "MMCoachForConditionalGeneration"
NUM_PLACEHOLDERS = len(VIEWS)
VIDEO_PROCESSOR = "MMCoachVideoProcessor"


@dataclass(frozen=True)
class ExportedCoach:
    """What an export says about its coach.

    Attributes:
        config: Configuration of the coach.
        source: What it was exported from: the run's tasks, formats, base model and commit.
        identity: Hash of weights and settings.
        can_choose: Whether an engine can say how likely candidates are: prompts of layout llama that show video are embeddings, which have
            no log-probabilities.
    """

    config: CoachConfig
    source: dict[str, Any]
    identity: str
    can_choose: bool

    @classmethod
    def read(cls, folder: Path) -> "ExportedCoach":
        """Reads it from an export's folder."""
        record = read_json(folder / RECORD, "export the coach again.")
        config = read_config(folder)
        chooses = record["layout"] == "coach" or not config.video_tokens
        return cls(config, record["source"], identity(folder), chooses)


def open_llama(folder: Path, dtype: torch.dtype | str = "auto") -> PreTrainedModel:
    """Opens an export's language model in transformers, whatever its layout."""
    text = read_config(folder).text_config
    return AutoModelForCausalLM.from_pretrained(folder, config=text, dtype=dtype, attn_implementation=PACKED_SDPA)


def open_mappers(folder: Path) -> dict[str, FeatureMapper]:
    """Opens an export's video mappers by view."""
    config = read_config(folder)
    path = folder / "video" / "mappers.safetensors"
    if not path.is_file():
        return {}
    state, mappers = load_file(path), {}
    for view in config.shown_views:
        mapper = FeatureMapper(config.video_width, config.text_config.hidden_size)
        prefix = f"{view}_mapper."
        mapper.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        mappers[view] = mapper.eval().requires_grad_(False)
    return mappers


def open_encoder(folder: Path) -> tuple[VideoEncoder, dict[str, Any]] | None:
    """Opens an export's video encoder and its description, where it has one."""
    path = folder / "video" / "encoder.json"
    if not path.is_file():
        return None
    description = json.loads(path.read_text())
    encoder = empty_encoder(read_encoder_config(description["architecture"]))
    state = load_file(folder / "video" / "encoder.safetensors")
    encoder.load_state_dict(state)
    dtype = next(
        value.dtype for value in state.values() if value.is_floating_point()
    )  # counts of batches are whole numbers
    return encoder.to(dtype).eval().requires_grad_(False), description


def check_export(folder: Path) -> None:
    """Makes sure that every file of an export that a loader might read is as it was written, and that none was added.

    Args:
        folder: Folder of the export.

    Raises:
        FileNotFoundError: The folder is no complete export.
        ValueError: Files were changed or added; lists them.
    """
    if changed := problems(folder, everything=True):
        raise ValueError(f"{folder} was changed after it was exported: {'; '.join(changed)}. Export it again.")
    if foreign := added(folder):
        raise ValueError(
            f"{folder} holds files that the export did not write and engines might read: "
            f"{', '.join(f'{name} was added' for name in foreign)}. Delete them."
        )
