"""ExpertAF's Table 1: baselines, ablations and their table."""

import dataclasses
import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mm_adapter.evaluation.predictions import Backends, predict, read_predictions
from mm_adapter.inference.ranking import Gallery, rank_by_demonstration, rank_by_remark
from tiny_coach import FRAMES, TinyCoach, collator, dataset, perturb, poses_after

from mm_adapter.cli import main as mm_coach
from mm_adapter.evaluation.matcher import Matcher, MatcherConfig, MatcherInputs, load_matcher, save_matcher
from mm_adapter.evaluation.neighbours import Space, feature_space, matched_space, predict_by_neighbours
from mm_adapter.evaluation.table import NotRun, flags_of, read_variants, run_training
from mm_adapter.inference.coach import Coach
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.tasks.expertaf.tables import System, comparison_table
from mm_data.conversation import Conversation
from mm_data.folders import stretches_of
from mm_data.tasks.coaching import commentary_prompt, training_conversation
from mm_data.tuples.store import clips_of
from mm_eval.tables import to_markdown
from mm_tokenizers.coordinates import poses_to_text, text_to_poses

# --- what a clip looks like ------------------------------------------------------------------------------------------


def with_clip(coach: TinyCoach, **changes) -> CoachProcessor:
    return CoachProcessor(coach.processor.tokenizer, dataclasses.replace(coach.processor.config, **changes))


def test_coordinates_survive_text(coach: TinyCoach) -> None:
    joints = JointStore.read(coach.folder / "tuples", FRAMES)
    clip = coach.train[0].learner.clip_id
    text = poses_to_text(joints[clip])
    np.testing.assert_allclose(text_to_poses(text, FRAMES), joints[clip][..., :3], atol=0.0051)
    for wrong in ("", text + "\n1 2 3", text.replace(",", ";", 1), text.replace(" ", "  x ", 1), text[:-3]):
        with pytest.raises(ValueError, match=r"expected"):
            text_to_poses(wrong, FRAMES)


@pytest.mark.parametrize(("changes", "shown"), [({"pose_form": "none"}, (0, 1, 1)), ({"views": ("exo",)}, (1, 0, 1))])
def test_a_clip_shows_what_it_should(coach: TinyCoach, changes: dict, shown: tuple[int, int, int]) -> None:
    processor, item = with_clip(coach, **changes), coach.train[0]
    encoded = processor.encode(training_conversation(item, "commentary"), coach.codes.__getitem__)
    first = processor.vocabulary.first_id
    ids = np.array(encoded.input_ids)
    poses = (ids >= first) & (ids < first + processor.vocabulary.size)
    assert poses.sum() == shown[0] * processor.vocabulary.clip_length
    videos = [int((ids == first + processor.vocabulary.size + view).sum()) for view in (0, 1)]
    assert videos == [clips * processor.config.video_tokens for clips in shown[1:]]
    answer = processor.encode(training_conversation(item, "demonstration"), coach.codes.__getitem__)
    assert sum(label >= first for label in answer.labels) == processor.vocabulary.clip_length, (
        "demonstrated all the same"
    )


def test_clips_that_show_nothing_are_refused(coach: TinyCoach) -> None:
    for changes, message in (
        ({"pose_form": "none", "video_tokens": 0}, "Neither poses nor video"),
        ({"views": ("side",)}, "Unknown views"),
        ({"pose_form": "drawn"}, "Unknown pose form 'drawn'"),
    ):
        with pytest.raises(ValueError, match=message):
            with_clip(coach, **changes)


def test_a_coach_that_writes_coordinates_is_read_strictly(coach: TinyCoach, monkeypatch: pytest.MonkeyPatch) -> None:
    joints = JointStore.read(coach.folder / "tuples", FRAMES)
    coach.model.config.pose_form = "text"
    asked = Coach(coach.model.eval(), with_clip(coach, pose_form="text"), joints, coach.features)
    learners = [t.learner.clip_id for t in coach.test[:2]]
    assert poses_after(asked, learners, ["Bend.", "Look up."]) == [None, None], "random words are no poses"
    right = poses_to_text(joints[learners[0]])
    monkeypatch.setattr(asked, "_words", lambda samples, limit, sampling: iter([right] * len(samples)))
    shown = poses_after(asked, learners[:1], ["Bend."])[0]
    assert shown is not None and shown.shape == (FRAMES, 17, 3)
    coach.processor = asked.processor
    data = dataset(coach, ["dialogue"], count=2, poses=joints, max_length=2048)
    labels = [label for label in data.encode(0).labels if label != -100]
    assert poses_to_text(joints[coach.train[data.items[0][1]].expert.clip_id]) in asked.processor.tokenizer.decode(
        labels
    )


