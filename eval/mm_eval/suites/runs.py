"""Finished runs read back, put into one table and compared item by item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from mm_eval.judge.judging import digest_of
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.comparison import Comparison, ItemTests, compare, holm, item_tests, measured_alike
from mm_eval.statistics.metric import Metric, records_of
from mm_eval.statistics.storage import read_metrics, write_metrics
from mm_eval.suites.tasks import TABLE, evaluate_answers, find_suite, unread_parts
from mm_eval.tables import Column, Row, ScoreTable, cells_of
from mm_eval.tables.expertaf import COLUMNS as EXPERTAF_COLUMNS
from mm_eval.tables.expertaf import System, comparison_table

EXPERTAF = "expertaf"
METRICS = "metrics.json"
Tables = dict[str, dict[str, dict[str, Metric]]]


@dataclass(frozen=True)
class Run:
    """One evaluated system.

    Attributes:
        name: Of its row.
        items: Test items with every system's answers.
        tables: Table to row to metric.
        result: ``metrics.json``.
        notes: What could not be computed.
        system: Whose answers it stands for; a baseline's after `against`.
    """

    name: str
    items: list[TestItem]
    tables: Tables
    result: dict[str, Any]
    notes: list[str]
    system: str = OURS

    @property
    def clusters(self) -> list[str]:
        """Of the items."""
        return [item.cluster for item in self.items]

    def metric(self, column: Column) -> Metric | None:
        """The system's in one column."""
        return self.tables.get(column.table, {}).get(self.system, {}).get(column.metric)

    def against(self, system: str) -> "Run":
        """One of its other systems, such as a baseline, in its place.

        Raises:
            ValueError: No table has it.
        """
        known = sorted({name for table in self.tables.values() for name in table} - {OURS})
        if system not in known:
            raise ValueError(f"{self.name} has no system {system!r}; choose from {', '.join(known)}.")
        return replace(self, name=system, system=system)

    def text(self, item: TestItem) -> str:
        """The system's answer to one of its items; empty where it has no words, as for chance."""
        return item.answers[self.system].text if self.system in item.answers else ""


def open_run(argument: str, suite: str, bert: BertModel | None = None) -> Run:
    """Reads ``FOLDER`` or ``NAME=FOLDER``; for tasks other than expertaf it is scored.

    Raises:
        FileNotFoundError: The folder lacks answers or, for expertaf, metrics.
        ValueError: Its answers cannot be read.
    """
    name, folder = name_and_folder(argument)
    items = read_own_answers(folder)
    if suite == EXPERTAF:
        if not (folder / METRICS).is_file():
            raise FileNotFoundError(f"{folder / METRICS} is not there; run `mm-coach evaluate` first, or give --suite.")
        result = read_metrics(folder)
    else:
        items, result = _scored(folder, items, suite, bert)
    tables = records_of(result)
    judged, notes = _judged(folder, items)
    if judged:
        tables["judge"] = judged
    return Run(name, items, tables, result, [*result["notes"], *notes])


def read_own_answers(folder: Path) -> list[TestItem]:
    """Items of a run.

    Raises:
        ValueError: It has no answers of its own.
    """
    items = read_answers(folder)
    if lacking := [item.item_id for item in items if OURS not in item.answers]:
        known = ", ".join(systems_of(items)) or "none"
        raise ValueError(
            f"{folder / FILE}: the run's own answers stand under {OURS!r}, and {lacking[0]!r} has none ({len(lacking)} of {len(items)}); systems there: {known}."
        )
    return items


def name_and_folder(argument: str) -> tuple[str, Path]:
    """``NAME=FOLDER``, or a folder whose own name it is, ``=`` in it or not."""
    name, equals, path = argument.partition("=")
    if Path(argument).exists() or not equals:
        return Path(argument).resolve().name, Path(argument)
    return name, Path(path)


