"""What a coach is trained on and how: the arguments of the recipes. Dataclass, YAML keys and flags are one."""

from dataclasses import dataclass, field
from typing import ClassVar

from mm_adapter.model.config import MODES
from mm_adapter.model.lora import LORA_TARGETS
from mm_adapter.model.packed_attention import PACKED_SDPA

DTYPES = ("auto", "bfloat16", "float32")
"""Types of the frozen weights; ``auto`` asks the hardware."""


@dataclass(kw_only=True)
class CoachArguments:
    """What every recipe for a coach takes. Paths come from earlier commands."""

    language_model: str = field(metadata={"help": "Hub name or folder of a Llama-architecture instruct model."})
    pose_tokenizer: str | None = field(
        default=None,
        metadata={"help": "Folder written by recipes/pose_tokenizer.py; not needed with --pose_form none."},
    )
    mode: str = field(default="lora", metadata={"help": "mappers, lora or full."})
    views: list[str] | None = field(default=None, metadata={"help": "Video views; by default those of the features."})
    start_from: str | None = field(default=None, metadata={"help": "Coach whose mappers and pose rows to begin with."})
    pose_form: str = field(default="tokens", metadata={"help": "Poses of a clip: tokens, text (coordinates) or none."})
    pose_input: str = field(default="mapper", metadata={"help": "mapper (f_pm over the codebook) or rows."})
    pose_frames: int = field(default=10, metadata={"help": "T, frames per clip."})
    attention: str = field(default=PACKED_SDPA, metadata={"help": "packed_sdpa, or flash_attention_2 where installed."})
    liger: bool = field(default=False, metadata={"help": "Fused kernels of the liger extra (GPU)."})
    dtype: str = field(default="auto", metadata={"help": "Frozen weights: auto, bfloat16 or float32."})
    quantization: str | None = field(default=None, metadata={"help": "nf4 for QLoRA."})
    lora_r: int = field(default=64, metadata={"help": "Rank of LoRA."})
    lora_alpha: int = field(default=128, metadata={"help": "Scale of LoRA."})
    lora_targets: list[str] = field(
        default_factory=lambda: [*LORA_TARGETS], metadata={"help": "Linear layers that get an adapter."}
    )
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout of LoRA."})
    mapper_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the mappers."})
    pose_row_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the pose rows."})
    max_length: int = field(default=2048, metadata={"help": "Longest sample in tokens; longer ones are an error."})
    validation_share: float = field(
        default=0.0, metadata={"help": "Share of the learners held out for evaluation during training."}
    )
    eval_commentaries: int = field(default=4, metadata={"help": "Remarks written down at every evaluation."})
    dry_run: bool = field(default=False, metadata={"help": "Build everything, print the plan, train nothing."})
    plan_video_tokens: int = field(default=32, metadata={"help": "Dry run without features: V per view."})
    plan_video_width: int = field(default=1408, metadata={"help": "Dry run without features: feature width."})
    plan_gpu: str | None = field(default=None, metadata={"help": "Dry run: GPU that it has to fit, such as A100-80GB."})
    plan_world_size: int = field(default=1, metadata={"help": "Dry run: number of processes."})
    short_epochs: int = field(
        default=0,
        metadata={"help": "Epochs at the beginning in which tasks' items ask for facts alone, without prose."},
    )
    mix: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Further tuple or task folders to train on together, each with its features/ and pose_codes/ inside or as FOLDER,features=...,pose_codes=...; switches of a task come likewise."
        },
    )
    mix_weights: list[float] | None = field(
        default=None, metadata={"help": "How often an epoch shows the samples of each of them; by default once."}
    )

    MODES: ClassVar[tuple[str, ...]] = MODES
    """What ``mode`` may be."""

    def __post_init__(self) -> None:
        """Looks at what a run would otherwise stumble over later.

        Raises:
            ValueError: Unknown mode or type, or a number out of its range; says which are possible.
        """
        if self.mode not in self.MODES:
            raise ValueError(f"Unknown training mode {self.mode!r}; choose from {', '.join(self.MODES)}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"Unknown --dtype {self.dtype!r}; choose from {', '.join(DTYPES)}.")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"--validation_share {self.validation_share} has to be at least 0 and below 1.")
        for name in ("plan_world_size", "pose_frames", "lora_r", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} has to be at least 1.")
        for name in ("short_epochs", "eval_commentaries"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} has to be at least 0.")


@dataclass(kw_only=True)
class ExpertafArguments(CoachArguments):
    """What `recipes/expertaf.py` takes."""

    tuples: str = field(metadata={"help": "Folder written by `mm-coach data build`."})
    pose_codes: str = field(metadata={"help": "Folder written by `mm-coach tokenizer encode`."})
    features: str | None = field(default=None, metadata={"help": "Feature store; leave out for a pose-only coach."})
    formats: list[str] = field(
        default_factory=lambda: ["commentary", "demonstration"],
        metadata={"help": "Sample formats per tuple: commentary, demonstration, dialogue."},
    )
    format_weights: list[float] | None = field(
        default=None,
        metadata={"help": "How often an epoch shows each tuple in each of the formats: 1 once, 0.5 every other tuple."},
    )
    stages: list[str] | None = field(
        default=None,
        metadata={
            "help": "Settings of each stage as flags, such as '--mode mappers --max_steps 500'; each begins where the last ended."
        },
    )
    expert_drop: float = field(
        default=0.5, metadata={"help": "Share of commentary questions without the expert's clip."}
    )
    max_train_tuples: int | None = field(default=None, metadata={"help": "Use only the first tuples."})
    mode: str = field(default="lora", metadata={"help": "mappers, lora or full; contrastive for InternVideo2-FT."})

    MODES: ClassVar[tuple[str, ...]] = (*MODES, "contrastive")

    def __post_init__(self) -> None:
        """Looks at what a run would otherwise stumble over later.

        Raises:
            ValueError: Formats and their weights do not match, or what `CoachArguments` refuses.
        """
        super().__post_init__()
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError(f"--formats {' '.join(self.formats)}: name at least one format, and each once.")
        if self.format_weights is not None and len(self.format_weights) != len(self.formats):
            raise ValueError(
                f"{len(self.formats)} formats in --formats, {len(self.format_weights)} numbers in --format_weights; give one weight per format."
            )
        if self.max_train_tuples is not None and self.max_train_tuples < 1:
            raise ValueError(f"--max_train_tuples {self.max_train_tuples} has to be at least 1.")


@dataclass(kw_only=True)
class TaskArguments(CoachArguments):
    """What the recipes of the other tasks take beside their switches."""

    items: str = field(metadata={"help": "Folder written by `mm-coach task read`."})
    pose_codes: str | None = field(
        default=None, metadata={"help": "Folder written by `mm-coach tokenizer encode`; by default ITEMS/pose_codes."}
    )
    features: str | None = field(
        default=None,
        metadata={"help": "Feature store; by default ITEMS/features. Without one the coach sees poses alone."},
    )
    max_train_items: int | None = field(default=None, metadata={"help": "Use only the first items."})

    def __post_init__(self) -> None:
        """Looks at what a run would otherwise stumble over later.

        Raises:
            ValueError: No items would be used, or what `CoachArguments` refuses.
        """
        super().__post_init__()
        if self.max_train_items is not None and self.max_train_items < 1:
            raise ValueError(f"--max_train_items {self.max_train_items} has to be at least 1.")
