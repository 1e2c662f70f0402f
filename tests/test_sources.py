"""Where samples come from: forms, turns, shares and what is left out."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from letters import CODES

from mm_adapter.samples.clip_stores import NoPoses
from mm_adapter.samples.sources import (
    SHORT,
    TaskSource,
    TupleSource,
    check_clips,
    hold_out,
    tuple_sources,
    without_rejected,
)
from mm_adapter.tasks.expertaf.format import ExpertafFormat, ExpertafOptions
from mm_data.conversation import Conversation, said
from mm_data.ground.digests import uniform
from mm_data.records import Clip, CoachingTuple, Provenance, VideoClip
from mm_data.tasks import Answer, TaskItem
from mm_data.tasks.coaching import FORMATS, offers_expert, training_conversation

# --- where samples come from -----------------------------------------------------------------------------------------


class Store:
    """Holds these clips."""

    def __init__(self, *clips: str, rejected: Sequence[str] = ()) -> None:
        self.clips, self.manifest = set(clips), SimpleNamespace(rejected=dict.fromkeys(rejected, "why"))

    def __getitem__(self, clip: str) -> np.ndarray:
        return CODES[clip]

    def missing(self, clips: Any) -> list[str]:
        return [clip for clip in clips if clip not in self.clips]


def clip(take: str) -> Clip:
    return Clip(take, take, "Novice", 0, 60, "ego", "exo")


def coaching(number: int, summary: str = "Bend it.") -> CoachingTuple:
    provenance = Provenance("r", "p", "", "rules", 2.0, 2.0, ["legs"], 1, [])
    return CoachingTuple(
        f"tuple {number}", "train", "Soccer", "task", ["legs"], summary, summary, clip(f"l{number}"), clip(f"e{number}"), 1.0, provenance
    )  # fmt: skip


TUPLES = [coaching(number) for number in range(3)]


def tuples_of(form: str, drop: float = 0.5, poses: Any = None, features: Any = None, rows: Any = None) -> TupleSource:
    return TupleSource(TUPLES if rows is None else rows, form, 2.0, poses or Store(), features, drop, seed=7)  # type: ignore[arg-type]


def test_tuples_are_checked_and_named() -> None:
    found = tuples_of("dialogue")
    assert (found.name, found.ids, found.share) == ("dialogue", ["tuple 0", "tuple 1", "tuple 2"], 2.0)
    every = {f"{side}{i}:0-60" for side in "le" for i in range(3)}
    assert found.clips() == (every, every)
    with pytest.raises(
        ValueError, match=r"Unknown sample format 'poem'; choose from commentary, demonstration, dialogue"
    ):
        tuples_of("poem")
    with pytest.raises(ValueError, match="2 tuples have no remark, such as tuple 1; remove them"):
        tuples_of("dialogue", rows=[TUPLES[0], coaching(1, " \n"), coaching(2, "")])


@pytest.mark.parametrize(("drop", "variants"), [(0.0, [True]), (0.3, [False, True]), (1.0, [False])])
def test_the_experts_clip_is_offered_as_often_as_asked(drop: float, variants: list[bool]) -> None:
    found = tuples_of("commentary", drop)
    assert list(found.variants(0)) == variants
    drawn = [found.variant(i, epoch) for i in range(3) for epoch in range(200)]
    assert drawn == [offers_expert(t, drop, 7, epoch) for t in TUPLES for epoch in range(200)]
    assert set(drawn) == set(variants) and np.mean(drawn) == pytest.approx(1 - drop, abs=0.06)
    for form in ("demonstration", "dialogue"):
        other = tuples_of(form, drop)
        assert list(other.variants(0)) == [False] and not any(other.variant(0, epoch) for epoch in range(20))
        assert other.conversation(1, False) == training_conversation(TUPLES[1], form)
    for offered in (False, True):
        assert found.conversation(1, offered) == training_conversation(TUPLES[1], "commentary", offered)
    assert found.conversation(1, True) != found.conversation(1, False)


def test_each_format_is_a_source_with_its_share() -> None:
    poses, features = Store("p"), Store("f")
    made = tuple_sources(TUPLES, {"commentary": 1.0, "dialogue": 0.5}, poses, features, 0.25, 3)  # type: ignore[arg-type]
    assert [(s.form, s.share, s.expert_drop, s.seed) for s in made] == [("commentary", 1.0, 0.25, 3), ("dialogue", 0.5, 0.25, 3)]  # fmt: skip
    assert all(s.poses is poses and s.features is features and s.tuples is TUPLES for s in made)
    assert FORMATS == ("commentary", "demonstration", "dialogue")


def test_clips_without_poses_or_features_are_named() -> None:
    every = sorted(tuples_of("dialogue").clips()[0])
    check_clips(tuples_of("dialogue", poses=Store(*every), features=Store(*every)))
    check_clips(tuples_of("dialogue", poses=Store(*every)))
    with pytest.raises(
        ValueError, match=r"dialogue: 2 of 6 clips have no poses \(for example e0:0-60\); make them again"
    ):
        check_clips(tuples_of("dialogue", poses=Store(*every[2:]), features=Store(*every)))
    with pytest.raises(ValueError, match=r"dialogue: 1 of 6 clips have no video features \(for example l2:0-60\)"):
        check_clips(tuples_of("dialogue", poses=Store(*every), features=Store(*every[:-1])))


def task_item(number: int, references: int = 3, posed: bool = True) -> TaskItem:
    return TaskItem(
        f"item {number}", "train", "take", "x", VideoClip(f"clip {number}", {"exo": "v"}, 0, 1), Answer("a"),
        [f"text {i}" for i in range(references)], has_poses=posed,
    )  # fmt: skip


class Form:
    """Says what it was asked for."""

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        return Conversation(item.item_id, [said("assistant", item.references[reference])], (0,))

    def short(self, item: TaskItem) -> Conversation:
        return Conversation(item.item_id, [said("assistant", "facts")], (0,))


def task_source(items: list[TaskItem], poses: Any = None, short_epochs: int = 0, seed: int = 5) -> TaskSource:
    return TaskSource("nae", items, Form(), 0.5, poses or NoPoses(), None, seed, short_epochs)  # type: ignore[arg-type]


def test_reference_texts_take_turns_from_anywhere() -> None:
    items = [task_item(i, references=1 + i % 4) for i in range(40)]
    found = task_source(items)
    assert (found.name, found.share, found.ids[:2]) == ("nae", 0.5, ["item 0", "item 1"])
    for index, item in enumerate(items):
        count = len(item.references)
        drawn = [found.variant(index, epoch) for epoch in range(2 * count)]
        start = int(uniform(f"5/{item.item_id}") * count)
        assert drawn == [(start + epoch) % count for epoch in range(2 * count)]
        assert list(found.variants(index)) == list(range(count))
    begun = {task_source(items, seed=seed).variant(i, 0) for i in range(3, 40, 4) for seed in range(4)}
    assert begun == {0, 1, 2, 3}, "not all begin with the first"
    assert [task_source(items, seed=6).variant(i, 0) for i in range(40)] != [found.variant(i, 0) for i in range(40)]
    assert found.conversation(3, 2).messages == [said("assistant", "text 2")]


def test_training_may_begin_with_facts_alone() -> None:
    found = task_source([task_item(0), task_item(1)], short_epochs=2)
    assert list(found.variants(0)) == [0, 1, 2, SHORT]
    plain = task_source([task_item(0), task_item(1)])
    drawn = [found.variant(1, epoch) for epoch in range(6)]
    assert drawn[:2] == [SHORT, SHORT] and drawn[2:] == [plain.variant(1, epoch) for epoch in range(2, 6)]
    assert found.conversation(0, SHORT).messages == [said("assistant", "facts")] and SHORT == -1


def test_clips_of_a_task_have_poses_where_they_have() -> None:
    items = [task_item(0), task_item(1, posed=False)]
    assert task_source(items, Store()).clips() == ({"clip 0"}, {"clip 0", "clip 1"})
    none = task_source(items)
    assert none.clips() == (set(), {"clip 0", "clip 1"}) and isinstance(none.poses, NoPoses)
    check_clips(none)
    with pytest.raises(KeyError, match="Clip clip 0 has no poses here; give their pose codes"):
        none.poses["clip 0"]
    assert none.poses.missing(iter(["b", "a"])) == ["b", "a"]


def test_an_experts_poses_are_an_answer_in_tasks_that_show_them() -> None:
    """So such clips need poses, and a coach that was trained on them demonstrates."""
    items = [replace(task_item(n), expert=VideoClip(f"expert {n}", {"exo": "v"}, 0, 1)) for n in range(2)]
    assert task_source(items, Store()).pose_answers() == set(), "a form that shows no expert"
    form = ExpertafFormat({}, ExpertafOptions())
    shows = TaskSource("expertaf", [*items, task_item(2)], form, 1.0, Store("clip 0", "expert 0"), None, 0)  # type: ignore[arg-type]
    assert shows.pose_answers() == {"expert 0", "expert 1"}
    assert shows.clips()[0] == {"clip 0", "clip 1", "clip 2", "expert 0", "expert 1"}
    with pytest.raises(ValueError, match=r"expertaf: 3 of 5 clips have no poses"):
        check_clips(shows)
    mute = task_source([task_item(0, references=0)])
    assert list(mute.variants(0)) == [0] and mute.variant(0, 3) == 0, "an item without a text is taught by its facts"


def test_tuples_with_a_rejected_clip_are_left_out_and_counted() -> None:
    store = Store(rejected=["l0:0-60", "e2:0-60", "elsewhere"])
    assert without_rejected(TUPLES, store) == ([TUPLES[1]], 2)  # type: ignore[arg-type]
    assert without_rejected(TUPLES, None) == (TUPLES, 0)
    assert without_rejected(TUPLES, Store()) == (TUPLES, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "groups"), [(0.0, 0), (0.01, 1), (0.1, 1), (0.11, 2), (0.5, 5), (1.0, 10)])
def test_a_share_of_the_groups_is_held_out_whole(share: float, groups: int) -> None:
    rows = [(f"person {i % 10}", i) for i in range(35)]
    train, held = hold_out(rows, lambda row: row[0], share, seed=0)
    assert sorted(train + held, key=lambda row: row[1]) == rows and train == sorted(train, key=lambda row: row[1])
    assert len({name for name, _ in held}) == groups and not {name for name, _ in held} & {name for name, _ in train}
    order = sorted({name for name, _ in rows}, key=lambda name: uniform(f"0/{name}"))
    assert {name for name, _ in held} == set(order[:groups])
    if groups in (1, 2, 5):
        others = [
            frozenset(name for name, _ in hold_out(rows, lambda row: row[0], share, seed)[1]) for seed in range(8)
        ]
        assert len(set(others)) > 1
