"""The coach: a Llama-architecture language model with video mappers and pose tokens.

Shapes: ``B`` batch, ``S`` sequence, ``N`` clips of a batch, ``V`` video tokens per view, ``C`` feature width, ``H``
width, ``K`` pose codes. Vocabulary: the language model's own ids, then K + 2 pose ids (predictable), then the two
video placeholders (input only).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.utils.generic import ModelOutput

from mm_adapter.distributed import gathered, largest_of_ranks
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.loss import supervised_cross_entropy, token_statistics
from mm_adapter.model.mappers import FeatureMapper, PoseEmbedding, match_embeddings
from mm_adapter.model.packed_attention import PACKED_SDPA

_FLATTENED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
"""How transformers' `DataCollatorWithFlattening` tells where samples begin; `packed_attention` takes their lengths."""


@dataclass
class CoachOutput(ModelOutput):
    """``logits`` are ``[B, S', num_predictable]``, or None when a loss was asked for.

    The last four are `loss.token_statistics`, for preference tuning.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    mean_logits: Tensor | None = None
    is_top1: Tensor | None = None


class CoachModel(PreTrainedModel, GenerationMixin):
    """A language model with video mappers and pose tokens.

    It is put together from parts, since the language model may be in 4 bits and carry an adapter; transformers' own
    ``from_pretrained(config)`` would make one in full precision first. `checkpoint.coach.SavedCoach` opens coaches.

    Args:
        config: Architecture of the coach.
        language_model: Causal language model, perhaps with an adapter.
        codebook: Codes of the frozen pose tokenizer ``[K, D]``.
    """

    config: CoachConfig
    language_model: Any  # transformers types its accessors too loosely to check
    config_class = CoachConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # the Trainer hands over num_items_in_batch
    _supports_sdpa = True

    def __init__(self, config: CoachConfig, language_model: PreTrainedModel, codebook: Tensor) -> None:
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.language_model = language_model
        self.pose_embedding = PoseEmbedding(codebook, hidden, config.pose_input)
        self.pose_head = nn.Linear(hidden, config.num_pose_codes + 2, bias=False)
        views = config.shown_views
        self.ego_mapper = FeatureMapper(config.video_width, hidden) if "ego" in views else None
        self.exo_mapper = FeatureMapper(config.video_width, hidden) if "exo" in views else None

    @torch.no_grad()
    def initialise_new_parts(self) -> None:
        """Fits mappers and pose rows to the language model's embedding statistics.

        With tied embeddings the pose rows start as the pose embeddings, as every other token's do: a pretrained copying
        head can then repeat a pose token from the first step. Otherwise they start at the mean output row (the paper's
        initialisation) with small noise, so that codes differ.
        """
        embeddings = self.language_model.get_input_embeddings().weight
        head = self.language_model.get_output_embeddings().weight
        new = [p for name, p in self.named_parameters() if not name.startswith("language_model.")]
        with gathered([embeddings, head, *new]):
            words = embeddings[: self.config.first_pose_id].float()
            mean, rms = words.mean(0), float((words - words.mean(0)).pow(2).mean().sqrt())
            embedding = self.pose_embedding
            embedding.rows.copy_(mean + rms * torch.randn_like(embedding.rows))
            if embedding.mapper is not None:
                match_embeddings(embedding.mapper, embedding.codebook, mean, rms)
            for mapper in (self.ego_mapper, self.exo_mapper):
                if mapper is not None:
                    inputs = torch.randn(256, self.config.video_width, device=mean.device)
                    match_embeddings(mapper.mlp, inputs, mean, rms)
            if self.config.text_config.tie_word_embeddings:
                self.pose_head.weight.copy_(embedding())
            else:
                rows = head[: self.config.first_pose_id].float()
                noise = (rows - rows.mean(0)).pow(2).mean().sqrt() * torch.randn_like(self.pose_head.weight)
                self.pose_head.weight.copy_(rows.mean(0) + 0.1 * noise)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's own embeddings (words only)."""
        return self.language_model.get_input_embeddings()

    def embed(self, input_ids: Tensor, ego_features: Tensor | None, exo_features: Tensor | None) -> Tensor:
        """Embeds words, pose tokens and video tokens.

        Args:
            input_ids: ``[B, S]``.
            ego_features: ``[N, V, C]`` in the order of the placeholders, N may be 0.
            exo_features: Features of the exo view, ``[N, V, C]`` in the order of their placeholders.

        Returns:
            Embeddings ``[B, S, H]``.

        Raises:
            ValueError: Placeholders and features do not match; gives both numbers.
        """
        config = self.config
        is_pose = (input_ids >= config.first_pose_id) & (input_ids < config.num_predictable)
        words = self.get_input_embeddings()(torch.where(input_ids < config.first_pose_id, input_ids, 0))
        table = self.pose_embedding()
        poses = F.embedding(torch.where(is_pose, input_ids - config.first_pose_id, 0), table)
        embeddings = torch.where(is_pose[..., None], poses.to(words.dtype), words)
        for view, mapper, features, placeholder in (
            ("ego", self.ego_mapper, ego_features, config.ego_id),
            ("exo", self.exo_mapper, exo_features, config.exo_id),
        ):
            places = input_ids == placeholder
            if mapper is None or features is None:
                if bool(places.any()):
                    raise ValueError(f"{int(places.sum())} {view} placeholders, but no {view} features were given.")
                continue
            # Runs with zero rows too: a rank whose batch lacks video must still take part in the mapper's collectives.
            mapped = mapper(features.to(mapper.norm.weight.dtype)).flatten(0, 1)
            if int(places.sum()) != len(mapped):
                raise ValueError(
                    f"{int(places.sum())} {view} placeholders, but {len(mapped)} {view} video tokens "
                    f"({len(features)} clips × {config.video_tokens})."
                )
            embeddings = embeddings.masked_scatter(places[..., None], mapped.to(embeddings.dtype))
            embeddings = embeddings + 0.0 * mapped.sum().to(embeddings.dtype)
        return embeddings

    def logits(self, hidden: Tensor) -> Tensor:
        """Maps hidden states ``[..., H]`` to logits over words and pose tokens ``[..., num_predictable]``."""
        words = self.language_model.get_output_embeddings()(hidden)[..., : self.config.first_pose_id]
        return torch.cat([words, self.pose_head(hidden.to(self.pose_head.weight.dtype)).to(words.dtype)], dim=-1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        ego_features: Tensor | None = None,
        exo_features: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Tensor | int | None = None,
        fused_lm_head: bool = False,
        **kwargs: Any,
    ) -> CoachOutput:
        """Runs the coach.

        Args:
            input_ids: ``[B, S]`` words, pose tokens and video placeholders.
            attention_mask: ``[B, S]``, or a 4-D additive mask ``[B, 1, S, S]``.
            position_ids: ``[B, S]``.
            past_key_values: Cache of earlier positions.
            inputs_embeds: Ready embeddings instead of ``input_ids``.
            labels: ``[B, S]``, -100 where unsupervised. Only supervised positions reach the output head.
            ego_features: ``[N, V, C]`` in placeholder order.
            exo_features: Features of the exo view, ``[N, V, C]`` in placeholder order.
            use_cache: Whether to return the cache.
            logits_to_keep: Compute logits of the last so many positions only; 0 means all.
            num_items_in_batch: Supervised tokens of the whole accumulation window over all ranks. The loss is the sum
                over this batch's supervised tokens divided by it, so windows of any shape weigh every token alike.
            fused_lm_head: TRL's name for asking for `loss.token_statistics` of the labels instead of a loss.
            **kwargs: Passed on to the language model. ``cu_seq_lens_q`` (and its kin) mark where the samples of a single
                row without padding begin, as in transformers' `DataCollatorWithFlattening`; they do not see each other.

        Returns:
            The loss or the token statistics where there are labels, else the logits and the cache.
        """
        if "cu_seq_lens_q" in kwargs and self.language_model.config._attn_implementation == PACKED_SDPA:
            lengths = kwargs["cu_seq_lens_q"].diff().tolist()
            kwargs = {**{k: v for k, v in kwargs.items() if k not in _FLATTENED}, "sample_lengths": lengths}
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids, ego_features, exo_features)
        decoder = self.language_model.get_decoder()
        outputs = decoder(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache if labels is None else False,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        if labels is None:
            last = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
            return CoachOutput(logits=self.logits(last), past_key_values=outputs.past_key_values)
        if fused_lm_head:
            return CoachOutput(**token_statistics(self.logits, hidden, labels))
        total, count = supervised_cross_entropy(
            self.logits, hidden, labels, agree=lambda pieces: largest_of_ranks(pieces, self.pose_head.weight)
        )
        return CoachOutput(loss=total / (num_items_in_batch if num_items_in_batch is not None else count))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Video features go in with the prompt only; later steps have them in the cache."""
        inputs = super().prepare_inputs_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration:
            inputs["ego_features"] = inputs["exo_features"] = None
        return inputs
