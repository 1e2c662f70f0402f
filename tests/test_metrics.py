"""Metrics against published vectors, and what protects them."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mm_eval.metric import Metric, cluster_bootstrap, item_metric
from mm_eval.pose import sequence_pa_mpjpe
from mm_eval.retrieval import chance_recall, ranks, retrieval_metrics
from mm_eval.text import PREFIX, coco_suite, release_suite

REFERENCES = [
    "The player keeps the head up and bends the knees, but releases the ball too early.",
    "The climber's arms are fully extended, which wastes energy; keep the elbows slightly bent.",
    "Good balance on the standing leg. The player should follow through with the kicking foot.",
    "He uses two hands to shoot the ball instead of one shooting hand at a 90-degree angle.",
    "She doesn't look at the basket before the layup, so the shot is off-target.",
    "The feet are placed precisely on the holds and the hips stay close to the wall.",
]
CANDIDATES = [
    "The player bends the knees well and keeps the head up, but the ball is released too early.",
    "The climber should keep the arms slightly bent to save energy.",
    "The player shows good balance. They should follow through with the foot.",
    "The shooter's hand should be at a 90-degree angle and he should use one hand.",
    "The player does not look at the basket.",
    REFERENCES[5],
]
CLUSTERS = list("abcdef")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")


def scores(candidates: list[str], references: list[str] = REFERENCES) -> dict[str, Metric]:
    return coco_suite({"ours": candidates}, references, CLUSTERS).rows["ours"]


@needs_java
def test_text_vectors() -> None:
    found = scores(CANDIDATES)
    assert found["bleu4"].value == pytest.approx(0.378893, abs=1e-6)
    assert found["meteor"].value == pytest.approx(0.346150, abs=1e-6)
    assert found["rouge_l"].value == pytest.approx(0.576308, abs=1e-6)
    assert found["cider"].value == pytest.approx(3.742705, abs=1e-6)
    assert found["rouge_l"].per_item == pytest.approx([0.653996, 0.449080, 0.580952, 0.361660, 0.412162, 1], abs=1e-6)


@needs_java
def test_odd_texts_do_not_shift_or_crash() -> None:
    plain = scores(CANDIDATES)
    broken = scores([CANDIDATES[0].replace(" ", "\u2028", 1), *CANDIDATES[1:]])
    assert broken["cider"].value == pytest.approx(plain["cider"].value)
    empty = scores(["", ".", *CANDIDATES[2:]])
    assert empty["rouge_l"].per_item is not None and empty["rouge_l"].per_item[:2] == (0.0, 0.0)
    order = [3, 1, 5, 0, 2, 4]
    moved = scores([CANDIDATES[i] for i in order], [REFERENCES[i] for i in order])
    for name, metric in plain.items():
        assert moved[name].value == pytest.approx(metric.value), name


def wordnet_is_there() -> bool:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("prefix", "bleu", "meteor", "rouge", "cider", "cider_items"),
    [
        ("", 0.317990, 0.520445, 0.559829, 3.061903, [2.446374, 0.879487, 3.030887, 1.207326, 0.807347, 10]),
        (PREFIX, 0.649723, 0.774161, 0.784495, 3.105321, [2.827086, 0.962699, 2.874331, 1.188063, 0.779749, 10]),
    ],
)
def test_release_vectors(
    prefix: str, bleu: float, meteor: float, rouge: float, cider: float, cider_items: list[float]
) -> None:
    """ExpertAF's released scorer, without and with its constant prefix."""
    suite = release_suite({"ours": CANDIDATES}, REFERENCES, CLUSTERS, prefix)
    found = suite.rows["ours"]
    assert found["bleu4"].value == pytest.approx(bleu, abs=1e-6)
    assert found["rouge_l"].value == pytest.approx(rouge, abs=1e-6)
    assert found["cider"].value == pytest.approx(cider, abs=1e-6)
    assert found["cider"].per_item == pytest.approx(cider_items, abs=1e-6)
    if wordnet_is_there():
        assert found["meteor"].value == pytest.approx(meteor, abs=1e-6)
    else:
        assert "meteor" not in found and suite.notes == [
            "METEOR: not computed: NLTK has no WordNet 3.0 (python -m nltk.downloader wordnet)"
        ]


