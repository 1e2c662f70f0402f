"""Finished runs read back, put into one table and compared item by item."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mm_data.tasks.overlap import overlap
from mm_eval.answers.baselines import unseen_categories, with_baselines
from mm_eval.answers.test_sets import (
    ABOUT,
    EXPECTED,
    FILE,
    OURS,
    TRAINING,
    TestItem,
    material_of,
    read_about,
    read_answers,
    systems_of,
)
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.comparison import Comparison, ItemTests, compare, holm, item_tests, measured_alike
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.statistics.storage import read_metrics, write_metrics
from mm_eval.suites.tasks import ANSWERS, TaskSuite, evaluate_answers, find_suite, unread_parts
from mm_eval.suites.verdicts import METRICS, read_verdicts
from mm_eval.tables import Column, Row, ScoreTable, cells_of
from mm_eval.tables.expertaf import COLUMNS as EXPERTAF_COLUMNS
from mm_eval.tables.expertaf import System, comparison_table

EXPERTAF = "expertaf"
Tables = dict[str, dict[str, dict[str, Metric]]]


@dataclass(frozen=True)
class Run:
    """One evaluated system.

    Attributes:
        name: Name of its row.
        items: Test items with every system's answers.
        tables: Table to row to metric.
        result: Content of ``metrics.json``, with the metrics' statistics.
        notes: Sentences on what could not be computed.
        system: System whose answers it stands for; a baseline's after `against`.
    """

    name: str
    items: list[TestItem]
    tables: Tables
    result: dict[str, Any]
    notes: list[str]
    system: str = OURS

    @property
    def clusters(self) -> list[str]:
        """Cluster of each item."""
        return [item.cluster for item in self.items]

    def metric(self, column: Column) -> Metric | None:
        """Returns the system's metric in one column."""
        return self.tables.get(column.table, {}).get(self.system, {}).get(column.metric)

    def against(self, system: str) -> "Run":
        """Returns the same run with one of its other systems, such as a baseline, in the place of ours.

        Args:
            system: Name of the system.

        Returns:
            The run, named after the system.

        Raises:
            ValueError: No table has it.
        """
        known = sorted({name for table in self.tables.values() for name in table} - {OURS})
        if system not in known:
            raise ValueError(f"{self.name} has no system {system!r}; choose from {', '.join(known)}.")
        return replace(self, name=system, system=system)

    def text(self, item: TestItem) -> str:
        """Returns the system's answer to one of its items; empty where it has no words, as for chance."""
        return item.answers[self.system].text if self.system in item.answers else ""


@dataclass(frozen=True)
class Comparable:
    """How the runs of one task are scored, shown and compared.

    Attributes:
        columns: Metrics of its table.
        score: Folder, its items and weights of BERTScore to items with all systems' answers and the result.
        table: Runs and footnotes to their table.
    """

    columns: tuple[Column, ...]
    score: Callable[[Path, list[TestItem], BertModel | None], tuple[list[TestItem], dict[str, Any]]]
    table: Callable[[Sequence[Run], list[str]], ScoreTable]


def comparable(suite: str) -> Comparable:
    """Returns how runs are compared under the name that the command takes: ``expertaf``, a task's suite or ``module:NAME``."""
    if suite == EXPERTAF:
        return Comparable(EXPERTAF_COLUMNS, _evaluated, _expertaf_table)
    task = find_suite(suite)
    return Comparable(task.columns, partial(_scored, task, suite), partial(_task_table, task))


def open_run(argument: str, suite: str, bert: BertModel | None = None) -> Run:
    """Reads a run; for tasks other than expertaf it is scored.

    Args:
        argument: ``FOLDER`` or ``NAME=FOLDER``.
        suite: Name of the suite.
        bert: Weights of BERTScore.

    Returns:
        The run, with the verdicts of judges whose folders lie in its own.

    Raises:
        FileNotFoundError: The folder lacks answers or, for expertaf, metrics.
        ValueError: Its answers cannot be read.
    """
    name, folder = name_and_folder(argument)
    items, result = comparable(suite).score(folder, read_own_answers(folder), bert)
    tables = records_of(result)
    judged, notes = read_verdicts(folder, items)
    if judged:
        tables["judge"] = judged
    return Run(name, items, tables, result, [*result["notes"], *notes])


def read_own_answers(folder: Path) -> list[TestItem]:
    """Reads the items of a run.

    Args:
        folder: Folder of the run.

    Returns:
        Items with the answers of all its systems.

    Raises:
        ValueError: It has no answers of its own.
    """
    items = read_answers(folder)
    if lacking := [item.item_id for item in items if OURS not in item.answers]:
        known = ", ".join(systems_of(items)) or "none"
        count = f"{lacking[0]!r} has none ({len(lacking)} of {len(items)})"
        raise ValueError(
            f"{folder / FILE}: the run's own answers stand under {OURS!r}, and {count}; systems there: {known}."
        )
    return items


def name_and_folder(argument: str) -> tuple[str, Path]:
    """Takes ``NAME=FOLDER`` apart, or names a folder after itself, whether there is a ``=`` in its name or not."""
    name, equals, path = argument.partition("=")
    if Path(argument).exists() or not equals:
        return Path(argument).resolve().name, Path(argument)
    return name, Path(path)


