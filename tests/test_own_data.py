"""A folder of one's own videos goes through the same stages as Ego-Exo4D."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_coach import launch

from mm_data.egoexo4d import load_poses, read_release
from mm_data.own_data import load_own_poses, read_own_data
from mm_data.tuple_store import read_manifest, read_tuples
from mm_data.validate import validate


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
    notes = read_manifest(tmp_path / "out")["funnel"][0]["noted"]
    assert notes == {"no ego video: the exo video stands in both views": 48}
    assert not read_manifest(tmp_path / "out")["synthetic"]


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
        ("takes", "b.mp4,p,Jump,Novice", r"1 × video missing"),
        ("takes", "broken.mp4,p,Jump,Novice", r"1 × video unreadable"),
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
