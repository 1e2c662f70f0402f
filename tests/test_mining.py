"""Top-k mining against trying everything: all experts, all windows, plain loops over textbook Procrustes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import MIN_COMMON_JOINTS, MIN_FRAME_SHARE
from mm_data.records import ExpertWindow
from mm_data.tuples.mining import align_faults, search_starts
from mm_data.tuples.pairing import (
    Fault,
    PairingOptions,
    Praise,
)

GROUP = ("train", "Soccer", "Penalty kick")


def walk(rng: np.random.Generator, frames: int, missing: float = 0.0) -> np.ndarray:
    """A body that moves at random, with joints missing at random."""
    body = rng.normal(size=(17, 3)) * [0.3, 0.25, 0.55]
    xyz = body + np.cumsum(rng.normal(0, 0.02, (frames, 17, 3)), 0)
    flags = (rng.random((frames, 17, 1)) >= missing).astype(float)
    return np.concatenate([np.where(flags > 0, xyz, np.nan), flags], -1)


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """Mean distance in millimetres after the best similarity (Umeyama 1991)."""
    x, y = x - x.mean(0), y - y.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = (s * sign).sum() / (x**2).sum() * x @ (u * sign) @ vt
    return 1000 * float(np.linalg.norm(aligned - y, axis=-1).mean())


def window_error(learner: np.ndarray, expert: np.ndarray, stride: int) -> float:
    errors, compared = [], range(0, len(learner), stride)
    for frame in compared:
        both = (learner[frame, :, 3] > 0) & (expert[frame, :, 3] > 0)
        if both.sum() >= MIN_COMMON_JOINTS:
            errors.append(procrustes(expert[frame, both, :3], learner[frame, both, :3]))
    return float(np.mean(errors)) if len(errors) >= MIN_FRAME_SHARE * len(compared) else np.inf


def tried(
    fault: Fault, praise: Praise, poses: dict[str, np.ndarray], options: PairingOptions, keep: int
) -> list[ExpertWindow]:
    """The best experts by trying every window of every candidate."""
    learner = poses[fault.take_uid][fault.start : fault.stop]
    length, reach = len(learner), round(options.horizon * 30)

    def error(uid: str, start: int) -> float:
        return window_error(learner, poses[uid][start : start + length], options.stride)

    coarse = []
    for uid, comments in praise.candidates(fault).items():
        starts = [
            start
            for start in range(0, len(poses[uid]) - length + 1, options.stride)
            if any(comment - reach <= start and start + length <= comment + reach for comment in comments.values())
        ]
        errors = [error(uid, start) for start in starts]
        if errors and np.isfinite(min(errors)):
            coarse.append((min(errors), uid, starts[int(np.argmin(errors))]))
    found = []
    for _, uid, start in sorted(coarse)[:keep]:
        around = range(
            max(0, start - options.stride + 1), min(len(poses[uid]) - length, start + options.stride - 1) + 1
        )
        errors = {at: error(uid, at) for at in around}
        best = min(errors, key=lambda at: (errors[at], at))
        comments = praise.candidates(fault)[uid]
        shown = min(comments, key=lambda name: (abs(comments[name] - (start + length)), name))
        found.append(ExpertWindow(uid, shown, best, errors[best]))
    return sorted(found, key=lambda match: match.alignment_mm or 0.0)


def write_archive(folder: Path, poses: dict[str, np.ndarray]) -> PoseArchive:
    archive = PoseArchive(folder)
    archive.folder.mkdir(parents=True, exist_ok=True)
    for uid, array in poses.items():
        np.save(archive.path(uid), array)
    return archive


def mined(
    folder: Path,
    faults: list[Fault],
    praise: Praise,
    poses: dict[str, np.ndarray],
    options: PairingOptions,
    workers: int = 1,
) -> list[tuple[Fault, list[ExpertWindow], int]]:
    archive = write_archive(folder, poses)
    signatures = {uid: f"{array.shape}" for uid, array in poses.items()}
    return list(align_faults(faults, praise, archive, signatures, options, folder / "shards", workers))


@pytest.fixture(scope="module")
def world() -> tuple[list[Fault], Praise, dict[str, np.ndarray]]:
    """Nine experts with one to three praised moments each, two learners, one of whom is also an expert."""
    rng = np.random.default_rng(3)
    poses = {f"expert {i}": walk(rng, int(rng.integers(70, 130)), 0.05 * (i % 3)) for i in range(9)}
    poses["expert 4"][20:60, :, 3] = 0.0
    poses |= {"learner a": walk(rng, 90, 0.1), "learner b": walk(rng, 90)}
    people = {uid: uid.replace("expert 2", "learner b") for uid in poses}
    by_region: dict[str, dict[str, list[tuple[int, str]]]] = {"legs": {}, "head": {}}
    for i in range(9):
        for region in ("legs", "head") if i % 2 else ("legs",):
            times = sorted(rng.integers(5, len(poses[f"expert {i}"]), size=int(rng.integers(1, 4))).tolist())
            by_region[region][f"expert {i}"] = [(time, f"expert {i}/{region}/{n}") for n, time in enumerate(times)]
    praise = Praise(people, {group: by_region for group in (GROUP, ("test", *GROUP[1:]))})
    faults = [
        Fault(f"fault {n}", uid, (split, *GROUP[1:]), regions, start, start + length)
        for n, (uid, split, regions, start, length) in enumerate(
            [
                ("learner a", "train", ("legs",), 0, 31), ("learner a", "test", ("legs", "head"), 20, 40),
                ("learner b", "train", ("legs", "head"), 30, 33), ("learner b", "test", ("head",), 50, 30),
                ("learner b", "train", ("legs",), 0, 90), ("learner a", "train", ("head",), 5, 35),
            ]
        )
    ]  # fmt: skip
    return faults, praise, poses


@pytest.mark.parametrize(
    ("k", "runners_up", "stride", "horizon"), [(2, 1, 3, 1.0), (1, 0, 1, 0.8), (3, 2, 4, 2.0), (9, 3, 2, 1.5)]
)
def test_the_best_experts_are_those_of_trying_everything(
    world: tuple[list[Fault], Praise, dict[str, np.ndarray]], tmp_path: Path, k: int, runners_up: int, stride: int, horizon: float
) -> None:  # fmt: skip
    faults, praise, poses = world
    options = PairingOptions(horizon=horizon, experts_train=k, experts_test=1, runners_up=runners_up, stride=stride)
    found = mined(tmp_path, faults, praise, poses, options)
    assert [fault for fault, _, _ in found] == faults, "in the order of the faults"
    several = 0
    for fault, matches, considered in found:
        keep = (k if fault.group[0] == "train" else 1) + runners_up
        expected = tried(fault, praise, poses, options, keep)
        assert considered == len(praise.candidates(fault))
        assert [(m.take_uid, m.remark_id, m.start) for m in matches] == [
            (m.take_uid, m.remark_id, m.start) for m in expected
        ]
        assert [m.alignment_mm for m in matches] == pytest.approx([m.alignment_mm for m in expected], abs=1e-3)
        assert fault.take_uid != "learner b" or "expert 2" not in {m.take_uid for m in matches}
        several += len(matches) > 1
    assert several or k + runners_up == 1


def test_praise_that_a_window_ends_nearest_to_is_what_it_shows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    learner = walk(rng, 30)
    expert = np.concatenate([walk(rng, 33), learner, walk(rng, 60)])
    comments = {"legs": {"expert": [(40, "a"), (61, "c"), (65, "b"), (68, "d")]}}
    praise = Praise({"learner": "l", "expert": "e"}, {GROUP: comments})
    fault = Fault("fault", "learner", GROUP, ("legs",), 0, 30)
    options = PairingOptions(horizon=3.0, stride=1)
    ((_, (match,), considered),) = mined(tmp_path, [fault], praise, {"learner": learner, "expert": expert}, options)
    assert match == ExpertWindow("expert", "b", 33, 0.0) and considered == 1, (
        "it ends at 63; 61 and 65 are as near, and b is before c"
    )


def test_windows_are_refined_around_the_strides(tmp_path: Path) -> None:
    """The right window starts at 32, which no stride of 5 from 0 meets; also at both ends of a take."""
    rng = np.random.default_rng(1)
    learner = np.concatenate([walk(rng, 1)] * 30) + np.concatenate([np.cumsum(rng.normal(0, 0.002, (30, 17, 3)), 0), np.zeros((30, 17, 1))], -1)  # fmt: skip
    options = PairingOptions(horizon=10.0, stride=5)
    for number, before in enumerate((32, 0, 3, 60)):
        expert = np.concatenate([walk(rng, before), learner, walk(rng, 60 - before)])
        praise = Praise({"learner": "l", "expert": "e"}, {GROUP: {"legs": {"expert": [(60, "a")]}}})
        fault = Fault("fault", "learner", GROUP, ("legs",), 0, 30)
        folder = tmp_path / str(number)
        folder.mkdir()
        ((_, (match,), _),) = mined(folder, [fault], praise, {"learner": learner, "expert": expert}, options)
        assert (match.start, match.alignment_mm) == (before, 0.0)


def test_without_poses_the_clip_before_the_first_praise_stands(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    blind = walk(rng, 100, missing=1.0)
    poses = {"learner": walk(rng, 40), "seen": walk(rng, 90), "blind": blind, "early": blind, "short": blind[:50]}
    comments = {
        "seen": [(60, "s")], "blind": [(90, "b1"), (70, "b2"), (70, "b0")], "early": [(20, "e")], "short": [(80, "x")]
    }  # fmt: skip
    praise = Praise({uid: uid for uid in poses}, {GROUP: {"legs": comments}})
    fault = Fault("fault", "learner", GROUP, ("legs",), 0, 40)
    lenient = PairingOptions(allow_unaligned=True, stride=1)
    ((_, matches, considered),) = mined(tmp_path, [fault], praise, poses, lenient)
    assert considered == 4 and matches[0].take_uid == "seen" and matches[0].alignment_mm is not None
    assert matches[1:] == [ExpertWindow("blind", "b0", 30, None), ExpertWindow("short", "x", 10, None)], (
        "nobody can begin before the take"
    )
    ((_, strict, _),) = mined(tmp_path, [fault], praise, poses, replace(lenient, allow_unaligned=False))
    assert [m.take_uid for m in strict] == ["seen"]


def test_shards_are_used_again_where_nothing_that_decides_them_changed(
    world: tuple[list[Fault], Praise, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    faults, praise, poses = world
    many = [replace(fault, remark_id=f"{fault.remark_id}/{i}") for i in range(12) for fault in faults]
    options = PairingOptions(experts_train=1, runners_up=0, stride=6, horizon=1.0)
    archive = write_archive(tmp_path, poses)

    def run(
        signatures: Callable[[str], str] = lambda uid: "1", workers: int = 1, **changes: Any
    ) -> tuple[list[Any], list[int], int]:
        done: list[int] = []
        before = set((tmp_path / "shards").glob("*"))
        rows = list(align_faults(many, praise, archive, {uid: signatures(uid) for uid in poses}, replace(options, **changes), tmp_path / "shards", workers, done.append))  # fmt: skip
        return rows, done, len(set((tmp_path / "shards").glob("*")) - before)

    first, done, made = run()
    assert done == [0, 32, 64, 72] and made == 3, "thirty-two to a file"
    again, done, made = run()
    assert again == first and done == [72] and made == 0
    assert run(horizon=1.5)[2] == 3, "other options, other results"
    assert run(lambda uid: "2" if uid == "expert 0" else "1")[2] == 3, "an expert's poses changed"
    assert run(lambda uid: "2" if uid == "learner b" else "1")[2] == 3, "a learner's poses changed"
    with_two, done, made = run(workers=2, stride=5)
    assert made == 3 and done == [0, 32, 64, 72]
    assert with_two == run(stride=5)[0]
    assert not [p for p in (tmp_path / "shards").iterdir() if p.suffix != ".json"]


def test_search_starts_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        comments = rng.integers(0, 140, size=int(rng.integers(1, 4))).tolist()
        length, frames = int(rng.integers(1, 60)), int(rng.integers(1, 120))
        options = PairingOptions(horizon=float(rng.choice([0.5, 1.0, 2.0])), stride=int(rng.integers(1, 6)))
        reach = round(options.horizon * 30)
        plain = [
            start
            for start in range(0, frames - length + 1, options.stride)
            if any(c - reach <= start and start + length <= c + reach for c in comments)
        ]
        assert search_starts(comments, length, frames, options).tolist() == plain
