"""ExpertAF's released JSON in, LLaVA conversations out, and the check of a download."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_coach import Silent, launch

from mm_adapter.cli import main as mm_coach
from mm_data.exchange.expertaf_import import import_expertaf
from mm_data.exchange.llava_format import ANSWER_PREFIX, read_expertaf
from mm_data.ground.funnel import Funnel
from mm_data.items.manifest import ItemManifest
from mm_data.release.egoexo4d import read_release
from mm_data.release.validate import validate
from mm_data.tuples.store import clips_of_folder, read_tuples


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "id": "mini_a_1-----0-----mini_b_2-----3-----Legs",
        "video1": "mini_a_1",
        "video1_range": "(30, 90)",
        "video2": "mini_b_2",
        "video2_range": "(45, 345)",
        "conversations": [
            {"from": "human", "value": "The learner pose is <pose1>."},
            {"from": "gpt", "value": f"{ANSWER_PREFIX}Bend the knees."},
        ],
        **changes,
    }


def read(tmp_path: Path, *rows: dict[str, Any], frames: int | None = 1000) -> tuple[list, dict[str, Any]]:
    path, funnel = tmp_path / "train.json", Funnel("read", 1.0)
    path.write_text(json.dumps(rows))
    return read_expertaf(path, lambda name: frames, funnel), funnel.summary()


def test_released_samples_are_repaired_and_counted(tmp_path: Path) -> None:
    (found,), summary = read(tmp_path, sample())
    assert (found.learner, found.expert) == ((30, 90), (45, 105)), "the expert's end is wrong in the files"
    assert (found.remark, found.region) == ("Bend the knees.", "legs")
    assert summary["noted"] == {"expert range cut to the learner's length": 1, "constant answer prefix cut off": 1}


def test_expert_takes_that_end_early(tmp_path: Path) -> None:
    (moved,), summary = read(tmp_path, sample(), frames=100)
    assert moved.expert == (40, 100) and summary["noted"]["expert clip moved to the end of its take"] == 1
    found, summary = read(tmp_path, sample(), frames=59)
    assert not found and summary["dropped"] == {"expert take is shorter than the clip": 1}
    (unknown,), _ = read(tmp_path, sample(), frames=None)
    assert unknown.expert == (45, 105)


def test_code_in_a_range_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, summary = read(tmp_path, sample(video1_range="__import__('os').system('touch exploited')"), sample())
    assert len(found) == 1 and summary["dropped"] == {"malformed frame range": 1}
    assert not (tmp_path / "exploited").exists()
    assert "sample 0" in summary["examples"]["malformed frame range"][0]


def test_missing_fields_and_foreign_shapes(tmp_path: Path) -> None:
    incomplete = sample()
    del incomplete["video2"]
    found, summary = read(tmp_path, incomplete, {"id": 1}, sample(conversations=[]))
    assert not found and sum(summary["dropped"].values()) == 3
    path = tmp_path / "dictionary.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="expected a list of samples, found dict"):
        read_expertaf(path, lambda name: None, Funnel("read", 1.0))


def test_exported_tuples_come_back_through_the_importer(tiny: Path, tmp_path: Path) -> None:
    files = {split: tmp_path / f"{split}.json" for split in ("train", "test")}
    for split, path in files.items():
        launch("mm-coach", "data", "export-llava", str(tiny / "tuples"), str(path), "--split", split)
    rows = json.loads(files["train"].read_text())
    names = {take.take_name for take in read_release(tiny / "miniature").takes.values()}
    assert {row["video1"] for row in rows} <= names and rows[0]["conversations"][0]["value"].startswith("<pose1>")
    manifest = import_expertaf(tiny / "miniature", files, tmp_path / "back", Silent())
    assert manifest.shared_people == 0
    for split in files:
        before, after = read_tuples(tiny / "tuples", split), read_tuples(tmp_path / "back", split)
        key = lambda t: (t.learner.clip_id, t.expert.clip_id, t.summary, t.task)  # noqa: E731
        assert sorted(map(key, before)) == sorted(map(key, after))
        assert all(t.alignment_mm is not None and len(t.regions) == 1 for t in after)
    assert ItemManifest.read(tmp_path / "back").request["labeller"] == "expertaf-release"


def test_samples_about_no_region_of_ours_are_kept_and_exported(tiny: Path, tmp_path: Path) -> None:
    files = {split: tmp_path / f"{split}.json" for split in ("train", "test")}
    for split, path in files.items():
        launch("mm-coach", "data", "export-llava", str(tiny / "tuples"), str(path), "--split", split)
        rows = json.loads(path.read_text())
        path.write_text(json.dumps([{**row, "id": row["id"].rsplit("-----", 1)[0] + "-----Jump"} for row in rows]))
    import_expertaf(tiny / "miniature", files, tmp_path / "back", Silent())
    assert all(not t.regions for t in read_tuples(tmp_path / "back", "train"))
    launch("mm-coach", "data", "export-llava", str(tmp_path / "back"), str(tmp_path / "again.json"))
    assert len(json.loads((tmp_path / "again.json").read_text())) == len(read_tuples(tiny / "tuples", "train"))
    with pytest.raises(ValueError, match=r"begun with other inputs: .*labeller"):
        import_expertaf(tiny / "miniature", files, tiny / "tuples", Silent())


# --- validate --------------------------------------------------------------------------------------------------------


def test_a_complete_miniature_is_ready(tiny: Path, tmp_path: Path) -> None:
    done = launch("mm-coach", "data", "validate", str(tiny / "miniature"), "--json", str(tmp_path / "report.json"))
    assert "Ready: 48 takes" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["usable"] and not report["fetch"] and not report["uids"]
    assert {check["status"] for check in report["checks"]} == {"ok"}
    assert report["coverage"][-1] == {
        "activity": "all", "takes": 48, "skill": 48, "remarks": 48, "poses": 48, "videos": 48, "learners": 24, "experts": 24,
    }  # fmt: skip


def test_what_is_missing_comes_with_command_and_size(copy: Path, tmp_path: Path) -> None:
    result = validate(copy)
    assert result.usable and len(result.uids) == 48, "tuples can be built, videos are missing"
    (fetch,) = result.fetch
    assert "downscaled_takes/448 --uids $(cat uids.txt)" in fetch.command and 0 < fetch.gigabytes < 10
    for path in copy.glob("annotations/ego_pose/*/body/automatic/*.json"):
        path.unlink()
    result = validate(copy)
    assert any("--parts ego_pose_pseudo_gt" in f.command and f.gigabytes == 138.6 for f in result.fetch)
    (copy / "annotations/splits.json").unlink()
    result = validate(copy)
    assert not result.usable and "--parts metadata annotations" in result.fetch[0].command
    for name in ("nowhere", "nowhere" * 20):
        done = launch("mm-coach", "data", "validate", str(tmp_path / name), check=False)
        assert done.returncode == 1 and f"{tmp_path / name} does not exist" in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("takes.json", "[]", "no entries"),
        ("takes.json", '[{"take_uid": "a"}]', "1 of 1 entries lack 'take_name'"),
        ("takes.json", "[{", "not valid JSON"),
        ("captures.json", '{"a": 1}', "expected a list"),
        ("annotations/splits.json", "{}", "take_uid_to_split"),
        (
            "annotations/expert_commentary_train.json",
            '{"annotations": {"a": [{}]}}',
            "1 of 1 entries lack 'commentary'",
        ),
    ],
)
def test_broken_files_are_reported_and_do_not_raise(copy: Path, name: str, content: str, found: str) -> None:
    (copy / name).write_text(content)
    result = validate(copy)
    assert not result.usable
    assert any(check.what == name and check.status == "broken" and found in check.found for check in result.checks)


def test_videos_of_built_tuples_alone_can_be_fetched(tiny: Path, copy: Path, tmp_path: Path) -> None:
    uids = tmp_path / "wanted.txt"
    launch("mm-coach", "data", "validate", str(copy), "--uids", str(uids), "--tuples", str(tiny / "tuples"))
    assert set(uids.read_text().split()) == {clip.take_uid for clip in clips_of_folder(tiny / "tuples").values()}


def test_unknown_references_and_unreadable_poses_are_warnings(copy: Path) -> None:
    (copy / "participants.json").write_text('[{"participant_uid": 0, "university_name": "miniature"}]')
    poses = sorted(copy.glob("annotations/ego_pose/train/body/automatic/*.json"))
    poses[0].rename(poses[0].with_name("stranger.json"))
    poses[1].write_text('{"0": []}')
    result = validate(copy, all_poses=True)
    by_name = {check.what: check for check in result.checks}
    assert result.usable
    assert by_name["participants of takes"].found.startswith("23 of 48 unknown")
    assert by_name["pose files of known takes"].found == "1 of 48 unknown, such as stranger"
    assert "46 of 47 read" in by_name["pose files"].found and "holds no pose" in by_name["pose files"].found


# --- variants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experts", ["activity", "unaligned"])
def test_variants_exchange_the_demonstrations_to_train_on(tiny: Path, tmp_path: Path, experts: str) -> None:
    assert mm_coach(["data", "vary", str(tiny / "tuples"), str(tmp_path / "varied"), "--experts", experts]) == 0
    before, after = (read_tuples(folder, "train") for folder in (tiny / "tuples", tmp_path / "varied"))
    assert read_tuples(tmp_path / "varied", "test") == read_tuples(tiny / "tuples", "test")
    assert [
        dataclasses.replace(t, expert=b.expert, alignment_mm=b.alignment_mm) for t, b in zip(after, before, strict=True)
    ] == before
    assert np.load(tmp_path / "varied" / "poses" / f"{after[0].expert.take_uid}.npy").shape[1:] == (17, 4)
    for t, b in zip(after, before, strict=True):
        if experts == "activity":
            assert t.expert == next(other.expert for other in after if other.activity == t.activity)
        else:
            assert (
                t.expert.take_uid == b.expert.take_uid
                and t.expert.stop - t.expert.start == b.expert.stop - b.expert.start
            )
            assert t.expert.stop == round(b.provenance.expert_comment_time * 30) or t.expert.start == 0


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["", "  \n", ANSWER_PREFIX, ANSWER_PREFIX.strip(), ANSWER_PREFIX.strip(": "), f"\n{ANSWER_PREFIX.upper()}\n ", ANSWER_PREFIX.replace(" ", "  ") + " ...", "–", "?!", ":", "<pose2>", f"{ANSWER_PREFIX} <pose1> <image>."])  # fmt: skip
def test_samples_without_an_answer_are_dropped_and_counted(tmp_path: Path, answer: str) -> None:
    empty = sample(conversations=[{"from": "human", "value": "q"}, {"from": "gpt", "value": answer}])
    found, summary = read(tmp_path, empty, sample())
    assert [s.remark for s in found] == ["Bend the knees."]
    assert (
        summary["dropped"] == {"the answer is empty": 1} and "sample 0" in summary["examples"]["the answer is empty"][0]
    )


@pytest.mark.parametrize("said", ["Bend the knees.", "<pose2> shows it.", "3", "膝を曲げる", "  Bend\nthe knees.\n"])
def test_short_answers_stay(tmp_path: Path, said: str) -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": ANSWER_PREFIX.lower() + said}]
    (found,), summary = read(tmp_path, sample(conversations=turns))
    assert found.remark == said.strip() and summary["noted"]["constant answer prefix cut off"] == 1


TURN = {"from": "human", "value": "q"}


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"conversations": [TURN]}, "no question and answer", "sample 0"),
        ({"conversations": []}, "no question and answer", "sample 0"),
        ({"conversations": ["q", "a"]}, "no question and answer", "sample 0"),
        ({"conversations": "q"}, "no question and answer", "sample 0"),
        ({"conversations": None}, "a field is missing", "conversations"),
        ({"conversations": [TURN, {"from": "gpt"}]}, "a turn is not text", "sample 0"),
        ({"conversations": [TURN, {"from": "gpt", "value": None}]}, "a turn is not text", "sample 0"),
        ({"video1": None}, "a field is missing", "video1"),
        ({"video1_range": 30}, "malformed frame range", "video1_range"),
        ({"video2_range": [30, 90]}, "malformed frame range", "video2_range"),
        ({"video2_range": "(90, 30)"}, "malformed frame range", "video2_range"),
    ],
)
def test_malformed_samples_are_counted_by_their_own_cause(
    tmp_path: Path, change: dict[str, Any], reason: str, detail: str
) -> None:
    found, summary = read(tmp_path, sample(**change))
    assert not found and summary["dropped"] == {reason: 1} and detail in summary["examples"][reason][0]
    found, summary = read(tmp_path, *[1, None, [sample()]])  # type: ignore[list-item]
    assert not found and summary["dropped"] == {"not a sample": 3}


def test_an_empty_answer_never_becomes_a_tuple(tiny: Path, tmp_path: Path) -> None:
    files = {split: tmp_path / f"{split}.json" for split in ("train", "test")}
    for split, path in files.items():
        assert mm_coach(["data", "export-llava", str(tiny / "tuples"), str(path), "--split", split]) == 0
    rows = json.loads(files["train"].read_text())
    rows[0]["conversations"][1]["value"] = ANSWER_PREFIX.strip()
    files["train"].write_text(json.dumps(rows))
    manifest = import_expertaf(tiny / "miniature", files, tmp_path / "back", Silent())
    assert manifest.items["train"] == len(rows) - 1
    (stage,) = [stage for stage in manifest.funnel if stage["stage"] == "read train samples"]
    assert stage["dropped"] == {"the answer is empty": 1}
    assert all(t.summary and t.remark for t in read_tuples(tmp_path / "back", "train"))


def without(copy: Path, what: str) -> None:
    """Takes away what tuples need."""
    if what == "poses":
        for path in copy.glob("annotations/ego_pose/*/body/*/*.json"):
            path.unlink()
    else:
        for path in copy.glob("annotations/proficiency_demonstrator_*.json"):
            path.write_text(path.read_text().replace("Novice", "Late Expert").replace("Early Expert", "Late Expert"))


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("poses", "no take with a skill level and a remark has poses"),
        ("learner", "the train split has no task with both a learner and an expert"),
    ],
)
def test_data_of_which_no_tuple_can_come_is_not_ready(
    copy: Path, capsys: pytest.CaptureFixture[str], what: str, found: str
) -> None:
    without(copy, what)
    assert mm_coach(["data", "validate", str(copy), "--uids", str(copy.parent / "uids.txt")]) == 1
    printed = capsys.readouterr().out
    assert (
        "Ready" not in printed and "Tuples cannot be built yet." in printed and f"takes for tuples: {found}" in printed
    )
    assert not (copy.parent / "uids.txt").exists()
    (check,) = [check for check in validate(copy).checks if check.status == "missing"]
    assert check.what == "takes for tuples" and check.fix
