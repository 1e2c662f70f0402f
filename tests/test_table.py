"""ExpertAF's Table 1: baselines, ablations and their table."""

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coach import FRAMES, TinyCoach, collator, dataset, perturb, poses_after

from mm_adapter.cli import main as mm_coach
from mm_adapter.evaluation.coach_system import CoachSystem, PairedAnswerer
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.matcher import Matcher, MatcherConfig, MatcherInputs, load_matcher, save_matcher
from mm_adapter.evaluation.neighbours import NearestNeighbours, nearest_items
from mm_adapter.evaluation.table import NotRun, flags_of, read_variants, run_training
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.experts import ranker_of
from mm_adapter.inference.protocols import Answerer
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.tasks.expertaf import EXPERTAF
from mm_data.conversation import Conversation
from mm_data.tasks import Answer
from mm_data.tasks.coaching import commentary_prompt, training_conversation
from mm_data.tuples.store import item_of
from mm_eval.statistics.metric import Metric
from mm_eval.statistics.storage import read_metrics
from mm_eval.suites.suite import Run
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
    asked.can_demonstrate = False
    pool = [t.expert.clip_id for t in coach.test[:5]]
    found = ranker_of(asked)("unused", "Bend the knees.", pool)
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "Bend the knees."}]}]
    for clip, value in zip(pool, found, strict=True):
        encoded = coach.processor.encode(
            Conversation(clip, [*commentary_prompt(clip), *answer], (2,)), coach.codes.__getitem__
        )
        features = {f"{view}_features": torch.from_numpy(np.stack([coach.features.get(clip, view)])).float() for view in ("ego", "exo")}  # type: ignore[union-attr]  # fmt: skip
        loss = coach.model(
            input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels]), **features
        ).loss
        assert value == pytest.approx(-loss.item(), abs=1e-4)


def items_of(coach: TinyCoach, limit: int = 3) -> ItemSet:
    return ItemSet.open(coach.folder / "tuples", coach.features, limit, FRAMES)


def system_of(coach: TinyCoach, answerer: Answerer, **switches: Any) -> CoachSystem:
    return CoachSystem(answerer, "hash", "transformers", coach.codes, [{}], {"expertaf": {}}, switches)


def nobody(what: str, done: int, total: int) -> None:
    """Watches nothing."""


def test_privileged_and_separate_coaches(coach: TinyCoach, tmp_path: Path) -> None:
    perturb(coach)
    asked, mute = (
        Coach(coach.model.eval(), coach.processor, coach.codes, coach.features, coach.pose_tokenizer) for _ in range(2)
    )
    mute.can_demonstrate = False
    items = items_of(coach)

    def answers(system: CoachSystem) -> dict[str, dict[str, Answer]]:
        form, _ = system.form(items)
        found = system.answer(items, form, tmp_path / f"{len([*tmp_path.iterdir()])}", nobody)
        assert found is not None
        return found

    without, full, plain = (
        answers(system)
        for system in (system_of(coach, mute), system_of(coach, asked, privileged=True), system_of(coach, asked))
    )
    assert all(by["ours"].poses is None and by["ours"].unread is None for by in without.values()), "never asked for"
    assert [by["ours"].text for by in without.values()] == [by["ours"].text for by in plain.values()]
    assert all(len(by["ours"].poses or []) == FRAMES for by in plain.values())
    raw = "ours, raw likelihood"
    assert [by[raw].ranking for by in full.values()] != [by[raw].ranking for by in plain.values()], "another remark"
    assert [by[raw].ranking for by in without.values()] != [by[raw].ranking for by in plain.values()], "by the remark"
    pair = answers(system_of(coach, PairedAnswerer(mute, asked)))
    assert pair == plain, "one comments, the other finds and shows"
    form, _ = system_of(coach, asked, privileged=True).form(items)
    assert form.inputs == ["gallery: of the learner's activity", "the expert's clip and remark (leak: tells the truth)"]


def test_nearest_neighbours_answer_from_the_training_set(coach: TinyCoach, tmp_path: Path) -> None:
    items, by_remark = items_of(coach), {item.references[0] for item in items_of(coach).training}
    for kind in ("video", "pose"):
        system = NearestNeighbours(kind, {})
        form, _ = system.form(items)
        nearest, lacking = nearest_items(items.test, items.training, items.joints, items.store)
        assert lacking == [] and all(set(found) == {"video", "pose"} for found in nearest.values())
        training = {item.item_id: item for item in items.training}
        for item in items.test:
            found = system.answer(items, form, tmp_path, nobody)[item.item_id]["ours"]
            neighbour = training[nearest[item.item_id][kind]]
            assert neighbour.expert is not None and found.ranking is not None
            assert found.text == neighbour.references[0] and found.text in by_remark
            assert list(found.ranking) == form.candidates(item)
            np.testing.assert_array_equal(np.array(found.poses), items.joints[neighbour.expert.clip_id][..., :3])
    itself = dataclasses.replace(items, test=items.training[:4])
    nearest, _ = nearest_items(itself.test, itself.training, itself.joints, itself.store)
    for item in itself.test:
        for kind in ("video", "pose"):
            twin = next(other for other in itself.training if other.item_id == nearest[item.item_id][kind])
            assert twin.clip.clip_id == item.clip.clip_id or kind == "video"
    with pytest.raises(ValueError, match=r"Nearest neighbours by video cannot answer .*: --features"):
        NearestNeighbours("video", {}).answer(dataclasses.replace(items, store=None), form, tmp_path, nobody)


