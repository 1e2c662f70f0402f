"""The metrics of a task whose answers are texts, scores, classes and actions: DescCoach, NAE and CoT-AFA."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_data.ground.own_modules import import_own
from mm_data.tasks import Answer
from mm_eval.answers.baselines import CONSTANT, RANDOM, SHUFFLED_WITHIN
from mm_eval.answers.test_sets import TestItem, systems_of, texts_of
from mm_eval.metrics.classification import accuracy, top_k
from mm_eval.metrics.narrative import narrative_map, narrative_map_ranked
from mm_eval.metrics.scores import SPLIT, relative_l2, spearman_correlation
from mm_eval.metrics.text import BertModel, coco_scores, modern_scores
from mm_eval.statistics.metric import YES_OR_NO, Metric, item_metric
from mm_eval.tables import Column
from mm_eval.tables.published import COT_AFA, DESCCOACH, NAE, Published

ANSWERS, CHANCE = "answers", "chance"
"""Names of a task's one table, and of its row of guesses."""

_GIVEN_CATEGORY = (SHUFFLED_WITHIN, CONSTANT, RANDOM)
"""Baselines that are told the item's category; where that is the class, they name it for nothing and get no top-1."""

Row = dict[str, Metric]
Scorer = Callable[[Sequence[TestItem], str, Row], Row]
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


def evaluate_answers(
    suite: TaskSuite, items: Sequence[TestItem], bert: BertModel | None = None
) -> tuple[dict[str, Row], list[str]]:
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
    text = coco_scores(systems, references, clusters)
    notes = list(text.notes)
    if suite.bert:
        modern = modern_scores(systems, references, clusters, bert)
        notes += [note for note in modern.notes if note not in notes]
        for name, row in modern.rows.items():
            text.rows[name].update(row)
    for name, row in text.rows.items():
        for scorer in suite.scorers:
            row.update(scorer(items, name, dict(row)))
    chance = {name: metric for name, metric in _chance(items).items() if any(name in r for r in text.rows.values())}
    return text.rows | ({CHANCE: chance} if chance else {}), notes


def _chance(items: Sequence[TestItem]) -> Row:
    """Returns what guessing gives on average, for metrics that have such a value."""
    classes = {name for item in items for answer in item.answers.values() for name in answer.ranking or {}}
    verdicts = {item.truth.verdict for item in items} - {None}
    values = {"spearman": 0.0}
    values |= {f"top{k}": min(1.0, k / len(classes)) for k in (1, 5) if classes}
    values |= {"verdict_accuracy": 1 / len(verdicts)} if verdicts else {}
    return {name: Metric(value, None, len(items), 0, "", "chance") for name, value in values.items()}


def _answers(items: Sequence[TestItem], system: str) -> list[Answer]:
    return [item.answers[system] for item in items]


def _clusters(items: Sequence[TestItem]) -> list[str]:
    return [item.cluster for item in items]


def judged_scores(score_range: str | tuple[float, float]) -> Scorer:
    """Makes a scorer that gives ρ and R-ℓ2 of scores, in a range of `mm_eval.metrics.scores.relative_l2`."""

    def score(items: Sequence[TestItem], system: str, row: Row) -> Row:
        true = [float("nan") if item.truth.score is None else item.truth.score for item in items]
        judged = [value for value in true if not math.isnan(value)]
        if not judged:
            return {}
        answers, clusters = _answers(items, system), _clusters(items)
        predicted = [answer.score for answer in answers]
        if _silent(answers, predicted):
            return {}
        metrics = {"spearman": spearman_correlation(predicted, true, clusters)}
        # Of equal scores alone neither an order nor a range is left.
        if score_range != SPLIT or min(judged) < max(judged):
            metrics["relative_l2"] = relative_l2(predicted, true, clusters, score_range)
        return metrics

    return score


