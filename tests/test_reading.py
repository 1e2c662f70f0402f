"""Reading Ego-Exo4D: every irregularity of the release is read, counted, or refused with the file's name."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_data.ground.funnel import Funnel
from mm_data.records import Source
from mm_data.release.egoexo4d import load_poses, read_release
from mm_data.release.egoexo4d.commentary import read_session, read_sessions
from mm_data.release.egoexo4d.poses import MAX_GAP
from mm_data.release.egoexo4d.takes import read_best_exo, read_captures, read_participants
from mm_data.release.statistics import rating_statistics, task_statistics


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


def noted(source: Source, stage: int = 0) -> dict[str, int]:
    return source.funnels[stage].summary()["noted"]


def dropped(source: Source, stage: int = 0) -> dict[str, int]:
    return source.funnels[stage].summary()["dropped"]


def test_reading_counts_what_it_meets(tiny: Path) -> None:
    source = read_release(tiny / "miniature")
    takes, remarks = (f.summary() for f in source.funnels)
    assert takes["noted"]["no best_exo video: the atomic descriptions' choice is used"] >= 1
    assert takes["noted"]["proficiency for a take that is not in takes.json"] == 1
    assert remarks["dropped"]["transcription failed"] >= 1
    for stage in (takes, remarks):
        assert stage["read"] == stage["kept"] + sum(stage["dropped"].values())
    assert all(r.text == " ".join(r.text.split()) for r in source.remarks), "no leading space, no line breaks"
    assert source.synthetic


def test_missing_folder_and_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*mm-coach miniature"):
        read_release(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"proficiency_demonstrator_train\.json is missing.*egoexo -o"):
        read_release(tmp_path)


def test_a_path_that_leaves_the_folder_is_refused(copy: Path) -> None:
    edit(copy / "takes.json", lambda takes: takes[0].update(root_dir="takes/../../../etc"))
    with pytest.raises(ValueError, match="leaves the data set's folder"):
        read_release(copy)


def test_truncated_json_names_the_file(copy: Path) -> None:
    path = copy / "annotations/expert_commentary_train.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"expert_commentary_train\.json: not valid JSON"):
        read_release(copy)


# --- takes -----------------------------------------------------------------------------------------------------------


def test_proficiency_as_list_and_as_dictionary_give_the_same(copy: Path) -> None:
    before = read_release(copy)
    for split in ("train", "val"):
        path = copy / f"annotations/proficiency_demonstrator_{split}.json"
        edit(path, lambda rows: rows["annotations"] if isinstance(rows, dict) else {"annotations": rows})
    assert read_release(copy).takes == before.takes
    path.write_text('"neither"')
    with pytest.raises(ValueError, match="expected a list or"):
        read_release(copy)


def test_takes_wrapped_in_a_dictionary(copy: Path) -> None:
    before = read_release(copy)
    edit(copy / "takes.json", lambda takes: {"annotations": takes})
    assert read_release(copy).takes == before.takes


def test_best_exo_falls_back_in_order_and_counts(copy: Path) -> None:
    takes = json.loads((copy / "takes.json").read_text())
    first = takes[0]
    uid = first["take_uid"]

    def best_after(change: Callable[[dict], None]) -> tuple[str, dict[str, int]]:
        change(first)
        (copy / "takes.json").write_text(json.dumps(takes))
        source = read_release(copy)
        return source.takes[uid].exo_video.rsplit("/", 1)[-1], noted(source)

    def no_label(take: dict) -> None:
        take["best_exo"] = None
        take["frame_aligned_videos"]["best_exo"]["0"]["relative_path"] = "frame_aligned_videos/cam02.mp4"

    def no_file(take: dict) -> None:
        take["frame_aligned_videos"]["best_exo"]["0"]["relative_path"] = None

    assert best_after(lambda take: None)[0] == "cam01.mp4"
    name, counts = best_after(no_label)
    assert name == "cam02.mp4" and counts["no best_exo video: the file named best_exo is used"] == 1
    before = counts["no best_exo video: the atomic descriptions' choice is used"]
    _, counts = best_after(no_file)
    assert counts["no best_exo video: the atomic descriptions' choice is used"] == before + 1
    for split in ("train", "val"):
        (copy / f"annotations/atomic_descriptions_{split}.json").unlink()
    name, counts = best_after(no_file)
    assert name == "cam01.mp4" and counts["no best_exo video: the first exo camera is used"] == before + 1


def test_atomic_descriptions_vote_and_rejected_ones_do_not(copy: Path) -> None:
    path = copy / "annotations/atomic_descriptions_train.json"
    uid = next(iter(json.loads(path.read_text())["annotations"]))
    description = {"text": "x", "best_exo": {"cam_id": "cam02"}}

    def add(content: dict) -> None:
        content["annotations"][uid] += [
            {"rejected": True, "descriptions": [description] * 50},
            {"rejected": False, "descriptions": [description] * 9 + [{"best_exo": None}, {"text": "no view"}]},
        ]

    edit(path, add)
    assert read_best_exo(copy)[uid] == "cam02"


def test_aria02_string_booleans_and_ego_gopros(copy: Path) -> None:
    """A GoPro that somebody wears has a video too, which is not the one that is seen with the glasses."""

    def change(takes: list) -> None:
        for take in takes:
            for camera in take["capture"]["cameras"]:
                camera["is_ego"] = str(camera["is_ego"])
        worn = takes[0]
        worn["capture"]["cameras"].insert(0, {"cam_id": "gp01", "is_ego": True})
        worn["frame_aligned_videos"]["gp01"] = {
            stream: {"relative_path": "frame_aligned_videos/gp01.mp4"} for stream in ("0", "rgb")
        }

    before = read_release(copy).takes
    assert any("aria02" in take.ego_video for take in before.values())
    edit(copy / "takes.json", change)
    assert read_release(copy).takes == before


def test_the_small_copy_of_a_video_is_preferred_where_it_exists(copy: Path) -> None:
    uid, take = next(iter(read_release(copy).takes.items()))
    folder, name = take.exo_video.rsplit("/", 1)
    small = copy / folder / "downscaled/448" / name
    small.parent.mkdir(parents=True)
    small.touch()
    found = read_release(copy).takes[uid]
    assert found.exo_video == f"{folder}/downscaled/448/{name}" and found.ego_video == take.ego_video


@pytest.mark.parametrize(
    ("field", "value"), [("take_uid", "../../escaped"), ("take_uid", "/etc/x"), ("take_name", "..")]
)
def test_names_that_would_climb_as_paths_are_refused(copy: Path, field: str, value: str) -> None:
    edit(copy / "takes.json", lambda takes: takes[0].update({field: value}))
    with pytest.raises(ValueError, match="leaves the data set's folder"):
        read_release(copy)


def test_malformed_annotations_beside_the_takes_are_noted(copy: Path) -> None:
    before = read_release(copy)

    def break_demonstrations(content: dict) -> None:
        content["annotations"][0]["good_executions"] = [
            {"video_time": None, "list": ["x"], "expert_uid": "a"},
            {"list": 3},
        ]
        content["annotations"][1]["tips_for_improvement"] = None

    edit(copy / "annotations/proficiency_demonstration_train.json", break_demonstrations)
    edit(
        copy / "annotations/proficiency_demonstrator_train.json",
        lambda c: c["annotations"][0].update(proficiency_score=3),
    )
    folders = sorted(copy.glob("annotations/expert_commentary/*/*/data.json"))
    folders[0].write_text('{"annotations": [{"recording_path": "0.webm", "video_time": null}]}')
    folders[1].write_text('{"annotations": [], "proficiency": {"rating": "n/a"}}')
    (copy / "metadata.json").write_text("[]")
    after = read_release(copy)
    counts = noted(after, 1)
    assert counts["unreadable commentator's folder"] == 2 and counts["malformed proficiency demonstration"] == 2
    assert noted(after)["unknown proficiency label"] == 1
    assert after.remarks == before.remarks and not after.synthetic


def test_folders_of_unusable_takes_are_not_counted_twice(copy: Path) -> None:
    session = next(read_sessions(copy, Funnel("read", 1.0)))
    before = read_release(copy)
    edit(
        copy / "takes.json",
        lambda takes: [t.update(is_dropped=True) for t in takes if t["take_name"] == session.take_name] and None,
    )
    after = read_release(copy)
    assert after.funnels[1].summary()["read"] == before.funnels[1].summary()["read"]
    assert "only in the commentator's folder" not in noted(after, 1)


def test_unusable_takes_are_dropped_by_reason(copy: Path) -> None:
    def change(takes: list) -> None:
        takes[0]["is_dropped"] = True
        takes[1]["capture"]["cameras"] = []
        for camera in ("cam01", "cam02", "best_exo"):
            takes[2]["frame_aligned_videos"].pop(camera)
        takes[3]["take_uid"] = "not-in-splits"
        takes[4]["frame_aligned_videos"] = None
        del takes[5]["university_name"]

    edit(copy / "takes.json", change)
    assert dropped(read_release(copy)) == {
        "marked as dropped": 1,
        "no egocentric RGB video": 1,
        "no exocentric video": 1,
        "not in splits.json": 1,
        "malformed entry": 2,
    }


def test_participants_and_captures(tiny: Path) -> None:
    source = read_release(tiny / "miniature")
    participants = read_participants(tiny / "miniature")
    assert {take.participant for take in source.takes.values()} <= set(participants)
    assert participants["miniature/0"] == {"dominant_hand": "unknown"}, "JSON inside a string"
    assert all(capture["cameras"] for capture in read_captures(tiny / "miniature").values())


# --- commentary ------------------------------------------------------------------------------------------------------


def test_errors_nulls_ghosts_and_times_outside_are_counted(copy: Path) -> None:
    def change(content: dict) -> None:
        sessions = next(s for s in content["annotations"].values() if len(s[0]["commentary_data"]) >= 4)
        items = sessions[0]["commentary_data"]
        items[0].update(text=" said, but marked as wrong", error=True)
        items[1].update(text=None, error=False)
        items[2].pop("text")
        items[3]["video_time"] = 9999.0
        sessions[0]["commentary_data"] += [{"recording": "77.webm", "video_time": None, "text": " a"}, dict(items[3])]
        content["annotations"]["ghost"] = [{**sessions[0], "commentary_data": [{**items[3]}]}]

    before = read_release(copy)
    edit(copy / "annotations/expert_commentary_train.json", change)
    after = read_release(copy)
    failed = "transcription failed"
    lost = dropped(after, 1)
    assert lost["time outside the take"] == 1 and lost["take is not usable"] == 1
    assert lost["malformed entry"] == 1 and lost["listed twice"] == 1
    assert 1 <= lost[failed] - dropped(before, 1)[failed] <= 3
    assert after.funnels[1].summary()["read"] == before.funnels[1].summary()["read"] + 3


def test_two_commentators_of_whom_one_is_silent(tiny: Path) -> None:
    content = json.loads((tiny / "miniature/annotations/expert_commentary_train.json").read_text())["annotations"]
    uid = next(u for u, sessions in content.items() if any(not s["commentary_data"] for s in sessions))
    remarks = [r for r in read_release(tiny / "miniature").remarks if r.take_uid == uid]
    assert len({r.commentator for r in remarks}) >= 2 and "gh7t3q" not in {r.commentator for r in remarks}


def test_the_second_form_fills_what_the_first_lacks(copy: Path) -> None:
    before = read_release(copy)
    session = next(read_sessions(copy, Funnel("read", 1.0)))
    uid = next(u for u, t in before.takes.items() if t.take_name == session.take_name)

    def forget(content: dict) -> None:
        content["annotations"].pop(uid, None)

    for split in ("train", "val"):
        edit(copy / f"annotations/expert_commentary_{split}.json", forget)
    after = read_release(copy)
    assert noted(after, 1)["only in the commentator's folder"] >= 1
    assert sorted(after.remarks, key=str) == sorted(before.remarks, key=str), "both forms say the same"


def test_ratings_are_standardised_per_commentator(tiny: Path) -> None:
    source = read_release(tiny / "miniature")
    by_commentator: dict[str, list[float]] = {}
    for (_, commentator), rating in source.ratings.items():
        assert 1 <= rating.value <= 10
        if rating.standardized is not None:
            by_commentator.setdefault(commentator, []).append(rating.standardized)
    assert by_commentator
    for scores in by_commentator.values():
        assert np.mean(scores) == pytest.approx(0, abs=1e-9) and np.std(scores) == pytest.approx(1)
    assert {row["commentator"] for row in rating_statistics(source)} >= by_commentator.keys()


def test_a_session_without_rating_and_transcriptions(tmp_path: Path) -> None:
    recording = {"recording_path": "0.webm", "video_time": 1.0, "events": []}
    (tmp_path / "data.json").write_text(json.dumps({"user_id": "a", "video_name": "t", "annotations": [recording]}))
    session = read_session(tmp_path)
    assert session.rating is None and session.recordings[0].text is None


def test_statistics_add_up(tiny: Path) -> None:
    source = read_release(tiny / "miniature")
    *tasks, total = task_statistics(source)
    for column in ("takes", "learners", "experts", "remarks", "poses"):
        assert sum(row[column] for row in tasks) == total[column]
    assert total["takes"] == len(source.takes) and total["remarks"] == len(source.remarks)


# --- poses and cameras -----------------------------------------------------------------------------------------------


def frame(x: float) -> list:
    return [{"annotation3D": {"right-hip": {"x": x, "y": 0, "z": 1}, "nose": {"x": 2 * x, "y": 0, "z": 2}}}]


def test_poses_are_dense_by_name_and_interpolated_over_short_gaps(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    path.write_text(json.dumps({"12": frame(12), "9": [], "6": frame(6), "15": frame(15), "33": frame(33)}))
    notes: Counter[str] = Counter()
    poses = load_poses(path, notes=notes)
    assert poses.shape == (34, 17, 4)
    assert poses[9, 12].tolist() == [9, 0, 1, 0.5]
    assert poses[9, 0, 0] == 18
    assert (poses[16:33, :, 3] == 0).all() and np.isnan(poses[16:33, :, :3]).all(), "a gap of 17 frames stays open"
    assert (poses[:, 11, 3] == 0).all(), "left-hip never occurs"
    assert (poses[:6, :, 3] == 0).all(), "nothing is made up before the first pose"
    assert notes["frames without poses"] == 1 and notes["files whose frames are out of order"] == 1
    assert notes["files that begin after frame 0"] == 1 and notes["files with sparse poses"] == 1


@pytest.mark.parametrize("max_gap", [2, 5, 6])
def test_gaps_are_filled_up_to_the_longest_and_not_beyond(tmp_path: Path, max_gap: int) -> None:
    path = tmp_path / "pose.json"
    first, second = 1 + max_gap, 2 + 2 * max_gap
    numbers = [0, first, first + 1, first + 1 + max_gap + 2, first + 1 + max_gap + 3, first + 1 + max_gap + 4]
    path.write_text(json.dumps({str(number): frame(number) for number in numbers}))
    poses = load_poses(path, max_gap=max_gap)
    flags = poses[:, 0, 3].tolist()
    assert flags[: second + 1] == [1.0, *[0.5] * max_gap, 1.0, 1.0, *[0.0] * (second - first - 1)]
    assert flags[first + 2 : numbers[3]] == [0.0] * (max_gap + 1), "one frame more than may be filled"
    assert poses[1:first, 0, 0] == pytest.approx(np.arange(1, first) * 2.0), "in a straight line"
    if max_gap == MAX_GAP:
        assert np.array_equal(load_poses(path), poses, equal_nan=True)


def test_frames_without_joints_or_three_dimensional_part(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    path.write_text(
        json.dumps({"0": frame(0), "1": [{"annotation3D": {}}], "2": [{"annotation2D": {}}], "3": frame(3)})
    )
    poses = load_poses(path)
    assert poses[1, 0].tolist() == [2, 0, 2, 0.5] and poses[2, 0].tolist() == [4, 0, 2, 0.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"999999999": frame(0)}, "is not a frame number up to"),
        ({"seven": frame(0)}, "frame 'seven' is not a frame number"),
        ({"-1": frame(0)}, "frame '-1' is not a frame number"),
        ({"0": [], "1": []}, "holds no pose in any of its 2 frames"),
        ({}, "holds no pose"),
        ([], "expected frames by number, found list"),
        ({"0": [{"annotation3D": {"left_hip": {"x": 0, "y": 0, "z": 0}}}]}, "unknown joint 'left_hip'"),
        ({"0": [{"annotation3D": {"nose": {"x": 0, "y": 0}}}]}, "frame 0 is malformed .KeyError: 'z'"),
        ({"0": ["text"]}, "frame 0 is malformed"),
        ({"0": frame(float("nan"))}, "frame 0, joint 'right-hip' is .*must be finite"),
        ({str(i * 30): frame(i) for i in range(5)}, "poses are 30 frames apart"),
    ],
)
def test_poses_that_cannot_be_trusted_name_the_file(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "pose.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"pose\.json.*{message}"):
        load_poses(path)


def test_what_is_sorted_out_on_purpose_passes_no_threshold() -> None:
    funnel = Funnel("choose takes", max_drop_rate=0.2)
    funnel.keep(1)
    for number in range(9):
        funnel.drop("activity is not wanted", f"take-{number}", expected=True)
    funnel.check()
    assert funnel.summary()["read"] == 10
    funnel.drop("broken", "take-9")
    with pytest.raises(ValueError, match="kept 1 of 11"):
        funnel.check()


def test_a_stage_that_drops_too_much_stops() -> None:
    funnel = Funnel("read poses", max_drop_rate=0.2)
    funnel.keep(3)
    funnel.drop("no body poses", "take-7")
    with pytest.raises(ValueError, match=r"kept 3 of 4.*no body poses.*take-7"):
        funnel.check()
