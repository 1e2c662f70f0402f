"""The metrics of tasks whose answers are texts, scores, classes, verdicts and findings, in one table with baselines."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mm_data.tasks import Answer
from mm_data.tasks.overlap import overlap
from mm_eval.answers.baselines import CONSTANT, RANDOM, SHUFFLED_WITHIN, unseen_categories, with_baselines
from mm_eval.answers.test_sets import FILE, OURS, TRAINING, TestItem, is_of_run, material_of, systems_of, texts_of
from mm_eval.metrics.classification import accuracy, top_k
from mm_eval.metrics.scores import SPLIT, relative_l2, spearman_correlation
from mm_eval.metrics.text import BertModel, TextScores, coco_scores, modern_scores
from mm_eval.statistics.metric import YES_OR_NO, Metric, item_metric
from mm_eval.suites.suite import AnsweredRun, Run
from mm_eval.tables import Column, Row, ScoreTable, cells_of
from mm_eval.tables.published import Published
from mm_eval.tables.tiles import Tile, strongest

ANSWERS, CHANCE = "answers", "chance"
"""Names of a task's one table, and of its row of guesses."""

_GIVEN_CATEGORY = (SHUFFLED_WITHIN, CONSTANT, RANDOM)
"""Baselines that are told the item's category; where that is the class, they name it for nothing and get no top-1."""

Metrics = dict[str, Metric]
Scorer = Callable[[Sequence[TestItem], str, Metrics], Metrics]
"""Items, system and its text metrics to further metrics."""


@dataclass(frozen=True)
class TaskSuite:
    """The metrics of a task, and the table that shows them.

    Attributes:
        title: Title of its table.
        columns: Columns of its table.
        scorers: Functions that give the metrics beside those of texts.
        published: Rows of the paper, where there is one.
        bert: Whether BERTScore belongs to it.
    """

    title: str
    columns: tuple[Column, ...]
    scorers: tuple[Scorer, ...]
    published: Published | None = None
    bert: bool = False

    def score(self, run: AnsweredRun, bert: BertModel | None) -> tuple[list[TestItem], dict[str, Any]]:
        """Scores a run with its baselines (`Suite.score`)."""
        items, training, about = run.items, run.training, run.about
        answered = with_baselines(items, training) if training else items
        rows, notes = evaluate_answers(self, answered, bert)
        if training and (note := unseen_categories(items, training)):
            notes.append(note)
        remarks = about.notes
        if training and not about.task:
            remarks = [f"{overlap(material_of(training), material_of(items)).sentence()} (Training: {TRAINING}.)"]
        if about.inputs:
            notes.append(f"Inputs beside the clip: {'; '.join(about.inputs)}.")
            for name, row in rows.items():
                if is_of_run(name):
                    for metric in row:
                        sign = f"{row[metric].signature}|inputs:{', '.join(about.inputs)}"
                        row[metric] = replace(row[metric], signature=sign)
        notes += [*remarks, *unread_parts(answered)]
        if not training:
            notes.append(f"no baselines beyond those in {FILE}: {TRAINING} is not there")
        records = {name: {m: metric.to_json() for m, metric in row.items()} for name, row in rows.items() if row}
        return answered, {"tables": {ANSWERS: records}, "notes": notes}

    def table(self, runs: Sequence[Run], footnotes: Sequence[str], published: Sequence[str] | None) -> ScoreTable:
        """Puts runs into a table with the baselines of the first (`Suite.table`)."""
        first = runs[0]
        rows = [
            Row(run.name, cells_of(run.tables, dict.fromkeys(run.tables, run.system)), extra=run.cost) for run in runs
        ]
        others = [name for name in first.tables[ANSWERS] if name != OURS]
        rows += [Row(name, cells_of(first.tables, dict.fromkeys(first.tables, name)), True) for name in others]
        cost = "cost" if any(run.cost for run in runs) else ""
        chosen = self.published and self.published.only(published)
        return ScoreTable(self.title, _lead(first.items), self.columns, tuple(rows), tuple(footnotes), cost, chosen)

    def details(self, run: Run) -> list[ScoreTable]:
        """Returns the one table, its own row called ours (`Suite.details`)."""
        return [self.table([replace(run, name=OURS)], (), ())]

    def tiles(self, run: Run) -> list[Tile]:
        """Returns the table's first three columns that have a value (`Suite.tiles`)."""
        rows, tiles = run.tables[ANSWERS], []
        for column in self.columns:
            metric = run.metric(column)
            if column.table == ANSWERS and column.higher is not None and metric is not None and metric.n:
                rivals = strongest(rows, column.metric, column.higher)[:2]
                beside = ", ".join(f"{name} {column.printed(value)}" for name, value in rivals) or "none"
                tiles.append(Tile(column.heading, column.printed(metric.value), f"Without a model: {beside}"))
        return tiles[:3]


