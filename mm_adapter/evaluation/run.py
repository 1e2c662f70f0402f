"""One evaluation from a system to ``metrics.json``, resumed where it stopped and kept where it is finished."""

import json
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import differences
from mm_adapter.evaluation.predictions import Progress
from mm_adapter.evaluation.report import METRICS
from mm_adapter.evaluation.scores import Evaluation, score
from mm_adapter.evaluation.systems import SystemUnderTest, ask
from mm_adapter.evaluation.test_set import TestSet
from mm_data.ground.files import write_atomically
from mm_eval.answers.test_sets import write_answers
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.storage import read_metrics, write_metrics

MADE_OF = "made_of"
"""Entry of ``metrics.json`` that tells whether it is what would be made again."""


def evaluate(
    system: SystemUnderTest,
    test: TestSet,
    out: Path,
    name: str,
    bert: BertModel | None,
    progress: Progress,
) -> dict[str, Any] | None:
    """Asks a system, scores its answers and writes both; an evaluation of the same things is left as it is.

    Args:
        system: The system.
        test: Test set.
        out: Folder of predictions and scores.
        name: Name of the system as the user gave it, for the record.
        bert: Weights of BERTScore, or None to leave it out.
        progress: Is called with (function, done, total).

    Returns:
        Content of ``metrics.json``; None while other processes still have tuples.

    Raises:
        ValueError: ``out`` holds the evaluation of something else; says what differs.
    """
    made_of = {
        **system.made_of(),
        "gallery": "activity" if test.gallery.within_activity else "all",
        "number of tuples": len(test.tuples),
        "bert": bert and [str(bert.folder.resolve()), bert.layer, str(bert.baseline)],
        **test.inputs,
    }
    if (earlier := _finished(out / METRICS, made_of)) is not None:
        return earlier
    predicted = ask(system, test, out, progress)
    if predicted is None:
        return None
    return write_evaluation(
        out, score(test, predicted, bert), coach=name, tuples=str(test.folder), **{MADE_OF: made_of}
    )


def _finished(path: Path, made_of: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics that were made of the same things, or None where there are none."""
    if not path.is_file():
        return None
    earlier = read_metrics(path.parent)
    if changed := differences(earlier.get(MADE_OF, {}), made_of):
        raise ValueError(
            f"{path} is of another evaluation: {'; '.join(changed)}. "
            f"Give another folder, or delete {path.parent} to evaluate again."
        )
    return earlier


def write_evaluation(out: Path, evaluation: Evaluation, **about: Any) -> dict[str, Any]:
    """Writes answers, examples and, last, metrics with further entries; returns the content of ``metrics.json``."""
    out.mkdir(parents=True, exist_ok=True)
    write_answers(out, evaluation.items)
    write_atomically(out / "examples.json", json.dumps(evaluation.examples))
    result = evaluation.result | about
    write_metrics(out, result)
    return result
