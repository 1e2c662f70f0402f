"""Commentary: the field's metrics, ExpertAF's released scorer, and errors named on the miniature."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mm_data.tasks import Answer
from mm_eval.answers.test_sets import TestItem, systems_of, texts_of
from mm_eval.metrics.text import BertModel, coco_scores, modern_scores, release_scores
from mm_eval.statistics.metric import YES_OR_NO, item_metric
from mm_eval.suites.expertaf.inputs import Inputs, Table

CEILING, FLOOR = "expert's remark (ceiling)", "empty commentary (floor)"


def commentary_table(inputs: Inputs, items: Sequence[TestItem], bert: BertModel | None) -> tuple[Table, list[str]]:
    """Computes the headline table, and says what could not be computed."""
    texts, references = _texts(items), [item.truth.text for item in items]
    table: Table = {name: {} for name in texts}
    if inputs.truth is not None:
        sign = "every named error was injected, at least one"
        for name, candidates in texts.items():
            table[name]["error_named"] = item_metric(
                _errors_named(inputs, candidates), inputs.clusters, YES_OR_NO, sign
            )
    scored = (coco_scores(texts, references, inputs.clusters), modern_scores(texts, references, inputs.clusters, bert))
    for scores in scored:
        for name, row in scores.rows.items():
            table[name] |= row
    if inputs.truth is not None:
        named = _errors_named(inputs, references)
        table[CEILING] = {"error_named": item_metric(named, inputs.clusters, YES_OR_NO, "the expert's own remark")}
    return table, list(dict.fromkeys(note for scores in scored for note in scores.notes))


def release_table(inputs: Inputs, items: Sequence[TestItem]) -> tuple[Table, list[str]]:
    """Computes the table of ExpertAF's released scorer, its constant prefix kept, with the floor that an empty commentary reaches."""
    silent = [replace(item, answers=item.answers | {FLOOR: Answer("")}) for item in items]
    scores = release_scores(_texts(silent), [item.truth.text for item in items], inputs.clusters)
    notes = [f"ExpertAF's release recipe: {note}" for note in scores.notes if not note.startswith(FLOOR)]
    return scores.rows, notes


def _texts(items: Sequence[TestItem]) -> dict[str, list[str]]:
    return {name: texts_of(items, name) for name in systems_of(items)}


def _errors_named(inputs: Inputs, texts: list[str]) -> np.ndarray:
    """Gives 1 where a text names at least one error and only errors that the learner's clip really shows."""
    assert inputs.truth is not None
    hits = []
    for t, text in zip(inputs.tuples, texts, strict=True):
        named = inputs.truth.named(t.learner.take_uid, text)
        hits.append(
            bool(named) and named <= set(inputs.truth.errors(t.learner.take_uid, t.learner.start, t.learner.stop))
        )
    return np.array(hits, float)
