"""Guards of the layout: our folders must never shadow other packages (a top-level `tokenizers` would, under DeepSpeed)."""

import ast
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
    beside_the_code = {"mm_eval/pages/report.html", "mm_eval/tables/score_table.html", "mm_data/tuples/charts.html"}
    beside_the_code |= {"mm_adapter/tasks/nae/dives.yaml", "mm_adapter/tasks/nae/prompts/nae-zero-shot-2.md"}
    assert beside_the_code | {"mm_adapter/serving/http/static/coach.js"} <= set(names)


PACKAGES = {"mm_tokenizers": "tokenizers", "mm_data": "data", "mm_eval": "eval", "mm_adapter": ""}
MAY_IMPORT: dict[str, dict[str, set[str]]] = {
    "mm_data": {
        "ground": set(),
        "asking": {"ground"},
        "videos": {"ground"},
        "features": {"ground"},
        "items": {"ground"},
        "poses": {"ground"},
        "estimation": {"ground", "videos", "poses"},
        "labelling": {"ground", "asking", "poses"},
        "release": {"ground", "poses", "videos"},
        "tuples": {"ground", "items", "poses", "release", "labelling"},
        "tasks": {"ground", "items", "poses", "videos", "release", "tuples"},
        "annotation": {"ground", "asking"},
        "exchange": {"ground", "items", "poses", "release", "tuples", "tasks"},
        "miniature": {"ground", "poses", "labelling"},
        "folders": {"ground", "items", "poses", "release"},
    },
    "mm_eval": {
        "statistics": set(),
        "metrics": {"statistics"},
        "answers": set(),
        "tables": {"statistics"},
        "judge": {"statistics", "answers", "metrics"},
        "human": {"statistics", "answers", "metrics"},
        "suites": {"statistics", "answers", "metrics", "tables", "judge"},
        "pages": {"statistics", "answers", "metrics", "tables", "suites"},
        "evaluate_modules": {"metrics"},
    },
    "mm_adapter": {
        "ground": set(),
        "model": {"ground"},
        "features": set(),
        "tasks": set(),
        "samples": {"model"},
        "checkpoint": {"ground", "model"},
        "inference": {"ground", "model", "features", "tasks", "samples", "checkpoint"},
        "training": {"ground", "model", "tasks", "samples", "checkpoint", "inference"},
        "evaluation": {"ground", "model", "tasks", "samples", "checkpoint", "inference", "training"},
        "export": {"model", "features", "checkpoint"},
        "serving": {"model", "features", "samples", "inference", "export"},
        "cli": {
            "ground",
            "features",
            "tasks",
            "checkpoint",
            "inference",
            "training",
            "evaluation",
            "export",
            "serving",
        },
    },
}
"""Package to room to the rooms below that it may import: the whole plan of the house. A package's own modules are its ground floor."""

