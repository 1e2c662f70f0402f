"""Scores a system's answers to a test set together with its baselines, and sums up rankings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import interp1d

from mm_adapter.evaluation.systems import Predicted
from mm_adapter.evaluation.test_set import TestSet
from mm_adapter.inference.coach import decode_codes
from mm_data.features import pooled_features
from mm_data.miniature.truth import SIDECAR, MiniatureTruth
from mm_data.tasks.overlap import material_of_tuples, overlap
from mm_data.tuples.manifest import TupleManifest
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.retrieval import chance_recall, ranks
from mm_eval.metrics.text import BertModel
from mm_eval.suites.expertaf import Inputs, collect_examples, evaluate
from mm_tokenizers import PoseTokenizer

CUTS = (1, 5, 10, 50)
"""Ranks at which recall is summed up."""


@dataclass(frozen=True)
class Evaluation:
    """A scored test set.

    Attributes:
        result: Content of ``metrics.json``.
        examples: A dozen examples for the report.
        items: Test items with every system's commentary.
    """

    result: dict[str, Any]
    examples: list[dict[str, Any]]
    items: list[TestItem]


def score(test: TestSet, predicted: Predicted, bert: BertModel | None = None) -> Evaluation:
    """Scores a system's answers together with its baselines; ``bert`` are weights of BERTScore."""
    manifest = TupleManifest.read(test.folder)
    source = manifest.source
    tokenizer, generated, reconstructed, video = predicted.pose_tokenizer, None, None, None
    if predicted.shows_poses:
        generated = [_joints(record, tokenizer, test.codes.frames) for record in predicted.records]
    if tokenizer:
        reconstructed = [decode_codes(tokenizer, test.codes[t.expert.clip_id]) for t in test.tuples]
    if test.features is not None:
        video = {clip: pooled_features(test.features, clip) for clip in test.clips}
    inputs = Inputs(
        tuples=test.tuples,
        predictions=predicted.records,
        generated=generated,
        reconstructed=reconstructed,
        training=test.training,
        poses={clip: test.joints[clip] for clip in test.clips},
        video=video,
        truth=MiniatureTruth(source) if (source / SIDECAR).is_file() else None,
        videos=source,
    )
    result, items = evaluate(inputs, bert)
    result["notes"] += predicted.notes
    trained = material_of_tuples(test.training) if predicted.trained is None else predicted.trained
    shared = overlap(trained, material_of_tuples(test.tuples), predicted.unread)
    result |= {
        "synthetic_data": manifest.synthetic,
        "video_encoder": test.features.manifest.encoder if test.features else None,
        "participants_also_in_training": shared.people,
        "also_in_training": shared.to_json(),
        "gallery": "expert clips of the same activity" if test.gallery.within_activity else "all expert clips",
        "dtype": str(predicted.dtype),
    }
    return Evaluation(result, collect_examples(inputs, test.clips, source), items)


def _joints(record: dict[str, Any], tokenizer: PoseTokenizer | None, frames: int) -> np.ndarray | None:
    """Generated joints ``[T, 17, 3]``; a coach that writes fewer frames is read between them."""
    if record.get("pose_codes") is not None:
        assert tokenizer is not None
        return decode_codes(tokenizer, np.array(record["pose_codes"]))
    if record.get("pose_joints") is None:
        return None
    joints = np.array(record["pose_joints"], np.float32)
    if len(joints) == frames:
        return joints
    return interp1d(np.linspace(0, 1, len(joints)), joints, axis=0)(np.linspace(0, 1, frames)).astype(np.float32)


def ranking_rows(records: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Sums up the records of ``retrieval.jsonl``: name, recall at each of `CUTS` and median rank, for both scores and chance."""
    clips = sorted({clip for record in records for clip in record["scores"]})
    column = {clip: index for index, clip in enumerate(clips)}
    positives = np.array([column[record["positive"]] for record in records])
    candidates = np.zeros((len(records), len(clips)), bool)
    rows = []
    for name, title in (("pmi", "mean log-likelihood − prior"), ("scores", "mean log-likelihood")):
        scores = np.full(candidates.shape, -np.inf)
        for row, record in enumerate(records):
            for clip, value in record[name].items():
                scores[row, column[clip]], candidates[row, column[clip]] = value, True
        places = ranks(scores, positives, candidates)
        places = places[np.isfinite(places)]
        rows.append((title, *(f"{np.mean(places <= k):.3f}" for k in CUTS), f"{np.median(places):.1f}"))
    sizes = candidates.sum(1)
    chance = [f"{chance_recall(sizes, k):.3f}" for k in CUTS]
    rows.append((f"chance (gallery {np.median(sizes):.0f})", *chance, f"{np.median((sizes + 1) / 2):.1f}"))
    return rows