def runs_table(runs: Sequence[Run], suite: str) -> ScoreTable:
    """Puts runs on the same items into a table with the first one's baselines; below, whether each differs from the first.

    Args:
        runs: Runs of one suite.
        suite: Name of the suite.

    Returns:
        The table.

    Raises:
        ValueError: The runs answered different items, or have the same name.
    """
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("Two runs have the same name; write NAME=FOLDER.")
    for run in runs[1:]:
        check_same_items(runs[0], run)
    task = comparable(suite)
    names_of: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            names_of.setdefault(note, []).append(run.name)
    notes = [note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in names_of.items()]
    return task.table(runs, [*_differences(runs, task.columns), *notes])


def _expertaf_table(runs: Sequence[Run], footnotes: list[str]) -> ScoreTable:
    systems = [System(run.name, run.result, judged=run.tables.get("judge", {}).get(OURS)) for run in runs]
    return comparison_table(systems, footnotes=footnotes)


def _task_table(task: TaskSuite, runs: Sequence[Run], footnotes: list[str]) -> ScoreTable:
    first = runs[0]
    rows = [Row(run.name, cells_of(run.tables, dict.fromkeys(run.tables, run.system))) for run in runs]
    baselines = [name for name in first.tables[ANSWERS] if name != OURS]
    rows += [Row(name, cells_of(first.tables, dict.fromkeys(first.tables, name)), True) for name in baselines]
    synthetic = "Synthetic data. " if any(item.synthetic for item in first.items) else ""
    clusters = f"{len(set(first.clusters))} clusters (people, or takes where nobody says whose they are)"
    lead = f"{synthetic}{len(first.items)} test items in {clusters}."
    return ScoreTable(task.title, lead, task.columns, tuple(rows), tuple(footnotes), published=task.published)


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


def differences(first: Run, second: Run, suite: str) -> list[Difference]:
    """Compares every metric that both runs have and measured alike, p-values adjusted by Holm over them.

    Args:
        first: Run that is compared with.
        second: Run whose values are taken minus the first's.
        suite: Name of the suite.

    Returns:
        One entry for each metric, in the order of the columns; see `measured_otherwise` for the others.

    Raises:
        ValueError: The runs answered different items, or have no metric in common.
    """
    check_same_items(first, second)
    shared = _shared(first, second, comparable(suite).columns)
    pairs = [(c, a, b) for c, a, b in shared if a.n and b.n and measured_alike(a, b)]
    if not pairs:
        raise ValueError(f"{first.name} and {second.name} have no metric in common that was measured alike.")
    compared = [compare(b, a, first.clusters) for _, a, b in pairs]
    adjusted = holm([c.p_value for c in compared])
    return [
        Difference(column, a, b, paired, p, _item_tests(a, b))
        for (column, a, b), paired, p in zip(pairs, compared, adjusted, strict=True)
    ]


def measured_otherwise(first: Run, second: Run, suite: str) -> list[str]:
    """Returns headings of metrics that both runs have and that cannot be compared: another judge, gallery or BERTScore model."""
    shared = _shared(first, second, comparable(suite).columns)
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


def _evaluated(folder: Path, items: list[TestItem], bert: BertModel | None) -> tuple[list[TestItem], dict[str, Any]]:
    """ExpertAF's metrics as `mm-coach evaluate` wrote them."""
    if not (folder / METRICS).is_file():
        raise FileNotFoundError(f"{folder / METRICS} is not there; run `mm-coach evaluate` first, or give --suite.")
    return items, read_metrics(folder)


def _scored(
    task: TaskSuite, suite: str, folder: Path, items: list[TestItem], bert: BertModel | None
) -> tuple[list[TestItem], dict[str, Any]]:
    """A task's answers with those of baselines, and their metrics, written beside them."""
    training = read_answers(folder, TRAINING) if (folder / TRAINING).is_file() else []
    answered = with_baselines(items, training) if training else items
    rows, notes = evaluate_answers(task, answered, bert)
    if training and (note := unseen_categories(items, training)):
        notes.append(note)
    inputs, remarks = read_about(folder)
    if training and not (folder / ABOUT).is_file():
        remarks = [f"{overlap(material_of(training), material_of(items)).sentence()} (Training: {TRAINING}.)"]
    if inputs:
        notes.append(f"Inputs beside the clip: {'; '.join(inputs)}.")
        for row in (rows.get(OURS, {}), rows.get(EXPECTED, {})):
            for name, metric in row.items():
                row[name] = replace(metric, signature=f"{metric.signature}|inputs:{', '.join(inputs)}")
    notes += [*remarks, *unread_parts(answered)]
    if not (folder / TRAINING).is_file():
        notes.append(f"no baselines beyond those in {FILE}: {folder / TRAINING} is not there")
    records = {name: {m: metric.to_json() for m, metric in row.items()} for name, row in rows.items() if row}
    result = {"tables": {ANSWERS: records}, "notes": notes}
    write_metrics(folder, result, f"metrics_{suite.replace(':', '_')}")
    return answered, result
