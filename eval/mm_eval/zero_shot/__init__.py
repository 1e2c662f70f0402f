"""Any vision-language model behind an OpenAI-compatible endpoint, asked about a test set without training."""

from mm_eval.zero_shot.asking import RECORD, ask, estimate_asking, instruction

__all__ = ["RECORD", "ask", "estimate_asking", "instruction"]
