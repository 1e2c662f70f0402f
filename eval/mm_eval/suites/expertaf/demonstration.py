"""Retrieval of the expert's clip and generation of corrected poses.

Tuples are mined by pose similarity, so the pose-nearest-neighbour row of retrieval is a ceiling, not a baseline.
"""

import numpy as np

from mm_data.records import CoachingTuple
from mm_eval.answers.baselines import derangement
from mm_eval.metrics.pose import POSE_ERRORS, sequence_error
from mm_eval.metrics.retrieval import ranks, retrieval_metrics
from mm_eval.statistics.metric import YES_OR_NO, item_metric
from mm_eval.suites.expertaf.inputs import Inputs, Table

_RANDOM_EXPERTS = 20
_DECODED = "pa_mpjpe_decoded_truth"
"""ExpertAF's release takes the tokenizer's round trip for the truth, which hides the tokenizer's own error."""


def retrieval_table(inputs: Inputs, rng: np.random.Generator) -> tuple[Table, np.ndarray]:
    """Computes ranks of the paired expert clip, and the galleries' sizes. A clip that cannot be compared comes last; a pair that cannot has failed."""
    clips = sorted({clip for p in inputs.predictions for clip in p["scores"]})
    column = {clip: i for i, clip in enumerate(clips)}
    shape = (len(inputs.predictions), len(clips))
    candidates = np.zeros(shape, bool)
    scores, likelihood = np.full(shape, -np.inf), np.full(shape, -np.inf)
    for row, prediction in enumerate(inputs.predictions):
        for clip, score in prediction["scores"].items():
            candidates[row, column[clip]] = True
            likelihood[row, column[clip]], scores[row, column[clip]] = score, prediction["pmi"][clip]
    positives = np.array([column[p["positive"]] for p in inputs.predictions])
    systems = {
        "ours": scores,
        "ours without the prior (raw likelihood)": likelihood,
        "shuffled within activity": scores[derangement(inputs.activities, rng)],
        "constant (mean score of each clip)": np.broadcast_to(_mean_known(scores), shape),
        "pose nearest neighbour (ceiling)": -np.array(
            [
                [
                    sequence_error(inputs.poses[c], inputs.poses[t.learner.clip_id]) if candidates[row, j] else np.inf
                    for j, c in enumerate(clips)
                ]
                for row, t in enumerate(inputs.tuples)
            ]
        ),
    }
    if inputs.video is not None:
        unit = {clip: vector / np.linalg.norm(vector) for clip, vector in inputs.video.items()}
        systems["video nearest neighbour"] = np.array(
            [[unit[t.learner.clip_id] @ unit[c] for c in clips] for t in inputs.tuples]
        )
    sizes = candidates.sum(1)
    return {
        name: retrieval_metrics(ranks(s, positives, candidates), sizes, inputs.clusters) for name, s in systems.items()
    }, sizes


def _mean_known(scores: np.ndarray) -> np.ndarray:
    """Averages each column's finite scores, NaN where it has none; outside a gallery they are minus infinity."""
    known = np.isfinite(scores)
    counts = known.sum(0)
    return np.where(counts > 0, np.where(known, scores, 0.0).sum(0) / np.maximum(counts, 1), np.nan)


def pose_table(inputs: Inputs, rng: np.random.Generator) -> Table:
    """Computes errors of generated sequences in every variant of `POSE_ERRORS`, against the expert's raw joints.

    A joint that either pose lacks does not count; the mean pose lacks those that no training expert of the activity shows.
    """
    assert inputs.generated is not None
    experts: dict[str, list[np.ndarray]] = {}
    for t in inputs.training:
        experts.setdefault(t.activity, []).append(inputs.poses[t.expert.clip_id])
    means = {activity: _mean_pose(np.stack(clips)) for activity, clips in experts.items()}
    nearest = inputs.nearest_training(inputs.video) if inputs.video is not None else None
    shuffled = derangement(inputs.activities, rng)
    by_row: dict[str, list[list[np.ndarray | None]]] = {}
    for index, t in enumerate(inputs.tuples):
        pool = experts[t.activity]
        row: dict[str, list[np.ndarray | None]] = {
            "ours": [inputs.generated[index]],
            "random expert of the activity": [pool[i] for i in rng.integers(len(pool), size=_RANDOM_EXPERTS)],
            "mean pose of the activity": [means[t.activity]],
            "learner's own pose": [inputs.poses[t.learner.clip_id]],
            "shuffled within activity": [inputs.generated[shuffled[index]]],
        }
        if nearest is not None:
            row["video nearest neighbour"] = [inputs.poses[nearest[index].expert.clip_id]]
        if inputs.reconstructed is not None:
            row["tokenizer round trip (floor)"] = [inputs.reconstructed[index]]
        for name, sequences in row.items():
            by_row.setdefault(name, []).append(sequences)
    truth = [inputs.poses[t.expert.clip_id] for t in inputs.tuples]
    table: Table = {}
    for name, sequences in by_row.items():
        table[name] = {
            variant: item_metric(
                _errors(sequences, truth, variant), inputs.clusters, "mm", f"{error.signature}, raw joints"
            )
            for variant, error in POSE_ERRORS.items()
        }
        if inputs.reconstructed is not None:
            table[name][_DECODED] = item_metric(
                _errors(sequences, inputs.reconstructed, "pa_mpjpe"),
                inputs.clusters,
                "mm",
                f"{POSE_ERRORS['pa_mpjpe'].signature}, truth decoded from its tokens (ExpertAF's release)",
            )
    table["ours"]["malformed"] = item_metric(
        [float(not _well_formed(inputs, index, t)) for index, t in enumerate(inputs.tuples)],
        inputs.clusters,
        YES_OR_NO,
        "sequences that do not decode to the frames asked for",
    )
    return table


def _errors(sequences: list[list[np.ndarray | None]], truth: list[np.ndarray], variant: str) -> list[float]:
    """Averages over an item's sequences; NaN, which counts as failed, where there is none."""
    return [
        float(np.mean([float("nan") if s is None else sequence_error(s, true, variant) for s in mine]))
        for mine, true in zip(sequences, truth, strict=True)
    ]


def _well_formed(inputs: Inputs, index: int, t: CoachingTuple) -> bool:
    assert inputs.generated is not None
    generated = inputs.generated[index]
    return generated is not None and generated.shape == inputs.poses[t.expert.clip_id][..., :3].shape


def _mean_pose(clips: np.ndarray) -> np.ndarray:
    """Averages experts' poses ``[N, T, 17, 4]`` into one ``[T, 17, 4]``, flags too: that of a joint that none of them shows is 0."""
    flags = clips[..., 3:]
    return np.where(flags > 0, clips * flags, 0.0).sum(0) / np.maximum(flags.sum(0), 1e-6)
