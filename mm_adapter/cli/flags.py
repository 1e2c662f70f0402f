"""Flags that several commands share, as dataclasses whose fields become flags.

Every module of this package is imported by `mm-coach --help`: whatever loads numpy or torch is imported inside functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import App, ArgumentCollection, Parameter, Token

if TYPE_CHECKING:
    import torch

    from mm_adapter.features.encoder import VideoEncoder
    from mm_adapter.inference.sampling import Sampling
    from mm_eval.metrics.text import BertModel

EngineFlags = dict[str, str]
"""Flags that are handed on to vLLM: ``--vllm.max-model-len 4096``."""


def words_of(flags: EngineFlags | None) -> list[str]:
    """Returns flags for vLLM as words of its command line; one that is true stands alone."""
    words: list[str] = []
    for name, value in (flags or {}).items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value.lower() == "true" else [value])
    return words


@Parameter(name="*")
@dataclass(frozen=True)
class EncoderFlags:
    """The frozen video encoder."""

    encoder: str | None = None
    """InternVideo2's size (tiny, S, B, L, 1B, 6B), transformers:NAME_OR_FOLDER, timm:NAME, or efficientnet-lite0."""

    weights: Path | None = None
    """InternVideo2's published file or folder of safetensors, which every size but tiny needs; or a file of timm's."""

    random_weights: bool = False
    """Draw random weights for a size of InternVideo2, to try out speed and memory."""

    frames: int | None = None
    """Frames per clip; by default the number that the weights were trained with, or 8 where they see one at a time."""

    image_size: int | None = None
    """Pixels along one side; by default those that the weights were trained with."""

    def build(self, default: str | None = None, dtype: torch.dtype | None = None) -> tuple[VideoEncoder, str] | None:
        """Builds the encoder and its name; None where no flag and no default names one.

        Args:
            default: Size to build where --encoder is not given.
            dtype: dtype of the weights; by default float32.

        Returns:
            The encoder and its name, or None.

        Raises:
            ValueError: Weights, frames or a size are given and no encoder; or as `open_encoder` has it.
        """
        size = self.encoder or default
        if size is None:
            if alone := [name for name, value in vars(self).items() if value not in (None, False)]:
                raise ValueError(f"--{alone[0].replace('_', '-')} says something of an --encoder; name it too.")
            return None
        from mm_adapter.features.encoders import open_encoder

        options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
        return open_encoder(
            size, self.weights, self.frames, self.image_size, random_weights=self.random_weights, **options
        )


@Parameter(name="*")
@dataclass(frozen=True)
class GalleryFlags:
    """Experts among whom a demonstration is looked for."""

    gallery: Path | None = None
    """Tuple folder whose experts are searched for a demonstration."""

    activity: str | None = None
    """Search only experts of this activity."""

    codes: Path | None = None
    """Pose codes of the gallery."""

    features: Path | None = None
    """Feature store of the gallery."""


@Parameter(name="*")
@dataclass(frozen=True)
class SamplingFlags:
    """How tokens are drawn."""

    temperature: float = 0.0
    """Temperature of the draws; 0 takes the most likely token."""

    top_p: float = 1.0
    """Probability mass that is drawn from."""

    top_k: int = 0
    """Number of tokens that are drawn from; 0 keeps all."""

    seed: int = 0
    """Seed of the draws, which depend on it and the question alone."""

    def sampling(self) -> Sampling:
        """Builds what the coach draws with."""
        from mm_adapter.inference.sampling import Sampling

        return Sampling(self.temperature, self.top_p, self.top_k, self.seed)


@Parameter(name="*")
@dataclass(frozen=True)
class BertFlags:
    """Weights of BERTScore."""

    bert_model: Path | None = None
    """Folder of weights for BERTScore, such as deberta-xlarge-mnli."""

    bert_layer: int | None = None
    """Layer whose states are compared: 40 for deberta-xlarge-mnli, 18 for deberta-xlarge."""

    bert_baseline: Path | None = None
    """bert-score's file of baselines, to rescale by."""

    def model(self) -> BertModel | None:
        """Builds what BERTScore reads.

        Returns:
            The weights, or None where no flag names any.

        Raises:
            ValueError: No layer beside the weights, or a layer or baselines without them.
        """
        if self.bert_model is None:
            for flag, value in (("--bert-layer", self.bert_layer), ("--bert-baseline", self.bert_baseline)):
                if value is not None:
                    raise ValueError(f"{flag} needs --bert-model: the folder of BERTScore's weights.")
            return None
        if self.bert_layer is None:
            raise ValueError("--bert-model needs --bert-layer: 40 for deberta-xlarge-mnli, 18 for deberta-xlarge.")
        from mm_eval.metrics.text import BertModel

        return BertModel(self.bert_model, self.bert_layer, self.bert_baseline)


@Parameter(name="*")
@dataclass(frozen=True)
class ItemSetFlags:
    """Which part of a folder of items a system is asked about, and what it sees of it."""

    features: Path | None = None
    """Feature store; by default ITEMS/features, if there is one."""

    codes: Path | None = None
    """Pose codes; by default ITEMS/pose_codes, if there are some."""

    max_items: int | None = None
    """Number of test items, evenly spaced; by default all."""


def _switches(kind: Any, words: Sequence[Token]) -> dict[str, str]:
    """Reads the words behind --set."""
    if wrong := [word.value for word in words if "=" not in word.value]:
        raise ValueError(f"{wrong[0]}: give SWITCH=VALUE.")
    return dict(word.value.split("=", 1) for word in words)


Switches = Annotated[
    dict[str, str],
    Parameter(name="--set", accepts_keys=False, n_tokens=-1, converter=_switches, metavar="SWITCH=VALUE"),
]
"""Switches of a task as a flag: ``--set SWITCH=VALUE ...``."""


def refuse_fractions(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses fractions for whole numbers, which cyclopts would round without a word.

    Args:
        app: The command.
        commands: Its names.
        arguments: The command's flags with the words that were given.

    Raises:
        ValueError: A word is no whole number; names its flag.
    """
    for argument in arguments:
        if int in (argument.hint, *get_args(argument.hint)):
            for token in argument.tokens:
                if not re.fullmatch(r"[+-]?\d+", token.value):
                    raise ValueError(f"{argument.name} is {token.value!r}; it has to be a whole number.")
