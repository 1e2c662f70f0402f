"""An export as the front needs it: no language model, only what turns clips into prompts and poses into joints."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.export.read import RECORD
from mm_adapter.features.encoder import EncoderConfig
from mm_adapter.features.encoders import read_encoder_config
from mm_adapter.inference.own_tasks import OwnTasks
from mm_adapter.model.config import CoachConfig, read_config
from mm_adapter.model.processor import CoachProcessor
from mm_data.tasks.coaching import shows_poses
from mm_tokenizers import PoseTokenizer, load_tokenizer
from mm_tokenizers.vocabulary import parse_text


@dataclass(frozen=True)
class Export:
    """An opened export.

    Attributes:
        folder: Folder of the export.
        config: The coach's configuration.
        processor: Renders clips as in training.
        pose_tokenizer: Encodes and decodes poses.
        encoder: Architecture of the packed video encoder, or None for a coach that sees no video.
        can_demonstrate: Whether it was trained on more than commentary.
        tasks: Tasks that it may be asked about a clip.
    """

    folder: Path
    config: CoachConfig
    processor: CoachProcessor
    pose_tokenizer: PoseTokenizer
    encoder: EncoderConfig | None
    can_demonstrate: bool
    tasks: OwnTasks

    @classmethod
    def open(cls, folder: Path) -> "Export":
        """Opens an export whose coach sees no video, or that has its video encoder packed.

        Args:
            folder: Folder of the export.

        Returns:
            The export.

        Raises:
            ValueError: The folder is no export, or cannot look at videos.
        """
        if not (folder / RECORD).is_file():
            raise ValueError(f"{folder} is no export; make one: mm-coach export COACH EXPORT --encoder NAME.")
        config = read_config(folder)
        encoder = None
        if config.video_tokens:
            entry = json.loads((folder / "config.json").read_text()).get("encoder")
            if entry is None:
                raise ValueError(
                    f"{folder} holds no video encoder, or is in layout llama; export again with --encoder (and --weights) in layout coach."
                )
            encoder = read_encoder_config(entry)
        source = json.loads((folder / RECORD).read_text())["source"]
        processor = CoachProcessor.load(folder, config)
        tokenizer = load_tokenizer(folder / "pose_tokenizer")
        return cls(folder, config, processor, tokenizer, encoder, shows_poses(source["formats"]), OwnTasks(source))

    def pose_codes(self, text: Any, grid: Any) -> np.ndarray:
        """Reads pose tokens as text, or nested lists.

        Args:
            text: Pose tokens as text, or anything else where there are none.
            grid: Codes as nested lists.

        Returns:
            Codes ``[T, M]``.

        Raises:
            ValueError: They are not one sequence of this coach's vocabulary.
        """
        if isinstance(text, str):
            codes = parse_text(text)
        else:
            try:
                codes = np.array(grid)
            except ValueError:  # rows of different lengths
                codes = np.array(None)
            if codes.dtype.kind != "i":
                raise ValueError("Pose codes have to be a grid of integers, or pose tokens as text.")
        self.processor.vocabulary.to_ids(codes)
        return codes
