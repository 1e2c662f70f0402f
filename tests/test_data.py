"""Miniature, readers, labels and tuples: what is kept, what is dropped and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mm_data.build import MANIFEST, BuildOptions, build_tuples, read_tuples
from mm_data.egoexo4d import load_poses, read_release
from mm_data.funnel import Funnel
from mm_data.labelling import label_by_rules
from mm_data.miniature import write_miniature
from mm_data.miniature.remarks import CORRECTIONS, correction
from mm_data.miniature.truth import SIDECAR, MiniatureTruth
from mm_data.pairing import PairingOptions
from mm_data.records import CORRECT, EXPERT_SKILLS, IMPROVE, LEARNER_SKILLS, LabelledRemark, Remark


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def labelled(text: str) -> LabelledRemark | str:
    return label_by_rules(Remark("r", "t", "c", 1.0, text))


# --- miniature -------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    write_miniature(tmp_path / "a", takes=8, seed=3, workers=1)
    write_miniature(tmp_path / "b", takes=8, seed=3, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    write_miniature(tmp_path / "c", takes=8, seed=4)
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_miniature_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(ValueError, match="not empty"):
        write_miniature(tmp_path, takes=8, seed=0)
    with pytest.raises(ValueError, match="at least 4 takes"):
        write_miniature(tmp_path / "x", takes=3, seed=0)


def test_miniature_has_the_irregularities_of_the_release(tiny: Path) -> None:
    root = tiny / "miniature"
    takes = json.loads((root / "takes.json").read_text())
    commentary = json.loads((root / "annotations/expert_commentary_train.json").read_text())["annotations"]
    items = [item for sessions in commentary.values() for s in sessions for item in s["commentary_data"]]
    assert any(item["text"] is None and item["error"] for item in items)
    assert all(item["text"].startswith(" ") for item in items if item["text"])
    assert any(not s["commentary_data"] for sessions in commentary.values() for s in sessions)
    assert any(take["best_exo"] is None for take in takes)
    assert any("aria02" in take["frame_aligned_videos"] for take in takes)
    assert any(camera["is_ego"] == "True" for take in takes for camera in take["capture"]["cameras"])
    shipped = json.loads((root / "annotations/proficiency_demonstrator_train.json").read_text())
    documented = json.loads((root / "annotations/proficiency_demonstrator_val.json").read_text())
    assert isinstance(shipped, dict) and isinstance(documented, list)
    assert {r["take_uid"] for r in documented} - {t["take_uid"] for t in takes}, "a ghost take"
    sparse = list(root.glob("annotations/ego_pose/*/body/annotation/*.json"))
    frames = [int(k) for k in json.loads(sparse[0].read_text())]
    assert frames == sorted(frames, reverse=True) and set(np.diff(frames)) == {-3}
    dense = [json.loads(p.read_text()) for p in sorted(root.glob("annotations/ego_pose/*/body/automatic/*.json"))[:20]]
    assert any([] in pose.values() for pose in dense), "an empty frame"
    assert any(min(map(int, pose)) == 7 for pose in dense), "frames that do not start at 0"
    assert any(entries and "left-ear" not in entries[0]["annotation3D"] for pose in dense for entries in pose.values())


def test_miniature_shows_several_errors_per_activity(tiny: Path) -> None:
    truth = MiniatureTruth(tiny / "miniature")
    regions = {take["activity"]: take["regions"] for take in truth.takes.values()}
    assert len(regions) == 3
    assert all(len(errors) >= 4 for errors in regions.values())


@pytest.mark.parametrize(("slug", "error"), sorted(CORRECTIONS))
def test_every_wording_names_its_error_and_no_other(tiny: Path, slug: str, error: str) -> None:
    truth = MiniatureTruth(tiny / "miniature")
    take = next(uid for uid, t in truth.takes.items() if t["activity"] == slug)
    region = truth.takes[take]["regions"][error]
    rng = np.random.default_rng(0)
    for _ in range(12):
        result = labelled(correction(rng, slug, error, praised=None))
        assert isinstance(result, LabelledRemark)
        assert truth.named(take, result.summary) == {error}
        assert result.regions == {region: IMPROVE}


# --- reading ---------------------------------------------------------------------------------------------------------


def test_reading_counts_what_it_meets(tiny: Path) -> None:
    release = read_release(tiny / "miniature")
    takes, remarks = (f.summary() for f in release.funnels)
    assert takes["noted"]["best_exo is null: the first exo camera is used"] >= 1
    assert takes["noted"]["proficiency for a take that is not in takes.json"] == 1
    assert remarks["dropped"]["transcription failed"] >= 1
    assert remarks["read"] == remarks["kept"] + sum(remarks["dropped"].values())
    assert all(not r.text.startswith(" ") for r in release.remarks)


def test_missing_folder_and_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*mm-coach miniature"):
        read_release(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"proficiency_demonstrator_train\.json is missing"):
        read_release(tmp_path)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A writable copy of the miniature's annotations (without videos)."""
    target = tmp_path / "copy"
    shutil.copytree(tiny / "miniature", target, ignore=shutil.ignore_patterns("*.mp4"))
    return target


def test_a_path_that_leaves_the_folder_is_refused(copy: Path) -> None:
    takes = json.loads((copy / "takes.json").read_text())
    takes[0]["root_dir"] = "takes/../../../etc"
    (copy / "takes.json").write_text(json.dumps(takes))
    with pytest.raises(ValueError, match="leaves the data set's folder"):
        read_release(copy)


