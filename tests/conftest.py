"""Shared fixtures: one tiny set of inputs, made by the script that users run; and how two workers share the suite."""

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from engine_fixtures import served, server, videos  # noqa: F401  fixtures
from filelock import FileLock
from front_fixtures import client, engine, export, front, poses, workers  # noqa: F401  fixtures
from tiny_coach import ROOT, TinyCoach, launch, load_script

from mm_data.miniature import write_miniature

# The groups that take longest, in the order in which workers begin them, so that no worker is left alone with one at the
# end; all others follow by name. The first makes `tiny` while the second, which begins without it, makes `big_tuples`.
FIRST = ("test_recipes", "test_tuples", "engine", "test_tokenizer_training", "test_table", "test_features")
Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups tests by file, unless they name a group: one worker runs a group, and makes its fixtures once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(group_of(item), len(places)))


def group_of(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return marker.args[0]


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
