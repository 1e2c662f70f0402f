"""Outputs lie apart from inputs, nothing foreign is removed or replaced, and processes exclude each other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mm_adapter.cli import main as mm_coach
from mm_data.ground.files import (
    check_apart,
    check_ours,
    claim_folder,
    read_text,
    replacing,
    take_lock,
    write_atomically,
)
from mm_data.ground.jsonl import append_record, append_records, read_records


@pytest.mark.parametrize(
    ("out", "read", "refused"),
    [
        ("data", "data", "is what is read"),
        ("data/", "./data/../data", "is what is read"),
        ("link", "data", "is what is read"),
        ("data", "link", "is what is read"),
        ("data/out", "data", "lies in"),
        ("link/out/deep", "data", "lies in"),
        (".", "data", "holds"),
        (".", "data/file.csv", "holds"),
        ("data/file.csv", "data/file.csv", "is what is read"),
        ("out", "data", None),
        ("database", "data", None),
        ("data/out", "data/file.csv", None),
    ],
)
def test_outputs_are_apart_from_inputs(tmp_path: Path, out: str, read: str, refused: str | None) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file.csv").touch()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    if refused is None:
        check_apart(tmp_path / out, None, tmp_path / read)
        return
    with pytest.raises(ValueError, match=refused):
        check_apart(tmp_path / out, None, tmp_path / "elsewhere", tmp_path / read)


def test_what_is_derived_may_lie_inside_but_never_be_the_input(tmp_path: Path) -> None:
    check_apart(tmp_path / "items" / "features", tmp_path / "items", inside=True)
    with pytest.raises(ValueError, match="is what is read"):
        check_apart(tmp_path / "items", tmp_path / "items", inside=True)
    with pytest.raises(ValueError, match="holds"):
        check_apart(tmp_path, tmp_path / "items", inside=True)


def test_foreign_folders_are_refused_by_what_lies_there(tmp_path: Path) -> None:
    check_ours(tmp_path / "new", ("mark",))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    (folder / "mark.1234.partial").touch()
    check_ours(folder, ("mark",))
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.txt"):
        check_ours(folder, ("mark",))
    check_ours(folder, ("mark",), may_hold=("thesis.txt",))
    (folder / "mark").touch()
    check_ours(folder, ("mark",))
    with pytest.raises(ValueError, match="is a file"):
        check_ours(folder / "thesis.txt", ("mark",))


def test_a_claimed_folder_belongs_to_its_inputs(tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", {"source": "a"})
    (tmp_path / "out" / "content").touch()
    claim_folder(tmp_path / "out", {"source": "a"})
    with pytest.raises(ValueError, match="begun with other inputs: source was 'a', is 'b'"):
        claim_folder(tmp_path / "out", {"source": "b"})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "begun.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"holds begun\.json"):
        claim_folder(tmp_path / "foreign", {"source": "a"})
    assert (tmp_path / "foreign" / "begun.json").read_text() == "[1]"


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


COMMANDS = [
    "data build IN OUT",
    "data label IN OUT",
    "data import-expertaf OTHER IN/a.json OTHER/b.json OUT",
    "data import-expertaf IN OTHER/a.json OTHER/b.json OUT",
    "data vary IN OUT --experts activity",
    "data export-llava IN OUT",
    "data validate IN --json OUT",
    "data validate IN --uids OUT",
    "data validate OTHER --tuples IN --uids OUT",
    "data stats IN --json OUT",
    "data label-agreement OTHER IN --json OUT",
    "features extract IN OUT",
    "features extract OTHER OUT --videos IN",
    "features import-omnivore IN OTHER OUT",
    "features import-omnivore OTHER IN OUT",
    "features import-arrays IN OTHER OUT --name x",
    "features import-arrays OTHER IN OUT --name x",
    "features from-poses IN OUT",
    "features from-poses OTHER OUT --statistics-of IN",
    "poses import IN OUT --format coco17",
    "poses export IN OUT",
    "poses export OTHER OUT --against IN",
    "tokenizer encode IN OTHER OUT",
    "tokenizer encode OTHER IN OUT",
    "tokenizer decode IN OTHER OUT",
    "tokenizer decode OTHER IN OUT",
    "tokenizer eval IN OTHER OUT",
    "tokenizer eval OTHER IN OUT",
    "tokenizer import-pct IN OUT",
    "tokenizer export-pct IN OUT",
    "task read nae IN OUT",
    "task read nae OTHER OUT --poses IN",
    "task annotate nae IN OUT --model m",
    "answer IN OTHER OUT",
    "answer OTHER IN OUT",
    "answer OTHER OTHER OUT --features IN",
    "answer OTHER OTHER OUT --codes IN",
    "answer OTHER OTHER OUT --demonstrator IN",
    "report IN OUT",
    "report OTHER OUT --training IN",
    "export IN OUT",
    "judge run IN OUT --model m",
    "human pack IN --out OUT",
    "human pack OTHER NAME=IN --out OUT",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_over_what_it_reads(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("read", "other"):
        for file in ("metrics.json", "answers.jsonl", "poses/a.npy", "takes.json"):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "read")
    before = snapshot(tmp_path)
    for out in ("read", "link", "."):
        words = {"IN": str(tmp_path / "read"), "OUT": str(tmp_path / out), "OTHER": str(tmp_path / "other")}
        parts = re.sub(r"\b(IN|OUT|OTHER)\b", lambda match, words=words: words[match[1]], command).split()
        assert mm_coach(parts) == 2
        message = capsys.readouterr().err
        assert "is what is read" in message or "holds what is read" in message, message
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "command",
    [
        "data build TINY/miniature OUT",
        "data label TINY/miniature OUT",
        "data vary TINY/tuples OUT --experts activity",
        "features extract TINY/tuples OUT --encoder tiny",
        "tokenizer encode TINY/tuples TINY/pose_tokenizer/tokenizer OUT",
        "tokenizer eval TINY/pose_tokenizer/tokenizer TINY/tuples OUT",
        "poses import TINY/miniature OUT --format dataset",
        "miniature OUT --takes 12 --no-videos",
        "miniature OUT --takes 32 --task nae --no-videos",
        "miniature OUT --takes 32 --task cot-afa --no-videos",
        "language-model OUT",
    ],
)
def test_no_command_writes_among_files_of_others(
    command: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "mine.npy").write_text("precious")
    (tmp_path / "metadata.json").write_text("{}")
    before = snapshot(tmp_path)
    assert mm_coach([w.replace("TINY", str(tiny)).replace("OUT", str(tmp_path)) for w in command.split()]) == 2
    message = capsys.readouterr().err
    assert "metadata.json" in message or "not empty" in message, message
    assert snapshot(tmp_path) == before


# --- writing and locks -----------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as first, replacing(path) as second:
        assert first != second, "two writers never share a partial file"
        first.write_text("first")
        second.write_text("second")
        assert path.read_text() == "old"
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe, folder, missing = tmp_path / "pipe", tmp_path / "folder", tmp_path / "no" / "a.json"
    os.mkfifo(pipe)
    folder.mkdir()
    for path, error, named in (
        (pipe, ValueError, f"{pipe} is a device or a pipe"),
        (folder, IsADirectoryError, f"'{folder}'"),
        (missing, FileNotFoundError, f"'{missing.parent}'"),
    ):
        with pytest.raises(error, match=re.escape(named)):
            write_atomically(path, "x")
    assert pipe.is_fifo() and sorted(tmp_path.rglob("*")) == [folder, pipe]


def run_python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: caf\xc3\xa9\r\nb: 1\n")
    assert read_text(tmp_path / "bom.yaml") == "a: café\nb: 1\n"
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\r\nb: caf\xe9\n")
    with pytest.raises(ValueError, match=r"latin\.yaml:2: byte 0xe9 is not UTF-8 text; save"):
        read_text(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    "command",
    [
        "human report PACK FILE.json",
        "poses import MOTION OUT --format bvh --joint-map FILE.yaml",
        "data build --config FILE.yaml",
        "table expertaf OUT --config FILE.yaml",
        "poses export FILE.txt OUT.npy",
    ],
)
def test_commands_name_the_file_in_another_encoding(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "PACK").mkdir()
    (tmp_path / "PACK/key.json").write_text('{"questions": {}, "kind": "likert", "systems": []}')
    (tmp_path / "MOTION").mkdir()
    for ending in ("json", "yaml", "txt"):
        (tmp_path / f"FILE.{ending}").write_bytes(b"\xff\n")
    words = [str(tmp_path / word) if word.isupper() or "." in word else word for word in command.split()]
    assert mm_coach(words) == 2
    assert re.search(r"FILE\.\w+:1: byte 0xff is not UTF-8", capsys.readouterr().err)


def test_processes_exclude_each_other_and_let_go_when_they_die(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = run_python(
        f"from pathlib import Path; from mm_data.ground.files import locked\nwith locked(Path({str(lock)!r})): print('in', flush=True); input()"
    )
    assert holder.stdout is not None and holder.stdout.readline() == "in\n"
    with pytest.raises(ValueError, match="somebody else has it"):
        take_lock(lock, "somebody else has it")
    holder.kill()
    holder.communicate()
    mine = take_lock(lock, "somebody else has it")
    with pytest.raises(ValueError, match="again"):
        take_lock(lock, "again")
    mine.release()
    take_lock(lock, "again").release()


def test_records_of_several_processes_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    code = (
        "from pathlib import Path; from mm_data.ground.jsonl import append_record\n"
        f"for n in range(25): append_record(Path({str(path)!r}), {{'by': BY, 'n': n, 'text': 'x' * 20000}})"
    )
    workers = [run_python(code.replace("BY", str(by))) for by in range(3)]
    assert all(worker.wait() == 0 for worker in workers)
    records, torn = read_records(path)
    assert torn == 0 and sorted((r["by"], r["n"]) for r in records) == [(by, n) for by in range(3) for n in range(25)]


def test_a_line_that_a_crash_cut_off_spoils_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_records(path, [{"n": 1}, {"n": 2}])
    path.write_bytes(path.read_bytes() + b'{"n": 3')
    append_record(path, {"n": 4})
    assert read_records(path) == ([{"n": 1}, {"n": 2}, {"n": 4}], 1)


def test_everything_is_imported_and_written_without_what_only_unix_has(tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
import importlib, os, pkgutil, warnings
warnings.simplefilter("ignore")
del os.pread, os.fchmod
import mm_data
for module in pkgutil.walk_packages(mm_data.__path__, "mm_data."):
    if module.name not in ("mm_data.miniature.render", "mm_data.tuples.review.server"):
        importlib.import_module(module.name)
from pathlib import Path
from mm_data.ground.jsonl import append_record, read_records
append_record(Path({str(tmp_path / "log.jsonl")!r}), {{"n": 1}})
append_record(Path({str(tmp_path / "log.jsonl")!r}), {{"n": 2}})
assert read_records(Path({str(tmp_path / "log.jsonl")!r})) == ([{{"n": 1}}, {{"n": 2}}], 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_store_of_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips.csv").write_text("clip,start,stop,exo\na,0,1,missing.mp4\n")
    command = [
        "features",
        "extract",
        str(tmp_path / "clips.csv"),
        str(tmp_path / "store"),
        "--encoder",
        "tiny",
        "--max-bad",
        "1",
    ]
    assert mm_coach(command) == 2
    assert "store holds no clip: all 1 were left out" in capsys.readouterr().err
