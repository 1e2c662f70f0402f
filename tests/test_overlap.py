"""People, takes and clips on both sides: counted over everything that was trained on, and printed by every table."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_coach import TinyCoach

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main
from mm_adapter.tasks.desccoach import DESCCOACH
from mm_adapter.tasks.desccoach.miniature import add_commentary
from mm_adapter.tasks.known import suite_of
from mm_adapter.tasks.nae import NAE
from mm_adapter.training.data import trained_on
from mm_data.items.store import read_items
from mm_data.records import VideoClip
from mm_data.tasks import Answer, TaskItem
from mm_data.tasks.folder import build_task_folder, shared_sides
from mm_data.tasks.overlap import Material, material_of_items, overlap
from mm_eval.answers.test_sets import TRAINING, About, TestItem, read_answers, write_answers
from mm_eval.suites.runs import open_run, runs_table
from mm_eval.tables import to_markdown


def item(name: str, split: str, clip: VideoClip, person: str | None, cluster: str = "c") -> TaskItem:
    return TaskItem(name, split, cluster, "x", clip, Answer("t"), ["t"], person=person)


def clip(take: str, start: float, stop: float) -> VideoClip:
    return VideoClip(f"{take}:{start:g}-{stop:g}", {"exo": "v.mp4"}, start, stop)


def test_people_takes_and_overlapping_clips_are_counted() -> None:
    trained = material_of_items(
        "desccoach", [item("a", "train", clip("t1", 0, 4), "p1"), item("b", "train", clip("t2", 0, 4), "p2")]
    )
    tested = [
        item("c", "test", clip("t1", 3, 6), "p1"),
        item("d", "test", clip("t1", 4, 8), "p1"),  # begins where the trained one ends
        item("e", "test", clip("t3", 0, 4), "p2"),
        item("f", "test", clip("t4", 0, 4), "p4"),
    ]
    found = overlap(trained, material_of_items("desccoach", tested))
    assert (found.people, found.takes, found.clips) == (["p1", "p2"], ["t1"], [("t1", 3, 6)])
    assert found.sentence() == "2 of 3 test participants, 1 of 3 takes and 1 of 4 clips also in training."
    assert overlap(Material(), material_of_items("x", tested)).sentence().startswith("0 of 3 test participants, 0 of 3")
    noted = shared_sides("desccoach", [*tested, *[item("a", "train", clip("t1", 0, 4), "p1")]]).noted
    assert noted == {
        "test items of people that are in training too": 2,
        "test items of takes that are in training too": 2,
        "test items of clips that are in training too": 1,
    }


def test_unknown_people_are_said_to_be_unknown() -> None:
    whole = VideoClip("1_7", {"exo": "1_7.mp4"}, 0, 2)
    trained = material_of_items("nae", [item("1_6", "train", replace(whole, clip_id="1_6"), None, "1")])
    tested = material_of_items("nae", [item("1_7", "test", whole, None, "1"), item("2_7", "test", whole, None, "2")])
    assert (
        overlap(trained, tested).sentence()
        == "Test participants unknown, 1 of 2 takes and 0 of 1 clips also in training."
    )
    other = material_of_items("own", [item("1_7", "test", whole, None, "1")])
    assert overlap(trained, other).takes == [], "broadcast 1 of one data set is not take 1 of another"
    known = material_of_items("desccoach", [item("a", "test", clip("t", 0, 1), "p")])
    said = overlap(trained | known, known, ["mix (FileNotFoundError)"]).sentence()
    assert said == (
        "1 of 1 test participants, 1 of 1 takes and 1 of 1 clips also in training. Who 1 of the training clips show is unknown. "
        "Not counted, because it could not be read: mix (FileNotFoundError)."
    )
    mixed = overlap(Material(), known | tested).sentence()
    assert mixed.startswith("0 of 1 test participants (1 clips are of unknown people), 0 of 3 takes")


@pytest.fixture(scope="module")
def coaching(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of DescCoach about the takes that ExpertAF's tuples are made of."""
    root = tmp_path_factory.mktemp("coaching")
    release = root / "release"
    release.mkdir()
    for path in (tiny / "miniature").iterdir():
        (release / path.name).symlink_to(path)
    (release / "annotations").unlink()
    shutil.copytree(tiny / "miniature" / "annotations", release / "annotations")
    add_commentary(release, 48, seed=0)
    manifest = build_task_folder(DESCCOACH, release, root / "items")
    train, test = ({i.person for i in read_items(root / "items", split)} for split in ("train", "test"))
    assert None not in train | test
    compared = next(stage for stage in manifest.funnel if stage["stage"] == "compare the splits")
    by_hand = sum(i.person in train for i in read_items(root / "items", "test"))
    assert compared["noted"].get("test items of people that are in training too", 0) == by_hand
    return root / "items"


