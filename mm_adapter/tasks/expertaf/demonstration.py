"""Retrieval of the expert's clip and generation of corrected poses.

Pairs are mined by pose similarity, so the pose-nearest-neighbour row of retrieval is a ceiling, not a baseline.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mm_adapter.tasks.expertaf.inputs import Inputs, Table
from mm_eval.answers.baselines import derangement
from mm_eval.metrics.pose import POSE_ERRORS, sequence_error
from mm_eval.metrics.retrieval import ranks, retrieval_metrics
from mm_eval.statistics.metric import YES_OR_NO, item_metric

_RANDOM_EXPERTS = 20
_DECODED = "pa_mpjpe_decoded_truth"
"""ExpertAF's release takes the tokenizer's round trip for the truth, which hides the tokenizer's own error."""


def retrieval_table(inputs: Inputs, rng: np.random.Generator) -> tuple[Table, np.ndarray]:
    """Computes ranks of the paired expert clip, and the galleries' sizes. A clip that cannot be compared comes last; a pair that cannot has failed.

    Args:
        inputs: The run, whose system ranks.
        rng: Generator that rankings are shuffled with.

    Returns:
        System to metrics, and the number of candidates per item.

    Raises:
        ValueError: The right clip is not among an item's candidates.
    """
    for item, ranking in zip(inputs.items, inputs.rankings, strict=True):
        if item.truth.label not in ranking:
            raise ValueError(
                f"{item.item_id}: the right clip {item.truth.label!r} is not among the {len(ranking)} that are ranked."
            )
    clips = sorted({clip for ranking in inputs.rankings for clip in ranking})
    column = {clip: i for i, clip in enumerate(clips)}
    scores = _matrix(inputs.rankings, column)
    candidates = np.zeros(scores.shape, bool)
    for row, ranking in enumerate(inputs.rankings):
        candidates[row, [column[clip] for clip in ranking]] = True
    positives = np.array([column[item.truth.label or ""] for item in inputs.items])
    systems = {
        "ours": scores,
        "shuffled within activity": scores[derangement(inputs.activities, rng)],
        "constant (mean score of each clip)": np.broadcast_to(_mean_known(scores), scores.shape),
    }
    if inputs.posed:
        errors = [
            [
                sequence_error(inputs.poses(c), inputs.poses(item.clip_id)) if candidates[row, j] else np.inf
                for j, c in enumerate(clips)
            ]
            for row, item in enumerate(inputs.items)
        ]
        systems["pose nearest neighbour (ceiling)"] = -np.array(errors)
    if inputs.likelihoods is not None:
        systems["ours without the prior (raw likelihood)"] = _matrix(inputs.likelihoods, column)
    if (unit := inputs.vectors) is not None:
        systems["video nearest neighbour"] = np.array(
            [[unit[item.clip_id] @ unit[c] for c in clips] for item in inputs.items]
        )
    sizes = candidates.sum(1)
    return {
        name: retrieval_metrics(ranks(s, positives, candidates), sizes, inputs.clusters) for name, s in systems.items()
    }, sizes


def _matrix(rankings: Sequence[Mapping[str, float]], column: Mapping[str, int]) -> np.ndarray:
    """Lays scores out ``[items, clips]``; minus infinity for clips that are not candidates."""
    scores = np.full((len(rankings), len(column)), -np.inf)
    for row, ranking in enumerate(rankings):
        for clip, score in ranking.items():
            scores[row, column[clip]] = score
    return scores


def _mean_known(scores: np.ndarray) -> np.ndarray:
    """Averages each column's finite scores, NaN where it has none; outside a gallery they are minus infinity."""
    known = np.isfinite(scores)
    counts = known.sum(0)
    return np.where(counts > 0, np.where(known, scores, 0.0).sum(0) / np.maximum(counts, 1), np.nan)


def pose_table(inputs: Inputs, rng: np.random.Generator) -> Table:
    """Computes errors of generated sequences in every variant of `POSE_ERRORS`, against the expert's raw joints.

    A joint that either pose lacks does not count; the mean pose lacks those that no training expert of the activity shows.
    """
    generated, reconstructed = inputs.generated, inputs.reconstructed
    assert generated is not None
    experts: dict[str, list[np.ndarray]] = {}
    for item in inputs.training:
        experts.setdefault(item.category, []).append(inputs.poses(item.expert_id))
    everybody = [clip for clips in experts.values() for clip in clips]
    means = {name: _mean_pose(np.stack(experts.get(name) or everybody)) for name in dict.fromkeys(inputs.activities)}
    nearest = inputs.nearest_training("video")
    shuffled = derangement(inputs.activities, rng)
    by_row: dict[str, list[list[np.ndarray | None]]] = {}
    for index, item in enumerate(inputs.items):
        pool = experts.get(item.category, everybody)
        row: dict[str, list[np.ndarray | None]] = {
            "ours": [generated[index]],
            "random expert of the activity": [pool[i] for i in rng.integers(len(pool), size=_RANDOM_EXPERTS)],
            "mean pose of the activity": [means[item.category]],
            "learner's own pose": [inputs.poses(item.clip_id)],
            "shuffled within activity": [generated[shuffled[index]]],
        }
        if nearest is not None:
            row["video nearest neighbour"] = [inputs.poses(nearest[index].expert_id)]
        if reconstructed is not None:
            row["tokenizer round trip (floor)"] = [reconstructed[index]]
        for name, sequences in row.items():
            by_row.setdefault(name, []).append(sequences)
    truth = [inputs.poses(item.expert_id) for item in inputs.items]
    table: Table = {}
    for name, sequences in by_row.items():
        table[name] = {
            variant: item_metric(
                _errors(sequences, truth, variant), inputs.clusters, "mm", f"{error.signature}, raw joints"
            )
            for variant, error in POSE_ERRORS.items()
        }
        if reconstructed is not None:
            table[name][_DECODED] = item_metric(
                _errors(sequences, reconstructed, "pa_mpjpe"),
                inputs.clusters,
                "mm",
                f"{POSE_ERRORS['pa_mpjpe'].signature}, truth decoded from its tokens (ExpertAF's release)",
            )
    table["ours"]["malformed"] = item_metric(
        [
            float(shown is None or shown.shape != true[..., :3].shape)
            for shown, true in zip(generated, truth, strict=True)
        ],
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


def _mean_pose(clips: np.ndarray) -> np.ndarray:
    """Averages experts' poses ``[N, T, 17, 4]`` into one ``[T, 17, 4]``, flags too: that of a joint that none of them shows is 0."""
    flags = clips[..., 3:]
    return np.where(flags > 0, clips * flags, 0.0).sum(0) / np.maximum(flags.sum(0), 1e-6)
