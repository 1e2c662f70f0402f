"""From a data set to tuples: nothing vanishes, nobody is on both sides, and a build resumes, explains and obeys reviewers."""

import itertools
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_coach import ROOT, Silent, launch

from mm_data.ground.funnel import Funnel
from mm_data.items.manifest import ItemManifest
from mm_data.miniature.truth import SIDECAR
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, POSES, SPLITS, CoachingTuple
from mm_data.tuples.build import BuildOptions, build_tuples
from mm_data.tuples.explain import explain_tuple
from mm_data.tuples.pairing import PairingOptions
from mm_data.tuples.review.decisions import Decision, apply_decisions, content_key, read_decisions, record_decision
from mm_data.tuples.store import MANIFEST, MINED_TEST, find_tuple, read_gallery, read_tuples

TINY = BuildOptions(PairingOptions(experts_train=2, stride=6))


def stages(folder: Path) -> dict[str, dict[str, Any]]:
    return {stage["stage"]: stage for stage in ItemManifest.read(folder).funnel}


def test_the_funnel_of_three_hundred_takes_adds_up(big_miniature: Path, big_tuples: Path) -> None:
    funnel = stages(big_tuples)
    for stage in funnel.values():
        assert stage["read"] == stage["kept"] + sum(stage["dropped"].values())
        assert all(reason.strip() and count > 0 for reason, count in stage["dropped"].items())
        assert all(stage["examples"][reason] for reason in stage["dropped"]), "every reason has an example"
    chain = ["read remarks", "choose remarks", "label remarks", "faults of learners", "pair", "align"]
    for before, after in itertools.pairwise(chain):
        assert funnel[before]["kept"] == funnel[after]["read"], (before, after)
    spoken = sum(
        len(session["commentary_data"])
        for split in ("train", "val")
        for sessions in json.loads((big_miniature / f"annotations/expert_commentary_{split}.json").read_text())["annotations"].values()
        for session in sessions
    )  # fmt: skip
    assert funnel["read remarks"]["read"] == spoken
    tuples = {split: read_tuples(big_tuples, split) for split in SPLITS}
    faults = {t.provenance.learner_remark for rows in tuples.values() for t in rows}
    assert len(faults) == funnel["align"]["kept"], "every aligned fault has a tuple"
    assert len(tuples["test"]) == funnel["review the test split"]["kept"]
    assert ItemManifest.read(big_tuples).counts == {
        "train": len(tuples["train"]), "test": len(tuples["test"]), "gallery": len(read_gallery(big_tuples)),
    }  # fmt: skip


@pytest.mark.parametrize("folder", ["tiny", "big"])
def test_tuples_keep_their_promises(tiny: Path, big_tuples: Path, folder: str) -> None:
    path, k = (tiny / "tuples", 2) if folder == "tiny" else (big_tuples, 5)
    train, test = (read_tuples(path, split) for split in SPLITS)
    sides = [[c for t in rows for c in (t.learner, t.expert)] for rows in (train, test)]
    assert not {c.participant for c in sides[0]} & {c.participant for c in sides[1]}, "participants are disjoint"
    assert not {c.take_uid for c in sides[0]} & {c.take_uid for c in sides[1]}, "takes are disjoint"
    gallery = {clip.participant for clip, _ in read_gallery(path)}
    assert not gallery & {c.participant for c in sides[0]}, "the gallery belongs to the test split"
    for t in train + test:
        assert t.learner.skill in LEARNER_SKILLS and t.expert.skill in EXPERT_SKILLS
        assert t.learner.participant != t.expert.participant
        assert t.learner.stop - t.learner.start == t.expert.stop - t.expert.start
        assert t.learner.stop == pytest.approx(t.provenance.comment_time * 30, abs=1), "evidence ends at the comment"
        assert set(t.provenance.shared_regions) & set(t.regions), "the praise is about a region to improve"
        worse = [r.alignment_mm for r in t.provenance.runners_up]
        assert worse == sorted(worse, key=lambda v: v or 0) and all((t.alignment_mm or 0) <= (v or 0) for v in worse)
    per_remark: dict[str, list[CoachingTuple]] = {}
    for t in train:
        per_remark.setdefault(t.provenance.learner_remark, []).append(t)
    assert max(len(rows) for rows in per_remark.values()) == k
    for rows in per_remark.values():
        errors = [t.alignment_mm or 0 for t in rows]
        assert errors == sorted(errors), "best aligned first"
        assert len({t.expert.take_uid for t in rows}) == len(rows), "every expert take once"