def _lead(items: Sequence[TestItem]) -> str:
    """Says what was scored, and whether it is made up."""
    synthetic = "Synthetic data. " if any(item.synthetic for item in items) else ""
    clusters = f"{len({item.cluster for item in items})} clusters (people, or takes where nobody says whose they are)"
    return f"{synthetic}{len(items)} test items in {clusters}."


def evaluate_answers(
    suite: TaskSuite, items: Sequence[TestItem], bert: BertModel | None = None
) -> tuple[dict[str, Metrics], list[str]]:
    """Scores the answers of every system.

    Args:
        suite: Suite of the task.
        items: Test items with answers, baselines among them.
        bert: Weights of BERTScore.

    Returns:
        Metrics by system, and sentences on what could not be computed.

    Raises:
        ValueError: A system did not answer an item.
    """
    systems = {name: texts_of(items, name) for name in systems_of(items)}
    references = [item.references or item.truth.text for item in items]
    clusters = [item.cluster for item in items]
    worded = any(item.references or item.truth.text for item in items)
    text = coco_scores(systems, references, clusters) if worded else TextScores({name: {} for name in systems})
    notes = list(text.notes)
    if suite.bert and worded:
        modern = modern_scores(systems, references, clusters, bert)
        notes += [note for note in modern.notes if note not in notes]
        for name, row in modern.rows.items():
            text.rows[name].update(row)
    for name, row in text.rows.items():
        for scorer in suite.scorers:
            row.update(scorer(items, name, dict(row)))
    chance = {name: metric for name, metric in _chance(items).items() if any(name in r for r in text.rows.values())}
    return text.rows | ({CHANCE: chance} if chance else {}), notes


def _chance(items: Sequence[TestItem]) -> Metrics:
    """Returns what guessing gives on average, for metrics that have such a value."""
    classes = {name for item in items for answer in item.answers.values() for name in answer.ranking or {}}
    verdicts = {item.truth.verdict for item in items} - {None}
    values = {"spearman": 0.0}
    values |= {f"top{k}": min(1.0, k / len(classes)) for k in (1, 5) if classes}
    values |= {"verdict_accuracy": 1 / len(verdicts)} if verdicts else {}
    return {name: Metric(value, None, len(items), 0, "", "chance") for name, value in values.items()}


def answers_of(items: Sequence[TestItem], system: str) -> list[Answer]:
    """Collects one system's answers."""
    return [item.answers[system] for item in items]


def clusters_of(items: Sequence[TestItem]) -> list[str]:
    """Collects the clusters, which intervals resample."""
    return [item.cluster for item in items]


