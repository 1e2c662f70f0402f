"""Shared fixtures: one tiny set of inputs, made by the script that users run."""

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from engine_fixtures import served, server, videos  # noqa: F401  fixtures
from front_fixtures import client, engine, export, front, poses, workers  # noqa: F401  fixtures
from tiny_coach import ROOT, TinyCoach, launch, load_script

from mm_data.miniature import write_miniature


@pytest.fixture(scope="session")
def make_tiny() -> ModuleType:
    return load_script(ROOT / "scripts" / "make_tiny.py")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniature, tuples, features, pose tokenizer, pose codes and a random language model."""
    out = tmp_path_factory.mktemp("tiny")
    launch(sys.executable, "scripts/make_tiny.py", str(out))
    return out


@pytest.fixture
def coach(tiny: Path) -> TinyCoach:
    return TinyCoach(tiny)


@pytest.fixture(scope="session")
def big_miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred takes without videos: enough to count on."""
    out = tmp_path_factory.mktemp("big") / "miniature"
    write_miniature(out, takes=300, seed=0, workers=2, videos=False)
    return out


@pytest.fixture(scope="session")
def big_tuples(big_miniature: Path) -> Path:
    """Tuples of the big miniature, built by the command line with its defaults."""
    out = big_miniature.parent / "tuples"
    launch("mm-coach", "data", "build", str(big_miniature), str(out))
    return out


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A writable copy of the miniature's annotations (without videos)."""
    target = tmp_path / "copy"
    shutil.copytree(tiny / "miniature", target, ignore=shutil.ignore_patterns("*.mp4"))
    return target


@pytest.fixture
def run_recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the recipe in this process: what stops before training needs no other one, and torch is loaded here."""

    def run(*arguments: str, recipe: str = "expertaf") -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [f"recipes/{recipe}.py", *arguments])
        runpy.run_path(f"recipes/{recipe}.py", run_name="__main__")

    return run
