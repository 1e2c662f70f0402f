"""Texts against references by one of the functions of `mm_eval.metrics.text`."""

import datasets
import evaluate

from mm_eval.metrics.text import coco_scores, modern_scores, release_scores

SUITES = {"coco": coco_scores, "modern": modern_scores, "release": release_scores}


class CoachingText(evaluate.Metric):
    """BLEU, METEOR, ROUGE-L and CIDEr-D (suite ``coco``), ROUGE F1 and sacreBLEU (``modern``), ExpertAF's scorer (``release``)."""

    def _info(self) -> evaluate.MetricInfo:
        texts = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=str(__doc__), citation="", inputs_description="Texts.", features=datasets.Features(texts)
        )

    def _compute(self, predictions: list[str], references: list[str], suite: str = "coco") -> dict[str, float]:
        """Scores texts by one of the suites.

        Args:
            predictions: Generated texts.
            references: True texts.
            suite: ``coco``, ``modern`` or ``release``.

        Returns:
            Values by name.

        Raises:
            ValueError: An unknown suite, or nothing could be computed.
        """
        if suite not in SUITES:
            raise ValueError(f"Suite {suite!r}: choose from {', '.join(SUITES)}.")
        scored = SUITES[suite]({"ours": predictions}, references, [str(i) for i in range(len(references))])
        if not scored.rows["ours"]:
            raise ValueError("; ".join(scored.notes))
        return {name: metric.value for name, metric in scored.rows["ours"].items()}
