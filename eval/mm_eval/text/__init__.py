"""Text metrics in suites: each gives several systems' scores over one corpus."""

from mm_eval.text.cleaning import PREFIX, clean
from mm_eval.text.coco import coco_suite
from mm_eval.text.modern import BertModel, modern_suite
from mm_eval.text.release import release_suite
from mm_eval.text.suite import Suite

__all__ = ["PREFIX", "BertModel", "Suite", "clean", "coco_suite", "modern_suite", "release_suite"]