# --- ranking and predicting ------------------------------------------------------------------------------------------


def test_ranking_by_remark_is_the_remarks_likelihood_for_each_clip(coach: TinyCoach) -> None:
    perturb(coach)
    asked = Coach(coach.model.eval(), coach.processor, coach.codes, coach.features)
    pool = [t.expert.clip_id for t in coach.test[:5]]
    found = rank_by_remark(asked, "unused", "Bend the knees.", pool, batch_size=3)
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "Bend the knees."}]}]
    for clip, value in zip(pool, found.tolist(), strict=True):
        encoded = coach.processor.encode(
            Conversation(clip, [*commentary_prompt(clip), *answer], (2,)), coach.codes.__getitem__
        )
        features = {f"{view}_features": torch.from_numpy(np.stack([coach.features.get(clip, view)])).float() for view in ("ego", "exo")}  # type: ignore[union-attr]  # fmt: skip
        loss = coach.model(
            input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels]), **features
        ).loss
        assert value == pytest.approx(-loss.item(), abs=1e-4)


def test_privileged_and_separate_coaches(coach: TinyCoach, tiny: Path, tmp_path: Path) -> None:
    perturb(coach)
    asked = Coach(coach.model.eval(), coach.processor, coach.codes, coach.features)
    tuples = coach.test[:3]
    gallery = Gallery.of(tuples, [], within_activity=False)
    rank, shown = partial(rank_by_demonstration, asked), {t.tuple_id: t.summary for t in tuples}
    for name, backends in (
        ("comment", Backends(asked, None, partial(rank_by_remark, asked))),
        ("full", Backends(asked, asked, rank, shown, privileged=True)),
        ("plain", Backends(asked, asked, rank)),
    ):
        predict(backends, tuples, gallery, coach.train, tmp_path / name)
    without, full, plain = (read_predictions(tmp_path / name, tuples) for name in ("comment", "full", "plain"))
    assert not any("pose_codes" in record for record in without)
    assert [r["commentary"] for r in without] == [r["commentary"] for r in plain]
    assert [r["scores"] for r in full] != [r["scores"] for r in plain], "another remark, another ranking"


def test_nearest_neighbours_answer_from_the_training_set(coach: TinyCoach) -> None:
    assert coach.features is not None
    clips = clips_of(coach.train + coach.test)
    joints = JointStore(stretches_of(clips, coach.folder / "tuples"), FRAMES)
    space = feature_space(coach.features, list(clips), coach.train)
    pool = [t.expert.clip_id for t in coach.test[:4]]
    (record,) = predict_by_neighbours(space, coach.train[3:4], [pool], [pool[0]], coach.train, joints)
    twins = [
        t
        for t in coach.train
        if np.allclose(space.clips[t.learner.clip_id], space.clips[coach.train[3].learner.clip_id])
    ]
    assert record["commentary"] in {t.summary for t in twins} and set(record["scores"]) == set(pool)
    turned = Space(space.clips, -space.remark_keys, space.demonstration_keys)
    (other,) = predict_by_neighbours(turned, coach.train[3:4], [pool], [pool[0]], coach.train, joints)
    assert other["commentary"] not in {t.summary for t in twins} and other["pose_joints"] == record["pose_joints"]


