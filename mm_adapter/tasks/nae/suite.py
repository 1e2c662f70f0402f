"""What narratives are scored by (PGMI §5): text, score and actions apart, and together as mAP."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.narrative import narrative_map, narrative_map_ranked
from mm_eval.metrics.scores import SPLIT
from mm_eval.statistics.metric import item_metric
from mm_eval.suites.tasks import Metrics, TaskSuite, answers_of, clusters_of, column, judged_scores, unread
from mm_eval.tables.published import Published


def actions(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Computes the share of actions that are right: those both name, over the longer of the two lists."""
    shares = [
        _shared(answer.actions or [], item.truth.actions) if item.truth.actions is not None else float("nan")
        for item, answer in zip(items, answers_of(items, system), strict=True)
    ]
    if not np.isfinite(shares).any():
        return {}
    unread = sum(answer.actions is None for answer in answers_of(items, system))
    sign = f"actions|common over longer list|unparsed:{unread}, wrong"
    return {"action_accuracy": item_metric(shares, clusters_of(items), "0-1", sign)}


def _shared(predicted: Sequence[str], true: Sequence[str]) -> float:
    common = (Counter(predicted) & Counter(true)).total()
    return common / max(len(predicted), len(true), 1)


def narrative(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Computes mAP over three thresholds at once (PGMI's own is unpublished), strict, and ranked by confidence."""
    parts = [row.get(name) for name in ("relative_l2", "cider", "action_accuracy")]
    if any(part is None or part.per_item is None for part in parts):
        return {}
    errors, cider, shares = (part.per_item for part in parts if part is not None and part.per_item is not None)
    metrics = {
        "nae_map": narrative_map(errors, cider, shares, clusters_of(items)),
        "nae_map_strict": narrative_map(errors, cider, shares, clusters_of(items), strict=True),
    }
    confidence = [a.confidence for a in answers_of(items, system) if a.confidence is not None]
    if len(confidence) == len(items):
        metrics["nae_map_ranked"] = narrative_map_ranked(errors, cider, shares, confidence, clusters_of(items))
    return metrics


NARRATIVES = TaskSuite(
    "NAE",
    (
        column("nae_map", "mAP", 1.0, 3),
        column("nae_map_strict", "mAP, strict", 1.0, 3),
        column("nae_map_ranked", "mAP, ranked", 1.0, 3),
        column("spearman", "ρ", 1.0, 3),
        column("relative_l2", "R-ℓ2", digits=3, higher=False),
        column("bleu4", "BLEU-4"),
        column("meteor", "METEOR"),
        column("cider", "CIDEr"),
        column("action_accuracy", "Acc", 1.0, 3),
        column("unread", "unread, %", digits=1, higher=False),
    ),
    (judged_scores(SPLIT), actions, narrative, unread),
    Published.read(Path(__file__).with_name("published.yaml")),
)
