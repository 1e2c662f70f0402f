"""Shared fixtures: one tiny set of inputs, made by the script that users run; and how two workers share the suite."""

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from engine_fixtures import served, server, videos  # noqa: F401  fixtures
from filelock import FileLock
from front_fixtures import client, engine, export, front, poses, workers  # noqa: F401  fixtures
from tiny_coach import ROOT, TinyCoach, launch, load_script

from mm_data.miniature import write_miniature

# What takes longest, in the order in which workers begin it, so that no worker is left alone with it at the end; all other
# files follow by name. The first makes `tiny` while the second, which begins without it, makes `big_tuples`.
FIRST = ("recipes", "tuples", "vllm", "vllm_front", "tokenizer_training", "table", "features")
# Files that share what a worker makes for itself: an engine, a process that prepares clips.
TOGETHER = {"test_vllm_front": "test_vllm", "test_front_requests": "test_front"}
Shared = Callable[[str, Callable[[Path], object]], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what takes longest."""
    places = {f"test_{name}": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a worker whole files, so that fixtures of a file are made once, and together those that share more."""
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(super()._split_scope(nodeid)).stem
            return TOGETHER.get(file, file)

    return WholeFiles(config, log)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Makes a folder by name once for all workers; whoever asks for it meanwhile waits."""
    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # a worker's folder lies in that of the run
        root = root.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made, out = root / f"{name}.made", root / name
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(out, ignore_errors=True)
                make(out)
                made.touch()
        return out

    return folder


@pytest.fixture(scope="session")
def make_tiny() -> ModuleType:
    return load_script(ROOT / "scripts" / "make_tiny.py")


@pytest.fixture(scope="session")
def tiny(shared: Shared) -> Path:
    """Miniature, tuples, features, pose tokenizer, pose codes and a random language model. Read-only."""
    return shared("tiny", lambda out: launch(sys.executable, "scripts/make_tiny.py", str(out)))


@pytest.fixture
def coach(tiny: Path) -> TinyCoach:
    return TinyCoach(tiny)


@pytest.fixture(scope="session")
def big_miniature(shared: Shared) -> Path:
    """Three hundred takes without videos: enough to count on. Read-only."""
    return shared("big-miniature", lambda out: write_miniature(out, takes=300, seed=0, workers=2, videos=False))


@pytest.fixture(scope="session")
def big_tuples(shared: Shared, big_miniature: Path) -> Path:
    """Tuples of the big miniature, built by the command line with its defaults. Read-only."""
    return shared("big-tuples", lambda out: launch("mm-coach", "data", "build", str(big_miniature), str(out)))


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