def runs_table(runs: Sequence[Run], suite: str) -> ScoreTable:
    """Runs on the same items, with the first one's baselines; below, whether each differs from the first.

    Raises:
        ValueError: The runs answered different items, or have the same name.
    """
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("Two runs have the same name; write NAME=FOLDER.")
    for run in runs[1:]:
        check_same_items(runs[0], run)
    columns = EXPERTAF_COLUMNS if suite == EXPERTAF else find_suite(suite).columns
    noted: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            noted.setdefault(note, []).append(run.name)
    named = [note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in noted.items()]
    footnotes = [*_differences(runs, columns), *named]
    if suite == EXPERTAF:
        systems = [System(run.name, run.result, judged=run.tables.get("judge", {}).get(OURS)) for run in runs]
        return comparison_table(systems, footnotes=footnotes)
    rows = [Row(run.name, cells_of(run.tables, dict.fromkeys(run.tables, run.system))) for run in runs]
    baselines = [name for name in runs[0].tables[TABLE] if name != OURS]
    rows += [Row(name, cells_of(runs[0].tables, dict.fromkeys(runs[0].tables, name)), True) for name in baselines]
    items = runs[0].items
    synthetic = "Synthetic data. " if any(item.synthetic for item in items) else ""
    lead = f"{synthetic}{len(items)} test items in {len(set(runs[0].clusters))} clusters (people, or takes where nobody says whose they are)."
    wanted = find_suite(suite)
    return ScoreTable(wanted.title, lead, wanted.columns, tuple(rows), tuple(footnotes), published=wanted.published)


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
    """Every metric that both have and measured alike, p-values adjusted by Holm over them; see `measured_otherwise`.

    Raises:
        ValueError: The runs answered different items, or have no metric in common.
    """
    check_same_items(first, second)
    columns = EXPERTAF_COLUMNS if suite == EXPERTAF else find_suite(suite).columns
    pairs = [(c, a, b) for c in columns if (a := first.metric(c)) and (b := second.metric(c)) and a.n and b.n]
    pairs = [(c, a, b) for c, a, b in pairs if measured_alike(a, b)]
    if not pairs:
        raise ValueError(f"{first.name} and {second.name} have no metric in common that was measured alike.")
    compared = [compare(b, a, first.clusters) for _, a, b in pairs]
    adjusted = holm([c.p_value for c in compared])
    return [
        Difference(column, a, b, paired, p, _item_tests(a, b))
        for (column, a, b), paired, p in zip(pairs, compared, adjusted, strict=True)
    ]


def measured_otherwise(first: Run, second: Run, suite: str) -> list[str]:
    """Headings of metrics that both have and that cannot be compared: another judge, gallery or model of BERTScore."""
    columns = EXPERTAF_COLUMNS if suite == EXPERTAF else find_suite(suite).columns
    pairs = [(column, first.metric(column), second.metric(column)) for column in columns]
    return [column.heading for column, a, b in pairs if a is not None and b is not None and not measured_alike(a, b)]


def changes(first: Run, second: Run, column: Column) -> list[Change]:
    """Items by how much one metric changed, largest gain first; failed ones left out.

    Raises:
        ValueError: The metric has no value per item, or a run lacks it.
    """
    a, b = first.metric(column), second.metric(column)
    if a is None or b is None or a.per_item is None or b.per_item is None:
        raise ValueError(f"{column.metric} has no value per item in both runs; choose another with --by.")
    sign = -1.0 if column.higher is False else 1.0
    found = [
        Change(item, y - x, sign * (y - x) > 0, first.text(item), second.text(other))
        for item, other, x, y in zip(first.items, second.items, a.per_item, b.per_item, strict=True)
        if x == x and y == y and x != y
    ]
    return sorted(found, key=lambda change: -sign * change.change)


def check_same_items(first: Run, second: Run) -> None:
    """Both answered the same items in the same order.

    Raises:
        ValueError: They did not; names what differs.
    """
    mine, theirs = [item.item_id for item in first.items], [item.item_id for item in second.items]
    if mine == theirs:
        return
    only = [*sorted(set(mine) - set(theirs)), *sorted(set(theirs) - set(mine))]
    example = f"such as {only[0]!r}" if only else "in another order"
    raise ValueError(f"{first.name} has {len(mine)} items and {second.name} {len(theirs)}; {len(only)} are only in one of them, {example}. Evaluate both on the same test set.")  # fmt: skip


def _item_tests(a: Metric, b: Metric) -> ItemTests | None:
    if a.per_item is None or b.per_item is None or a.aggregate != "mean":
        return None
    both = [(x, y) for x, y in zip(a.per_item, b.per_item, strict=True) if x == x and y == y]
    if len(both) < 2 or all(x == y for x, y in both):
        return None
    x, y = zip(*both, strict=True)
    return item_tests(y, x)


