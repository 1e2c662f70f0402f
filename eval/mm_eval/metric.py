"""The record every metric value is, with its confidence interval."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mm_eval.aggregates import AGGREGATES

RESAMPLES = 2000


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to trust it and to compare it with another system's.

    Attributes:
        value: The headline, unrounded.
        per_item: Values per test item (NaN where one could not be scored), or None for a metric of the whole set alone.
        n: Items that were scored.
        n_failed: Items that could not be scored.
        scale: Unit or range, such as ``mm`` or ``0-1``.
        signature: Implementation, variant and sizes.
        interval: 95 % interval by resampling takes; None for a single one.
        aggregate: How the value follows from the items; a key of `AGGREGATES`.
        rows: Sufficient statistics per item, where the value does not follow from ``per_item``.
    """

    value: float
    per_item: tuple[float, ...] | None
    n: int
    n_failed: int
    scale: str
    signature: str
    interval: tuple[float, float] | None = None
    aggregate: str = "mean"
    rows: tuple[tuple[float, ...], ...] | None = None

    @property
    def statistics(self) -> np.ndarray:
        """What is aggregated, ``[N, S]``; NaN rows are items that could not be scored."""
        if self.rows is not None:
            return np.array(self.rows, float)
        return np.array(self.per_item or (), float)[:, None]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; null stands for NaN, which JSON does not have."""
        return _without_nan(asdict(self))

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Metric":
        """Inverse of `to_json`."""
        rows, interval, items = record.get("rows"), record["interval"], record["per_item"]
        return cls(
            **{
                **record,
                "value": _number(record["value"]),
                "per_item": None if items is None else tuple(map(_number, items)),
                "interval": None if interval is None else (_number(interval[0]), _number(interval[1])),
                "rows": None if rows is None else tuple(tuple(map(_number, row)) for row in rows),
            }
        )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def resampling_weights(clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each item occurs in each bootstrap sample of whole clusters, ``[R, N]``; items of one take are not independent."""
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return draws[:, member].astype(float)


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled values; samples without a value (a constant has no rank correlation) are left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def corpus_metric(
    rows: np.ndarray,
    aggregate: str,
    clusters: Sequence[str],
    scale: str,
    signature: str,
    per_item: Sequence[float] | np.ndarray | None = None,
) -> Metric:
    """A metric of the whole set from the sufficient statistics of its items.

    Args:
        rows: ``[N, S]``; rows with NaN could not be scored and do not enter.
        aggregate: A key of `AGGREGATES`.
        clusters: Take of each item.
        scale: Unit or range.
        signature: Implementation and variant; the number of items is added.
        per_item: The same metric of each item alone, where it has one; of a mean or median it is the row itself.
    """
    fine: np.ndarray = np.isfinite(rows).all(axis=1)  # pyright: ignore[reportAssignmentType]
    n, failed = int(fine.sum()), int((~fine).sum())
    of_items = aggregate in ("mean", "median")
    values = rows[:, 0] if of_items else per_item
    items = None if values is None else tuple(float(v) for v in values)
    kept = None if of_items else tuple(tuple(row) for row in rows.tolist())
    signed = f"{signature}|n:{n}"
    if not n:
        return Metric(float("nan"), items, 0, failed, scale, signed, None, aggregate, kept)
    value = float(AGGREGATES[aggregate](np.ones((1, n)), rows[fine])[0])
    interval = None
    takes = [c for c, ok in zip(clusters, fine, strict=True) if ok]
    if np.isfinite(value) and len(set(takes)) > 1:  # one take tells nothing about others
        weights = resampling_weights(takes)
        interval = percentile_interval(AGGREGATES[aggregate](weights, rows[fine]))
    return Metric(value, items, n, failed, scale, signed, interval, aggregate, kept)


def item_metric(
    per_item: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    scale: str,
    signature: str,
    statistic: str = "mean",
) -> Metric:
    """A mean (or median) over items with its interval; NaN items count as failed and do not enter it."""
    return corpus_metric(np.asarray(per_item, float)[:, None], statistic, clusters, scale, signature)
