"""Commentary: the field's metrics, ExpertAF's released scorer, and errors named on the miniature."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mm_adapter.tasks.expertaf.inputs import RAW_LIKELIHOOD, Inputs, Table
from mm_data.miniature.truth import errors_named
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import TestItem, systems_of, texts_of, variant_of_ours
from mm_eval.metrics.text import BertModel, coco_scores, modern_scores, release_scores
from mm_eval.statistics.metric import YES_OR_NO, item_metric

ERRORS, ACTIVITY = "injected_errors", "simulated_activity"
"""What the evaluation knows of a simulated clip."""

CEILING, FLOOR = "expert's remark (ceiling)", "empty commentary (floor)"


def commentary_table(inputs: Inputs, items: Sequence[TestItem], bert: BertModel | None) -> tuple[Table, list[str]]:
    """Computes the headline table, and says what could not be computed."""
    texts, references = _texts(items), [item.truth.text for item in items]
    table: Table = {name: {} for name in texts}
    if _has_injected_errors(inputs):
        sign = "every named error was injected, at least one"
        for name, candidates in texts.items():
            table[name]["error_named"] = item_metric(
                _errors_named(inputs, candidates), inputs.clusters, YES_OR_NO, sign
            )
    scored = (coco_scores(texts, references, inputs.clusters), modern_scores(texts, references, inputs.clusters, bert))
    for scores in scored:
        for name, row in scores.rows.items():
            table[name] |= row
    if _has_injected_errors(inputs):
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
    words = [name for name in systems_of(items) if name != variant_of_ours(RAW_LIKELIHOOD)]
    return {name: texts_of(items, name) for name in words}


def _has_injected_errors(inputs: Inputs) -> bool:
    """Says whether the clips are simulated, so that their errors are known."""
    return all(ERRORS in item.hidden for item in inputs.items)


def _errors_named(inputs: Inputs, texts: list[str]) -> np.ndarray:
    """Gives 1 where a text names at least one error and only errors that the learner's clip really shows."""
    hits = []
    for item, text in zip(inputs.items, texts, strict=True):
        named = errors_named(item.hidden[ACTIVITY], text)
        hits.append(bool(named) and named <= set(item.hidden[ERRORS]))
    return np.array(hits, float)