def test_datasets_reads_the_folder(big_tuples: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(big_tuples), cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    row, first = loaded["test"][0], read_tuples(big_tuples, "test")[0]
    assert (row["item_id"], row["person"], row["expert_person"]) == (
        first.tuple_id,
        first.learner.participant,
        first.expert.participant,
    )
    assert row["references"] == [first.summary] and json.loads(row["facts"])["remark"] == first.remark
    gallery = load_dataset(str(big_tuples), "gallery", cache_dir=str(tmp_path))["train"]
    assert len(gallery) == len(read_gallery(big_tuples))
    card = (big_tuples / "README.md").read_text()
    assert "**Synthetic data**" in card and "| align |" in card


def test_report_shows_the_funnel_without_scripts(big_tuples: Path) -> None:
    page = (big_tuples / "report.html").read_text()
    assert "Synthetic data" in page and "praise of an expert" in page and "<script" not in page
    assert page.count("<svg") == 8 and "$" not in page


def test_building_never_reads_the_sidecar_and_is_repeatable(tiny: Path, copy: Path, tmp_path: Path) -> None:
    (copy / SIDECAR).unlink()
    for name, workers in (("one", 1), ("two", 2)):
        build_tuples(copy, tmp_path / name, TINY, Silent(), workers=workers)
        for split in SPLITS:
            assert read_tuples(tmp_path / name, split) == read_tuples(tiny / "tuples", split), f"{workers} workers"


def test_other_options_use_what_is_still_valid_and_other_sources_are_refused(
    tiny: Path, copy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build_tuples(copy, out, BuildOptions(), Silent())
    arrays = {path: path.stat().st_mtime_ns for path in out.glob("poses/*.npy")}
    build_tuples(copy, out, TINY, Silent())
    for split in SPLITS:
        assert read_tuples(out, split) == read_tuples(tiny / "tuples", split)
    assert {path: path.stat().st_mtime_ns for path in out.glob("poses/*.npy")} == arrays
    with pytest.raises(ValueError, match=r"begun with other inputs: source was .*copy', is .*miniature'"):
        build_tuples(tiny / "miniature", out, TINY, Silent())


def test_poses_that_were_replaced_are_read_again(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_tuples(copy, out, TINY, Silent())
    item = read_tuples(out, "test")[0]
    path = next(copy.glob(f"annotations/ego_pose/*/body/*/{item.learner.take_uid}.json"))
    content = json.loads(path.read_text())
    for entries in content.values():
        for entry in entries:
            for joint in entry["annotation3D"].values():
                joint["x"] = -joint["x"]  # mirrored: as possible as before, and another pose
    path.write_text(json.dumps(content))
    build_tuples(copy, out, TINY, Silent())
    again = next(t for t in read_tuples(out, "test") if t.tuple_id == item.tuple_id)
    assert abs((again.alignment_mm or 0) - (item.alignment_mm or 0)) > 1


def test_a_comment_after_the_last_pose_has_no_evidence(copy: Path, tmp_path: Path) -> None:
    build_tuples(copy, tmp_path / "before", TINY, Silent())
    item = max(read_tuples(tmp_path / "before", "train"), key=lambda t: t.learner.start)
    path = next(copy.glob(f"annotations/ego_pose/*/body/*/{item.learner.take_uid}.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({number: entries for number, entries in content.items() if int(number) < 40}))
    build_tuples(copy, tmp_path / "after", TINY, Silent())
    assert not [
        t
        for t in read_tuples(tmp_path / "after", "train")
        if t.provenance.learner_remark == item.provenance.learner_remark
    ]
    assert stages(tmp_path / "after")["pair"]["dropped"]["no pose in the evidence window"] >= 1


def test_takes_without_task_or_skill_are_sorted_out_by_reason(copy: Path, tmp_path: Path) -> None:
    takes = json.loads((copy / "takes.json").read_text())
    for take in takes[:3]:
        take["task_name"] = None
    (copy / "takes.json").write_text(json.dumps(takes))
    build_tuples(copy, tmp_path / "out", TINY, Silent())
    assert stages(tmp_path / "out")["choose takes"]["dropped"]["no task name"] == 3


def test_a_split_without_experts_is_refused_before_any_work(copy: Path, tmp_path: Path) -> None:
    path = copy / "annotations/proficiency_demonstrator_val.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**row, "proficiency_score": "Novice"} for row in rows]))
    with pytest.raises(ValueError, match=r"The test split has no expert \(Intermediate Expert, Late Expert\)"):
        build_tuples(copy, tmp_path / "out", TINY, Silent())
    assert not (tmp_path / "out" / POSES).exists()


def test_a_killed_build_goes_on_where_it_was(big_miniature: Path, big_tuples: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuples"
    command = ["mm-coach", "data", "build", str(big_miniature), str(out), "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob("alignments/*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / MANIFEST).exists(), "an unfinished folder is not a finished one"
    before = {path: path.stat().st_mtime_ns for path in [*out.glob("alignments/*.json"), *out.glob(f"{POSES}/*.npy")]}
    assert len(before) > 300
    with pytest.raises(FileNotFoundError, match="no finished items"):
        read_tuples(out, "train")
    launch(*command)
    assert all(path.stat().st_mtime_ns == made for path, made in before.items()), "finished parts were not made again"
    for split in SPLITS:
        assert read_tuples(out, split) == read_tuples(big_tuples, split)
    assert ItemManifest.read(out).funnel == ItemManifest.read(big_tuples).funnel


def test_configuration_file_equals_flags(tiny: Path, copy: Path, tmp_path: Path) -> None:
    config = tmp_path / "build.yaml"
    config.write_text(f"source: {copy}\nout: {tmp_path / 'out'}\nexperts_train: 2\nstride: 3\n")
    launch("mm-coach", "data", "build", "--config", str(config), "--stride", "6")
    for split in SPLITS:
        assert read_tuples(tmp_path / "out", split) == read_tuples(tiny / "tuples", split)


@pytest.mark.parametrize(
    "change",
    [{"stride": 0}, {"experts_test": 0}, {"runners_up": -1}, {"window": 0.5}, {"min_window": 0.0}, {"horizon": -1.0}],
)
def test_options_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has to be at least|have to be above 0"):
        PairingOptions(**change)


def test_activities_can_be_chosen_and_are_counted(tiny: Path, tmp_path: Path) -> None:
    build_tuples(tiny / "miniature", tmp_path, replace(TINY, activities=("Soccer",)), Silent())
    assert {t.activity for split in SPLITS for t in read_tuples(tmp_path, split)} == {"Soccer"}
    chosen = stages(tmp_path)["choose takes"]
    assert chosen["dropped"]["activity is not wanted"] == 32 and chosen["kept"] + sum(chosen["dropped"].values()) == 48


def test_poses_at_another_frame_rate_are_dropped_by_name(copy: Path, tmp_path: Path) -> None:
    path = next(copy.glob("annotations/ego_pose/train/body/automatic/*.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({str(int(number) * 2): entries for number, entries in content.items()}))
    build_tuples(copy, tmp_path / "out", TINY, Silent())
    dropped = stages(tmp_path / "out")["read poses"]
    reason = "poses run past the take: another frame rate?"
    assert dropped["dropped"] == {reason: 1} and path.stem in dropped["examples"][reason][0]


def test_without_poses_only_if_asked_for(copy: Path, tmp_path: Path) -> None:
    lacking = sorted(copy.glob("annotations/ego_pose/*/body/*/*.json"))[::2]
    for path in lacking:
        path.unlink()
    build_tuples(copy, tmp_path / "strict", replace(TINY, max_drop_rate=0.9), Silent())
    without = len(lacking) - sum(
        path.stem in stages(tmp_path / "strict")["choose takes"]["examples"]["training take of a test participant"]
        for path in lacking
    )
    assert stages(tmp_path / "strict")["read poses"]["dropped"] == {"no body poses": without}
    assert all(t.alignment_mm is not None for t in read_tuples(tmp_path / "strict", "train"))
    pairing = replace(TINY.pairing, allow_unaligned=True)
    build_tuples(copy, tmp_path / "lenient", replace(TINY, pairing=pairing), Silent())
    train = read_tuples(tmp_path / "lenient", "train")
    unaligned = [t for t in train if t.alignment_mm is None]
    assert unaligned and len(unaligned) < len(train)
    for t in unaligned:
        assert t.expert.stop == pytest.approx(t.provenance.expert_comment_time * 30, abs=1)


# --- explanation -----------------------------------------------------------------------------------------------------


def test_why_finds_the_minimum_again(big_tuples: Path) -> None:
    for item in read_tuples(big_tuples, "train")[::400]:
        explained = explain_tuple(big_tuples, item.tuple_id)
        at = int(np.flatnonzero(explained.starts == item.expert.start)[0])
        assert explained.curve[at] == pytest.approx(item.alignment_mm, abs=1e-3)
        assert explained.curve.min() == pytest.approx(item.alignment_mm, abs=1e-3)
    item = read_tuples(big_tuples, "test")[0]
    done = launch("mm-coach", "data", "why", str(big_tuples), item.tuple_id)
    for said in (
        item.remark,
        item.provenance.expert_text,
        item.regions[0],
        "error curve",
        f"^ frame {item.expert.start}",
    ):
        assert said in done.stdout
    assert all(other.take_uid in done.stdout for other in item.provenance.runners_up) and item.provenance.runners_up
    done = launch("mm-coach", "data", "why", str(big_tuples), "nobody/x/0~0", check=False)
    assert done.returncode == 2 and "holds no tuple 'nobody/x/0~0'" in done.stderr


# --- decisions -------------------------------------------------------------------------------------------------------


def decision(item: CoachingTuple, verdict: str, reviewer: str = "ada", at: float = 1.0, **changes: Any) -> Decision:
    return Decision(item.tuple_id, content_key(item), verdict, reviewer, at, **changes)


def test_decisions_are_applied_and_counted(big_tuples: Path, tmp_path: Path) -> None:
    tuples, path = read_tuples(big_tuples, "test")[:8], tmp_path / "review.jsonl"
    accepted, rejected, fixed, undone, disputed, stale, moved, untouched = tuples
    for made in (
        decision(accepted, "accept"),
        decision(rejected, "accept", at=1.0),
        decision(rejected, "reject", at=2.0),
        decision(fixed, "fix", summary=" Better words. ", regions=["head", "legs"]),
        decision(undone, "reject", at=1.0),
        decision(undone, "undo", at=2.0),
        decision(disputed, "reject", "ada", at=1.0),
        decision(disputed, "accept", "bob", at=2.0),
        replace(decision(stale, "reject"), content="0123456789abcdef"),
        decision(moved, "fix", expert_start=moved.expert.start + 4),
    ):
        record_decision(path, made)
    funnel = Funnel("review", 1.0)
    kept = {t.tuple_id: t for t in apply_decisions(tuples, read_decisions(path), lambda t: 12.5, False, funnel)}
    assert kept.keys() == {t.tuple_id for t in tuples} - {rejected.tuple_id}
    assert kept[untouched.tuple_id] == untouched and kept[undone.tuple_id] == undone and kept[stale.tuple_id] == stale
    assert kept[accepted.tuple_id].provenance.review == "accept"
    better = kept[fixed.tuple_id]
    assert (better.summary, better.regions, better.provenance.reviewer) == ("Better words.", ["head", "legs"], "ada")
    shifted = kept[moved.tuple_id]
    assert shifted.expert.start == moved.expert.start + 4 and shifted.alignment_mm == 12.5
    assert shifted.expert.stop - shifted.expert.start == moved.expert.stop - moved.expert.start
    summary = funnel.summary()
    assert summary["dropped"] == {"rejected in review": 1}
    assert summary["noted"]["reviewers disagree: the latest decision stands"] == 1
    assert summary["noted"]["stale decision: the tuple has changed since"] == 1
    gold = apply_decisions(tuples, read_decisions(path), lambda t: 12.5, True, Funnel("review", 1.0))
    assert {t.tuple_id for t in gold} == {t.tuple_id for t in (accepted, fixed, disputed, moved)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "maybe"}, "choose from accept, fix, reject, undo"),
        ({"verdict": "fix"}, "has to change"),
        ({"verdict": "fix", "summary": "  "}, "1 to 1000"),
        ({"verdict": "fix", "regions": []}, "choose at least one"),
        ({"verdict": "fix", "regions": ["tail"]}, "choose at least one"),
        ({"verdict": "fix", "expert_start": -1}, "cannot start before 0"),
        ({"verdict": "accept", "reviewer": {"x": 1}}, "reviewer is"),
        ({"verdict": "accept", "reviewer": " "}, "needs the reviewer's name"),
        ({"verdict": "fix", "summary": 5}, "summary is 5"),
        ({"verdict": "fix", "regions": [["legs"]]}, "choose at least one"),
    ],
)
def test_malformed_decisions_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    record = {"tuple_id": "t", "content": "c", "reviewer": "ada", "at": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        Decision(**record)
    (tmp_path / "review.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=r"review\.jsonl, record 1: not a decision"):
        read_decisions(tmp_path / "review.jsonl")


def test_a_fixed_tuple_can_be_decided_about_again(tiny: Path, tmp_path: Path) -> None:
    out, review = tmp_path / "out", tmp_path / "review.jsonl"
    build_tuples(tiny / "miniature", out, TINY, Silent())
    mined = read_tuples(out, MINED_TEST)
    record_decision(review, decision(mined[0], "fix", summary="Better words."))
    record_decision(review, decision(mined[1], "reject"))
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    assert find_tuple(out, mined[0].tuple_id).summary == "Better words."
    assert read_tuples(out, MINED_TEST) == mined, "reviewers go on looking at what was mined, the rejected included"
    record_decision(review, decision(read_tuples(out, MINED_TEST)[0], "fix", "bob", at=2.0, summary="Best words."))
    record_decision(review, decision(read_tuples(out, MINED_TEST)[1], "accept", at=2.0))
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    assert find_tuple(out, mined[0].tuple_id).summary == "Best words."
    assert find_tuple(out, mined[1].tuple_id).provenance.review == "accept"
    assert "stale decision: the tuple has changed since" not in stages(out)["review the test split"]["noted"]
    with review.open("ab") as file:
        file.write(b'{"tuple_id": "cut')
    record_decision(review, replace(decision(mined[2], "accept"), tuple_id="gone"))
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    noted = stages(out)["review the test split"]["noted"]
    assert noted == {"decision about a tuple that is not there any more": 1, "decision that a crash cut off": 1}


def test_build_honours_decisions_and_may_run_again(tiny: Path, tmp_path: Path) -> None:
    out, review = tmp_path / "out", tmp_path / "review.jsonl"
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    first, second, *_ = before = read_tuples(out, "test")
    record_decision(review, decision(first, "reject"))
    record_decision(review, decision(second, "fix", expert_start=second.expert.start + 1))
    shards = {path: path.stat().st_mtime_ns for path in out.glob("alignments/*.json")}
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    after = read_tuples(out, "test")
    assert [t.tuple_id for t in after] == [t.tuple_id for t in before if t != first]
    moved = find_tuple(out, second.tuple_id)
    assert moved.expert.start == second.expert.start + 1 and (moved.alignment_mm or 0) > (second.alignment_mm or 0)
    assert {path: path.stat().st_mtime_ns for path in out.glob("alignments/*.json")} == shards
    assert stages(out)["review the test split"]["dropped"] == {"rejected in review": 1}
    assert ItemManifest.read(out).reviewed == 1 and os.path.exists(review)
    record_decision(review, decision(first, "undo", at=3.0))
    build_tuples(tiny / "miniature", out, TINY, Silent(), review=review)
    assert [t.tuple_id for t in read_tuples(out, "test")] == [t.tuple_id for t in before]