def test_the_matcher_learns_what_belongs_together(coach: TinyCoach, tmp_path: Path) -> None:
    """Remarks and demonstrations that are drawn from the learner's own features can be found again."""
    assert coach.features is not None
    by_take = {t.learner.take_uid: t for t in coach.train}  # windows of one take are nearly the same clip
    tuples = [dataclasses.replace(t, expert=t.learner) for t in list(by_take.values())[:16]]
    embeddings = coach.model.language_model.get_input_embeddings().weight.detach()
    inputs = MatcherInputs(tuples, coach.features, coach.processor.tokenizer, embeddings)
    video = coach.features.manifest
    torch.manual_seed(0)
    matcher = Matcher(MatcherConfig(video.width, tuple(video.views), embeddings.shape[1], 64, "e", "l", "f"))
    batch = inputs.collate(range(len(tuples)))
    optimizer = torch.optim.Adam(matcher.parameters(), 3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = matcher(**batch)["loss"]
        loss.backward()
        optimizer.step()
    save_matcher(matcher, tmp_path)
    opened = load_matcher(tmp_path)
    space = matched_space(opened, [t.learner.clip_id for t in tuples], inputs)
    queries = np.stack([space.clips[t.learner.clip_id] for t in tuples])
    assert (np.argmax(queries @ space.demonstration_keys.T, axis=1) == np.arange(len(tuples))).all()
    found = [tuples[i].summary for i in np.argmax(queries @ space.remark_keys.T, axis=1)]
    assert np.mean([a == t.summary for a, t in zip(found, tuples, strict=True)]) > 0.8


# --- table -----------------------------------------------------------------------------------------------------------


def test_the_shipped_rows_are_those_of_the_paper() -> None:
    variants = read_variants(Path(__file__).parents[1] / "recipes" / "configs" / "expertaf" / "table1.yaml")
    assert {v.published for v in variants if v.published} == {
        "InternVideo2-NN", "InternVideo2-FT", "LLaVA-FT", "LLaVA-FT w/ pose", "ExpertAF", "ExpertAF w/o video",
        "ExpertAF w/o pose", "w/o alignment", "w/ global pose", "ExpertAF w/ full-sup",
    }  # fmt: skip
    assert len({v.folder for v in variants}) == len(variants)


def test_unknown_keys_of_a_row_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text("- {row: mine, trian: {mode: lora}}\n")
    with pytest.raises(ValueError, match=r"row 'mine': unknown keys \['trian'\]"):
        read_variants(tmp_path / "rows.yaml")


@pytest.mark.parametrize("key", ["train", "demonstrator"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{mod: lora}", "has settings that recipes/expertaf.py does not know: mod. Did you mean mode?"),
        ("--mode lora", "has to map settings to values, such as {mode: lora}, not '--mode lora'."),
        ("[mode, lora]", "has to map settings to values, such as {mode: lora}, not ['mode', 'lora']."),
    ],
)
def test_settings_that_the_recipe_would_refuse_are_refused_before_anything_trains(
    tmp_path: Path, key: str, settings: str, message: str
) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(f"- {{row: mine, {key}: {settings}}}\n")
    with pytest.raises(ValueError) as refused:
        read_variants(path)
    assert str(refused.value) == f"{path}, row 'mine': {key} {message}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{row: mine, recipe: nae}", "row 'mine': recipe is 'nae'; use expertaf or matcher."),
        (
            "{row: mine, recipe: matcher, train: {quantization: nf4}}",
            "row 'mine': train has settings that recipes/matcher.py does not know: quantization.",
        ),
    ],
)
def test_a_row_is_trained_by_a_recipe_that_knows_its_settings(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(f"- {row}\n")
    with pytest.raises(ValueError) as refused:
        read_variants(path)
    assert str(refused.value) == f"{path}, {message}"


def test_settings_of_a_row_are_the_recipes_flags() -> None:
    settings = {"formats": ["commentary", "demonstration"], "expert_drop": 0.0, "bf16": True, "learning_rate": "1e-3"}
    flags = "--formats commentary demonstration --expert_drop 0.0 --bf16 True --learning_rate 1e-3"
    assert flags_of(settings) == flags.split()


def test_one_command_trains_scores_and_writes_the_table(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {
        "language_model": "language_model", "tuples": "tuples", "pose_codes": "pose_codes", "features": "features",
        "pose_tokenizer": "pose_tokenizer/tokenizer",
    }  # fmt: skip
    command = [
        "table",
        "expertaf",
        str(tmp_path),
        "--config",
        "recipes/configs/expertaf/tiny.yaml",
        "--max-tuples",
        "6",
    ]
    command += ["--set", "max_steps=2", *(f"{name}={tiny / path}" for name, path in inputs.items())]
    monkeypatch.chdir(Path(__file__).parents[1])
    command += ["--rows", "InternVideo2-NN", "w/ global pose", "w/o alignment"]
    assert mm_coach(command) == 1, "one row lacks its inputs"
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("Synthetic data.") and "Published, different data" in text
    assert "not run: its clips have no features" in text and "chance" in text
    rows = {row["name"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    pose = rows["w/ global pose"]["result"]["tables"]["pose"]["ours"]["pa_mpjpe"]
    assert pose["interval"] is not None and "M parameters" in rows["w/ global pose"]["cost"]
    trained = (tmp_path / "w_global_pose" / "training" / "trainer_state.json").stat().st_mtime_ns
    assert mm_coach([*command[:-1], "ego only", "--collect"]) == 1
    assert trained == (tmp_path / "w_global_pose" / "training" / "trainer_state.json").stat().st_mtime_ns
    assert "not run: was not run" in (tmp_path / "table.md").read_text()
    capsys.readouterr()


def test_a_row_that_fails_is_named_with_its_reason_and_the_others_go_on(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any working directory, and with nothing of the environment in PATH."""
    config = Path(__file__).parents[1] / "recipes" / "configs" / "expertaf" / "tiny.yaml"
    rows = tmp_path / "rows.yaml"
    rows.write_text(
        "- {row: too short, train: {max_length: 5}}\n- {row: mappers, train: {mode: mappers, max_steps: 1}}\n"
    )
    inputs = {
        "language_model": "language_model", "tuples": "tuples", "pose_codes": "pose_codes", "features": "features",
        "pose_tokenizer": "pose_tokenizer/tokenizer",
    }  # fmt: skip
    command = ["table", "expertaf", "out", "--config", str(config), "--variants", str(rows), "--max-tuples", "4"]
    command += ["--set", "max_steps=1", *(f"{name}={tiny / path}" for name, path in inputs.items())]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert mm_coach(command) == 1
    short, mappers = json.loads((tmp_path / "out" / "table.json").read_text())
    assert short["result"] is None and mappers["result"] is not None
    assert re.fullmatch(
        r"not run: its training failed with status 1: expertaf\.py: Sample .* has \d+ tokens, more than max_length 5\. .*",
        short["note"],
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit('Stopped. Nothing done.')", "status 1: Stopped. Nothing done."),
        ("import sys; sys.exit(7)", "status 7: without a message"),
        ("class TrainingDiverged(RuntimeError): ...\nraise TrainingDiverged('loss of step 1 is nan')", "status 1: TrainingDiverged: loss of step 1 is nan"),
        ("import sys; sys.stderr.buffer.write(b'\\xff broken'); sys.exit(2)", "status 2: \ufffd broken"),
        ("print('Error: of the output'); raise KeyError('x')", "KeyError: 'x'"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', 'raise OSError(28, \"No space left\")'], check=True)", "OSError: [Errno 28] No space left"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_what_its_process_said_last(code: str, why: str) -> None:
    with pytest.raises(NotRun) as reason:
        run_training([sys.executable, "-c", code])
    assert str(reason.value).endswith(why)


def test_values_that_are_missing_or_failed_are_marked() -> None:
    def metric(value: float, failed: int = 0) -> dict:
        return {
            "value": value, "per_item": None, "n": 3, "n_failed": failed, "scale": "", "signature": "s",
            "interval": [value, value], "aggregate": "mean", "rows": None,
        }  # fmt: skip

    tables = {
        "commentary": {"ours": {"rouge_l": metric(0.5)}},
        "retrieval": {"ours": {"recall@5": metric(0.25)}},
        "pose": {"ours": {"pa_mpjpe": metric(float("nan"), 3)}},
    }
    result = {
        "synthetic_data": False, "items": 3, "takes": 2, "participants": ["ann"], "gallery": "all expert clips", "tables": tables,
        "chance": {"recall@5": 0.1}, "summary": {"retrieval/gallery_size": 50.0},
    }  # fmt: skip
    text = to_markdown(comparison_table([System("mine", result, "1 min", "a note")], ["ExpertAF"]))
    assert "| mine [1] | 50.0 (50.0–50.0) | 25.0 (25.0–25.0) | –, 3 failed | 1 min |" in text and "- [1] a note" in text
    assert "| ExpertAF | 44.9 | 49.6 | 54.6 | 19.1 | 158 | 135 |" in text


def test_a_batch_with_one_view_has_one_view(coach: TinyCoach) -> None:
    coach.processor = with_clip(coach, views=("exo",))
    data = dataset(coach, ["commentary"], count=2, expert_drop=1.0)
    batch = collator(coach)([data[0], data[1]])
    assert "exo_features" in batch and "ego_features" not in batch
