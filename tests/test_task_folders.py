"""Folders of task items made by hand: what protects features of other items, and the score of a take."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mm_adapter.tasks import Task
from mm_adapter.tasks.desccoach.files import take_ratings
from mm_data.items.item import TaskItem
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_items
from mm_data.records import Rating, Source, VideoClip
from mm_data.tasks import Answer
from mm_data.tasks.folder import DERIVED, build_task_folder
from mm_data.tasks.task import TaskData


@dataclass(frozen=True)
class NoOptions:
    """No switches."""


def task(items: list[TaskItem]) -> Task:
    def read(root: Path) -> TaskData:
        return TaskData(items, {"highest": 1.0}, [], root, False)

    return Task("hand-made", read, NoOptions, lambda knowledge, options: None)  # type: ignore[arg-type, return-value]


def items(*texts: str) -> list[TaskItem]:
    return [
        TaskItem(
            f"item {i}", "test" if i == 0 else "train", f"take {i}", "x",
            VideoClip(f"clip{i}", {"exo": f"{i}.mp4"}, 0.0, 1.0), Answer(text, float(i)), [text],
        )
        for i, text in enumerate(texts)
    ]  # fmt: skip


@pytest.mark.parametrize("name", DERIVED)
def test_features_of_other_items_are_not_taken_for_these(tmp_path: Path, name: str) -> None:
    root, out = tmp_path / "release", tmp_path / "out"
    first = items("one", "two", "three")
    build_task_folder(task(first), root, out)
    (out / name).mkdir()
    before = ItemManifest.read(out)
    again = build_task_folder(task(items("one", "two", "three")), root, out)
    assert again == before, "the same items may be read again beside their features"
    changed = [
        items("one", "two", "other"),
        items("one", "two"),
        [*first[:2], replace(first[2], clip=replace(first[2].clip, stop=1.5))],
        [first[0], first[2], first[1]],
    ]
    for others in changed:
        with pytest.raises(ValueError, match=f"holds {name} of other items; delete them or give another folder"):
            build_task_folder(task(others), root, out)
        assert ItemManifest.read(out) == before, "nothing was touched"
        assert [item.truth.text for item in read_items(out, "train")] == ["two", "three"]
    (out / name).rmdir()
    build_task_folder(task(changed[0]), root, out)
    assert [item.truth.text for item in read_items(out, "train")] == ["two", "other"]


def test_a_folder_holds_its_items_and_counts(tmp_path: Path) -> None:
    made = items("one", "two", "three")
    root, out = tmp_path / "release", tmp_path / "out"
    manifest = build_task_folder(task(made), root, out)
    assert manifest.items == {"train": 2, "test": 1} and manifest.with_poses == 0
    assert manifest.knowledge == {"highest": 1.0} and manifest.synthetic is False
    assert read_items(out, "test") == made[:1] and read_items(out, "train") == made[1:]
    with pytest.raises(ValueError, match="the train split holds no item"):
        build_task_folder(task(made[:1]), root, tmp_path / "empty")
    with pytest.raises(ValueError, match="lies in what is read"):
        build_task_folder(task(made), tmp_path, out)
    assert read_items(out, "train") == made[1:], "nothing was touched"


def test_a_take_is_worth_the_mean_of_its_ratings() -> None:
    ratings = {("a", "ada"): 2.0, ("b", "ada"): 9.0, ("a", "bob"): 3.0, ("a", "cyd"): 7.0}
    source = Source(Path(), {}, [], [], {}, ratings={key: Rating(value, "", None) for key, value in ratings.items()})
    assert take_ratings(source) == {"a": 4.0, "b": 9.0}
    assert take_ratings(replace(source, ratings={})) == {}
