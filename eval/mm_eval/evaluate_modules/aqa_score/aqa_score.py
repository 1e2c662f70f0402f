"""Judged scores: Spearman's ρ and R-ℓ2."""

import datasets
import evaluate

from mm_eval.metrics.scores import SPLIT, relative_l2, spearman_correlation


class AqaScore(evaluate.Metric):
    """ρ and R-ℓ2; a prediction that is NaN could not be read and is left out."""

    def _info(self) -> evaluate.MetricInfo:
        numbers = {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
        return evaluate.MetricInfo(
            description=str(__doc__), citation="", inputs_description="Scores.", features=datasets.Features(numbers)
        )

    def _compute(
        self, predictions: list[float], references: list[float], score_range: str | tuple[float, float] = SPLIT
    ) -> dict[str, float]:
        """Values, with R-ℓ2 as it is; papers print it × 100."""
        items = [str(i) for i in range(len(references))]
        rho = spearman_correlation(predictions, references, items)
        error = relative_l2(predictions, references, items, score_range)
        return {"spearman": rho.value, "relative_l2": error.value, "failed": float(rho.n_failed)}
