"""A metric: a value with its interval, and the statistics of the items that it follows from."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mm_eval.statistics.aggregates import AGGREGATES
from mm_eval.statistics.intervals import cluster_interval, members, unanimous_interval

YES_OR_NO = "0 or 1"
"""The scale of metrics whose items are right or wrong."""


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to trust it and to compare it with another system's.

    Attributes:
        value: Value that is printed, unrounded.
        per_item: Values per test item (NaN where one could not be scored), or None for a metric of the whole set alone.
        n: Items that were scored.
        n_failed: Items that could not be scored.
        scale: Unit or range, such as ``mm``, ``0-1`` or `YES_OR_NO`.
        signature: Implementation, variant and sizes.
        interval: 95 % interval by resampling clusters; None where they are too few (`mm_eval.statistics.intervals.FEWEST_CLUSTERS`).
        aggregate: How the value follows from the items; a key of `AGGREGATES`.
        rows: Sufficient statistics per item, where the value does not follow from ``per_item``.
        clusters: Number of clusters (people, or takes where nobody says whose they are) that the scored items come from.
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
    clusters: int = 0

    @property
    def statistics(self) -> np.ndarray:
        """Statistics that are aggregated, ``[N, S]``; rows with NaN are items that could not be scored."""
        if self.rows is not None:
            return np.array(self.rows, float)
        return np.array(self.per_item or (), float)[:, None]

    def to_json(self) -> dict[str, Any]:
        """Returns plain lists and numbers; None stands for NaN, which JSON does not have."""
        return _without_nan(asdict(self))

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Metric":
        """Builds the metric from what `to_json` gave."""
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


def corpus_metric(
    rows: np.ndarray,
    aggregate: str,
    clusters: Sequence[str],
    scale: str,
    signature: str,
    per_item: Sequence[float] | np.ndarray | None = None,
) -> Metric:
    """Computes a metric of the whole set from the sufficient statistics of its items.

    Args:
        rows: ``[N, S]``; rows with NaN could not be scored and do not enter.
        aggregate: A key of `AGGREGATES`.
        clusters: Cluster of each item: the person, or the take where nobody says whose it is.
        scale: Unit or range.
        signature: Implementation and variant; the number of items is added.
        per_item: Metric of each item alone, where it has one; for a mean or median it is the row itself.

    Returns:
        The metric with its interval.
    """
    fine: np.ndarray = np.isfinite(rows).all(axis=1)  # pyright: ignore[reportAssignmentType]
    n, failed = int(fine.sum()), int((~fine).sum())
    item_by_item = aggregate in ("mean", "median")
    values = rows[:, 0] if item_by_item else per_item
    items = None if values is None else tuple(float(v) for v in values)
    statistics = None if item_by_item else tuple(tuple(row) for row in rows.tolist())
    if not n:
        return Metric(float("nan"), items, 0, failed, scale, f"{signature}|n:0|clusters:0", None, aggregate, statistics)
    scored = rows[fine]
    value = float(AGGREGATES[aggregate](np.ones((1, n)), scored)[0])
    scored_clusters = [cluster for cluster, ok in zip(clusters, fine, strict=True) if ok]
    count, _ = members(scored_clusters)
    interval = cluster_interval(lambda weights: AGGREGATES[aggregate](weights, scored), scored_clusters)
    if interval and scale == YES_OR_NO and aggregate == "mean" and value in (0, 1):
        interval = unanimous_interval(value, count)
    signed = f"{signature}|n:{n}|clusters:{count}"
    return Metric(value, items, n, failed, scale, signed, interval, aggregate, statistics, count)


def item_metric(
    per_item: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    scale: str,
    signature: str,
    statistic: str = "mean",
) -> Metric:
    """Computes a mean (or median) over items with its interval; NaN items count as failed and do not enter it."""
    return corpus_metric(np.asarray(per_item, float)[:, None], statistic, clusters, scale, signature)


def records_of(result: dict[str, Any]) -> dict[str, dict[str, dict[str, Metric]]]:
    """Returns the metrics of a result: table to row to name to metric."""

    def read(metrics: dict[str, Any]) -> dict[str, Metric]:
        return {name: Metric.from_json(metric) for name, metric in metrics.items()}

    return {table: {row: read(metrics) for row, metrics in rows.items()} for table, rows in result["tables"].items()}
