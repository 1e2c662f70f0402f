"""Shared fixtures: one tiny set of inputs, made by the script that users run."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny_coach import ROOT, TinyCoach, launch, load_script


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
