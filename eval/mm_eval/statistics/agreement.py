"""How far raters agree, for labels, ordered ratings and rankings."""

import numpy as np


def krippendorff_alpha(ratings: np.ndarray, level: str) -> float | None:
    """Computes Krippendorff's alpha.

    Args:
        ratings: ``[raters, units]`` of numbers; NaN where a rater did not rate a unit.
        level: ``nominal``, ``ordinal`` or ``interval``.

    Returns:
        Alpha; None where no unit has two ratings, or all are the same.

    Raises:
        ModuleNotFoundError: The ``metrics`` extra is not installed.
    """
    try:
        import krippendorff
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Krippendorff's alpha needs the extra: pip install 'mm-coach[metrics]'.") from error
    pairable = ratings[:, np.isfinite(ratings).sum(0) > 1]
    if not pairable.size or len(np.unique(pairable[np.isfinite(pairable)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=pairable, level_of_measurement=level))  # pyright: ignore[reportArgumentType]


def intraclass_correlations(ratings: np.ndarray) -> dict[str, float | None]:
    """Computes intraclass correlations after McGraw and Wong (1996).

    Args:
        ratings: ``[raters, units]``.

    Returns:
        ``icc_1_1``, one rating with raters drawn anew for each unit; ``icc_a_1``, one rating with absolute agreement of the same
        raters throughout; ``icc_a_k``, their mean. All are None where there is one rater or unit, a gap, or nothing varies.
    """
    raters, units = ratings.shape
    if raters < 2 or units < 2 or not np.isfinite(ratings).all() or np.ptp(ratings) == 0:
        return {"icc_1_1": None, "icc_a_1": None, "icc_a_k": None}
    mean = ratings.mean()
    between_units = raters * ((ratings.mean(0) - mean) ** 2).sum() / (units - 1)
    between_raters = units * ((ratings.mean(1) - mean) ** 2).sum() / (raters - 1)
    within = ((ratings - ratings.mean(0)) ** 2).sum() / (units * (raters - 1))
    total = ((ratings - mean) ** 2).sum()
    left = total - between_units * (units - 1) - between_raters * (raters - 1)
    error = left / ((units - 1) * (raters - 1))
    between = between_units - error
    return {
        "icc_1_1": float((between_units - within) / (between_units + (raters - 1) * within)),
        "icc_a_1": float(between / (between_units + (raters - 1) * error + raters * (between_raters - error) / units)),
        "icc_a_k": float(between / (between_units + (between_raters - error) / units)),
    }


def fleiss_kappa(ratings: np.ndarray) -> float | None:
    """Computes Fleiss' (1971) kappa of ``[raters, units]`` without gaps, ratings taken for mere names; None where chance explains everything."""
    if not np.isfinite(ratings).all():
        return None
    raters = len(ratings)
    counts = np.stack([(ratings == value).sum(0) for value in np.unique(ratings)], axis=1)
    observed = ((counts**2).sum(1) - raters) / (raters * (raters - 1))
    expected = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return None if expected == 1 else float((observed.mean() - expected) / (1 - expected))


def kendall_w(ranks: np.ndarray) -> float | None:
    """Computes Kendall's coefficient of concordance of ``[rankings, systems]`` with its correction for ties; None where nothing is ordered."""
    from scipy.stats import rankdata

    ordered = np.apply_along_axis(rankdata, 1, ranks)
    m, n = ordered.shape
    ties = sum(int((c**3 - c).sum()) for row in ordered for c in [np.unique(row, return_counts=True)[1]])
    spread = m**2 * (n**3 - n) - m * ties
    return None if spread == 0 else float(12 * ((ordered.sum(0) - m * (n + 1) / 2) ** 2).sum() / spread)
