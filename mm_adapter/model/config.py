"""What fixes a coach: its architecture, what a clip looks like to it, and what it was built on."""

import copy
from dataclasses import field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from mm_data.ground.safe_load import read_json
from mm_tokenizers import PoseVocabulary

MODES = ("mappers", "lora", "full")
VIEWS = ("ego", "exo")
POSE_FORMS = ("tokens", "text", "none")


class CoachConfig(PretrainedConfig):
    """Everything that fixes the coach's architecture and what its weights were trained with.

    Attributes:
        text_config: The language model's configuration.
        base_model: Name or path of the language model.
        base_model_fingerprint: Fingerprint of its weights (`language_model.weights_fingerprint`), checked when the coach is
            opened.
        quantization: ``nf4`` where the language model was in 4 bits during training, else None.
        mode: What trained, one of `MODES`.
        first_pose_id: Id of pose code 0, which is the size of the language model's own vocabulary.
        num_pose_codes: Size of the pose codebook (K).
        pose_tokens_per_frame: Number of pose codes per frame (M).
        pose_frames: Number of frames per clip (T).
        pose_code_dim: Width of a code vector (D).
        pose_input: How pose tokens are embedded, ``mapper`` or ``rows`` (`PoseEmbedding`).
        pose_form: How poses are shown, one of `POSE_FORMS`: ``tokens``, ``text`` (coordinates in centimetres, written out) or ``none``.
        pose_tokenizer: Fingerprint of the frozen pose tokenizer.
        video_tokens: Number of video tokens per view (V), 0 for a pose-only coach.
        views: Views that are shown, among `VIEWS`.
        video_width: Width of the video features (C).
        video_encoder: Name and hash of the encoder whose features the coach was trained on.
    """

    model_type = "mm_coach"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    text_config: Any = None
    base_model: str = ""
    base_model_fingerprint: str = ""
    quantization: str | None = None
    mode: str = "lora"
    first_pose_id: int = 0
    num_pose_codes: int = 2048
    pose_tokens_per_frame: int = 34
    pose_frames: int = 10
    pose_code_dim: int = 512
    pose_input: str = "mapper"
    pose_form: str = "tokens"
    pose_tokenizer: str = ""
    video_tokens: int = 0
    views: list[str] = field(default_factory=lambda: [*VIEWS])
    video_width: int = 0
    video_encoder: str = ""

    def __post_init__(self, **kwargs: Any) -> None:
        """Reads the language model's configuration where it comes as JSON."""
        if isinstance(self.text_config, dict):
            self.text_config = AutoConfig.for_model(**self.text_config)
        # A copy: building the coach resets the attention implementation of its sub-configurations, and a language model
        # that shared the object would silently run without a causal mask.
        self.text_config = copy.deepcopy(self.text_config)
        super().__post_init__(**kwargs)

    @property
    def pose_vocabulary(self) -> PoseVocabulary:
        """Pose tokens among the ids that the coach can predict."""
        return PoseVocabulary(self.first_pose_id, self.num_pose_codes, self.pose_tokens_per_frame, self.pose_frames)

    @property
    def shown_views(self) -> list[str]:
        """Views that the coach sees video of: none for a pose-only coach, whatever views its data have."""
        return self.views if self.video_tokens else []

    @property
    def num_predictable(self) -> int:
        """Ids that the coach can predict: words and pose tokens."""
        return self.first_pose_id + self.pose_vocabulary.size

    @property
    def ego_id(self) -> int:
        """Placeholder of one ego video token."""
        return self.num_predictable

    @property
    def exo_id(self) -> int:
        """Placeholder of one exo video token."""
        return self.num_predictable + 1


def read_config(folder: Path) -> CoachConfig:
    """Reads the configuration of a coach or an export.

    Args:
        folder: Folder that holds ``coach_config.json``.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: The folder holds none.
        ValueError: It is damaged.
    """
    hint = "the folder holds no coach; point to a run's coach/ or checkpoint-N folder."
    return CoachConfig(**read_json(folder / "coach_config.json", hint))


AutoConfig.register(CoachConfig.model_type, CoachConfig, exist_ok=True)
