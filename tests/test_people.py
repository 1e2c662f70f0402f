"""Who moves in a file, who is kept for testing, and what an import leaves out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_files import standing
from tiny_coach import Silent, launch

from mm_data.folders import import_dataset
from mm_data.poses.manifest import PoseManifest
from mm_data.poses.people import describe_people, read_people
from mm_data.poses.pose_folder import ImportOptions, import_motion
from mm_data.poses.skeleton import JOINT_INDEX


def imported(root: Path, names: list[str], **options: Any) -> PoseManifest:
    for name in names:
        (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "source" / f"{name}.npy", standing(3, 22))
    return import_motion(root / "source", root / "out", ImportOptions("humanml3d", **options), Silent())


def sides(manifest: PoseManifest) -> dict[str, str]:
    return {entry.name: entry.split for entry in manifest.sequences}


@pytest.mark.parametrize(
    ("people", "share", "test"),
    [(1, 0.1, 0), (2, 0.1, 1), (2, 0.9, 1), (10, 0.1, 1), (10, 0.04, 1), (10, 0.99, 9), (10, 0.3, 3), (10, 0.0, 0), (40, 0.1, 4)],
)  # fmt: skip
def test_both_sides_have_people(people: int, share: float, test: int, tmp_path: Path) -> None:
    manifest = imported(tmp_path, [f"p{n}/{take}" for n in range(people) for take in "ab"], test_share=share)
    assert list(sides(manifest).values()).count("test") == 2 * test
    assert (manifest.people["train"], manifest.people["test"]) == (people - test, test)
    for bad in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="test share is"):
            ImportOptions("smpl", test_share=bad)


@pytest.mark.parametrize(
    ("names", "options", "people"),
    [
        (["07_01", "07_02", "08_01", "08_11_poses"], {}, 2),
        (["walk1_subject5", "run1_subject5", "walk1_subject1"], {}, 2),
        (["Subject_12_walk", "subject-12-run", "Sub03_x", "sub3_y"], {}, 2),
        (["m01_s01_e01", "m02_s01_e03", "m01_s02_e01"], {}, 2),
        (["P03_squat", "p3_lunge", "P04_squat"], {}, 2),
        (["S001C001P003R002A013", "S002C001P003R001A001", "S001C001P004R001A001"], {}, 2),
        (["jump/subject1_a", "walk/subject1_b", "walk/subject2_a"], {}, 2),
        (["anna/07_01", "anna/s02", "ben/07_01"], {}, 2),
        (["anna-a", "anna-b", "ben-a"], {"person": r"^(\w+)-"}, 2),
        (["anna-a", "anna-b", "ben-a"], {"person": r"anna|ben"}, 2),
        (["x1", "x2", "dir/x3"], {"people": {"x1": "anna", "x2": "anna", "dir/x3": "ben"}}, 2),
        (["walk", "run", "jump"], {}, 3),
    ],
)
def test_people_are_split_not_files(names: list[str], options: dict[str, Any], people: int, tmp_path: Path) -> None:
    manifest = imported(tmp_path, names, test_share=0.5, **options)
    assert manifest.people["train"] + manifest.people["test"] == people and not manifest.people["on_both_sides"]
    said = describe_people(manifest)
    assert said[0].startswith(f"{people} people (") and "% of the frames" in said[0]
    assert any("do not say whose they are" in line for line in said) == (names == ["walk", "run", "jump"])


def test_people_of_arrays_in_one_file(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"m0{m}_s0{s}_e01": standing(3, 22) for m in (1, 2) for s in (1, 2)}
    (tmp_path / "source").mkdir()
    np.savez(tmp_path / "source" / "all.npz", **arrays)
    split = sides(import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d"), Silent()))
    assert set(split.values()) == {"train", "test"}
    for s in (1, 2):
        assert split[f"all__m01_s0{s}_e01"] == split[f"all__m02_s0{s}_e01"]


def test_what_is_said_about_one_person_and_about_two_sides(tmp_path: Path) -> None:
    alone = imported(tmp_path / "alone", ["anna/a", "anna/b", "anna/c"], test_share=0.4)
    assert set(sides(alone).values()) == {"train"} and "nothing is kept for testing" in describe_people(alone)[-1]
    asked = imported(tmp_path / "asked", ["anna/a", "anna/b", "anna/c"], test_share=0.4, split_by="sequence")
    assert sorted(sides(asked).values()) == ["test", "train", "train"]
    assert "1 people are on both sides (anna)" in describe_people(asked)[-1]
    told = imported(tmp_path / "told", ["train/anna/a", "test/anna/b", "test/ben/a"])
    assert sides(told) == {"train__anna__a": "train", "test__anna__b": "test", "test__ben__a": "test"}
    assert "1 people are on both sides (anna)" in describe_people(told)[-1]
    for options, message in (
        ({"person": "^(b)"}, "anna/a does not match the pattern of people"),
        ({"people": {"b": "x"}}, "the table of people lists neither anna/a nor a"),
        ({"split_by": "file"}, "Unknown way to split"),
    ):
        with pytest.raises(ValueError, match=message):
            imported(tmp_path / "wrong", ["anna/a"], **options)


def test_the_table_of_people_and_what_the_command_prints(tmp_path: Path) -> None:
    for name in ("x1", "x2", "x3"):
        (tmp_path / "source").mkdir(exist_ok=True)
        np.save(tmp_path / "source" / f"{name}.npy", standing(30, 22))
    (tmp_path / "people.csv").write_text("file,person\nx1.npy,anna\nx2.npy,anna\nx3,ben\n")
    assert read_people(tmp_path / "people.csv") == {"x1": "anna", "x2": "anna", "x3": "ben"}
    flags = ["--format", "humanml3d", "--people", str(tmp_path / "people.csv"), "--test-share", "0.5"]
    done = launch("mm-coach", "poses", "import", str(tmp_path / "source"), str(tmp_path / "out"), *flags)
    assert "2 people (2 by table): 1 train, 1 test, with" in done.stdout
    assert "87 frames that repeat the one before exactly (such as in" in done.stdout
    (tmp_path / "people.csv").write_text("file,person\nx1.npy,anna\nx1,ben\n")
    with pytest.raises(ValueError, match=r"people\.csv:3: x1 is anna's in an earlier line and ben's here"):
        read_people(tmp_path / "people.csv")


@pytest.mark.parametrize("out", [".", "out", "deep/out"])
def test_motion_does_not_import_itself(out: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", standing(3, 22))
    with pytest.raises(ValueError, match="the next import would read them as motion"):
        import_motion(tmp_path, tmp_path / out, ImportOptions("humanml3d"), Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_poses_are_not_written_over_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "poses" / "more").mkdir(parents=True)
    np.save(tmp_path / "poses" / "a.npy", standing(3, 22))
    for source in (tmp_path / "poses", tmp_path / "poses" / "more"):
        with pytest.raises(ValueError, match="the next import would read them as motion"):
            import_motion(source, tmp_path, ImportOptions("humanml3d"), Silent())
    with pytest.raises(ValueError, match="Give a folder outside"):
        import_dataset(tmp_path, tmp_path, Silent())


def test_lost_markers_and_impossible_limbs_are_left_out(tmp_path: Path) -> None:
    array = standing(40, 22)
    array[3, 4] = 0.0
    array[5, 20] += (0.0, 2.0, 0.0)
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source" / "a.npy", array)
    manifest = import_motion(tmp_path / "source", tmp_path / "out", ImportOptions("humanml3d", fps=30.0), Silent())
    poses = np.load(tmp_path / "out" / "poses" / "a.npy")
    hidden = np.argwhere(poses[:, 5:, 3] == 0).tolist()
    assert hidden == [[3, JOINT_INDEX["left-knee"] - 5], [5, JOINT_INDEX["left-wrist"] - 5]]
    noted = manifest.funnel[0]["noted"]
    assert noted["joints at (0, 0, 0), taken as absent"] == 1
    assert noted["joints at the end of limbs that nobody has, taken as absent"] == 1
