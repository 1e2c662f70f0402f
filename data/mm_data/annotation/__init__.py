"""Annotation by language models for the three tasks: versioned prompts, automatic checks, retries, flags, human review.

Nothing is annotated unless asked for; every answer is logged, so that a run resumes and repeats no finished call.
"""

from mm_data.annotation.pipeline import Annotation, Draft, annotate, mirror_release
from mm_data.annotation.sheet import Decision, read_review, write_review

__all__ = [
    "Annotation",
    "Decision",
    "Draft",
    "annotate",
    "mirror_release",
    "read_review",
    "write_review",
]
