"""A coach inside vLLM: Llama is vLLM's own, video goes through the exported encoder and mappers.

A clip's videos come as ordinary ``video_url`` parts, or as arrays offline: the bytes of a file, frames ``[T, H, W, 3]`` or
precomputed features ``[V, C]``. They stand for the coach's views in turn (ego, exo, ego, ...). Poses are text.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BatchFeature
from vllm.config import VllmConfig
from vllm.config.multimodal import BaseDummyOptions
from vllm.inputs import ModalityData, MultiModalDataDict
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsMultiModal
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import ModalityDataItems, MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)
from vllm.sequence import IntermediateTensors

from mm_adapter.export.read import check_export, open_encoder
from mm_adapter.features.encoder import EncoderConfig
from mm_adapter.features.encoders import read_encoder_config
from mm_adapter.features.preprocessing import normalise, resize_frames
from mm_adapter.inference.own_clip import MAX_SECONDS
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.mappers import FeatureMapper
from mm_adapter.model.processor import EGO_TOKEN
from mm_adapter.serving.vllm.plugin import check_vllm_version
from mm_data.videos.frames import check_pixels, frame_times, read_duration, read_frames

PLACEHOLDER = EGO_TOKEN
"""Stands for any view's video in a prompt; the item's turn decides which view it is."""

MAX_CLIPS = 4
"""Largest number of clips in one request."""
_DUMMY = "dummy"


def frames_of_file(data: np.ndarray, encoder: EncoderConfig) -> Tensor:
    """Resized frames ``[3, T, size, size]`` uint8 of a video file's bytes, chosen as feature extraction does."""
    with tempfile.NamedTemporaryFile(suffix=".video") as file:
        file.write(data.tobytes())
        file.flush()
        path = Path(file.name)
        try:
            check_pixels(path)
            if (seconds := read_duration(path)) > MAX_SECONDS:
                raise ValueError(f"The video is {seconds:.1f} s long; at most {MAX_SECONDS:.0f} s are taken.")
            times = frame_times(path, 0.0, seconds, encoder.frames)
            return resize_frames(read_frames(path, times), encoder)
        except ValueError as error:
            raise ValueError(str(error).replace(file.name, "The video")) from error


class ViewItems(ModalityDataItems[list[Any], Any]):
    """Videos of a request in order. All is prepared here: vLLM's cache of prepared items would forget whose turn it was.

    Args:
        data: Videos as they came.
        config: Configuration of the coach.
        encoder: Architecture of the export's encoder, or None.
        whole_clips: Whether every view of a clip has to be there.
    """

    def __init__(self, data: list[Any], config: CoachConfig, encoder: EncoderConfig | None, whole_clips: bool) -> None:
        super().__init__(data, "video")
        self.config, self.encoder, self.whole_clips = config, encoder, whole_clips

    def get_count(self) -> int:
        """Number of videos."""
        return len(self.data)

    def get(self, index: int) -> Any:
        """One of them as it came."""
        return self.data[index]

    def get_processor_data(self) -> Mapping[str, object]:
        """Nothing is left to a processor of transformers."""
        return {}

    def get_passthrough_data(self) -> Mapping[str, object]:
        """Frames or features of every video, and its view."""
        return self._passthrough

    @cached_property
    def _passthrough(self) -> dict[str, Tensor]:  # vLLM asks twice
        if not self.data:
            return {}
        if self.whole_clips and len(self.data) % len(self.config.shown_views):
            raise ValueError(
                f"{len(self.data)} videos; this coach's clips have {len(self.config.shown_views)} each: "
                f"{' and '.join(self.config.shown_views)}."
            )
        prepared = [self._prepare(item) for item in self.data]
        if len({item.ndim for item in prepared}) > 1:
            raise ValueError("Give all videos of a request as videos, or all as features.")
        views = torch.arange(len(prepared)) % len(self.config.shown_views)
        return {"features" if prepared[0].ndim == 2 else "frames": torch.stack(prepared), "view": views}

    def _prepare(self, item: Any) -> Tensor:
        array = torch.as_tensor(np.array(item) if isinstance(item, np.ndarray) else item)
        shape = (self.config.video_tokens, self.config.video_width)
        if array.ndim in (2, 3) and array.is_floating_point():
            array = array.squeeze(0) if array.ndim == 3 else array
            if tuple(array.shape) != shape:
                raise ValueError(f"Video features have shape {tuple(array.shape)}; this coach takes {shape} per view.")
            if not torch.isfinite(array).all():
                raise ValueError("Video features hold values that are not finite.")
            return array.float()
        if self.encoder is None:
            raise ValueError(
                "This export holds no video encoder; send precomputed features, or export with --encoder and --weights."
            )
        if array.ndim == 1 and array.dtype == torch.uint8:
            return frames_of_file(array.numpy(), self.encoder)
        if array.ndim == 4 and array.dtype == torch.uint8 and array.shape[0] == self.encoder.frames:
            return resize_frames(array.numpy(), self.encoder)
        raise ValueError(
            f"A video of shape {tuple(array.shape)} and type {array.dtype} cannot be used: give a file's bytes, "
            f"{self.encoder.frames} RGB frames as uint8, or features {shape}."
        )


class ViewParser(MultiModalDataParser):
    """Reads the ``video`` modality.

    Args:
        config: Configuration of the coach.
        encoder: Architecture of the export's encoder, or None.
    """

    def __init__(self, config: CoachConfig, encoder: EncoderConfig | None) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder

    def _parse_video_data(self, data: ModalityData[Any]) -> ModalityDataItems[Any, Any] | None:
        if data is None:
            return None
        items = data if isinstance(data, list) else [data]
        if len(items) == 1 and isinstance(items[0], torch.Tensor) and items[0].ndim == 3:
            items = list(items[0])  # features of several videos, stacked
        pairs = [item if isinstance(item, tuple) else (item, {}) for item in (getattr(i, "media", i) for i in items)]
        whole = not any(facts.get(_DUMMY) for _, facts in pairs)
        return ViewItems([video for video, _ in pairs], self.config, self.encoder, whole)