def test_the_matcher_learns_what_belongs_together(coach: TinyCoach, tmp_path: Path) -> None:
    """Remarks and demonstrations that are drawn from the learner's own features can be found again."""
    assert coach.features is not None
    by_take = {t.learner.take_uid: t for t in coach.train}  # windows of one take are nearly the same clip
    tuples = [dataclasses.replace(t, expert=t.learner) for t in list(by_take.values())[:16]]
    embeddings = coach.model.language_model.get_input_embeddings().weight.detach()
    inputs = MatcherInputs([item_of(t, True) for t in tuples], coach.features, coach.processor.tokenizer, embeddings)
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
    clips = inputs.clips([t.learner.clip_id for t in tuples], opened.architecture.views)
    with torch.no_grad():
        queries, remarks = opened.embed_clips(clips).numpy(), opened.embed_remarks(inputs.words).numpy()
    assert (np.argmax(queries @ queries.T, axis=1) == np.arange(len(tuples))).all(), "each finds its own demonstration"
    found = [tuples[i].summary for i in np.argmax(queries @ remarks.T, axis=1)]
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
        "--max-items",
        "6",
    ]
    command += ["--set", "max_steps=2", *(f"{name}={tiny / path}" for name, path in inputs.items())]
    monkeypatch.chdir(Path(__file__).parents[1])
    command += ["--rows", "InternVideo2-NN", "w/ global pose", "w/o alignment"]
    assert mm_coach(command) == 1, "one row lacks its inputs"
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("Synthetic data.") and "Published, different data" in text
    assert (
        "w/o alignment was not run: its inputs cannot be made: its clips have no features; name their encoder" in text
    )
    assert "chance" in text and re.search(r"\| w/ global pose \|.* M parameters; answering \d+\.\d min \|", text)
    pose = read_metrics(tmp_path / "w_global_pose" / "answers")["tables"]["pose"]["ours"]["pa_mpjpe"]
    assert pose["interval"] is not None
    trained = (tmp_path / "w_global_pose" / "training" / "trainer_state.json").stat().st_mtime_ns
    assert mm_coach([*command[:-1], "ego only", "--collect"]) == 1
    assert trained == (tmp_path / "w_global_pose" / "training" / "trainer_state.json").stat().st_mtime_ns
    assert "ego only was not run: was not run" in (tmp_path / "table.md").read_text()
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
    command = ["table", "expertaf", "out", "--config", str(config), "--variants", str(rows), "--max-items", "4"]
    command += ["--set", "max_steps=1", *(f"{name}={tiny / path}" for name, path in inputs.items())]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert mm_coach(command) == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert re.search(r"^\| mappers \|", text, re.M) and not re.search(r"^\| too short", text, re.M)
    assert re.search(
        r"too short was not run: its training failed with status 1: expertaf\.py: Sample .* has \d+ tokens, more than max_length 5\. ",
        text,
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
    def metric(value: float, failed: int = 0) -> Metric:
        return Metric(value, None, 3, failed, "", "s", None if value != value else (value, value))

    tables = {
        "commentary": {"ours": {"rouge_l": metric(0.5)}},
        "retrieval": {"ours": {"recall@5": metric(0.25)}},
        "pose": {"ours": {"pa_mpjpe": metric(float("nan"), 3)}},
    }
    run = Run("mine", [], tables, {"chance": {"recall@5": 0.1}, "gallery_size": 50.0}, [], cost="1 min")
    text = to_markdown(EXPERTAF.suite.table([run], ["a note"], ["ExpertAF"]))
    assert "| mine | 50.0 (50.0–50.0) | 25.0 (25.0–25.0) | –, 3 failed | 1 min |" in text and "- a note" in text
    assert "| ExpertAF | 44.9 | 49.6 | 54.6 | 19.1 | 158 | 135 |" in text


def test_a_batch_with_one_view_has_one_view(coach: TinyCoach) -> None:
    coach.processor = with_clip(coach, views=("exo",))
    data = dataset(coach, ["commentary"], count=2, expert_drop=1.0)
    batch = collator(coach)([data[0], data[1]])
    assert "exo_features" in batch and "ego_features" not in batch
