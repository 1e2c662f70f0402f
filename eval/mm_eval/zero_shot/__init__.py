"""Any vision-language model behind an OpenAI-compatible endpoint, asked about a test set without training."""

from mm_eval.zero_shot.asking import RECORD, Told, ask, classes_of, estimate_asking, instruction

__all__ = ["RECORD", "Told", "ask", "classes_of", "estimate_asking", "instruction"]