def test_every_part_of_a_mixture_counts(tiny: Path, coaching: Path, tmp_path: Path) -> None:
    tuples, items = read_items(tiny / "tuples", "train"), read_items(coaching, "train")
    parts = [{"items": str(coaching), "options": {"hint": True}}, {"tuples": str(tiny / "tuples"), "weight": 0.5}]
    earlier_runs = [f"{coaching},hint=true", f"{tiny / 'tuples'},pose_codes={tiny / 'pose_codes'}"]
    alone = {"coach": {"tuples": str(tiny / "tuples"), "mix": []}}
    assert trained_on(alone) == (material_of_items("expertaf", tuples), [])
    assert trained_on({"coach": {"tuples": str(tiny / "tuples"), "max_train_tuples": 3}})[0] == material_of_items(
        "expertaf", tuples[:3]
    )
    everything = material_of_items("expertaf", tuples) | material_of_items("desccoach", items)
    for mix in (parts, earlier_runs):
        assert trained_on({"coach": {"tuples": str(tiny / "tuples"), "mix": mix[:1]}}) == (everything, [])
        assert trained_on({"coach": {"items": str(coaching), "mix": mix[1:]}}) == (everything, [])
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "run_config.json").write_text(
        json.dumps({"coach": {"items": str(coaching), "start_from": None}})
    )
    later = {"coach": {"tuples": str(tiny / "tuples"), "start_from": str(tmp_path / "earlier")}}
    assert trained_on(later) == (everything, []), "what an earlier stage was trained on"
    preferred = {"coach": {"items": str(coaching)}, "preferences": {"tuples": str(tiny / "tuples")}}
    assert trained_on(preferred) == (everything, [])
    gone = {
        "coach": {"tuples": str(tiny / "tuples"), "mix": [str(tmp_path / "gone")], "start_from": str(tmp_path / "x")}
    }
    material, unread = trained_on(gone)
    assert material == material_of_items("expertaf", tuples)
    assert unread == [f"{tmp_path / 'gone'} (FileNotFoundError)", f"{tmp_path / 'x'} (no record)"]
    assert trained_on({}) == (Material(), ["a run without a record of its data"])


def test_an_evaluation_counts_what_the_mixture_shared(
    tiny: Path, coaching: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ExpertAF's own test participants, trained on as takes of DescCoach."""
    coach = TinyCoach(tiny)
    record = {"coach": {"tuples": str(tiny / "tuples"), "mix": [{"items": str(coaching)}]}, "formats": ["commentary"]}
    folder = tmp_path / "coach"
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, record).save_pretrained(folder)
    inputs = ["--features", tiny / "features", "--codes", tiny / "pose_codes", "--max-items", "4"]
    assert main(["answer", *map(str, (folder, tiny / "tuples", tmp_path / "out", *inputs))]) == 0
    asked = {item.item_id for item in read_answers(tmp_path / "out")}
    tested = material_of_items("expertaf", [i for i in read_items(tiny / "tuples", "test") if i.item_id in asked])
    trained = {i.person for i in read_items(coaching, "train")}
    trained |= material_of_items("expertaf", read_items(tiny / "tuples", "train")).people
    shared = sorted(tested.people & trained)
    assert shared, "the miniature's release splits by take"
    sentence = About.read(tmp_path / "out").notes[0]
    assert sentence.startswith(f"{len(shared)} of {len(tested.people)} test participants, ")
    suite = suite_of([tmp_path / "out"])
    other = open_run(f"mine={tmp_path / 'out'}", suite)
    assert sentence in to_markdown(runs_table([other], suite))
    assert f"mine: {sentence}" in to_markdown(runs_table([replace(other, name="silent", notes=[]), other], suite))


def test_a_run_without_a_coach_of_ours_counts_by_its_training_items(tmp_path: Path) -> None:
    def row(name: str, cluster: str, person: str | None) -> TestItem:
        return TestItem(name, cluster, "x", Answer("A text.", 1.0), {"ours": Answer("A text.", 1.0)}, person=person)

    write_answers(tmp_path, [row("a", "t1", "p1"), row("b", "t2", "p2"), row("c", "t3", None)])
    write_answers(tmp_path, [row("d", "t2", "p1"), row("e", "t9", "p9")], TRAINING)
    text = to_markdown(runs_table([open_run(str(tmp_path), NAE.suite)], NAE.suite))
    assert (
        "1 of 2 test participants (1 clips are of unknown people), 1 of 3 takes and 0 of 3 clips also in training."
        in text
    )
