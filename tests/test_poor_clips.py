"""One clip with hardly any joints fails for itself: everything else is scored, and the failures are counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mm_adapter.tasks.expertaf.scoring import Inputs, collect_examples, evaluate
from mm_adapter.tasks.expertaf.scoring.demonstration import pose_table, retrieval_table

from mm_data.tuples.store import read_tuples
from mm_eval.metrics.retrieval import ranks, retrieval_metrics

NAN, INF = float("nan"), float("inf")


def test_candidates_without_a_score_come_last_and_a_right_one_without_fails() -> None:
    scores = np.array([[1.0, NAN, 2.0], [NAN, NAN, 3.0], [-INF, 5.0, 5.0], [NAN, NAN, NAN], [1.0, 2.0, INF]])
    found = ranks(scores, np.array([0, 2, 0, 1, 0]), np.ones(scores.shape, bool))
    np.testing.assert_array_equal(found, [2.0, 1.0, NAN, NAN, 2.0])
    outside = np.array([[True, False, True]])
    assert ranks(np.array([[1.0, NAN, 2.0]]), np.array([0]), outside).tolist() == [2.0]
    metrics = retrieval_metrics(found, np.full(5, 3), list("abcde"))
    assert (metrics["recall@1"].value, metrics["recall@1"].n, metrics["recall@1"].n_failed) == (1 / 3, 3, 2)
    assert (metrics["median_rank"].value, metrics["mean_rank"].value) == (2.0, 5 / 3)
    assert metrics["median_rank"].n_failed == 2


def body(seed: int, joints: int = 17, frames: int = 4) -> np.ndarray:
    """A pose that shows its first joints alone; what it does not show is not a number."""
    poses = np.ones((frames, 17, 4))
    poses[..., :3] = np.random.default_rng(seed).normal(size=(frames, 17, 3))
    poses[:, joints:] = [NAN, NAN, NAN, 0.0]
    return poses


@pytest.fixture
def inputs(tiny: Path) -> Inputs:
    """Four tuples of one activity; the second's expert shows two joints, and so does the last's learner."""
    every = read_tuples(tiny / "tuples", "test")
    activity = every[0].activity
    chosen = list({t.expert.clip_id: t for t in every if t.activity == activity}.values())[:4]
    assert len({t.learner.clip_id for t in chosen}) == len(chosen) == 4
    training = [t for t in read_tuples(tiny / "tuples", "train") if t.activity == activity][:5]
    clips = [clip.clip_id for t in (*chosen, *training) for clip in (t.learner, t.expert)]
    poor = {chosen[1].expert.clip_id, chosen[3].learner.clip_id}
    poses = {clip: body(seed, 2 if clip in poor else 17) for seed, clip in enumerate(dict.fromkeys(clips))}
    experts = [t.expert.clip_id for t in chosen]
    scores = {clip: float(number) for number, clip in enumerate(experts)}
    records = [
        {"tuple_id": t.tuple_id, "commentary": "Bend.", "positive": t.expert.clip_id, "scores": scores, "pmi": scores}
        for t in chosen
    ]
    generated = [body(100 + number)[..., :3] for number in range(4)]
    return Inputs(chosen, records, [*generated], [*generated], training, poses, None, None, tiny / "miniature")


def test_a_table_with_a_poor_clip_scores_the_others(inputs: Inputs) -> None:
    table, sizes = retrieval_table(inputs, np.random.default_rng(0))
    assert sizes.tolist() == [4, 4, 4, 4]
    row = table["pose nearest neighbour (ceiling)"]["median_rank"]
    assert row.per_item is not None and np.isnan(row.per_item).tolist() == [False, True, False, True]
    assert (row.n, row.n_failed) == (2, 2) and all(1 <= rank <= 3 for rank in (row.per_item[0], row.per_item[2]))
    assert table["ours"]["median_rank"].n_failed == 0 and table["ours"]["median_rank"].per_item == (4, 3, 2, 1)
    errors = pose_table(inputs, np.random.default_rng(0))
    assert errors["ours"]["pa_mpjpe"].n_failed == 1 and errors["learner's own pose"]["pa_mpjpe"].n_failed == 2
    assert errors["mean pose of the activity"]["pa_mpjpe"].n_failed == 1, "what nobody shows is not in the mean"


def test_a_score_that_is_no_number_fails_for_itself(inputs: Inputs) -> None:
    experts = [t.expert.clip_id for t in inputs.tuples]
    inputs.predictions[0]["scores"] = inputs.predictions[0]["pmi"] = {clip: NAN for clip in experts}
    inputs.predictions[2]["pmi"] = {experts[0]: NAN, experts[1]: 1.0, experts[2]: 0.0, experts[3]: NAN}
    table, _ = retrieval_table(inputs, np.random.default_rng(0))
    assert table["ours"]["recall@1"].n_failed == 1
    np.testing.assert_array_equal(table["ours"]["median_rank"].per_item, [NAN, 3, 2, 1])
    assert table["constant (mean score of each clip)"]["recall@1"].n_failed == 0


def test_an_evaluation_with_poor_clips_is_written(inputs: Inputs) -> None:
    result, items = evaluate(inputs)
    assert len(items) == 4
    json.dumps(result, allow_nan=False)
    clips = {clip.clip_id: clip for t in (*inputs.tuples, *inputs.training) for clip in (t.learner, t.expert)}
    poor = replace(
        inputs,
        tuples=inputs.tuples[1:2],
        predictions=[{**inputs.predictions[1], "pmi": {inputs.tuples[1].expert.clip_id: NAN}}],
        generated=[body(0)[..., :3]],
    )
    (example,) = collect_examples(poor, clips, inputs.videos)
    assert (example["rank"], example["pa_mpjpe_mm"], example["learner_pa_mpjpe_mm"]) == (None, None, None)
    assert example["poses"]["expert"][0][16] == [0.0, 0.0, 0.0, 0.0], "a joint that is not shown"
    json.dumps(example, allow_nan=False)
