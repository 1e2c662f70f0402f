"""Scores answers in memory by the metrics of a task's tables."""

from collections.abc import Sequence

from mm_adapter.tasks.known import find_task
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import OURS, TestItem
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.metric import Metric
from mm_eval.suites.tasks import GENERAL, TaskSuite, evaluate_answers


def score(
    predictions: Sequence[str | Answer],
    references: Sequence[str | Answer],
    task: str = "expertaf",
    people: Sequence[str] | None = None,
    bert: BertModel | None = None,
) -> dict[str, Metric]:
    """Scores answers against what experts said.

    Args:
        predictions: One answer per item: a text, or an `Answer` with the score, label, verdict or findings that a task has.
        references: What the expert said about each item, likewise.
        task: Task whose metrics are wanted: ``expertaf`` (remarks), ``nae``, ``cot-afa``, ``desccoach``, or ``module:NAME``.
        people: Who is seen in each item, since items of one person are not independent; by default every item counts as
            another person.
        bert: Weights of BERTScore, for tasks that report it.

    Returns:
        Metric name to its value, with a 95 % ``interval`` over people, a value ``per_item`` and the ``signature`` that says
        how it was computed.

    Raises:
        ValueError: Predictions, references and people differ in number, or there is no such task.
    """
    names = [f"item {number}" for number in range(len(references))]
    clusters = names if people is None else people
    if not len(predictions) == len(names) == len(clusters):
        raise ValueError(f"{len(predictions)} predictions, {len(names)} references, {len(clusters)} people; give as many of each.")  # fmt: skip
    suite = find_task(task).suite
    items = [
        TestItem(name, cluster, "", _answer(truth), {OURS: _answer(prediction)})
        for name, cluster, truth, prediction in zip(names, clusters, references, predictions, strict=True)
    ]
    rows, _ = evaluate_answers(suite if isinstance(suite, TaskSuite) else GENERAL, items, bert)
    return rows[OURS]


def _answer(answer: str | Answer) -> Answer:
    return Answer(answer) if isinstance(answer, str) else answer
