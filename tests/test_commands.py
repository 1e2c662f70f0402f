"""The command line itself: what is documented runs, what is misspelt is named, what fails is said."""

import errno
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from safetensors import safe_open
from tiny_coach import ROOT

from mm_adapter.cli import EPILOG, app, main
from mm_adapter.cli.flags import BertFlags
from mm_adapter.errors import can_be_mended, report_failure, sentence


def documented_commands() -> list[str]:
    """Every `mm-coach` line of the help, README, docs and scripts that stands there in full."""
    lines = [line.strip() for line in EPILOG.splitlines()]
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        lines += [
            line
            for block in re.findall(r"```bash\n(.*?)```", text, re.S)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        lines += re.findall(r"`(mm-coach [^`]+)`", text)
    for script in sorted((ROOT / "scripts").glob("*.sh")):
        lines += script.read_text().replace("\\\n", " ").splitlines()
    commands = [
        re.split(r"\s+#|\s*[|>;&]{1,2}\s", line.strip())[0] for line in lines if line.strip().startswith("mm-coach ")
    ]
    incomplete = re.compile(r"\.\.\.|…|mm-coach COMMAND|\[|@|\w\|\w|\$\{\w+/|^[a-z -]+$")
    return sorted({command for command in commands if len(command.split()) > 2 and not incomplete.search(command)})


def placed(words: list[str]) -> list[str]:
    """The words of a documented command, with numbers where the shell would put them."""
    return ["2" if re.fullmatch(r"\$\((nproc|cat .*)\)|\$\{?\w+\}?", word) else word for word in words]


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_are_taken(command: str) -> None:
    app.parse_args(placed(shlex.split(command)[1:]))  # raises where a word is not taken


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["miniature", "x", "--take", "3"], "Unknown option: --take. Did you mean --takes?"),
        (["miniature", "x", "--no-video"], "Did you mean --no-videos?"),
        (["data", "build", "a", "b", "--experts-trian=2"], "Did you mean --experts-train?"),
        (["anser", "x"], 'Did you mean "answer"?'),
        (["features", "extrct", "a", "b"], 'Did you mean "extract"?'),
        (["miniature", "x", "--takes", "2.7"], "--takes is '2.7'; it has to be a whole number."),
        (["data", "build", "a", "b", "--stride", "2.5"], "--stride is '2.5'; it has to be a whole number."),
        (["miniature", "x", "--wholly-unknown"], "Unknown option: --wholly-unknown."),
    ],
)
def test_misspelt_words_are_refused_with_the_right_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"mm-coach: {said}") or said in printed.err
    assert printed.err.count("\n") == 1 and not printed.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"mm-coach {version('mm-coach')}\n"


def test_doctor_names_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    import mm_adapter.cli.doctor  # noqa: F401, as `doctor` of the package is the command

    doctor = sys.modules["mm_adapter.cli.doctor"]

    assert doctor._extra("serve", "serving")[2] == ""
    there = doctor._is_installed
    monkeypatch.setattr(
        doctor, "_is_installed", lambda package: package not in ("pebble", "mediapipe") and there(package)
    )
    assert doctor._extra("serve", "serving") == (
        "extra serve",
        "lacks pebble",
        "for serving: pip install 'mm-coach[serve]'",
    )
    assert doctor._extra("pose", "poses") == (
        "extra pose",
        "lacks mediapipe",
        "for poses: pip install 'mm-coach[pose]'",
    )
    wanted = {
        name
        for line in doctor.requires("mm-coach") or []
        if "extra ==" in line
        for name in [line.split("extra ==")[1].strip(" '\"")]
    }
    assert set(doctor.EXTRAS) <= wanted


def raised(action: object, *arguments: object) -> BaseException:
    with pytest.raises(BaseException) as caught:
        action(*arguments)  # type: ignore[operator]
    return caught.value


def test_errors_of_the_operating_system_are_sentences(tmp_path: Path) -> None:
    file, folder, gone = tmp_path / "file", tmp_path / "folder", tmp_path / "gone"
    file.write_text("x")
    folder.mkdir()
    for error, said in (
        (raised(file.mkdir), f"{file} is there already, and is no folder."),
        (
            raised((file / "below").mkdir),
            f"{file / 'below'} cannot be reached: a part of this path is a file, not a folder.",
        ),
        (raised(folder.read_text), f"{folder} is a folder; a file is needed."),
        (raised(gone.read_text), f"{gone} is not there."),
        (
            OSError(errno.ENOSPC, "No space left on device", str(gone)),
            f"{gone} cannot be written: the disk is full; free some space and run the same command again.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The disk is full; free some space and run the same command again.",
        ),
        (
            OSError(errno.EACCES, "Permission denied", str(gone)),
            f"{gone} may not be read or written: change its permissions or give another place.",
        ),
        (OSError(errno.EIO, "Input/output error", str(gone)), f"{gone} cannot be used: Input/output error."),
        (
            raised((tmp_path / ("n" * 300)).touch),
            f"{tmp_path / ('n' * 300)} has a name that is too long for this file system.",
        ),
        (FileNotFoundError("a.mp4 is not there; fetch it."), "a.mp4 is not there; fetch it."),
    ):
        assert can_be_mended(error) and sentence(error) == said


def test_damaged_weights_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x10")
    error = raised(safe_open, tmp_path / "w.safetensors", "pt")
    assert can_be_mended(error) and sentence(error).startswith("A file of weights (.safetensors) is damaged or cut off")


def test_a_fault_of_ours_shows_where_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (KeyError("clip_17"), AttributeError("'NoneType' object has no attribute 'strip'"), AssertionError()):
        assert report_failure(raised(_raise, error), debug=False) == 1
        said = capsys.readouterr().err
        assert "Traceback" in said and "in _raise" in said and "this is a fault of mm-coach" in said


def _raise(error: Exception) -> None:
    raise error


def test_debug_shows_the_traceback_of_a_sentence_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(tmp_path / "nosuch"), str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and str(tmp_path / "nosuch") in said and "mm-coach answer" in said
    assert main(["--debug", *words]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_file_where_a_folder_is_needed_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert main(["language-model", str(file)]) == 2
    assert str(file) in capsys.readouterr().err and file.read_text() == "x"


def test_a_reader_that_has_gone_ends_the_command_quietly(tmp_path: Path) -> None:
    """As `mm-coach ... | head -0` does."""
    read, write = os.pipe()
    os.close(read)
    code = """
import sys
from mm_adapter import cli

cli.app = lambda words: print("x" * 100_000)
sys.exit(cli.main([]))
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(write)
    assert done.returncode == 141 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "flags"),
    [("--bert-layer", BertFlags(bert_layer=18)), ("--bert-baseline", BertFlags(bert_baseline=Path("b.tsv")))],
)
def test_what_describes_weights_of_bertscore_needs_them(flag: str, flags: BertFlags) -> None:
    with pytest.raises(ValueError, match=f"{flag} needs --bert-model"):
        flags.model()


def test_help_starts_without_what_takes_seconds() -> None:
    """`mm-coach --help` in a fresh process; vLLM's workers import this package too, and may not load numba."""
    slow = ("torch", "numpy", "numba", "pyarrow", "transformers", "scipy")
    code = (
        f"from mm_adapter.cli import main; main(['--help']); import sys; print([m for m in {slow} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
