"""The metrics as modules of Hugging Face's evaluate, loaded from disk."""

import shutil

import evaluate
import numpy as np
import pytest
from test_procrustes import reference_sequence
from test_text_metrics import CANDIDATES, REFERENCES

from mm_eval.evaluate_modules import module_path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path_factory.mktemp("evaluate")))


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")
def test_texts_accumulate_and_combine() -> None:
    text = evaluate.load(module_path("coaching_text"))
    for candidate, reference in zip(CANDIDATES, REFERENCES, strict=True):
        text.add(prediction=candidate, reference=reference)
    found = text.compute()
    assert found is not None and found["bleu4"] == pytest.approx(0.378893, abs=1e-6)
    assert found["meteor"] == pytest.approx(0.346150, abs=1e-6)
    modern = evaluate.load(module_path("coaching_text")).compute(
        predictions=CANDIDATES, references=REFERENCES, suite="modern"
    )
    assert modern is not None and modern["rouge_l_f1"] == pytest.approx(0.572421, abs=1e-6)
    with pytest.raises(ValueError, match="Suite 'spice': choose from coco, modern, release"):
        evaluate.load(module_path("coaching_text")).compute(predictions=["a"], references=["a"], suite="spice")


def test_poses_scores_and_rankings() -> None:
    predicted, truth = reference_sequence()
    pose = evaluate.load(module_path("pose_error"))
    found = pose.compute(predictions=[predicted.tolist()], references=[truth.tolist()])
    assert found == {"pa_mpjpe": pytest.approx(106.638, abs=6e-4), "failed": 0}
    rigid = pose.compute(predictions=[predicted.tolist()], references=[truth.tolist()], variant="pa_mpjpe_rigid")
    assert rigid is not None and rigid["pa_mpjpe_rigid"] == pytest.approx(134.290, abs=6e-4)

    judged, given = [85.5, 62.1, 90, 45.3, 70.2, 55, 99, 33.3], [80, 65, 88, 50, 60, 58, 95, 40]
    score = evaluate.load(module_path("aqa_score"))
    found = score.compute(predictions=given, references=judged, score_range=(0, 104.5))
    assert found == {"spearman": pytest.approx(0.976190, abs=1e-6), "relative_l2": pytest.approx(0.00273208, abs=1e-8), "failed": 0}  # fmt: skip

    scores = np.round(np.round(np.random.default_rng(0).normal(size=(8, 8)), 1) + 0.8 * np.eye(8), 1)
    found = evaluate.load(module_path("expert_retrieval")).compute(
        predictions=scores.tolist(), references=list(range(8))
    )
    assert found is not None and (found["median_rank"], found["recall@5"]) == (4, 0.625)


def test_unknown_modules_are_named() -> None:
    with pytest.raises(ValueError, match="No module 'spice'; choose from aqa_score, coaching_text"):
        module_path("spice")
