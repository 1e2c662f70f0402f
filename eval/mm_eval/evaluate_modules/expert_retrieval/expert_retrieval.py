"""Ranks of one positive in a gallery."""

import datasets
import evaluate
import numpy as np

from mm_eval.metrics.retrieval import ranks, retrieval_metrics


class ExpertRetrieval(evaluate.Metric):
    """Recall at k, median and mean rank; predictions are a score per gallery clip, references the positive's position."""

    def _info(self) -> evaluate.MetricInfo:
        ranked = {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=str(__doc__), citation="", inputs_description="Scores.", features=datasets.Features(ranked)
        )

    def _compute(self, predictions: list[list[float]], references: list[int]) -> dict[str, float]:
        """Values by name; equal scores share their mean rank."""
        scores = np.array(predictions, float)
        ranked = ranks(scores, np.array(references), np.ones(scores.shape, bool))
        metrics = retrieval_metrics(ranked, np.full(len(scores), scores.shape[1]), [str(i) for i in range(len(scores))])
        return {name: metric.value for name, metric in metrics.items()}
