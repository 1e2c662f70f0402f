"""Nearest neighbours: ExpertAF's three functions in a space of clips, and the training items nearest to a task's test items."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mm_adapter.evaluation.matcher import Matcher, MatcherInputs
from mm_adapter.samples.clip_stores import JointStore
from mm_data.features import FeatureStore, pooled_features
from mm_data.folders import pose_stretches
from mm_data.records import CoachingTuple
from mm_data.tasks import TaskItem

POSE_FRAMES = 8
"""Frames by which performances of a task's items are compared."""


@dataclass(frozen=True)
class Space:
    """Vectors of everything that is compared; similarity is the inner product.

    Attributes:
        clips: Clip id to its vector ``[D]``.
        remark_keys: What a learner's clip is compared with to find a remark, one row per training tuple ``[N, D]``.
        demonstration_keys: What it is compared with to find a demonstration ``[N, D]``.
    """

    clips: dict[str, np.ndarray]
    remark_keys: np.ndarray
    demonstration_keys: np.ndarray


def feature_space(store: FeatureStore, clips: Sequence[str], training: Sequence[CoachingTuple]) -> Space:
    """Returns InternVideo2-NN's space, mean features of all views: remarks and demonstrations are those of the most similar learner."""
    vectors = {}
    for clip in clips:
        features = pooled_features(store, clip)
        vectors[clip] = features / np.linalg.norm(features)
    learners = np.stack([vectors[t.learner.clip_id] for t in training])
    return Space(vectors, learners, learners)


@torch.no_grad()
def matched_space(matcher: Matcher, clips: Sequence[str], inputs: MatcherInputs) -> Space:
    """Returns the matcher's space (InternVideo2-FT), where a learner's clip finds remark and demonstration directly.

    Args:
        matcher: A trained matcher.
        clips: Ids of the clips that are compared.
        inputs: Training tuples with what the matcher reads of them.

    Returns:
        The space.
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
    """Answers test tuples with what the nearest training tuples hold.

    Args:
        space: Vectors of the clips.
        tuples: Test tuples.
        pools: Ids of the clips that are ranked, one list per test tuple.
        positives: The right clip of each pool.
        training: Training tuples, whose remarks and demonstrations are the answers.
        joints: Poses of the demonstrations.

    Returns:
        One record per test tuple, as `read_predictions` gives them.
    """
    records = []
    for t, pool, positive in zip(tuples, pools, positives, strict=True):
        query = space.clips[t.learner.clip_id]
        demonstration = training[int((space.demonstration_keys @ query).argmax())].expert
        scores = {clip: float(space.clips[clip] @ query) for clip in pool}
        records.append(
            {
                "tuple_id": t.tuple_id,
                "commentary": training[int((space.remark_keys @ query).argmax())].summary,
                "pose_joints": joints[demonstration.clip_id][..., :3].tolist(),
                "positive": positive,
                "scores": scores,
                "pmi": scores,
            }
        )
    return records


def nearest_items(
    items: Sequence[TaskItem], training: Sequence[TaskItem], folder: Path, store: FeatureStore | None
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Looks for the training item that is nearest to each test item, by features and by poses.

    A kind of similarity counts only where every test item has it: a baseline answers all items or none.

    Args:
        items: Test items.
        training: Training items.
        folder: Their folder of items, which holds the poses.
        store: Their video features, or None.

    Returns:
        Test item id to kind of similarity ("video", "pose") to training item id, and notes about kinds that do not count.
    """
    spaces: dict[str, dict[str, np.ndarray]] = {}
    if store is not None:
        spaces["video"] = {i.item_id: _unit(pooled_features(store, i.clip.clip_id)) for i in (*items, *training)}
    posed = [item for item in (*items, *training) if item.has_poses]
    if posed:
        joints = JointStore(pose_stretches(folder), POSE_FRAMES)
        spaces["pose"] = {i.item_id: np.nan_to_num(joints[i.clip.clip_id][..., :3]).ravel() for i in posed}
    nearest: dict[str, dict[str, str]] = {item.item_id: {} for item in items}
    notes = []
    for kind, space in spaces.items():
        candidates = [item for item in training if item.item_id in space]
        without = sum(item.item_id not in space for item in items)
        if without or not candidates:
            notes.append(f"no {kind} nearest neighbour: {without} of {len(items)} test items have no poses")
            continue
        matrix = np.stack([space[item.item_id] for item in candidates])
        for item in items:
            distances = np.linalg.norm(matrix - space[item.item_id], axis=1)
            nearest[item.item_id][kind] = candidates[int(distances.argmin())].item_id
    return nearest, notes


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
