"""Text metrics in suites: each gives several systems' scores over one corpus."""

from mm_eval.metrics.text.cleaning import PREFIX, clean
from mm_eval.metrics.text.coco import coco_suite
from mm_eval.metrics.text.modern import BertModel, modern_suite
from mm_eval.metrics.text.release import release_suite
from mm_eval.metrics.text.suite import Suite

__all__ = ["PREFIX", "BertModel", "Suite", "clean", "coco_suite", "modern_suite", "release_suite"]