MOST_ARROWS = 40
ABOVE_THE_PLAN = {"mm_data.folders"}
"""Modules at a package's top that are no ground floor."""


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, inside functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def modules_of(package: str) -> dict[str, Path]:
    """Module name to file."""
    folder = ROOT / PACKAGES[package] / package
    names = {
        path: ".".join((package, *path.relative_to(folder).with_suffix("").parts)) for path in folder.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def room_of(module: str, modules: dict[str, Path]) -> str | None:
    """The room that a module of ours belongs to; None for a name that is none."""
    package, _, rest = module.partition(".")
    if module not in modules:
        return None
    first = f"{package}.{rest.partition('.')[0]}"
    is_folder = first in modules and modules[first].name == "__init__.py"
    return first.rpartition(".")[2] if rest and (is_folder or first in ABOVE_THE_PLAN) else "ground"


def arrows_of(package: str) -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports) to the imports that make the arrow."""
    modules, arrows = modules_of(package), {}
    for module, path in modules.items():
        if module == package:
            continue  # the front door shows what lies in every room
        for name in imports_of(path):
            here, there = room_of(module, modules), room_of(name, modules)
            if there is not None and here != there and name != package:
                arrows.setdefault((here, there), []).append(f"{module} imports {name}")
    return arrows


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_rooms_import_what_the_plan_allows(package: str) -> None:
    arrows, plan = arrows_of(package), MAY_IMPORT[package]
    for (here, there), imports in arrows.items():
        assert there in plan.get(here, ()), f"{here} may not import {there}: {', '.join(sorted(imports))}"
    unused = {(here, there) for here in plan for there in plan[here]} - set(arrows)
    assert not unused, f"the plan allows what nobody needs any more: {sorted(unused)}"
    assert len(arrows) <= MOST_ARROWS


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_plan_has_no_circle(package: str) -> None:
    """Every room stands on rooms that were named before it, so nothing runs back up."""
    above = list(MAY_IMPORT[package])
    for place, room in enumerate(above):
        assert MAY_IMPORT[package][room] <= set(above[:place]), room


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_page_about_rooms_says_what_the_plan_says(package: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition(f"### `{package}`")[2].partition("#")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    told = {room.strip("`"): {name for name in imports.split(", ") if name} for room, _, imports in rows}
    assert told == MAY_IMPORT[package] and list(told) == list(MAY_IMPORT[package])


def test_dependencies_point_one_way() -> None:
    """mm_data knows nobody; mm_tokenizers knows its ground and its skeleton; mm_eval knows mm_data; of mm_adapter, three rooms know mm_eval.

    Nobody imports recipes.
    """
    below = {"mm_data": set(), "mm_tokenizers": {"mm_data"}, "mm_eval": {"mm_data"}, "mm_adapter": {*PACKAGES}}
    modules = {name: path for package in PACKAGES for name, path in modules_of(package).items()}
    for module, path in modules.items():
        package = module.partition(".")[0]
        known = {name.partition(".")[0] for name in imports_of(path)}
        assert known & {*PACKAGES, "recipes"} - {package} <= below[package], module
        if package == "mm_tokenizers":
            foreign = [name for name in imports_of(path) if name.startswith("mm_data")]
            assert all(name.startswith(("mm_data.ground", "mm_data.poses.skeleton")) for name in foreign), module
        if "mm_eval" in known and package == "mm_adapter":
            assert room_of(module, modules) in ("tasks", "evaluation", "cli"), f"{module} imports mm_eval"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [("argparse", "mm_adapter.cli"), ("vllm", "mm_adapter.serving.vllm"), ("starlette", "mm_adapter.serving.http")],
)
def test_some_libraries_have_one_room(library: str, rooms: str) -> None:
    also = {"starlette": {"mm_data.tuples.review.server", "mm_adapter.cli.serve"}}.get(library, set())
    for package in PACKAGES:
        for module, path in modules_of(package).items():
            if any(name.partition(".")[0] == library for name in imports_of(path)):
                assert module in also or module.startswith(rooms), f"{module} imports {library}"


def test_the_server_and_its_engine_do_not_know_each_other() -> None:
    modules = modules_of("mm_adapter")
    for module, path in modules.items():
        for here, there in (("http", "vllm"), ("vllm", "http")):
            if module.startswith(f"mm_adapter.serving.{here}"):
                assert not any(name.startswith(f"mm_adapter.serving.{there}") for name in imports_of(path)), module


def test_training_data_path_never_reads_the_sidecar() -> None:
    """Two commands may read what the generator wrote: one scores test sets, the other holds labellers against it."""
    knows = re.compile(r"miniature_truth|MiniatureTruth|miniature\.truth|miniature import .*truth")
    paths = [p for folder in ("tokenizers", "data", "mm_adapter", "recipes") for p in (ROOT / folder).rglob("*.py")]
    readers = {path.relative_to(ROOT).as_posix() for path in paths if knows.search(path.read_text())}
    written = {name for name in readers if name.startswith("data/mm_data/miniature/")}
    assert "data/mm_data/miniature/truth.py" in written
    hidden = "mm_adapter/tasks/expertaf/hidden.py"
    assert readers - written == {
        "mm_adapter/cli/data/look.py",
        "mm_adapter/tasks/expertaf/commentary.py",
        hidden,
    }
    users = [p for p in paths if re.search(r"^(?:from|import) .*\bexpertaf\.hidden\b", p.read_text(), re.M)]
    assert [path.relative_to(ROOT).as_posix() for path in users] == ["mm_adapter/tasks/expertaf/__init__.py"]
    callers = {p.relative_to(ROOT).as_posix() for p in paths if "hidden_truth" in p.read_text()}
    assert callers == {
        "mm_adapter/tasks/expertaf/__init__.py", "mm_adapter/tasks/task.py", "mm_adapter/evaluation/answer_folder.py",
    }  # fmt: skip