@needs_java
def test_saying_nothing_scores_with_the_prefix_and_nothing_without() -> None:
    """Why the clean number is the headline."""
    nothing = [""] * len(REFERENCES)
    kept = release_suite({"ours": nothing}, REFERENCES, CLUSTERS).rows["ours"]
    assert kept["rouge_l"].value == pytest.approx(0.679843, abs=1e-6)
    assert kept["bleu4"].value == pytest.approx(0.359795, abs=1e-6)
    clean = release_suite({"ours": nothing}, REFERENCES, CLUSTERS, prefix="").rows["ours"]
    assert clean["rouge_l"].value == 0 and clean["cider"].value == 0
    assert scores(nothing)["rouge_l"].value == 0


def test_odd_texts_do_not_stop_the_released_scorer() -> None:
    odd = ["", ".", "...", "👍", "word", " ".join(f"word{k}" for k in range(2000))]
    plain = release_suite({"ours": odd}, REFERENCES, CLUSTERS, prefix="").rows["ours"]
    assert plain["rouge_l"].per_item is not None and plain["rouge_l"].per_item[:4] == (0.0, 0.0, 0.0, 0.0)
    assert plain["rouge_l"].n + plain["rouge_l"].n_failed == 6
    order = [3, 1, 5, 0, 2, 4]
    moved = release_suite(
        {"ours": [CANDIDATES[i] for i in order]}, [REFERENCES[i] for i in order], CLUSTERS, prefix=""
    ).rows["ours"]
    for name, metric in release_suite({"ours": CANDIDATES}, REFERENCES, CLUSTERS, prefix="").rows["ours"].items():
        assert moved[name].value == pytest.approx(metric.value), name


def test_text_lists_must_match() -> None:
    with pytest.raises(ValueError, match="ours: 5 candidates, 6 references"):
        coco_suite({"ours": CANDIDATES[:5]}, REFERENCES, CLUSTERS)


def test_rank_vector() -> None:
    scores = np.round(np.random.default_rng(0).normal(size=(8, 8)), 1) + 0.8 * np.eye(8)
    scores = np.round(scores, 1)
    found = ranks(scores, np.arange(8), np.ones((8, 8), bool))
    assert found.tolist() == [2.5, 3, 2, 4, 6, 6, 7, 4]
    metrics = retrieval_metrics(found, np.full(8, 8), list("aabbccdd"))
    assert metrics["median_rank"].value == 4 and metrics["recall@1"].value == 0 and metrics["recall@5"].value == 0.625


def test_ties_do_not_flatter() -> None:
    assert ranks(np.zeros((1, 9)), np.array([3]), np.ones((1, 9), bool)).tolist() == [5]


def test_galleries_may_differ() -> None:
    gallery = np.array([[True, True, False], [True, True, True]])
    scores = np.array([[0.1, 0.2, -np.inf], [0.3, 0.2, 0.1]])
    assert ranks(scores, np.array([0, 2]), gallery).tolist() == [2, 3]
    assert chance_recall(np.array([2, 10]), 5) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="Query 0: its positive is not in its gallery"):
        ranks(scores, np.array([2, 2]), gallery)


def test_pose_error_of_a_moved_and_resized_copy_is_zero() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.normal(size=(4, 17, 3)), np.ones((4, 17, 1))], -1)
    assert sequence_pa_mpjpe(1.3 * truth[..., :3] + 2, truth) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="3 predicted frames against 4"):
        sequence_pa_mpjpe(truth[:3], truth)
    truth[..., 3] = 0
    assert math.isnan(sequence_pa_mpjpe(truth[..., :3], truth))


def test_intervals_resample_takes_not_items() -> None:
    values = np.repeat([0.0, 1.0, 0.0, 1.0], 25)
    takes = [str(i // 25) for i in range(100)]
    low, high = cluster_bootstrap(values, takes)
    assert (low, high) == (0.0, 1.0)
    low, high = cluster_bootstrap(values, [str(i) for i in range(100)])
    assert 0.35 < low < 0.45 and 0.55 < high < 0.65


def test_failed_items_are_counted_not_averaged() -> None:
    metric = item_metric(np.array([1.0, np.nan, 3.0]), list("abc"), "mm", "x")
    assert (metric.value, metric.n, metric.n_failed) == (2.0, 2, 1)


def test_values_survive_json(tmp_path: Path) -> None:
    metric = item_metric(np.array([1 / 3, 2 / 3]), list("ab"), "0-1", "x")
    assert json.loads(json.dumps(metric.value)) == metric.value == 0.5
