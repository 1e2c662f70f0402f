"""What a run leaves beside its results: resolved configuration, versions, commit and seed."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mm_data.ground.digests import hash_of
from mm_data.ground.files import write_atomically

PACKAGES = (
    "mm-coach", "torch", "transformers", "accelerate", "peft", "trl", "deepspeed", "bitsandbytes", "datasets", "av", "numpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Reads the installed versions of the packages that decide numbers."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def git_commit() -> str:
    """Returns the commit of this source tree, with ``+changes`` where files differ from it, or ``unknown`` for a wheel."""
    source = Path(__file__).resolve()
    git = ["git", "-C", str(source.parent)]
    try:
        # An installed package may lie inside somebody else's repository, which does not track it.
        subprocess.run([*git, "ls-files", "--error-unmatch", str(source)], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "-uno"]
        dirty = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if dirty else "")


def run_record(*identifying: str, **configs: Any) -> dict[str, Any]:
    """Makes the record of a run: its resolved configuration with provenance, JSON-ready.

    Args:
        *identifying: Names of the parts of the configuration that must not change on the way; a hash of them, the record's ``identity``, tells
            the run from others.
        **configs: Parts of the configuration by name.

    Returns:
        The record; it has an ``identity`` where parts identify it.
    """
    resolved = {name: asdict(c) if is_dataclass(c) and not isinstance(c, type) else c for name, c in configs.items()}
    provenance = {"versions": versions(), "git_commit": git_commit()}
    record = json.loads(json.dumps(resolved | provenance, default=str))
    if identifying:
        record["identity"] = hash_of({part: record[part] for part in identifying})
    return record


def check_same_run(folder: Path, record: dict[str, Any], parts: Sequence[str]) -> None:
    """Makes sure that a run that goes on is the one that was begun.

    Args:
        folder: Folder of the run.
        record: Record of the run that goes on, from `run_record`.
        parts: Parts of the record that have to be equal.

    Raises:
        ValueError: A part differs; lists old and new values.
    """
    begun = read_run_record(folder)
    if not begun:
        return
    changed = [line for part in parts for line in differences(begun.get(part, {}), record[part])]
    if changed:
        raise ValueError(
            f"{folder} was begun with other settings: {'; '.join(changed)}. Give another output folder, or delete this one."
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists what two descriptions of how something was made disagree on, as "name was old, is new"."""
    return [f"{key} was {before.get(key)!r}, is {value!r}" for key, value in now.items() if before.get(key) != value]


def read_run_record(folder: Path) -> dict[str, Any]:
    """Reads what `write_run_record` wrote; empty where there is nothing."""
    path = folder / "run_config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write_run_record(folder: Path, record: dict[str, Any]) -> None:
    """Writes ``run_config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "run_config.json", json.dumps(record, indent=2))  # other processes may be reading it
