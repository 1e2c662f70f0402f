"""Two runs item by item, as Markdown."""

import math
from collections.abc import Callable, Sequence

from mm_eval.statistics.comparison import ItemTests
from mm_eval.statistics.intervals import interval_text
from mm_eval.suites.runs import Change, Difference, changes, differences, measured_otherwise
from mm_eval.suites.suite import Run, Suite
from mm_eval.tables import Column


def diff_markdown(first: Run, second: Run, suite: Suite, metric: str | None = None, count: int = 5) -> str:
    """Writes what differs between two runs: every metric in a table, and the items that changed most.

    Args:
        first: Run that the second is compared with.
        second: The other run, on the same items.
        suite: Suite that scored both.
        metric: Metric by which items are listed; by default the first that has a value per item.
        count: Most wins, and most losses, that are listed.

    Returns:
        The text.

    Raises:
        ValueError: The runs answered different items or have no metric in common, or the metric has no value per item.
    """
    compared = differences(first, second, suite.columns)
    choices = {
        d.column.metric: d.column for d in compared if d.first.per_item is not None and d.second.per_item is not None
    }
    if metric is not None and metric not in choices:
        raise ValueError(f"--by {metric}: choose from {', '.join(choices)}.")
    column = choices[metric] if metric else next(iter(choices.values()))
    text = _table(first, second, compared)
    if headings := measured_otherwise(first, second, suite.columns):
        text += f"\nMeasured otherwise in the two runs, and not compared: {', '.join(headings)}.\n"
    return text + _items(changes(first, second, column), column.heading, count)


def _table(first: Run, second: Run, compared: Sequence[Difference]) -> str:
    lead = (
        f"{second.name} against {first.name}, {len(first.items)} items in {len(set(first.clusters))} clusters. "
        "A difference is of the items that both have. p: answers swapped cluster by cluster, Holm over the metrics. "
        "The last columns take items for independent, as most papers do; with several items per cluster they find too much."
    )
    columns: list[tuple[str, Callable[[Difference], str]]] = [
        (first.name, lambda d: _value(d.first.value, d.column)),
        (second.name, lambda d: _value(d.second.value, d.column)),
        ("difference", lambda d: _value(d.paired.difference, d.column, "+")),
        ("95 %", lambda d: _range(d.paired.interval, d.column)),
        ("p", _p_value),
        ("items", lambda d: str(d.paired.items)),
        ("failed", lambda d: f"{d.first.n_failed} / {d.second.n_failed}"),
        ("by item: 95 % (BCa)", lambda d: _by_item(d, lambda tests: _range(tests.bca_interval, d.column))),
        ("t-test, p", lambda d: _by_item(d, lambda tests: f"{tests.t_p_value:.3g}")),
        ("Wilcoxon, p", lambda d: _by_item(d, lambda tests: f"{tests.wilcoxon_p_value:.3g}")),
    ]
    lines = [lead, "", f"| | {' | '.join(heading for heading, _ in columns)} |", f"|---|{'---:|' * len(columns)}"]
    for d in compared:
        cells = " | ".join(cell(d) for _, cell in columns)
        lines.append(f"| {d.column.heading}{d.column.arrow} | {cells} |")
    return "\n".join(lines) + "\n"


def _by_item(difference: Difference, cell: Callable[[ItemTests], str]) -> str:
    """A cell of the tests by item, empty where the metric has no value per item."""
    return "" if difference.by_item is None else cell(difference.by_item)


def _range(bounds: tuple[float, float], column: Column) -> str:
    return interval_text((bounds[0] * column.factor, bounds[1] * column.factor), column.digits, "+")


def _value(value: float, column: Column, sign: str = "") -> str:
    return "not defined" if math.isnan(value) else f"{value * column.factor:{sign}.{column.digits}f}"


def _p_value(difference: Difference) -> str:
    if math.isnan(difference.adjusted):
        return "not defined"
    return f"{difference.adjusted:.3g}{'' if difference.paired.exact else ' (sampled)'}"


def _items(changed: Sequence[Change], heading: str, count: int) -> str:
    better = [change for change in changed if change.better]
    worse = [change for change in reversed(changed) if not change.better]
    lines = [f"\n{len(better)} items are better in {heading}, {len(worse)} worse.\n"]
    for title, listed in (("Biggest wins", better[:count]), ("Biggest losses", worse[:count])):
        lines += [f"## {title}", ""] if listed else []
        for change in listed:
            lines += [
                f"**{change.item.item_id}** ({change.item.category}): {change.change:+.3g}",
                "",
                f"- expert: {change.item.truth.text}",
                f"- first: {change.first}",
                f"- second: {change.second}",
                "",
            ]
    return "\n".join(lines)
