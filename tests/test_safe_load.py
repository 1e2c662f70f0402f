"""Files made by somebody else: what tries to run code, to climb out, or to claim memory is refused."""

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from mm_data.ground.safe_load import join_inside, load_array, load_plain_pickle, parse_frame_range, read_json
from mm_data.tasks.long_term_aqa import fit_clips, read_logo_scores, read_score_table


class Exploit:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploited",)


def test_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fine": 1, "evil": Exploit()}))
    with pytest.raises(ValueError, match=r"a\.pkl: refused, asks for posix\.system"):
        load_plain_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "exploited").exists()
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(OrderedDict(a=1)))
    with pytest.raises(ValueError, match="refused"):
        load_plain_pickle(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(b"not a pickle")
    with pytest.raises(ValueError, match="refused"):
        load_plain_pickle(tmp_path / "c.pkl")


def test_pickles_that_claim_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")  # remembers a list as number 2,147,483,647
    with pytest.raises(ValueError, match="claims 2,147,483,647 remembered objects"):
        load_plain_pickle(path)
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ValueError, match=r"refused, 10,737,418,240 bytes"):
        load_plain_pickle(path)


def test_pickled_numpy_keys_become_plain(tmp_path: Path) -> None:
    path = tmp_path / "captions.pkl"
    path.write_bytes(pickle.dumps({(np.int64(1), 7): [np.float32(0.5), "a"], (2, 8): []}, protocol=2))
    loaded = load_plain_pickle(path)
    assert loaded == {(1, 7): [0.5, "a"], (2, 8): []}
    assert all(type(part) is int for key in loaded for part in key)


@pytest.mark.parametrize("text", ["(30, 150)", "[30, 150]", " (30,150)"])
def test_frame_ranges_are_read(text: str) -> None:
    assert parse_frame_range(text.strip(), "here") == (30, 150)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch exploited')", "(30, 150).__class__", "(150, 30)", "(-1, 5)", "(0, 10**12)",
        "(0, 9999999999999)", "(1.5, 2.5)", "(True, 2)", "30", "", "(" * 60, "[" * 5000 + "]" * 5000,
    ],
)  # fmt: skip
def test_everything_else_in_a_range_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"train\.json, sample 3: .* is not a frame range"):
        parse_frame_range(text, "train.json, sample 3")
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize(("folder", "name"), [("takes/a", "../../x.mp4"), ("/etc", "passwd"), ("takes", "/etc/passwd")])
def test_paths_stay_inside(folder: str, name: str) -> None:
    with pytest.raises(ValueError, match="leaves the data set's folder"):
        join_inside(folder, name, "takes.json")
    assert join_inside("takes/a", "b/c.mp4", "takes.json") == "takes/a/b/c.mp4"


def test_array_that_claims_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "poses.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (37_000_000, 17, 4)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\0" * 64)
    with pytest.raises(ValueError, match=r"claims 10,064,000,000 bytes .* has 64"):
        load_array(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        load_array(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="not a NumPy array"):
        load_array(path)
    np.save(path, np.arange(6.0).reshape(2, 3))
    assert load_array(path, mmap=True).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_enormous_json_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "takes.json"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: claims 10 GiB, holds nothing
    with pytest.raises(ValueError, match=r"takes\.json: 10,737,418,240 bytes"):
        read_json(path, "")
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"nested too deeply|not valid JSON"):
        read_json(path, "")


def test_json_that_is_not_text_names_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(ValueError, match=r"a\.json: not UTF-8"):
        read_json(tmp_path / "a.json", "")
    with pytest.raises(FileNotFoundError, match=r"b\.json is missing: fetch it"):
        read_json(tmp_path / "b.json", "fetch it")


def test_score_tables_with_and_without_header(tmp_path: Path) -> None:
    gymnastics, skating = tmp_path / "rg.txt", tmp_path / "fisv.txt"
    gymnastics.write_text("Video\tDifficulty\tExecution\tTotal\nBall_001\t7.1\t8.2\t15.3\n")
    skating.write_text("100 30.1 28.5\n101 25.0 27.5\n")
    assert read_score_table(gymnastics) == {"Ball_001": {"Difficulty": 7.1, "Execution": 8.2, "Total": 15.3}}
    assert read_score_table(skating) == {"100": {"TES": 30.1, "PCS": 28.5}, "101": {"TES": 25.0, "PCS": 27.5}}
    skating.write_text("\ufeff7 30.1 28.5 1\n9 25 27.5 0\n")
    assert read_score_table(skating) == {
        "7": {"TES": 30.1, "PCS": 28.5, "deductions": 1.0},
        "9": {"TES": 25.0, "PCS": 27.5, "deductions": 0.0},
    }, "as its authors publish it"
    for broken in (
        "7 30.1 28.5 1\n9 25 27.5\n",
        "7 30.1 28.5\n9 25 27.5 0\n",
        "7 30.1\n",
        "7 1 2 3 4\n",
        "7 30.1 28.5\n9 nan 1\n",
        "7 30.1 28,5\n9 25 27.5\n",
        "7 30.1 -\n",
        "7,30.1,28.5\n",
    ):
        skating.write_text(broken)
        with pytest.raises(ValueError, match=r":[12]: expected a name and numbers for TES, PCS"):
            read_score_table(skating)
    for empty in ("", "\n", "Video TES PCS\n"):
        skating.write_text(empty)
        with pytest.raises(ValueError, match=r"fisv\.txt holds no scores"):
            read_score_table(skating)
    assert read_score_table(gymnastics, ("a", "b", "c"))["Ball_001"].keys() == {"Difficulty", "Execution", "Total"}
    skating.write_text("100 30.1 28.5\n100 25.0 27.5\n")
    with pytest.raises(ValueError, match=r"fisv\.txt:2: 100 is listed twice"):
        read_score_table(skating)
    skating.write_text("100 30.1 28.5\n101 25.0\n")
    with pytest.raises(ValueError, match=r"fisv\.txt:2: expected a name and numbers for TES, PCS"):
        read_score_table(skating)


def test_logo_keys_of_any_integer_type(tmp_path: Path) -> None:
    annotations, keys = tmp_path / "anno_dict.pkl", tmp_path / "train_split3.pkl"
    annotations.write_bytes(pickle.dumps({("game", np.int64(0)): ["tech", 80.0, None, [50], [0, 3]]}))
    keys.write_bytes(pickle.dumps([("game", "0")]))
    assert read_logo_scores(annotations, keys) == {("game", 0): 80.0}
    keys.write_bytes(pickle.dumps([("game", 5)]))
    with pytest.raises(ValueError, match=r"\(game, 5\) has no entry"):
        read_logo_scores(annotations, keys)


@pytest.mark.parametrize(("clips", "first", "there"), [(10, 3, 4), (2, 0, 2), (4, 0, 4)])
def test_clip_counts_above_and_below_the_target(clips: int, first: int, there: int) -> None:
    features = np.arange(clips, dtype=np.float32)[:, None] + 1
    fitted, mask = fit_clips(features, 4)
    assert fitted.shape == (4, 1) and mask.sum() == there
    assert fitted[:there, 0].tolist() == features[first : first + there, 0].tolist()
    assert (fitted[there:] == 0).all() and json.dumps(mask.tolist()).count("true") == there
