"""Text metrics: functions that score several systems' texts over one corpus, each by the tools of one field."""

from mm_eval.metrics.text.cleaning import PREFIX, clean
from mm_eval.metrics.text.coco import coco_scores
from mm_eval.metrics.text.corpus import TextScores
from mm_eval.metrics.text.modern import BertModel, modern_scores
from mm_eval.metrics.text.release import release_scores

__all__ = ["PREFIX", "BertModel", "TextScores", "clean", "coco_scores", "modern_scores", "release_scores"]
