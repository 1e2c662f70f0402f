"""The report's first lines: the strongest rows beside every number, and what was trained and asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from mm_eval.pages.headline import facts, headline, strongest


def rows(metric: str, **values: float | None) -> dict[str, dict[str, dict[str, Any]]]:
    return {name.replace("_", " "): {metric: {"value": value}} for name, value in values.items()}


EVALUATION: dict[str, Any] = {
    "summary": {
        "commentary/error_named": 0.38, "commentary/error_named_shuffled": 0.17, "retrieval/median_rank": 2.0,
        "retrieval/recall@5_within_activity": 0.71, "retrieval/chance@5_within_activity": 0.26, "retrieval/gallery_size": 18.0,
        "retrieval/recall@5_pose_nn_ceiling": 0.89, "pose/pa_mpjpe_mm": 50.2, "pose/pa_mpjpe_tokenizer_floor_mm": 18.0, "minutes": 14.4,
    },
    "tables": {
        "commentary": rows("error_named", ours=0.38, shuffled=0.17, pose_nearest_neighbour=0.76, video_nearest_neighbour=0.44)
        | {"expert's remark (ceiling)": {"error_named": {"value": 1.0}}},
        "retrieval": rows("recall@5", ours=0.71, constant=0.44, video_nearest_neighbour=0.21)
        | {"pose nearest neighbour (ceiling)": {"recall@5": {"value": 0.89}}, "ours without the prior (raw likelihood)": {"recall@5": {"value": 0.9}}},
        "pose": rows("pa_mpjpe", ours=50.2, mean_pose=76.0, learner=60.0, unmeasured=None)
        | {"tokenizer round trip (floor)": {"pa_mpjpe": {"value": 18.0}}},
    },
    "synthetic_data": True, "video_encoder": None, "items": 72, "different_remarks": 31,
}  # fmt: skip


def test_the_strongest_rows_stand_beside_each_number() -> None:
    named, found, corrected = headline(EVALUATION)
    assert (named.value, found.value, corrected.value) == ("38%", "71%", "50 mm")
    rivals = "pose nearest neighbour 76%, video nearest neighbour 44%"
    assert named.beside == f"of clips. Without a model: {rivals}; our own texts shuffled 17%"
    rivals = "constant 44%, video nearest neighbour 21%, chance 26%"
    ceiling = "ceiling (pairs are mined by pose) 89%"
    assert found.beside == f"among 18 clips. Without a model: {rivals}; {ceiling}"
    assert corrected.beside == "Without a model: learner 60, mean pose 76; tokenizer's floor 18 mm"
    assert strongest(EVALUATION["tables"]["pose"], "pa_mpjpe", higher=False) == [("learner", 60.0), ("mean pose", 76.0)]
    assert headline({"summary": {}, "tables": {}}) == []


def test_model_data_duration_and_different_remarks_are_said(tmp_path: Path) -> None:
    coach = {"language_model": "/somebody/home/SmolLM2", "mode": "lora"}
    (tmp_path / "run_config.json").write_text(json.dumps({"coach": coach, "training": {"learning_rate": 1e-3}}))
    (tmp_path / "trainer_state.json").write_text('{"global_step": 160}')
    assert facts(EVALUATION, tmp_path) == {
        "model": "SmolLM2, lora",
        "training": "160 steps, learning rate 0.001",
        "data": "synthetic (miniature)",
        "video encoder": "none: poses alone",
        "remarks": "31 different ones about 72 clips",
        "duration": "14 minutes from the first step to this page",
    }
    assert "model" not in facts(EVALUATION, None)


@pytest.fixture
def page(tmp_path: Path, tiny: Path) -> Path:
    """A report with two clips whose remarks are long."""
    from mm_eval.pages.report import write_report

    pose = [[[0.1 * joint, 0.0, 0.05 * joint, 1.0] for joint in range(17)]] * 3
    clip = {
        "clip_id": "c",
        "skill": "Novice",
        "seconds": [0, 1],
        "ego": "/" + "long/" * 60 + "ego.mp4",
        "exo": "/" + "x" * 200 + ".mp4",
    }
    example = {
        "task": "Kick", "tuple_id": "t/1", "expert_remark": "Bend.", "our_remark": "w" * 200, "learner": clip, "expert": clip, "retrieved": clip,
        "retrieved_is_positive": True, "rank": 1, "gallery_size": 3, "pa_mpjpe_mm": 50.0, "learner_pa_mpjpe_mm": 60.0,
        "poses": {"learner": pose, "generated": pose, "expert": pose},
    }  # fmt: skip
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "examples.json").write_text(json.dumps([example, example]))
    evaluation = EVALUATION | {
        "tables": {}, "summary": {}, "notes": [], "takes": 2, "participants": ["a"], "participants_also_in_training": [],
        "chance": {}, "gallery": "",
    }  # fmt: skip
    write_report(tmp_path / "report", folder, evaluation, None, None)
    return tmp_path / "report" / "index.html"


def test_the_page_fits_a_phone_and_draws_what_is_off_the_screen(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 390, "height": 200})
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") == 390
        drawn = "[...document.querySelectorAll('canvas')].map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v))"
        assert view.evaluate(drawn) == [True, True]
        browser.close()
