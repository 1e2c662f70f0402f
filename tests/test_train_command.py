"""`mm-coach train`: recipes of the installed package by name, from a checkout and from a wheel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_coach import ROOT, paths

from mm_adapter.cli import main
from mm_adapter.cli.train import launch_command

RECIPES = ROOT / "recipes"


def command_of(*flags: str) -> list[str]:
    """Words behind the launcher's module, with paths from the recipes' folder."""
    command = launch_command(RECIPES / "expertaf.py", flags)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    return [word.removeprefix(f"{RECIPES}/") for word in command[3:]]


@pytest.mark.parametrize(
    ("flags", "command"),
    [
        ("--config tiny", "--config_file accelerate/cpu.yaml expertaf.py --config configs/expertaf/tiny.yaml"),
        (
            "--num_processes 2 --config=tiny --learning_rate 1e-3",
            "--config_file accelerate/ddp.yaml --num_processes 2 expertaf.py --config configs/expertaf/tiny.yaml --learning_rate 1e-3",
        ),
        (
            "--config_file zero2 --num_processes=4 --config tiny --num_processes 3",
            "--config_file accelerate/zero2.yaml --num_processes=4 expertaf.py --config configs/expertaf/tiny.yaml --num_processes 3",
        ),
        (
            "--gradient_accumulation_steps 2 --mix.0.items x",
            "--config_file accelerate/cpu.yaml expertaf.py --gradient_accumulation_steps 2 --mix.0.items x",
        ),
        (
            f"--config_file {RECIPES}/accelerate/fsdp2.yaml --config {RECIPES}/configs/nae/small.yaml",
            "--config_file accelerate/fsdp2.yaml expertaf.py --config configs/nae/small.yaml",
        ),
    ],
)
def test_the_launchers_flags_come_first_and_names_become_files(flags: str, command: str) -> None:
    assert " ".join(command_of(*flags.split())) == command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "Name a recipe; `mm-coach train --list` shows them."),
        (["train", "expertaff", "--config", "tiny"], "There is no recipe expertaff. Did you mean expertaf?"),
        (["train", "expertaf", "--config", "tinny"], "There is no preset tinny. Did you mean tiny?"),
        (["train", "expertaf", "--config", "x/tiny.yaml"], "There is no preset x/tiny.yaml."),
        (["train", "expertaf", "--config_file", "zero4"], "There is no launch file zero4. Did you mean zero3?"),
    ],
)
def test_unknown_names_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_recipe_is_copied_and_nothing_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "expertaf", "--copy", str(tmp_path)]) == 0
    assert (tmp_path / "expertaf.py").read_text() == (RECIPES / "expertaf.py").read_text()
    presets = {path.name for path in (tmp_path / "configs" / "expertaf").iterdir()}
    assert {"tiny.yaml", "small.yaml"} <= presets and "table1.yaml" not in presets
    own = launch_command(tmp_path / "expertaf.py", ["--config", "tiny"])
    assert own[-1] == str(tmp_path / "configs" / "expertaf" / "tiny.yaml"), "a copy's presets lie beside it"
    (tmp_path / "expertaf.py").unlink()
    capsys.readouterr()
    assert main(["train", "expertaf", "--copy", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err and not (tmp_path / "expertaf.py").exists()


SLOW = """
import signal, sys, time
from pathlib import Path

def save(number, frame):
    time.sleep(1)
    Path("saved").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
Path("ready").touch()
time.sleep(60)
"""


def test_a_signal_reaches_the_recipe_and_its_end_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "mm_adapter.cli", "train", "./slow.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (tmp_path / "ready").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143 and (tmp_path / "saved").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed from its wheel, inside somebody else's repository."""
    root = tmp_path_factory.mktemp("project")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(root / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = (root / "dist").glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target"]
    subprocess.run([*install, str(root / "site"), str(path)], check=True)
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def run_wheel(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `mm-coach` of the wheel from a folder that holds nothing of the checkout."""
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "COLUMNS": "200"}
    environment = {**os.environ, **quiet, "PYTHONPATH": str(root / "site")}
    command = [sys.executable, "-m", "mm_adapter.cli", *words]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)


def test_a_wheel_lists_its_recipes_and_trains(wheel: Path, tiny: Path) -> None:
    done = run_wheel(wheel, "train", "--list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("expertaf", "pose_tokenizer", "llama3_8b_two_stage", "zero3_offload"))
    code = "from mm_adapter.cli.train import RECIPES; print(RECIPES)"
    environment = {**os.environ, "PYTHONPATH": str(wheel / "site")}
    where = subprocess.run([sys.executable, "-c", code], cwd=wheel, env=environment, capture_output=True, text=True)
    assert where.stdout.strip() == str(wheel / "site" / "mm_adapter" / "_recipes")
    flags = ["--config", "tiny", *paths(tiny, wheel / "run"), "--max_steps", "2"]
    done = run_wheel(wheel, "train", "expertaf", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((wheel / "run" / "coach" / "run_config.json").read_text())
    assert record["training"]["max_steps"] == 2 and record["git_commit"] == "unknown"
    refused = run_wheel(wheel, "train", "expertaf", *flags, "--learning_rat", "1")
    assert refused.returncode and "Unknown flags: --learning_rat 1. Did you mean --learning_rate?" in refused.stderr
