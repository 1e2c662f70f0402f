"""Annotation by language models for the three tasks: versioned prompts, automatic checks, retries, flags, human review.

Nothing is annotated unless somebody calls for it; every answer is logged, so that a run resumes and repeats no finished call.
"""

from mm_data.annotation.cot_afa import Pictures, annotate_cot_afa
from mm_data.annotation.desccoach import annotate_desccoach, fill_in_labels
from mm_data.annotation.nae import annotate_nae
from mm_data.annotation.pipeline import Stages

__all__ = [
    "Pictures",
    "Stages",
    "annotate_cot_afa",
    "annotate_desccoach",
    "annotate_nae",
    "fill_in_labels",
]