def _actions(items: Sequence[TestItem], system: str, row: Row) -> Row:
    """Computes the share of actions that are right: those both name, over the longer of the two lists."""
    shares = [
        _shared(answer.actions or [], item.truth.actions) if item.truth.actions is not None else float("nan")
        for item, answer in zip(items, _answers(items, system), strict=True)
    ]
    if not np.isfinite(shares).any():
        return {}
    unread = sum(answer.actions is None for answer in _answers(items, system))
    sign = f"actions|common over longer list|unparsed:{unread}, wrong"
    return {"action_accuracy": item_metric(shares, _clusters(items), "0-1", sign)}


def _shared(predicted: Sequence[str], true: Sequence[str]) -> float:
    common = (Counter(predicted) & Counter(true)).total()
    return common / max(len(predicted), len(true), 1)


def _findings(items: Sequence[TestItem], system: str, row: Row) -> Row:
    """Computes F1 between what an answer and what the truth says needs improvement; 1 where both say that nothing does."""
    answers, true = _answers(items, system), [item.truth.findings for item in items]
    predicted = [answer.findings for answer in answers]
    if all(names is None for names in true) or _silent(answers, predicted):
        return {}
    values = [float("nan") if names is None else _f1(mine, names) for mine, names in zip(predicted, true, strict=True)]
    missing = sum(mine is None for mine in predicted)
    return {
        "findings_f1": item_metric(values, _clusters(items), "0-1", f"findings|F1 per item|unparsed:{missing}, wrong")
    }


def _f1(predicted: Sequence[str] | None, true: Sequence[str]) -> float:
    if predicted is None:
        return 0.0
    mine, others = set(predicted), set(true)
    return 2 * len(mine & others) / (len(mine) + len(others)) if mine or others else 1.0


def _silent(answers: Sequence[Answer], values: Sequence[Any]) -> bool:
    """Says whether a system was never asked for something: none of its answers has it, and none is said to lack it."""
    return all(value is None for value in values) and not any(answer.unread for answer in answers)


def _counts(items: Sequence[TestItem], system: str, row: Row) -> Row:
    """Counts what answers are taken apart into, such as reasoning steps; an answer that was not taken apart has no count."""
    answers = _answers(items, system)
    names = dict.fromkeys(name for answer in answers for name in answer.counts or {})
    return {
        name: item_metric(
            [float("nan") if a.counts is None else float(a.counts.get(name, 0)) for a in answers], _clusters(items), "count", f"{name}|by keywords"
        )
        for name in names
    }  # fmt: skip


def unread(items: Sequence[TestItem], system: str, row: Row) -> Row:
    """Computes the share of answers that could not be read wholly."""
    values = [float(bool(answer.unread)) for answer in _answers(items, system)]
    return {"unread": item_metric(values, _clusters(items), YES_OR_NO, "unread|any part of the answer")}


def unread_parts(items: Sequence[TestItem]) -> list[str]:
    """Says what could not be read from whose answers, with counts: a footnote per system."""
    lines = []
    for system in systems_of(items):
        parts = Counter(part for answer in _answers(items, system) for part in answer.unread or ())
        if parts:
            counts = ", ".join(f"{part} {count}" for part, count in parts.most_common())
            lines.append(f"{system}: not readable of {len(items)} answers: {counts}.")
    return lines


def _narrative(items: Sequence[TestItem], system: str, row: Row) -> Row:
    parts = [row.get(name) for name in ("relative_l2", "cider", "action_accuracy")]
    if any(part is None or part.per_item is None for part in parts):
        return {}
    errors, cider, actions = (part.per_item for part in parts if part is not None and part.per_item is not None)
    metrics = {
        "nae_map": narrative_map(errors, cider, actions, _clusters(items)),
        "nae_map_strict": narrative_map(errors, cider, actions, _clusters(items), strict=True),
    }
    confidence = [a.confidence for a in _answers(items, system) if a.confidence is not None]
    if len(confidence) == len(items):
        metrics["nae_map_ranked"] = narrative_map_ranked(errors, cider, actions, confidence, _clusters(items))
    return metrics


