"""How well a pose tokenizer keeps poses: numbers and a page."""

from mm_eval.pose_tokenizer.page import write_page
from mm_eval.pose_tokenizer.round_trip import Motion, evaluate_tokenizer, read_motions

__all__ = ["Motion", "evaluate_tokenizer", "read_motions", "write_page"]
