"""Pairing: who learns from whom, which seconds are evidence, and what is sorted out by which reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_data.ground.funnel import Funnel
from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import MIN_COMMON_JOINTS
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark, Take
from mm_data.release.read import split_by_participant
from mm_data.tuples.pairing import (
    Fault,
    PairingOptions,
    Praise,
    clip_of,
    evidence_window,
    gallery_clips,
    locate_faults,
    sort_by_role,
)

GROUP = ("train", "Soccer", "Penalty kick")


def take(uid: str, participant: str, skill: str | None, **changes: Any) -> Take:
    made = Take(uid, f"{uid}_name", participant, "Soccer", "Penalty kick", skill, "train", 20.0, f"{uid}_ego.mp4", f"{uid}_exo.mp4")  # fmt: skip
    return replace(made, **changes)


def remark(uid: str, number: int, time: float, **regions: str) -> LabelledRemark:
    return LabelledRemark(Remark(f"{uid}/ann/{number}", uid, "ann", time, "text"), "Summary.", regions, "rules")


def walk(rng: np.random.Generator, frames: int, missing: float = 0.0) -> np.ndarray:
    """A body that moves at random, with joints missing at random."""
    body = rng.normal(size=(17, 3)) * [0.3, 0.25, 0.55]
    xyz = body + np.cumsum(rng.normal(0, 0.02, (frames, 17, 3)), 0)
    flags = (rng.random((frames, 17, 1)) >= missing).astype(float)
    return np.concatenate([np.where(flags > 0, xyz, np.nan), flags], -1)


# Ada is a learner of free kicks and an expert of penalty kicks, and, in one more take, an expert where she is a learner too.
TAKES = {
    t.take_uid: t
    for t in (
        take("ada-learns", "ada", "Novice"),
        take("ada-shows", "ada", "Late Expert"),
        take("ada-free", "ada", "Early Expert", task="Free kick"),
        take("bob-shows", "bob", "Intermediate Expert"),
        take("cyd-shows", "cyd", "Late Expert", task="Free kick"),
        take("dan-learns", "dan", "Novice"),
        take("eve-shows", "eve", "Late Expert", split="val"),
        take("eve-learns", "eve", "Novice"),
        take("fay-shows", "fay", "Late Expert", split="test"),
        take("gus-plays", "gus", None),
    )
}


def counts(funnel: Funnel) -> dict[str, int]:
    assert funnel.summary()["read"] == funnel.kept + sum(funnel.dropped.values())
    return dict(funnel.dropped)


def test_test_participants_do_not_train() -> None:
    funnel = Funnel("splits", 0.0)
    splits = split_by_participant(TAKES, funnel)
    assert splits == {
        **dict.fromkeys(["ada-learns", "ada-shows", "ada-free", "bob-shows", "cyd-shows", "dan-learns", "gus-plays"], "train"),
        "eve-shows": "test",
    }  # fmt: skip
    assert funnel.kept == 8
    assert counts(funnel) == {"training take of a test participant": 1, "test split: annotations are redacted": 1}
    funnel.check()  # both are sorted out on purpose


def praise_of(**changes: Any) -> tuple[list[LabelledRemark], Praise, Funnel]:
    splits = split_by_participant(TAKES, Funnel("splits", 1.0))
    labelled = [
        remark("ada-learns", 0, 4.0, legs=IMPROVE, arms=CORRECT),
        remark("dan-learns", 0, 5.0, legs=IMPROVE, head=IMPROVE),
        remark("dan-learns", 1, 6.0, legs=CORRECT),
        remark("ada-shows", 0, 7.0, legs=CORRECT, arms=IMPROVE),
        remark("ada-shows", 1, 8.04, head=CORRECT),
        remark("bob-shows", 0, 9.0, legs=CORRECT, head=CORRECT),
        remark("bob-shows", 1, 10.0, legs=IMPROVE),
        remark("cyd-shows", 0, 11.0, legs=CORRECT),
        remark("eve-shows", 0, 12.0, legs=CORRECT),
    ]
    funnel = Funnel("roles", 0.0)
    faults, praise = sort_by_role(labelled, TAKES, splits, funnel)
    return faults, praise, funnel


def test_remarks_are_sorted_by_skill_and_side() -> None:
    faults, praise, funnel = praise_of()
    assert [f.remark.remark_id for f in faults] == ["ada-learns/ann/0", "dan-learns/ann/0"]
    assert praise.comments == {
        GROUP: {
            "legs": {"ada-shows": [(210, "ada-shows/ann/0")], "bob-shows": [(270, "bob-shows/ann/0")]},
            "head": {"ada-shows": [(241, "ada-shows/ann/1")], "bob-shows": [(270, "bob-shows/ann/0")]},
        },
        ("train", "Soccer", "Free kick"): {"legs": {"cyd-shows": [(330, "cyd-shows/ann/0")]}},
        ("test", "Soccer", "Penalty kick"): {"legs": {"eve-shows": [(360, "eve-shows/ann/0")]}},
    }
    assert praise.participants == {uid: t.participant for uid, t in TAKES.items()}
    assert funnel.kept == 2 and counts(funnel) == {
        "praise of a learner": 1, "praise of an expert: serves as demonstration": 5, "fault of an expert": 1
    }  # fmt: skip
    funnel.check()


def test_nobody_is_paired_with_themselves() -> None:
    """Ada learns and shows the same task: others may learn from her, she may not."""
    _, praise, _ = praise_of()
    ada = Fault("ada-learns/ann/0", "ada-learns", GROUP, ("legs",), 60, 120)
    assert praise.candidates(ada) == {"bob-shows": {"bob-shows/ann/0": 270}}
    dan = replace(ada, take_uid="dan-learns", regions=("legs", "head"))
    assert praise.candidates(dan) == {
        "ada-shows": {"ada-shows/ann/0": 210, "ada-shows/ann/1": 241},
        "bob-shows": {"bob-shows/ann/0": 270},
    }
    assert praise.candidates(replace(dan, regions=("hands",))) == {}
    assert praise.candidates(replace(dan, group=("train", "Soccer", "Corner"))) == {}
    assert praise.candidates(replace(dan, regions=("head",))) == {
        "ada-shows": {"ada-shows/ann/1": 241}, "bob-shows": {"bob-shows/ann/0": 270}
    }  # fmt: skip


class Recorded(PoseArchive):
    """An archive that says what was read of it."""

    def __init__(self, folder: Path, poses: dict[str, np.ndarray]) -> None:
        super().__init__(folder)
        self.read: list[str] = []
        self.folder.mkdir()
        for name, array in poses.items():
            np.save(self.path(name), array)

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.append(name)
        return super().__getitem__(name)


def test_faults_get_windows_and_those_that_nobody_answers_are_dropped(tmp_path: Path) -> None:
    faults, praise, _ = praise_of()
    splits = split_by_participant(TAKES, Funnel("splits", 1.0))
    lonely = remark("ada-free", 0, 5.0, hands=IMPROVE)
    early = remark("ada-learns", 1, 0.5, legs=IMPROVE)
    poses = Recorded(tmp_path, {uid: walk(np.random.default_rng(0), 200) for uid in TAKES})
    funnel = Funnel("pair", 1.0)
    found = locate_faults([faults[1], lonely, early, faults[0]], TAKES, splits, praise, poses, PairingOptions(), funnel)
    assert found == [
        Fault("ada-learns/ann/0", "ada-learns", GROUP, ("legs",), 60, 120),
        Fault("dan-learns/ann/0", "dan-learns", GROUP, ("legs", "head"), 90, 150),
    ]
    assert poses.read == ["ada-free", "ada-learns", "ada-learns", "dan-learns"], "one take after the other"
    assert funnel.kept == 2 and counts(funnel) == {
        "no expert is praised for these regions": 1, "evidence window too short": 1
    }  # fmt: skip
    with pytest.raises(ValueError, match="kept 2 of 4"):
        strict = Funnel("pair", 0.4)
        locate_faults([faults[1], lonely, early, faults[0]], TAKES, splits, praise, poses, PairingOptions(), strict)
        strict.check()


@pytest.mark.parametrize(
    ("least", "below"),
    [
        ({"experts_train": 1}, {"experts_train": 0}), ({"experts_test": 1}, {"experts_test": 0}), ({"runners_up": 0}, {"runners_up": -1}),
        ({"stride": 1}, {"stride": 0}), ({"min_window": 2.0}, {"min_window": 2.1}), ({"min_window": 0.1}, {"min_window": 0.0}),
        ({"horizon": 0.1}, {"horizon": 0.0}), ({"window": 1.0}, {"window": 0.9}),
    ],
)  # fmt: skip
def test_the_least_is_taken_and_what_is_below_refused(least: dict[str, Any], below: dict[str, Any]) -> None:
    PairingOptions(**least)
    with pytest.raises(ValueError, match=rf"{next(iter(below))}.*(has to be at least|have to be above 0)"):
        PairingOptions(**below)


def seen(frames: int, absent: list[int] | None = None, joints: int = 17) -> np.ndarray:
    """Poses that show so many joints, and none in some frames."""
    poses = np.zeros((frames, 17, 4))
    poses[:, :joints, 3] = 1.0
    poses[absent or [], :, 3] = 0.0
    return poses


@pytest.mark.parametrize(
    ("time", "poses", "changes", "window"),
    [
        (5.0, seen(300), {}, (90, 150)),
        (5.02, seen(300), {}, (91, 151)),  # 150.6 frames
        (1.5, seen(300), {}, (0, 45)),
        (1.0, seen(300), {}, (0, 30)),  # exactly the shortest
        (29 / 30, seen(300), {}, "evidence window too short"),
        (20.0, seen(300), {}, (240, 300)),  # a comment after the last pose looks back from there
        (5.0, seen(300), {"window": 3.0}, (60, 150)),
        (5.0, seen(300, list(range(90, 110))), {}, (110, 150)),  # it begins with the first pose
        (5.0, seen(300, list(range(90, 121))), {}, "evidence window too short"),
        (5.0, seen(300, list(range(90, 120))), {}, (120, 150)),
        (5.0, seen(300, list(range(100, 112))), {}, (90, 150)),  # 48 of 60 are just enough
        (5.0, seen(300, list(range(100, 113))), {}, "pose gaps in the evidence window"),
        (5.0, seen(300, list(range(90, 150))), {}, "no pose in the evidence window"),
        (5.0, seen(300, joints=MIN_COMMON_JOINTS), {}, (90, 150)),
        (5.0, seen(300, joints=MIN_COMMON_JOINTS - 1), {}, "no pose in the evidence window"),
        (5.0, seen(300, list(range(300))), {"allow_unaligned": True}, (90, 150)),
        (1.0, seen(300, list(range(300))), {"allow_unaligned": True}, (0, 30)),
        (0.9, seen(300, list(range(300))), {"allow_unaligned": True}, "evidence window too short"),
        (5.0, seen(300, list(range(100, 120))), {"allow_unaligned": True}, "pose gaps in the evidence window"),
    ],
)  # fmt: skip
def test_evidence_windows(
    time: float, poses: np.ndarray, changes: dict[str, Any], window: tuple[int, int] | str
) -> None:
    assert evidence_window(time, poses, PairingOptions(**changes)) == window


def test_the_gallery_holds_praise_alone(tmp_path: Path) -> None:
    labelled = [
        remark("bob-shows", 0, 5.0, legs=CORRECT),
        remark("bob-shows", 1, 5.0, head=CORRECT),  # the same window
        remark("bob-shows", 2, 6.0, legs=CORRECT, head=IMPROVE),
        remark("bob-shows", 3, 0.5, legs=CORRECT),
        remark("ada-shows", 0, 6.0, legs=CORRECT),
        remark("dan-learns", 0, 6.0, legs=CORRECT),
        remark("gus-plays", 0, 6.0, legs=CORRECT),
        remark("eve-shows", 0, 6.0, legs=CORRECT),
        remark("fay-shows", 0, 6.0, legs=CORRECT),
        remark("ada-shows", 1, 7.0, legs=IMPROVE),
    ]
    splits = split_by_participant(TAKES, Funnel("splits", 1.0))
    funnel = Funnel("gallery", 1 / 3)
    options, poses = PairingOptions(), Recorded(tmp_path, {uid: seen(300) for uid in TAKES})
    found = gallery_clips(labelled, TAKES, splits, poses, options, "train", funnel)
    assert [(c.clip_id, c.participant, c.skill, activity) for c, activity in found] == [
        ("bob-shows:90-150", "bob", "Intermediate Expert", "Soccer"),
        ("ada-shows:120-180", "ada", "Late Expert", "Soccer"),
    ]
    assert funnel.kept == 2
    assert counts(funnel) == {"same clip as another remark's": 1, "evidence window too short": 1}
    funnel.check()  # of three that are no repetition one has no window
    test = gallery_clips(labelled, TAKES, splits, poses, options, "test", Funnel("gallery", 1.0))
    assert [c.clip_id for c, _ in test] == ["eve-shows:120-180"]
    assert clip_of(TAKES["bob-shows"], 3, 9).exo_video == "bob-shows_exo.mp4"
