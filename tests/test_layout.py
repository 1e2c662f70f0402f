"""Guards of the layout: our folders must never shadow other packages (a top-level `tokenizers` would, under DeepSpeed)."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["tokenizers", "data", "eval", "scripts", "recipes", "tests"])
def test_top_level_folders_are_not_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_hugging_face_tokenizers_wins_over_our_folder() -> None:
    code = "import tokenizers, transformers; print(tokenizers.__file__)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert "site-packages" in done.stdout, done.stderr


def test_wheel_holds_four_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"mm_adapter", "mm_tokenizers", "mm_data", "mm_eval"}
    assert "mm_adapter/_recipes/expertaf.py" in names
    assert {"mm_eval/pages/report.html", "mm_adapter/serving/http/static/coach.js"} <= set(names)


def test_dependencies_point_one_way() -> None:
    """mm_tokenizers and mm_data know nobody; mm_eval knows mm_data; library code never imports recipes."""
    forbidden = {
        "tokenizers/mm_tokenizers": ("mm_data", "mm_adapter", "mm_eval"),
        "data/mm_data": ("mm_tokenizers", "mm_adapter", "mm_eval"),
        "eval/mm_eval": ("mm_tokenizers", "mm_adapter"),
    }
    for folder, packages in forbidden.items():
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            for package in packages:
                assert f"from {package}" not in text and f"import {package}" not in text, f"{path} imports {package}"


def test_training_data_path_never_reads_the_sidecar() -> None:
    """Two commands may read what the generator wrote: one scores test sets, the other holds labellers against it."""
    knows = re.compile(r"miniature_truth|MiniatureTruth|miniature\.truth|miniature import .*truth")
    paths = [p for folder in ("tokenizers", "data", "mm_adapter", "recipes") for p in (ROOT / folder).rglob("*.py")]
    readers = {path.relative_to(ROOT).as_posix() for path in paths if knows.search(path.read_text())}
    written = {name for name in readers if name.startswith("data/mm_data/miniature/")}
    assert "data/mm_data/miniature/truth.py" in written
    assert readers - written == {"mm_adapter/cli/data_inspection.py", "mm_adapter/evaluation/test_set.py"}
    for name in readers - written:
        module = name.removesuffix(".py").replace("/", ".")
        users = [p for p in paths if re.search(rf"^(?:from|import) .*\b{re.escape(module)}\b", p.read_text(), re.M)]
        assert all("mm_adapter/cli/" in path.as_posix() for path in users), f"{module} is imported by {users}"
