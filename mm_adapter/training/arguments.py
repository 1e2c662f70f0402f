"""The arguments of the recipes: what a coach is trained on, and how. Dataclass, YAML keys and flags are one."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mm_adapter.errors import did_you_mean
from mm_adapter.model.lora import LORA_TARGETS
from mm_adapter.model.packed_attention import PACKED_SDPA


@dataclass(kw_only=True)
class MixPart:
    """A folder that is trained on together with the recipe's own: items of a task, or tuples, which come as dialogues.

    Attributes:
        items: Folder written by `mm-coach task read`.
        tuples: Folder written by `mm-coach data build`, in the place of items.
        features: Feature store; by default the folder's ``features``, where it has them.
        pose_codes: Pose codes; by default the folder's ``pose_codes``, where it has them.
        weight: How often an epoch shows each sample: 1 once, 0.5 every other sample.
        options: Switches of the items' task.
    """

    items: str | None = None
    tuples: str | None = None
    features: str | None = None
    pose_codes: str | None = None
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` where it does not name one folder, or a value has another type."""
        if (self.items is None) == (self.tuples is None):
            raise ValueError("mix: each part needs either items or tuples, a folder.")
        try:
            self.weight = float(self.weight)
        except (TypeError, ValueError) as error:
            raise ValueError(f"mix, {self.folder}: weight {self.weight!r} is no number.") from error
        if not isinstance(self.options, dict):
            raise ValueError(f"mix, {self.folder}: options {self.options!r} do not map switches to values.")
        if self.tuples is not None and self.options:
            raise ValueError(f"mix, {self.folder}: tuples have no switch {next(iter(self.options))!r}.")

    @property
    def folder(self) -> Path:
        """The folder of items or tuples."""
        return Path(str(self.items if self.items is not None else self.tuples))

    @classmethod
    def read(cls, content: Any) -> "MixPart":
        """Builds a part from a mapping.

        Args:
            content: What a configuration holds.

        Returns:
            The part.

        Raises:
            ValueError: It is no mapping, or has an unknown key.
        """
        if not isinstance(content, dict):
            raise ValueError(f"mix: {content!r} is no part; write a mapping, such as `items: FOLDER`.")
        known = [f.name for f in fields(cls)]
        if unknown := [str(name) for name in content if name not in known]:
            raise ValueError(f"mix: unknown key {unknown[0]}.{did_you_mean(unknown[0], known)}")
        return cls(**content)


