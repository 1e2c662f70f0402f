"""One clip with hardly any joints fails for itself: everything else is scored, and the failures are counted."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mm_adapter.tasks.expertaf.demonstration import pose_table, retrieval_table
from mm_adapter.tasks.expertaf.inputs import Inputs
from mm_adapter.tasks.expertaf.suite import CoachingSuite, evaluate
from mm_data.tasks import Answer
from mm_eval.answers.clips import AnsweredClip
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.retrieval import ranks, retrieval_metrics
from mm_eval.pages.cards import cards
from mm_eval.statistics.metric import records_of
from mm_eval.suites.suite import Run

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
def inputs() -> Inputs:
    """Four items of one activity; the second's expert shows two joints, and so does the last's learner."""
    experts = [f"expert {number}" for number in range(4)]
    poor, ranking = {"expert 1", "learner 3"}, {clip: float(number) for number, clip in enumerate(experts)}
    names = [*experts, *(f"learner {n}" for n in range(4)), *(f"taught {n}" for n in range(5))]
    clips = {name: body(seed, 2 if name in poor else 17) for seed, name in enumerate(names)}
    items = []
    for number, expert in enumerate(experts):
        ours = Answer("Bend.", ranking=ranking, poses=body(100 + number)[..., :3].tolist())
        neighbour = {"pose": f"train {number}"}
        truth = Answer("Bend the knees.", label=expert)
        about = {"nearest": neighbour, "clip_id": f"learner {number}", "expert_id": expert}
        items.append(TestItem(f"test {number}", f"person {number}", "kick", truth, {"ours": ours}, **about))
    training = [
        TestItem(f"train {n}", f"other {n}", "kick", Answer("Look up."), clip_id="", expert_id=f"taught {n}")
        for n in range(5)
    ]
    generated = {expert: body(100 + number)[..., :3] for number, expert in enumerate(experts)}
    return Inputs(
        items, training, {name: AnsweredClip({}, poses, generated.get(name)) for name, poses in clips.items()}
    )


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


def ranked(inputs: Inputs, rankings: dict[int, dict[str, float]]) -> Inputs:
    """The same with other rankings of some items."""
    items = list(inputs.items)
    for number, ranking in rankings.items():
        ours = replace(items[number].answers["ours"], ranking=ranking)
        items[number] = replace(items[number], answers={"ours": ours})
    return replace(inputs, items=items)


def test_a_score_that_is_no_number_fails_for_itself(inputs: Inputs) -> None:
    experts = [item.expert_id or "" for item in inputs.items]
    changed = {0: dict.fromkeys(experts, NAN), 2: dict(zip(experts, (NAN, 1.0, 0.0, NAN), strict=True))}
    table, _ = retrieval_table(ranked(inputs, changed), np.random.default_rng(0))
    assert table["ours"]["recall@1"].n_failed == 1
    np.testing.assert_array_equal(table["ours"]["median_rank"].per_item, [NAN, 3, 2, 1])
    assert table["constant (mean score of each clip)"]["recall@1"].n_failed == 0


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")
def test_a_run_with_poor_clips_is_scored_and_shown(inputs: Inputs) -> None:
    result, items = evaluate(inputs)
    assert len(items) == 4
    json.dumps(result, allow_nan=False)
    poor = ranked(inputs, {1: {"expert 1": NAN}})
    run = Run("poor", poor.items[1:2], records_of(result), result, [])
    (card,) = cards(run, CoachingSuite(), dict(poor.clips))
    assert (card["rank_text"], card["pose_error"], card["learner_error"]) == (
        "the paired clip has no score", "not comparable", "not comparable",
    )  # fmt: skip
    assert card["poses"]["expert"][0][16] == [0.0, 0.0, 0.0, 0.0], "a joint that is not shown"
    json.dumps(card, allow_nan=False)