def test_truncated_json_names_the_file(copy: Path) -> None:
    path = copy / "annotations/expert_commentary_train.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"expert_commentary_train\.json: not valid JSON"):
        read_release(copy)


def test_nan_pose_names_file_frame_and_joint(copy: Path) -> None:
    path = next(copy.glob("annotations/ego_pose/train/body/automatic/*.json"))
    content = json.loads(path.read_text())
    frame = next(k for k, entries in content.items() if entries)
    content[frame][0]["annotation3D"]["nose"]["x"] = float("nan")
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{path.name}: frame {frame}, joint 'nose'"):
        load_poses(path)


def test_poses_are_dense_by_name_and_interpolated_over_short_gaps(tmp_path: Path) -> None:
    def frame(x: float) -> list:
        return [{"annotation3D": {"right-hip": {"x": x, "y": 0, "z": 1}, "nose": {"x": 2 * x, "y": 0, "z": 2}}}]

    path = tmp_path / "pose.json"
    path.write_text(json.dumps({"12": frame(12), "9": [], "6": frame(6), "30": frame(30)}))
    poses = load_poses(path)
    assert poses.shape == (31, 17, 4)
    assert poses[9, 12].tolist() == [9, 0, 1, 0.5]
    assert poses[9, 0, 0] == 18
    assert (poses[13:30, :, 3] == 0).all() and np.isnan(poses[13:30, :, :3]).all(), "a gap of 17 frames stays open"
    assert (poses[:, 11, 3] == 0).all(), "left-hip never occurs"


# --- labelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "regions", "summary"),
    [
        (
            "Um, so the elbow is sticking out too wide. You want to bring it in line. Yeah.",
            {"arms": IMPROVE},
            "The elbow is sticking out too wide; bring it in line.",
        ),
        ("You know, great push from the legs.", {"legs": CORRECT}, "Great push from the legs."),
        (
            "The head stays down well, but there is too much backward lean in the trunk. Try to stay over the ball.",
            {"head": CORRECT, "torso": IMPROVE},
            "There is too much backward lean in the trunk; stay over the ball.",
        ),
        (
            "The knees stay too straight, so use the hands less. I will give this a five out of ten.",
            {"legs": IMPROVE},
            "The knees stay too straight; use the hands less.",
        ),
    ],
)
def test_labels(text: str, regions: dict[str, str], summary: str) -> None:
    result = labelled(text)
    assert isinstance(result, LabelledRemark)
    assert (result.regions, result.summary) == (regions, summary)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("I will give this a six out of ten.", "no body region"), ("He moves his foot now.", "takes no side")],
)
def test_remarks_without_content_are_dropped_with_a_reason(text: str, reason: str) -> None:
    assert labelled(text) == reason


# --- tuples ----------------------------------------------------------------------------------------------------------


def test_tuples_keep_their_promises(tiny: Path) -> None:
    train, test = (read_tuples(tiny / "tuples", split) for split in ("train", "test"))
    assert train and test
    people = [{c.participant for t in tuples for c in (t.learner, t.expert)} for tuples in (train, test)]
    assert not people[0] & people[1], "participants are disjoint"
    for t in train + test:
        assert t.learner.skill in LEARNER_SKILLS and t.expert.skill in EXPERT_SKILLS
        assert t.learner.participant != t.expert.participant
        assert t.learner.stop - t.learner.start == t.expert.stop - t.expert.start
        assert t.learner.stop == pytest.approx(t.provenance["comment_time"] * 30, abs=1), "evidence ends at the comment"
    per_remark: dict[str, list[float]] = {}
    for t in train:
        per_remark.setdefault(t.provenance["learner_remark"], []).append(t.alignment_mm)
    assert max(len(errors) for errors in per_remark.values()) == 2
    assert all(errors == sorted(errors) for errors in per_remark.values()), "best aligned first"


def test_every_stage_adds_up(tiny: Path) -> None:
    manifest = json.loads((tiny / "tuples" / MANIFEST).read_text())
    for stage in manifest["funnel"]:
        assert stage["read"] == stage["kept"] + sum(stage["dropped"].values())
    split = next(s for s in manifest["funnel"] if s["stage"] == "split by participant")
    assert split["dropped"]["training take of a test participant"] == 1
    assert manifest["synthetic"] is True


def test_building_never_reads_the_sidecar_and_is_repeatable(tiny: Path, copy: Path, tmp_path: Path) -> None:
    (copy / SIDECAR).unlink()
    options = BuildOptions(PairingOptions(experts_train=2, stride=6))
    build_tuples(copy, tmp_path / "again", options)
    for split in ("train", "test"):
        assert read_tuples(tmp_path / "again", split) == read_tuples(tiny / "tuples", split)
    with pytest.raises(ValueError, match="built with other inputs"):
        build_tuples(copy, tmp_path / "again", BuildOptions())


def test_a_stage_that_drops_too_much_stops() -> None:
    funnel = Funnel("read poses", max_drop_rate=0.2)
    funnel.keep(3)
    funnel.drop("no body poses", "take-7")
    with pytest.raises(ValueError, match=r"kept 3 of 4.*no body poses.*take-7"):
        funnel.check()
