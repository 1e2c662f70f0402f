"""The grammar of answers inside vLLM (`plugin.GRAMMAR`), of its first model runner.

An answer is words without pose tokens, or one well-formed pose sequence and the end of the turn: the first token decides. A
request may fix it: ``vllm_xargs: {"coach_answer": "words"}`` or ``"poses"``. Models without a pose vocabulary are left alone.
"""

import torch
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from mm_adapter.model.grammar import AnswerGrammar
from mm_tokenizers import PoseVocabulary

ANSWER = "coach_answer"
KINDS = ("any", "words", "poses")


class CoachGrammar(AdapterLogitsProcessor):
    """Masks what may not come next, request by request."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuses unknown kinds of answers."""
        kind = (sampling_params.extra_args or {}).get(ANSWER, "any")
        if kind not in KINDS:
            raise ValueError(f"Unknown answer {kind!r}; choose from {', '.join(KINDS)}.")

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        text = vllm_config.model_config.hf_text_config
        shape = getattr(text, "pose_vocabulary", None)
        self.vocabulary = PoseVocabulary(**shape) if shape else None
        self.ends = text.eos_token_id if shape else []

    def is_argmax_invariant(self) -> bool:
        """It decides what is most likely."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> AnswerGrammar | None:
        """The grammar of one request, or None for other models."""
        if self.vocabulary is None:
            return None
        return AnswerGrammar(self.vocabulary, self.ends, (params.extra_args or {}).get(ANSWER, "any"))