def judged_scores(score_range: str | tuple[float, float]) -> Scorer:
    """Makes a scorer that gives ρ and R-ℓ2 of scores, in a range of `mm_eval.metrics.scores.relative_l2`."""

    def score(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
        true = [float("nan") if item.truth.score is None else item.truth.score for item in items]
        judged = [value for value in true if not math.isnan(value)]
        if not judged:
            return {}
        answers, clusters = answers_of(items, system), clusters_of(items)
        predicted = [answer.score for answer in answers]
        if _silent(answers, predicted):
            return {}
        metrics = {"spearman": spearman_correlation(predicted, true, clusters)}
        # Of equal scores alone neither an order nor a range is left.
        if score_range != SPLIT or min(judged) < max(judged):
            metrics["relative_l2"] = relative_l2(predicted, true, clusters, score_range)
        return metrics

    return score


def findings(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Computes F1 between what an answer and what the truth says needs improvement; 1 where both say that nothing does."""
    answers, true = answers_of(items, system), [item.truth.findings for item in items]
    predicted = [answer.findings for answer in answers]
    if all(names is None for names in true) or _silent(answers, predicted):
        return {}
    values = [float("nan") if names is None else _f1(mine, names) for mine, names in zip(predicted, true, strict=True)]
    missing = sum(mine is None for mine in predicted)
    return {
        "findings_f1": item_metric(values, clusters_of(items), "0-1", f"findings|F1 per item|unparsed:{missing}, wrong")
    }


def _f1(predicted: Sequence[str] | None, true: Sequence[str]) -> float:
    if predicted is None:
        return 0.0
    mine, others = set(predicted), set(true)
    return 2 * len(mine & others) / (len(mine) + len(others)) if mine or others else 1.0


def _silent(answers: Sequence[Answer], values: Sequence[Any]) -> bool:
    """Says whether a system was never asked for something: none of its answers has it, and none is said to lack it."""
    return all(value is None for value in values) and not any(answer.unread for answer in answers)


def counts(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Counts what answers are taken apart into, such as reasoning steps; an answer that was not taken apart has no count."""
    answers = answers_of(items, system)
    names = dict.fromkeys(name for answer in answers for name in answer.counts or {})
    return {
        name: item_metric(
            [float("nan") if a.counts is None else float(a.counts.get(name, 0)) for a in answers], clusters_of(items), "count", f"{name}|by keywords"
        )
        for name in names
    }  # fmt: skip


def unread(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Computes the share of answers that could not be read wholly."""
    values = [float(bool(answer.unread)) for answer in answers_of(items, system)]
    return {"unread": item_metric(values, clusters_of(items), YES_OR_NO, "unread|any part of the answer")}


def unread_parts(items: Sequence[TestItem]) -> list[str]:
    """Says what could not be read from whose answers, with counts: a footnote per system."""
    lines = []
    for system in systems_of(items):
        parts = Counter(part for answer in answers_of(items, system) for part in answer.unread or ())
        if parts:
            counts = ", ".join(f"{part} {count}" for part, count in parts.most_common())
            lines.append(f"{system}: not readable of {len(items)} answers: {counts}.")
    return lines


def classes(items: Sequence[TestItem], system: str, row: Metrics) -> Metrics:
    """Computes top-1 and top-5 out of a ranking of classes, or top-1 out of the class named; and the verdict's accuracy."""
    answers, clusters, metrics = answers_of(items, system), clusters_of(items), {}
    if any(item.truth.verdict is not None for item in items):
        true = [item.truth.verdict for item in items]
        metrics["verdict_accuracy"] = accuracy([answer.verdict for answer in answers], true, clusters)
    labels = [item.truth.label for item in items]
    knows_class = system in _GIVEN_CATEGORY and all(item.category == item.truth.label for item in items)
    if knows_class or any(label is None for label in labels):
        return metrics
    if not any(answer.ranking for answer in answers):
        return metrics | {"top1": accuracy([answer.label for answer in answers], labels, clusters)}
    ranked = {name for answer in answers for name in answer.ranking or {}}
    names = sorted(ranked)
    if missing := sorted({label for label in labels if label is not None} - ranked):
        raise ValueError(f"{system}: no item ranks the class {missing[0]!r}; every class needs a score.")
    for item, answer in zip(items, answers, strict=True):
        if answer.ranking and len(answer.ranking) < len(names):
            raise ValueError(
                f"{system}: item {item.item_id!r} ranks {len(answer.ranking)} of {len(names)} classes; every class needs a score."
            )
    scores = np.array([[(a.ranking or {}).get(name, np.nan) for name in names] for a in answers])
    true = np.array([names.index(label) for label in labels if label is not None])
    return metrics | {f"top{k}": top_k(scores, true, k, clusters) for k in (1, 5)}


def column(metric: str, heading: str, factor: float = 100.0, digits: int = 1, higher: bool | None = True) -> Column:
    """Makes a column of a task's table; see `mm_eval.tables.Column`."""
    return Column(ANSWERS, metric, heading, factor, digits, higher)


GENERAL = TaskSuite(
    "Answers",
    (
        column("bleu4", "BLEU-4"),
        column("meteor", "METEOR"),
        column("cider", "CIDEr"),
        column("rouge_l", "ROUGE-L"),
        column("spearman", "ρ", 1.0, 3),
        column("relative_l2", "R-ℓ2", digits=3, higher=False),
        column("top1", "top-1", 1.0, 3),
        column("top5", "top-5", 1.0, 3),
        column("verdict_accuracy", "verdict, Acc", 1.0, 3),
        column("findings_f1", "to improve, F1", 1.0, 3),
        column("unread", "unread, %", digits=1, higher=False),
    ),
    (judged_scores(SPLIT), classes, findings, counts, unread),
)
"""Metrics of whatever answers have; a task that names no suite is scored by it."""
