"""Text metrics in suites: each gives several systems' scores over one corpus, one reference per item."""

from mm_eval.text.coco import coco_suite
from mm_eval.text.release import PREFIX, release_suite
from mm_eval.text.suite import Suite

__all__ = ["PREFIX", "Suite", "coco_suite", "release_suite"]
