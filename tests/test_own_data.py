"""A folder of one's own videos goes through the same stages as Ego-Exo4D."""

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_coach import Silent, launch

from mm_data.folders import import_dataset
from mm_data.items.manifest import ItemManifest
from mm_data.release.egoexo4d import load_poses, read_release
from mm_data.release.own_videos import load_own_poses, read_own_data
from mm_data.release.read import read_source
from mm_data.release.validate import validate
from mm_data.tuples.store import read_tuples


@pytest.fixture(scope="module")
def folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny miniature as somebody without Ego-Exo4D would keep it: exo videos, CSV tables, poses for most."""
    out = tmp_path_factory.mktemp("own")
    source = read_release(tiny / "miniature")
    (out / "videos").mkdir()
    (out / "poses").mkdir()
    with (out / "takes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "participant", "task", "skill", "split"])
        for uid, take in source.takes.items():
            shutil.copy(tiny / "miniature" / take.exo_video, out / "videos" / f"{uid}.mp4")
            np.save(out / "poses" / f"{uid}.npy", load_poses(source.pose_files[uid]).astype(np.float32))
            split = {"train": "train", "val": "test"}[take.split]
            table.writerow([f"{uid}.mp4", take.participant, take.task, take.skill, split])
    with (out / "remarks.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "time", "text", "commentator"])
        table.writerows([f"{r.take_uid}.mp4", r.time, f" {r.text}", r.commentator] for r in source.remarks)
    return out


def test_own_data_gives_the_tuples_of_the_release(folder: Path, tiny: Path, tmp_path: Path) -> None:
    launch(
        "mm-coach",
        "data",
        "build",
        str(folder),
        str(tmp_path / "out"),
        "--experts-train",
        "2",
        "--stride",
        "6",
    )
    for split in ("train", "test"):
        ours, theirs = read_tuples(tmp_path / "out", split), read_tuples(tiny / "tuples", split)
        key = lambda t: (t.learner.clip_id, t.remark, t.expert.clip_id, t.alignment_mm)  # noqa: E731
        assert sorted(map(key, ours)) == sorted(map(key, theirs))
    notes = ItemManifest.read(tmp_path / "out").funnel[0]["noted"]
    assert notes == {"no ego video: the exo video stands in both views": 48}
    assert not ItemManifest.read(tmp_path / "out").synthetic


def test_json_lines_and_csv_are_equal_and_splits_follow_people(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "videos", tmp_path / "videos")
    for name in ("takes", "remarks"):
        with (folder / f"{name}.csv").open(newline="") as file:
            rows = [{k: v for k, v in row.items() if k != "split"} for row in csv.DictReader(file)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read_own_data(tmp_path)
    assert [r.text for r in source.remarks] == [r.text for r in read_own_data(folder).remarks]
    sides: dict[str, set[str]] = {}
    for take in source.takes.values():
        sides.setdefault(take.participant, set()).add(take.split)
    assert all(len(splits) == 1 for splits in sides.values()), "a person is on one side"
    assert {"train"} in sides.values() and {"val"} in sides.values()
    assert not source.pose_files


def test_validate_checks_own_data_too(folder: Path) -> None:
    result = validate(folder, all_poses=True)
    assert result.usable and not result.fetch
    assert (
        result.coverage[-1]["videos"] == 48 and result.coverage[-1]["learners"] + result.coverage[-1]["experts"] == 48
    )


def with_poses(folder: Path, out: Path, change: Callable[[np.ndarray], np.ndarray], share: float = 1.0) -> Path:
    """The folder with other poses, for a share of the takes."""
    (out / "poses").mkdir(parents=True)
    (out / "videos").symlink_to(folder / "videos")
    for name in ("takes.csv", "remarks.csv"):
        shutil.copy(folder / name, out / name)
    files = sorted((folder / "poses").glob("*.npy"))
    for number, path in enumerate(files):
        poses = np.load(path)
        np.save(out / "poses" / path.name, change(poses) if number < share * len(files) else poses)
    return out


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda poses: poses * np.array([factor, factor, factor, 1.0])


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (scaled(1000), "pose files", r"legs are \d+ m long if the unit is m; .*would fit if it were mm"),
        (scaled(100), "pose files", r"would fit if it were cm"),
        (lambda poses: poses[..., [0, 2, 1, 3]], "axes of poses", r"from them along \+y, so z is not up"),
        (lambda poses: poses * np.array([1, 1, -1, 1]), "axes of poses", r"along -z, so z is not up"),
        (lambda poses: poses[..., :3] * 0, "pose files", "no pose was found"),
    ],
)
def test_poses_of_another_kind_are_not_ready(
    folder: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], check: str, message: str
) -> None:
    own = with_poses(folder, tmp_path / "own", change)
    result = validate(own, all_poses=True)
    assert not result.usable
    assert re.search(message, next(c.found for c in result.checks if c.what == check))
    with pytest.raises(ValueError, match=message):
        import_dataset(own, tmp_path / "out", Silent())


def test_a_few_takes_of_another_kind_are_left_out(folder: Path, tmp_path: Path) -> None:
    own = with_poses(folder, tmp_path / "own", scaled(1000), share=0.25)
    assert validate(own, all_poses=True).usable
    funnel = import_dataset(own, tmp_path / "out", Silent()).funnel[0]
    assert funnel["dropped"] == {"unreadable poses": 12} and funnel["kept"] == 35  # one take more is on neither side


def test_joints_at_zero_are_counted_and_absent(folder: Path, tmp_path: Path) -> None:
    def without_wrists(poses: np.ndarray) -> np.ndarray:
        poses[:, 9:11, :3], poses[:, 9:11, 3] = 0.0, 1.0
        return poses

    own = with_poses(folder, tmp_path / "own", without_wrists)
    read_pose = next(check for check in validate(own, all_poses=True).checks if check.what == "pose files")
    assert "joints at (0, 0, 0), taken as absent" in read_pose.found
    manifest = import_dataset(own, tmp_path / "out", Silent())
    poses = np.load(tmp_path / "out" / "poses" / f"{manifest.sequences[0].name}.npy")
    assert (poses[:, 9:11, 3] == 0).all() and np.isnan(poses[:, 9:11, :3]).all()


def test_poses_at_25_fps_are_noticed(folder: Path, tmp_path: Path) -> None:
    own = with_poses(folder, tmp_path / "own", lambda poses: poses[: len(poses) * 25 // 30])
    check = next(check for check in validate(own, all_poses=True).checks if check.what == "poses and videos")
    assert check.status == "warning" and "48 of 48 takes whose poses end before their video" in check.found
    assert re.search(
        r"\d+ frames, \d\.\d s at 30 fps; the video is \d\.\d s long, as it would be at 2[45]\.\d fps", check.found
    )
    funnel = import_dataset(own, tmp_path / "out", Silent()).funnel[0]
    assert funnel["noted"]["takes whose poses end before their video: another frame rate?"] == 47
    again = import_dataset(own, tmp_path / "out", Silent()).funnel[0]
    assert again == funnel, "what was read before is noted again"


def test_own_poses_may_be_npz(folder: Path, tmp_path: Path) -> None:
    own = with_poses(folder, tmp_path / "own", lambda poses: poses)
    path = sorted((own / "poses").glob("*.npy"))[0]
    poses = np.load(path)
    path.unlink()
    np.savez(path.with_suffix(".npz"), poses)
    source = read_own_data(own)
    assert len(source.pose_files) == 48
    np.testing.assert_array_equal(load_own_poses(source.pose_files[path.stem])[..., 3], poses[..., 3])


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("takes", "../../etc/passwd,p,Jump,Novice", r"takes\.csv:2: .*leaves the data set's folder"),
        (
            "takes",
            "/data/a.mp4,p,Jump,Novice",
            r"takes\.csv:2: .*'/data/a\.mp4'.*relative to .*videos: put the video there",
        ),
        ("takes", r"C:\a.mp4,p,Jump,Novice", r"takes\.csv:2: .*relative to .*videos"),
        ("takes", "a.mp4,p,Jump", r"takes\.csv:2: the row has 3 cells and ends before skill"),
        ("takes", "a.mp4,p,Jump, far,Novice", r"takes\.csv:2: 'Novice' stands in no column"),
        ("remarks", "a.mp4,1.0,Too far, bring it back.", r"remarks\.csv:2: 'bring it back\.' stands in no column"),
        ("remarks", "../a.mp4,1.0,Far.", r"remarks\.csv:2: .*'\.\./a\.mp4'.*relative to"),
        ("remarks", "a.mp4,nan,Far.", r"remarks\.csv:2: time 'nan' is not a number"),
        ("takes", "a.mp4,p,Jump,Beginner", r"takes\.csv:2: skill 'Beginner'; choose from Novice, Early Expert"),
        ("takes", "a.mp4,p,,Novice", r"takes\.csv:2: task missing"),
        ("takes", "a.mp4,p,Jump,Novice\na.mp4,p,Jump,Novice", r"takes\.csv:3: video 'a\.mp4' is listed twice"),
        ("takes", "b.mp4,p,Jump,Novice", r"1 × video missing .*takes\.csv:2: .*videos/b\.mp4"),
        ("takes", "broken.mp4,p,Jump,Novice", r"1 × video unreadable .*takes\.csv:2: .*videos/broken\.mp4"),
        ("remarks", "a.mp4,soon,Bend the knees.", r"remarks\.csv:2: time 'soon' is not a number"),
        ("remarks", "a.mp4,999,Bend the knees.", r"1 × time outside the take .*999\.0 s of"),
        ("remarks", "a.mp4,1.0,", r"1 × no text"),
    ],
)
def test_bad_rows_name_file_and_line(folder: Path, tmp_path: Path, table: str, row: str, message: str) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(next((folder / "videos").glob("*.mp4")), tmp_path / "videos/a.mp4")
    (tmp_path / "videos/broken.mp4").write_bytes(b"not a video")
    rows = {"takes": "a.mp4,p,Jump,Novice", "remarks": "a.mp4,1.0,Bend the knees."} | {table: row}
    (tmp_path / "takes.csv").write_text(f"video,participant,task,skill\n{rows['takes']}\n")
    (tmp_path / "remarks.csv").write_text(f"video,time,text\n{rows['remarks']}\n")
    with pytest.raises(ValueError, match=message):
        read_own_data(tmp_path)


def test_a_folder_of_remarks_without_takes_lacks_them(tmp_path: Path) -> None:
    (tmp_path / "remarks.csv").write_text("video,time,text\na.mp4,1.0,Bend the knees.\n")
    (tmp_path / "takes.xlsx").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"takes\.csv is missing"):
        read_source(tmp_path)


def test_tables_of_a_spreadsheet_and_of_another_system_give_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "videos" / "day").mkdir(parents=True)
    shutil.copy(next((folder / "videos").glob("*.mp4")), tmp_path / "videos/day/a.mp4")
    tables = {
        "takes": 'video,participant,task,skill,activity\nday/a.mp4,anna,"Kick, far",Novice,Ball\n',
        "remarks": 'video,time,text\nday/a.mp4,1.25,"Too far, ""bring"" it\nback."\nday/a.mp4,1.5,Good; go on.\n',
    }

    def found() -> tuple:
        source = read_own_data(tmp_path)
        return [dataclasses.astuple(t) for t in source.takes.values()], [dataclasses.astuple(r) for r in source.remarks]

    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_text(text)
    plain = found()
    assert plain[0][0][0] == "day__a" and [r[-1] for r in plain[1]] == ['Too far, "bring" it back.', "Good; go on."]
    (tmp_path / "takes.csv").write_bytes(
        "sep=;\r\nvideo;participant;task;skill;activity;;\r\nday\\a.mp4;anna;Kick, far;Novice;Ball;;\r\n;;;;;;\r\n".encode(
            "utf-16"
        )
    )
    (tmp_path / "remarks.csv").write_bytes(
        b'\xef\xbb\xbfvideo ; time;text\r\n.\\day\\a.mp4; 1.25 ;"Too far, ""bring"" it\nback."\r\nday/a.mp4;1.5;"Good; go on."\r\n'
    )
    assert found() == plain


def test_missing_table_points_to_the_format(tmp_path: Path) -> None:
    (tmp_path / "takes.csv").write_text("video,participant,task,skill\n")
    with pytest.raises(ValueError, match="there was no input"):
        read_own_data(tmp_path)
    (tmp_path / "takes.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"takes\.csv is missing .*docs/data\.md"):
        read_own_data(tmp_path)


def test_own_poses_of_three_and_four_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    xyz = np.arange(2 * 17 * 3, dtype=np.float32).reshape(2, 17, 3)
    xyz[1, 4] = np.nan
    np.save(path, xyz)
    poses = load_own_poses(path)
    assert poses[0, 0].tolist() == [0, 1, 2, 1] and poses[1, 4, 3] == 0 and np.isnan(poses[1, 4, :3]).all()
    np.save(path, np.concatenate([xyz, np.ones((2, 17, 1), np.float32)], -1))
    with pytest.raises(ValueError, match=r"a\.npy: frame 1, joint 4 is visible but not finite"):
        load_own_poses(path)
    np.save(path, xyz[:, :14])
    with pytest.raises(ValueError, match=r"shape \(2, 14, 3\); expected \[T, 17, 3\]"):
        load_own_poses(path)


@pytest.mark.parametrize(("axes", "sign", "axis"), [([0, 2, 1, 3], 1, "+y"), ([0, 1, 2, 3], -1, "-z")])
def test_a_few_takes_with_another_axis_up_are_named(
    axes: list[int], sign: int, axis: str, folder: Path, tmp_path: Path
) -> None:
    own = with_poses(folder, tmp_path / "own", lambda poses: poses[..., axes] * [1, 1, sign, 1], share=0.25)
    check = next(check for check in validate(own, all_poses=True).checks if check.what == "axes of poses")
    first = sorted((own / "poses").glob("*.npy"))[0].stem
    assert check.status == "warning"
    assert check.found == (
        "12 of 48 sequences whose people do not stand upright: do they lie, or is another axis up?: "
        f"{first}: shoulders are along {axis} from the hips"
    )
    funnel = import_dataset(own, tmp_path / "out", Silent()).funnel[0]
    assert funnel["noted"] == {
        "sequences whose people do not stand upright: do they lie, or is another axis up?": 12
    } and re.search(rf"\(shoulders are along {re.escape(axis)} from the hips\)", str(funnel["examples"]))
    assert import_dataset(own, tmp_path / "out", Silent()).funnel[0] == funnel, "what was read before is noted again"


def test_takes_that_stand_are_not_named(folder: Path, tmp_path: Path) -> None:
    assert not [check for check in validate(folder, all_poses=True).checks if check.what == "axes of poses"]
    assert not import_dataset(folder, tmp_path / "out", Silent()).funnel[0]["noted"]
