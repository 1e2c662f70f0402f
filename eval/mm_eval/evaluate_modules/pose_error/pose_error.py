"""Pose sequences against true ones, in millimetres."""

import datasets
import evaluate
import numpy as np

from mm_eval.metrics.pose import POSE_ERRORS, sequence_error


class PoseError(evaluate.Metric):
    """PA-MPJPE per frame or sequence, with or without scale, and MPJPE about the hips; sequences are ``[T, 17, 3 or 4]`` in metres."""

    def _info(self) -> evaluate.MetricInfo:
        sequence = datasets.List(datasets.List(datasets.List(datasets.Value("float64"))))
        joints = {"predictions": sequence, "references": sequence}
        return evaluate.MetricInfo(
            description=str(__doc__), citation="", inputs_description="Joints.", features=datasets.Features(joints)
        )

    def _compute(self, predictions: list, references: list, variant: str = "pa_mpjpe") -> dict[str, float]:
        """Measures sequences against true ones.

        Args:
            predictions: Sequences of joints in metres.
            references: True sequences.
            variant: Key of `mm_eval.metrics.pose.POSE_ERRORS`.

        Returns:
            The mean over sequences that can be aligned, and how many cannot.

        Raises:
            ValueError: An unknown variant, or sequences of different lengths.
        """
        if variant not in POSE_ERRORS:
            raise ValueError(f"Variant {variant!r}: choose from {', '.join(POSE_ERRORS)}.")
        errors = np.array(
            [sequence_error(np.array(p), np.array(t), variant) for p, t in zip(predictions, references, strict=True)]
        )
        fine = np.isfinite(errors)
        return {variant: float(errors[fine].mean()) if fine.any() else float("nan"), "failed": float((~fine).sum())}
