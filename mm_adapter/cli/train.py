"""`mm-coach train`: runs a recipe of the installed package under accelerate."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mm_adapter.errors import did_you_mean
from mm_adapter.training import RECIPES

_RECIPES_FIRST = ("--gradient_accumulation_steps", "--gradient-accumulation-steps")
"""Flags of the launcher that are the recipe's wherever they stand: the launch files leave them to it."""

_FLAGS = """Flags of `accelerate launch`, then flags of the recipe. --config and --config_file take names of presets and launch files,
such as tiny and zero2, or files. Without --config_file one process runs, with --num_processes DDP."""
_NOTE = """
Presets name folders below runs/ of the folder that you are in; flags of the recipe name others. The scripts that they speak of
are in the project's source. `mm-coach train RECIPE -- --help` lists a recipe's flags."""


def train(
    recipe: str | None = None,
    /,
    *flags: Annotated[str, Parameter(allow_leading_hyphen=True, help=_FLAGS)],
    list_recipes: Annotated[bool, Parameter(name="--list")] = False,
    copy: Path | None = None,
) -> int:
    """Run a recipe under accelerate: mm-coach train RECIPE [flags of accelerate launch] --config PRESET [flags of the recipe].

    Args:
        recipe: Name of a recipe, such as expertaf, or a recipe's file.
        *flags: Flags of `accelerate launch`, then flags of the recipe.
        list_recipes: List recipes, presets and launch files.
        copy: Put the recipe and its presets into this folder, and run nothing.

    Returns:
        Exit status of the launcher.
    """
    if list_recipes:
        _print_list()
        return 0
    if recipe is None:
        raise ValueError("Name a recipe; `mm-coach train --list` shows them.")
    script = _named(recipe, ".py", RECIPES, "recipe")
    if copy is not None:
        copy_recipe(script, copy)
        return 0
    return _run(launch_command(script, flags))


def launch_command(script: Path, flags: Sequence[str]) -> list[str]:
    """Builds the command that launches a recipe.

    Args:
        script: The recipe's file.
        flags: Flags of `accelerate launch`, then flags of the recipe.

    Returns:
        The words of the command, with files in the place of the names of presets and launch files.

    Raises:
        FileNotFoundError: There is no such preset or launch file; lists those that there are.
    """
    from accelerate.commands.launch import launch_command_parser

    known = launch_command_parser()._option_string_actions
    names = [flag.partition("=")[0] for flag in flags]
    at_recipe = [n.startswith("--") and (n not in known or n in _RECIPES_FIRST) for n in names]
    place = at_recipe.index(True) if any(at_recipe) else len(flags)
    presets = script.parent / "configs" / script.stem
    theirs = _with_files(
        flags[:place], "--config_file", lambda n: _named(n, ".yaml", RECIPES / "accelerate", "launch file")
    )
    ours = _with_files(flags[place:], "--config", lambda name: _named(name, ".yaml", presets, "preset"))
    if "--config_file" not in theirs:
        several = any(name in ("--num_processes", "--num-processes") for name in names[:place])
        theirs = ["--config_file", str(RECIPES / "accelerate" / f"{'ddp' if several else 'cpu'}.yaml"), *theirs]
    return [sys.executable, "-m", "accelerate.commands.launch", *theirs, str(script), *ours]


def copy_recipe(script: Path, folder: Path) -> None:
    """Copies a recipe and its presets.

    Args:
        script: The recipe's file.
        folder: Where to; presets go to ``configs/RECIPE`` inside.

    Raises:
        FileExistsError: A file is there already; nothing was copied.
    """
    files = {script: folder / script.name}
    files |= {path: folder / "configs" / script.stem / path.name for path in _presets(script)}
    if taken := [target for target in files.values() if target.exists()]:
        raise FileExistsError(f"{taken[0]} is there already; name another folder with --copy, or move it away.")
    for source, target in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        print(target)
    print(f"Run it: mm-coach train {folder / script.name} --config PRESET")


def _named(name: str, ending: str, folder: Path, kind: str) -> Path:
    """Finds a file by its name in a folder, or takes a path as it is."""
    if "/" in name or os.sep in name or name.endswith(ending):
        path = Path(name)
        known = [other.name for other in path.parent.glob(f"*{ending}")] if path.parent.is_dir() else []
    else:
        path = folder / f"{name}{ending}"
        known = sorted(other.stem for other in folder.glob(f"*{ending}"))
    if not path.is_file():
        choices = f" There are {', '.join(known)}." if known and "/" not in name else ""
        raise FileNotFoundError(f"There is no {kind} {name}.{did_you_mean(Path(name).name, known)}{choices}")
    return path.resolve()


def _with_files(words: Sequence[str], flag: str, find: Callable[[str], Path]) -> list[str]:
    """Puts files in the place of the names behind a flag, and a blank in the place of its ``=``."""
    split = [part for word in words for part in (word.split("=", 1) if word.startswith(f"{flag}=") else [word])]
    return [str(find(word)) if place and split[place - 1] == flag else word for place, word in enumerate(split)]


def _presets(script: Path) -> list[Path]:
    """Lists the presets of a recipe: YAML that maps settings to values."""
    import yaml

    files = sorted((script.parent / "configs" / script.stem).glob("*.yaml"))
    return [path for path in files if isinstance(yaml.safe_load(path.read_text()), dict)]


def _print_list() -> None:
    """Prints recipes, their presets and the launch files, with a line about each."""
    from mm_adapter.cli.console import print_table

    rows: list[tuple[str, str, str]] = []
    for script in sorted(RECIPES.glob("*.py")):
        about = (ast.get_docstring(ast.parse(script.read_text())) or "").partition("\n")[0].rstrip(".")
        rows.append((script.stem, "", about))
        rows += [("", preset.stem, _first_comment(preset)) for preset in _presets(script)]
    print_table(("recipe", "--config", ""), rows)
    files = sorted((RECIPES / "accelerate").glob("*.yaml"))
    print_table(("--config_file", ""), [(path.stem, _first_comment(path)) for path in files])
    print(_NOTE)


def _first_comment(path: Path) -> str:
    """Returns the first sentence of a file's comment, without the command that may follow."""
    return (
        path.read_text()
        .partition("\n")[0]
        .removeprefix("# ")
        .partition(": accelerate launch")[0]
        .split(". ")[0]
        .rstrip(".")
    )


def _run(command: Sequence[str]) -> int:
    """Runs a command, passes signals on to all its processes, and returns its exit status when the last of them has ended."""
    child = subprocess.Popen(command, start_new_session=True)

    def pass_on(number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)

    earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        status = child.wait()
        with suppress(ProcessLookupError):
            while True:  # a launcher of one process ends at a signal; the recipe is still saving
                os.killpg(child.pid, 0)
                time.sleep(0.1)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
