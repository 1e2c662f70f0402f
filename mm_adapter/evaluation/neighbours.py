"""All three functions by nearest neighbours in a space of clips: the rows of ExpertAF's Table 1 without a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mm_adapter.evaluation.matcher import Matcher, MatcherInputs
from mm_adapter.samples.clip_stores import JointStore
from mm_data.features import FeatureStore, pooled_features
from mm_data.records import CoachingTuple


@dataclass(frozen=True)
class Space:
    """Vectors of everything that is compared; similarity is the inner product.

    Attributes:
        clips: Clip id to its vector.
        remark_keys: Per training tuple, what a learner's clip is compared with to find its remark ``[N, D]``.
        demonstration_keys: Likewise to find its demonstration.
    """

    clips: dict[str, np.ndarray]
    remark_keys: np.ndarray
    demonstration_keys: np.ndarray


def feature_space(store: FeatureStore, clips: Sequence[str], training: Sequence[CoachingTuple]) -> Space:
    """Mean features of all views, normalised (InternVideo2-NN): both are found through the most similar learner."""
    vectors = {}
    for clip in clips:
        joined = pooled_features(store, clip)
        vectors[clip] = joined / np.linalg.norm(joined)
    learners = np.stack([vectors[t.learner.clip_id] for t in training])
    return Space(vectors, learners, learners)


@torch.no_grad()
def matched_space(matcher: Matcher, clips: Sequence[str], inputs: MatcherInputs) -> Space:
    """The matcher's space (InternVideo2-FT): a learner's clip finds remark and demonstration directly.

    Args:
        matcher: Trained.
        clips: Clips that are compared.
        inputs: Training tuples.
    """
    views = matcher.architecture.views
    vectors = dict(zip(clips, matcher.embed_clips(inputs.clips(clips, views)).numpy(), strict=True))
    experts = np.stack([vectors[t.expert.clip_id] for t in inputs.tuples])
    return Space(vectors, matcher.embed_remarks(inputs.words).numpy(), experts)


def predict_by_neighbours(
    space: Space,
    tuples: Sequence[CoachingTuple],
    pools: Sequence[Sequence[str]],
    positives: Sequence[str],
    training: Sequence[CoachingTuple],
    joints: JointStore,
) -> list[dict[str, Any]]:
    """Records as `predict.predict` makes them.

    Args:
        space: Vectors.
        tuples: Test tuples.
        pools: Clips that are ranked for each of them.
        positives: The right one of each pool.
        training: Where remarks and demonstrations come from.
        joints: Poses of the demonstrations.
    """
    records = []
    for t, pool, positive in zip(tuples, pools, positives, strict=True):
        query = space.clips[t.learner.clip_id]
        shown = training[int((space.demonstration_keys @ query).argmax())].expert
        scores = {clip: float(space.clips[clip] @ query) for clip in pool}
        records.append(
            {
                "tuple_id": t.tuple_id,
                "commentary": training[int((space.remark_keys @ query).argmax())].summary,
                "pose_joints": joints[shown.clip_id][..., :3].tolist(),
                "positive": positive,
                "scores": scores,
                "pmi": scores,
            }
        )
    return records