def _classes(items: Sequence[TestItem], system: str, row: Row) -> Row:
    """Computes top-1 and top-5 out of a ranking of classes, or top-1 out of the class named; and the verdict's accuracy."""
    answers, clusters, metrics = _answers(items, system), _clusters(items), {}
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
    classes = sorted(ranked)
    if missing := sorted({label for label in labels if label is not None} - ranked):
        raise ValueError(f"{system}: no item ranks the class {missing[0]!r}; every class needs a score.")
    for item, answer in zip(items, answers, strict=True):
        if answer.ranking and len(answer.ranking) < len(classes):
            raise ValueError(
                f"{system}: item {item.item_id!r} ranks {len(answer.ranking)} of {len(classes)} classes; every class needs a score."
            )
    scores = np.array([[(a.ranking or {}).get(name, np.nan) for name in classes] for a in answers])
    true = np.array([classes.index(label) for label in labels if label is not None])
    return metrics | {f"top{k}": top_k(scores, true, k, clusters) for k in (1, 5)}


def column(metric: str, heading: str, factor: float = 100.0, digits: int = 1, higher: bool | None = True) -> Column:
    """Makes a column of a task's table; see `mm_eval.tables.Column`."""
    return Column(ANSWERS, metric, heading, factor, digits, higher)


SUITES = {
    "desccoach": TaskSuite(
        "DescCoach",
        (
            column("bleu1", "BLEU-1"),
            column("meteor", "METEOR"),
            column("cider", "CIDEr"),
            column("bertscore", "BERTScore"),
            Column("judge", "gpt_m", "GPT-M, %"),
            Column("judge", "gpt_q", "GPT-Q, %"),
            column("spearman", "ρ"),
            column("relative_l2", "R-ℓ2", digits=2, higher=False),
            column("findings_f1", "to improve, F1", 1.0, 3),
            column("unread", "unread, %", digits=1, higher=False),
        ),
        (judged_scores((0.0, 10.0)), _findings, unread),
        DESCCOACH,
        bert=True,
    ),
    "nae": TaskSuite(
        "NAE",
        (
            column("nae_map", "mAP", 1.0, 3),
            column("nae_map_strict", "mAP, strict", 1.0, 3),
            column("nae_map_ranked", "mAP, ranked", 1.0, 3),
            column("spearman", "ρ", 1.0, 3),
            column("relative_l2", "R-ℓ2", digits=3, higher=False),
            column("bleu4", "BLEU-4"),
            column("meteor", "METEOR"),
            column("cider", "CIDEr"),
            column("action_accuracy", "Acc", 1.0, 3),
            column("unread", "unread, %", digits=1, higher=False),
        ),
        (judged_scores(SPLIT), _actions, _narrative, unread),
        NAE,
    ),
    "cot-afa": TaskSuite(
        "CoT-AFA",
        (
            column("bleu1", "BLEU-1"),
            column("meteor", "METEOR"),
            column("cider", "CIDEr"),
            column("rouge_l", "ROUGE-L"),
            column("top1", "top-1", 1.0, 3),
            column("top5", "top-5", 1.0, 3),
            column("verdict_accuracy", "Acc", 1.0, 3),
            column("findings_f1", "steps to mend, F1", 1.0, 3),
            column("reasoning_steps", "reasoning steps", 1.0, 2, None),
            column("suggestions", "suggestions", 1.0, 2, None),
            column("unread", "unread, %", digits=1, higher=False),
        ),
        (_classes, _findings, _counts, unread),
        COT_AFA,
    ),
}
"""Suites by the name that the command takes."""


def find_suite(name: str) -> TaskSuite:
    """Returns a suite of a task.

    Args:
        name: Its name, or ``module:NAME`` for one in a module of one's own.

    Returns:
        The suite.

    Raises:
        ValueError: There is none.
    """
    if name in SUITES:
        return SUITES[name]
    suite = import_own(name, "Suite") if ":" in name else None
    if not isinstance(suite, TaskSuite):
        raise ValueError(f"Unknown suite {name!r}; choose from expertaf, {', '.join(SUITES)}, or give module:NAME.")
    return suite
