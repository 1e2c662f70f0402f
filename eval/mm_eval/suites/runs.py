"""Finished runs read back, scored, put into one table and compared item by item."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.comparison import Comparison, ItemTests, compare, holm, item_tests, measured_alike
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.statistics.storage import write_metrics
from mm_eval.suites.suite import AnsweredRun, Run, Suite
from mm_eval.suites.verdicts import read_verdicts
from mm_eval.tables import Column, ScoreTable


def open_run(argument: str, suite: Suite, bert: BertModel | None = None) -> Run:
    """Reads a run, scores it, and writes ``metrics.json`` beside its answers.

    Args:
        argument: ``FOLDER`` or ``NAME=FOLDER``.
        suite: Suite that scores it.
        bert: Weights of BERTScore.

    Returns:
        The run, with the verdicts of judges whose folders lie in its own.

    Raises:
        FileNotFoundError: The folder has no answers.
        ValueError: Its answers cannot be read.
    """
    name, folder = name_and_folder(argument)
    items, result = suite.score(AnsweredRun.read(folder), bert)
    write_metrics(folder, result)
    tables = records_of(result)
    judged, notes = read_verdicts(folder, items)
    if judged:
        tables["judge"] = judged
    return Run(name, items, tables, result, [*result["notes"], *notes])


def name_and_folder(argument: str) -> tuple[str, Path]:
    """Takes ``NAME=FOLDER`` apart, or names a folder after itself, whether there is a ``=`` in its name or not."""
    name, equals, path = argument.partition("=")
    if Path(argument).exists() or not equals:
        return Path(argument).resolve().name, Path(argument)
    return name, Path(path)


def runs_table(
    runs: Sequence[Run], suite: Suite, published: Sequence[str] | None = None, footnotes: Sequence[str] = ()
) -> ScoreTable:
    """Puts runs on the same items into a table with baselines; below, whether each differs from the first.

    Args:
        runs: Scored runs.
        suite: Suite that scored them.
        published: Names of the paper's rows to print beneath; None for all.
        footnotes: Further texts below the table.

    Returns:
        The table.

    Raises:
        ValueError: The runs answered different items, or have the same name.
    """
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("Two runs have the same name; write NAME=FOLDER.")
    for run in runs[1:]:
        check_same_items(runs[0], run)
    names_of: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            names_of.setdefault(note, []).append(run.name)
    notes = [note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in names_of.items()]
    return suite.table(runs, [*_differences(runs, suite.columns), *notes, *footnotes], published)


@dataclass(frozen=True)
class Difference:
    """One metric of two runs: paired by cluster, and by item as papers test."""

    column: Column
    first: Metric
    second: Metric
    paired: Comparison
    adjusted: float
    by_item: ItemTests | None


@dataclass(frozen=True)
class Change:
    """One item that changed: the second run minus the first, and whether that is better."""

    item: TestItem
    change: float
    better: bool
    first: str
    second: str


def differences(first: Run, second: Run, columns: Sequence[Column]) -> list[Difference]:
    """Compares every metric that both runs have and measured alike, p-values adjusted by Holm over them.

    Args:
        first: Run that is compared with.
        second: Run whose values are taken minus the first's.
        columns: Columns of the suite.

    Returns:
        One entry for each metric, in the order of the columns; see `measured_otherwise` for the others.

    Raises:
        ValueError: The runs answered different items, or have no metric in common.
    """
    check_same_items(first, second)
    shared = _shared(first, second, columns)
    pairs = [(c, a, b) for c, a, b in shared if a.n and b.n and measured_alike(a, b)]
    if not pairs:
        raise ValueError(f"{first.name} and {second.name} have no metric in common that was measured alike.")
    compared = [compare(b, a, first.clusters) for _, a, b in pairs]
    adjusted = holm([c.p_value for c in compared])
    return [
        Difference(column, a, b, paired, p, _item_tests(a, b))
        for (column, a, b), paired, p in zip(pairs, compared, adjusted, strict=True)
    ]


def measured_otherwise(first: Run, second: Run, columns: Sequence[Column]) -> list[str]:
    """Returns headings of metrics that both runs have and that cannot be compared: another judge, gallery or BERTScore model."""
    shared = _shared(first, second, columns)
    return [column.heading for column, a, b in shared if not measured_alike(a, b)]


def _shared(first: Run, second: Run, columns: Sequence[Column]) -> Iterator[tuple[Column, Metric, Metric]]:
    """Yields the columns in which both runs have a metric."""
    for column in columns:
        a, b = first.metric(column), second.metric(column)
        if a is not None and b is not None:
            yield column, a, b


def changes(first: Run, second: Run, column: Column) -> list[Change]:
    """Lists items by how much one metric changed, largest gain first; failed ones are left out.

    Args:
        first: Run whose value is subtracted.
        second: Run of the same items.
        column: Column of the metric.

    Returns:
        Items whose values differ.

    Raises:
        ValueError: The metric has no value per item, or a run lacks it.
    """
    a, b = first.metric(column), second.metric(column)
    if a is None or b is None or a.per_item is None or b.per_item is None:
        raise ValueError(f"{column.metric} has no value per item in both runs; choose another with --by.")
    sign = -1.0 if column.higher is False else 1.0
    changed = [
        Change(item, y - x, sign * (y - x) > 0, first.text(item), second.text(other))
        for item, other, x, y in zip(first.items, second.items, a.per_item, b.per_item, strict=True)
        if x == x and y == y and x != y
    ]
    return sorted(changed, key=lambda change: -sign * change.change)


def check_same_items(first: Run, second: Run) -> None:
    """Checks that both runs answered the same items in the same order.

    Args:
        first: One run.
        second: Another run.

    Raises:
        ValueError: They did not; names what differs.
    """
    mine, theirs = [item.item_id for item in first.items], [item.item_id for item in second.items]
    if mine == theirs:
        return
    only = [*sorted(set(mine) - set(theirs)), *sorted(set(theirs) - set(mine))]
    example = f"such as {only[0]!r}" if only else "in another order"
    raise ValueError(
        f"{first.name} has {len(mine)} items and {second.name} {len(theirs)}; {len(only)} are only in one of them, {example}. "
        "Evaluate both on the same test set."
    )


def _item_tests(a: Metric, b: Metric) -> ItemTests | None:
    if a.per_item is None or b.per_item is None or a.aggregate != "mean":
        return None
    both = [(x, y) for x, y in zip(a.per_item, b.per_item, strict=True) if x == x and y == y]
    if len(both) < 2 or all(x == y for x, y in both):
        return None
    x, y = zip(*both, strict=True)
    return item_tests(y, x)


def _differences(runs: Sequence[Run], columns: Sequence[Column]) -> list[str]:
    """Says what differs from the first run, p-values adjusted over all comparisons of the table."""
    compared: list[tuple[str, Column, Comparison]] = []
    sentences: list[str] = []
    first = runs[0].name
    for run in runs[1:]:
        for column, a, b in _shared(runs[0], run, columns):
            if not a.n or not b.n:
                continue
            if measured_alike(a, b):
                compared.append((run.name, column, compare(b, a, run.clusters)))
            else:
                otherwise = f"{run.name}: {column.heading} was measured otherwise than {first}'s"
                sentences.append(f"{otherwise} and is not compared; see the signatures.")
    if not compared:
        return sentences
    significant = []
    for (name, column, c), p in zip(compared, holm([c.p_value for *_, c in compared]), strict=True):
        if p <= 0.05:
            difference = f"{c.difference * column.factor:+.{column.digits}f}"
            significant.append(f"{name} {difference} {column.heading} (p = {p:.3g})")
    test = f"swaps by cluster, Holm over {len(compared)} comparisons, p ≤ 0.05"
    return [*sentences, f"Different from {first} ({test}): {'; '.join(significant) or 'none'}."]