class CoachInfo(BaseProcessingInfo):
    """What vLLM asks about a coach before any request."""

    def get_hf_config(self) -> CoachConfig:
        """Its configuration."""
        return self.ctx.get_hf_config(CoachConfig)

    def encoder_config(self) -> EncoderConfig | None:
        """Returns the architecture of the export's encoder, or None."""
        entry = getattr(self.get_hf_config(), "encoder", None)
        return read_encoder_config(entry) if entry else None

    def get_data_parser(self) -> MultiModalDataParser:
        """Reads a request's videos."""
        return ViewParser(self.get_hf_config(), self.encoder_config())

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Every view of a few clips."""
        return {"video": MAX_CLIPS * len(self.get_hf_config().shown_views)}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """V."""
        return {"video": self.get_hf_config().video_tokens}


class CoachDummyInputs(BaseDummyInputsBuilder[CoachInfo]):
    """Inputs with which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Placeholders alone."""
        return PLACEHOLDER * mm_counts.get("video", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, BaseDummyOptions]
    ) -> MultiModalDataDict:
        """Grey frames, or features of zero where there is no encoder."""
        config, encoder = self.info.get_hf_config(), self.info.encoder_config()
        if encoder is None:
            one: Any = torch.zeros(config.video_tokens, config.video_width)
        else:
            one = np.full((encoder.frames, encoder.image_size, encoder.image_size, 3), 127, np.uint8)
        return {"video": [(one, {_DUMMY: True})] * mm_counts.get("video", 0)}


class CoachMultiModalProcessor(BaseMultiModalProcessor[CoachInfo]):
    """Puts V placeholders of the right view where a video stands."""

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {name: MultiModalFieldConfig.batched("video") for name in ("frames", "features", "view")}

    def _get_mm_hashes(self, inputs: Any) -> Any:
        """The same video in another view is another item, for vLLM's caches too."""
        views = self.info.get_hf_config().shown_views
        hashes = super()._get_mm_hashes(inputs)
        return {
            name: [f"{value}-{views[turn % len(views)]}" for turn, value in enumerate(values)]
            for name, values in hashes.items()
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, Any],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        config = self.info.get_hf_config()
        ids = {"ego": config.ego_id, "exo": config.exo_id}

        def tokens(turn: int) -> list[int]:
            return [ids[config.shown_views[turn % len(config.shown_views)]]] * config.video_tokens

        return [PromptReplacement(modality="video", target=[config.ego_id], replacement=tokens)]


@MULTIMODAL_REGISTRY.register_processor(CoachMultiModalProcessor, info=CoachInfo, dummy_inputs=CoachDummyInputs)
class VllmModel(nn.Module, SupportsMultiModal):
    """A coach as vLLM runs it.

    Args:
        vllm_config: vLLM's configuration; the model has to be a local export.
        prefix: Prefix of parameter names.

    Raises:
        RuntimeError: Another version of vLLM than those tested.
        ValueError: Files of the export were changed, or speculative decoding is on.
    """

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """Text that stands for the i-th video."""
        return PLACEHOLDER

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        check_vllm_version()
        if vllm_config.speculative_config is not None:
            raise ValueError(
                "With speculative decoding vLLM skips the grammar, so answers could be malformed; leave it out."
            )
        config: CoachConfig = vllm_config.model_config.hf_config  # type: ignore[assignment]
        self.config, self.folder = config, Path(vllm_config.model_config.model)
        check_export(self.folder)
        with self._mark_tower_model(vllm_config, "video"):
            self.mappers = nn.ModuleDict(
                {view: FeatureMapper(config.video_width, config.text_config.hidden_size) for view in config.shown_views}
            )
            opened = open_encoder(self.folder)
            self.encoder, self.encoder_output = opened if opened else (None, {})
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
                architectures=["LlamaForCausalLM"],
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        """Token embeddings of every video, ``[V, H]`` each."""
        views = kwargs.get("view")
        if views is None:
            return []
        if kwargs.get("features") is not None:
            features = torch.stack([*kwargs["features"]])  # type: ignore[misc]
        else:
            assert self.encoder is not None
            frames = torch.stack([*kwargs["frames"]])  # type: ignore[misc]
            features = self.encoder(normalise(frames, self.encoder.config), self.encoder_output["grid"])[
                self.encoder_output["output"]
            ]
            shape = len(frames), self.config.video_tokens, self.config.video_width
            features = features.view(shape).half()  # as a feature store keeps them
        names = [self.config.shown_views[int(view)] for view in views]  # type: ignore[attr-defined]
        weight = next(self.mappers.parameters())
        return [self.mappers[name](one[None].to(weight.dtype))[0] for name, one in zip(names, features, strict=True)]

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        """Hidden states."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(  # type: ignore[operator]
            input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds
        )

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits over words and pose tokens; placeholders cannot be generated."""
        logits = self.language_model.compute_logits(hidden_states)  # type: ignore[operator]
        if logits is not None:
            logits[..., self.config.num_predictable :] = -torch.inf
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Llama's weights as vLLM shards them; mappers whole on every rank."""
        loaded = AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
        if self.mappers:  # a pose-only coach has none, and its export no file of them
            state = load_file(self.folder / "video" / "mappers.safetensors")
            self.mappers.load_state_dict({name.replace("_mapper.", ".", 1): value for name, value in state.items()})
        return loaded | {name for name, _ in self.named_parameters() if name.startswith(("mappers.", "encoder."))}