def _differences(runs: Sequence[Run], columns: Sequence[Column]) -> list[str]:
    """What differs from the first run, p-values adjusted over all comparisons of the table."""
    found: list[tuple[str, Column, Comparison]] = []
    otherwise: list[str] = []
    for run in runs[1:]:
        for column in columns:
            a, b = runs[0].metric(column), run.metric(column)
            if a is None or b is None or not a.n or not b.n:
                continue
            if measured_alike(a, b):
                found.append((run.name, column, compare(b, a, run.clusters)))
            else:
                otherwise.append(f"{run.name}: {column.heading} was measured otherwise than {runs[0].name}'s and is not compared; see the signatures.")  # fmt: skip
    if not found:
        return otherwise
    lines = []
    for (name, column, c), p in zip(found, holm([c.p_value for *_, c in found]), strict=True):
        if p <= 0.05:
            lines.append(f"{name} {c.difference * column.factor:+.{column.digits}f} {column.heading} (p = {p:.3g})")
    said = "; ".join(lines) or "none"
    return [
        *otherwise,
        f"Different from {runs[0].name} (swaps by cluster, Holm over {len(found)} comparisons, p ≤ 0.05): {said}.",
    ]


def _judged(folder: Path, items: Sequence[TestItem]) -> tuple[dict[str, dict[str, Metric]], list[str]]:
    """Metrics of the judges whose folders lie in the run's, and what they withhold.

    Raises:
        ValueError: Two judges give the same metric, or one judged other texts.
    """
    found: dict[str, dict[str, Metric]] = {}
    notes: list[str] = []
    position = {item.item_id: index for index, item in enumerate(items)}
    for path in sorted(folder.glob(f"judge*/{METRICS}")):
        content = read_metrics(path.parent)
        settings = content["settings"]
        judged = [items[position[name]] for name in settings["item_ids"] if name in position]
        systems = [*settings["systems"], *([settings["against"]] if settings["against"] else [])]
        if len(judged) < len(settings["item_ids"]) or digest_of(judged, systems) != settings["digest"]:
            raise ValueError(f"{path.parent} judged other texts than {folder / FILE} holds; run the judge again or move it away.")  # fmt: skip
        for system, scores in content["systems"].items():
            if scores["withheld"]:
                notes.append(
                    f"{path.parent.name}: {system}'s headline is withheld, {scores['failed_share']:.1%} of the judgements failed"
                )
                continue
            places = [position[item.item_id] for item in judged]
            metrics = {n: _spread(Metric.from_json(m), places, len(items)) for n, m in scores["metrics"].items()}
            mine = found.setdefault(system, {})
            if twice := sorted(mine.keys() & metrics.keys()):
                raise ValueError(
                    f"{path.parent} and another judge in {folder} both give {twice[0]} of {system!r}; move one of them away."
                )
            mine |= metrics
    return found, notes


def _spread(metric: Metric, places: Sequence[int], count: int) -> Metric:
    """A metric of some items as one of all, NaN where an item was not judged."""
    nothing = float("nan")
    items, rows = [nothing] * count, None
    for place, value in zip(places, metric.per_item or (), strict=False):
        items[place] = value
    if metric.rows is not None:
        rows = [(nothing,) * len(metric.rows[0])] * count
        for place, row in zip(places, metric.rows, strict=True):
            rows[place] = row
    return replace(metric, per_item=None if metric.per_item is None else tuple(items), rows=None if rows is None else tuple(rows))  # fmt: skip


def _scored(
    folder: Path, items: list[TestItem], suite: str, bert: BertModel | None
) -> tuple[list[TestItem], dict[str, Any]]:
    """A task's answers with those of baselines, and their metrics, written beside them."""
    training = read_answers(folder, TRAINING) if (folder / TRAINING).is_file() else []
    shown = with_baselines(items, training) if training else items
    rows, notes = evaluate_answers(find_suite(suite), shown, bert)
    if training and (note := unseen_categories(items, training)):
        notes.append(note)
    inputs, remarks = read_about(folder)
    if training and not (folder / ABOUT).is_file():
        remarks = [f"{overlap(material_of(training), material_of(items)).sentence()} (Training: {TRAINING}.)"]
    for system in (OURS, EXPECTED):
        rows[system] = {
            name: replace(
                metric, signature="|".join([metric.signature, *(["inputs:" + ", ".join(inputs)] if inputs else [])])
            )
            for name, metric in rows.get(system, {}).items()
        }
    notes += [*([f"Inputs beside the clip: {'; '.join(inputs)}."] if inputs else []), *remarks, *unread_parts(shown)]
    rows = {name: row for name, row in rows.items() if row}
    if not (folder / TRAINING).is_file():
        notes.append(f"no baselines beyond those in {FILE}: {folder / TRAINING} is not there")
    tables = {TABLE: {name: {m: metric.to_json() for m, metric in row.items()} for name, row in rows.items()}}
    result = {"tables": tables, "notes": notes}
    write_metrics(folder, result, f"metrics_{suite.replace(':', '_')}")
    return shown, result