@dataclass(kw_only=True)
class CoachArguments:
    """Arguments of every recipe that trains a coach. Paths come from earlier commands.

    Attributes:
        language_model: Hub name or folder of a Llama-architecture instruct model.
        pose_tokenizer: Folder written by recipes/pose_tokenizer.py; not needed with --pose_form none.
        mode: What trains.
        views: Video views; by default those of the features.
        start_from: Coach whose mappers and pose rows to begin with.
        pose_form: How poses of a clip are shown; text writes coordinates out.
        pose_input: How pose tokens enter: f_pm over the codebook, or rows of their own.
        pose_frames: Frames per clip (T).
        attention: packed_sdpa, or flash_attention_2 where installed.
        liger: Fused kernels of the liger extra (GPU).
        dtype: Type of the frozen weights; auto asks the hardware.
        quantization: nf4 for QLoRA.
        lora_r: Rank of LoRA.
        lora_alpha: Scale of LoRA.
        lora_targets: Linear layers that get an adapter.
        lora_dropout: Dropout of LoRA.
        mapper_learning_rate: Learning rate of the mappers.
        pose_row_learning_rate: Learning rate of the pose rows.
        max_length: Longest sample in tokens; longer ones are an error.
        validation_share: Share of the learners held out for evaluation during training.
        eval_commentaries: Remarks written down at every evaluation.
        dry_run: Build everything, print the plan, train nothing.
        plan_video_tokens: Dry run without features: V per view.
        plan_video_width: Dry run without features: feature width.
        plan_gpu: Dry run: GPU that it has to fit, such as A100-80GB.
        plan_world_size: Dry run: number of processes.
        short_epochs: Epochs at the beginning in which tasks' items ask for facts alone, without prose.
        mix: Further folders to train on together; --mix.0.items FOLDER names the first one's items.
    """

    language_model: str
    pose_tokenizer: str | None = None
    mode: Literal["mappers", "lora", "full"] = "lora"
    views: list[str] | None = None
    start_from: str | None = None
    pose_form: Literal["tokens", "text", "none"] = "tokens"
    pose_input: Literal["mapper", "rows"] = "mapper"
    pose_frames: int = 10
    attention: str = PACKED_SDPA
    liger: bool = False
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    quantization: Literal["nf4"] | None = None
    lora_r: int = 64
    lora_alpha: int = 128
    lora_targets: list[str] = field(default_factory=lambda: [*LORA_TARGETS])
    lora_dropout: float = 0.05
    mapper_learning_rate: float = 1e-3
    pose_row_learning_rate: float = 1e-3
    max_length: int = 2048
    validation_share: float = 0.0
    eval_commentaries: int = 4
    dry_run: bool = False
    plan_video_tokens: int = 32
    plan_video_width: int = 1408
    plan_gpu: str | None = None
    plan_world_size: int = 1
    short_epochs: int = 0
    mix: list[MixPart] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Checks what a run would otherwise stumble over later.

        Raises:
            ValueError: An unknown choice, a number out of its range, or a malformed part of the mixture.
        """
        _check_choices(self)
        self.mix = [part if isinstance(part, MixPart) else MixPart.read(part) for part in self.mix]
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"--validation_share {self.validation_share} has to be at least 0 and below 1.")
        for name in ("plan_world_size", "pose_frames", "lora_r", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} has to be at least 1.")
        for name in ("short_epochs", "eval_commentaries"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} has to be at least 0.")


def _check_choices(settings: Any) -> None:
    """Raises ``ValueError`` where a field has none of its choices: a configuration's values pass by the parser's check."""
    for name, hint in get_type_hints(type(settings)).items():
        literals = [kind for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal]
        choices, value = [choice for literal in literals for choice in get_args(literal)], getattr(settings, name)
        if choices and value not in choices and not (value is None and hint not in literals):
            raise ValueError(f"Unknown --{name} {value!r}; choose from {', '.join(choices)}.")


@dataclass(kw_only=True)
class ExpertafArguments(CoachArguments):
    """Arguments of `recipes/expertaf.py`.

    Attributes:
        tuples: Folder written by `mm-coach data build`.
        pose_codes: Folder written by `mm-coach tokenizer encode`.
        features: Feature store; leave out for a pose-only coach.
        formats: Sample formats per tuple: commentary, demonstration, dialogue.
        format_weights: How often an epoch shows each tuple in each of the formats: 1 once, 0.5 every other tuple.
        stages: Settings that each stage changes, such as --stages.0.mode mappers --stages.0.max_steps 500
            --stages.1.mode lora; each begins where the last one ended.
        expert_drop: Share of commentary questions without the expert's clip.
        max_train_tuples: Use only the first tuples.
    """

    tuples: str
    pose_codes: str
    features: str | None = None
    formats: list[str] = field(default_factory=lambda: ["commentary", "demonstration"])
    format_weights: list[float] | None = None
    stages: list[dict] | None = None
    expert_drop: float = 0.5
    max_train_tuples: int | None = None

    def __post_init__(self) -> None:
        """Checks what a run would otherwise stumble over later.

        Raises:
            ValueError: Formats and their weights do not match, or what `CoachArguments` refuses.
        """
        super().__post_init__()
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError(f"--formats {' '.join(self.formats)}: name at least one format, and each once.")
        if self.format_weights is not None and len(self.format_weights) != len(self.formats):
            raise ValueError(
                f"{len(self.formats)} formats in --formats, {len(self.format_weights)} numbers in --format_weights; "
                "give one weight per format."
            )
        if self.max_train_tuples is not None and self.max_train_tuples < 1:
            raise ValueError(f"--max_train_tuples {self.max_train_tuples} has to be at least 1.")


@dataclass(kw_only=True)
class TaskArguments(CoachArguments):
    """Arguments of the recipes of the other tasks, beside the task's switches.

    Attributes:
        items: Folder written by `mm-coach task read`.
        pose_codes: Folder written by `mm-coach tokenizer encode`; by default ITEMS/pose_codes.
        features: Feature store; by default ITEMS/features. Without one the coach sees poses alone.
        max_train_items: Use only the first items.
    """

    items: str
    pose_codes: str | None = None
    features: str | None = None
    max_train_items: int | None = None

    def __post_init__(self) -> None:
        """Checks what a run would otherwise stumble over later.

        Raises:
            ValueError: No items would be used, or what `CoachArguments` refuses.
        """
        super().__post_init__()
        if self.max_train_items is not None and self.max_train_items < 1:
            raise ValueError(f"--max_train_items {self.max_train_items} has to be at least 1.")
