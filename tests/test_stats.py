"""What `mm-coach data stats` says, and how it prints it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mm_data.release.egoexo4d import read_release
from mm_data.release.statistics import task_statistics


def test_statistics_of_named_and_unnamed_tasks_and_nothing_else(tiny: Path) -> None:
    source = read_release(tiny / "miniature")
    uids = list(source.takes)
    takes = {uid: dataclasses.replace(take, activity="Ball", task=(None, "Kick", None, "Aim")[n % 4]) for n, (uid, take) in enumerate(source.takes.items())}  # fmt: skip
    rows = task_statistics(dataclasses.replace(source, takes=takes))
    assert [(row["activity"], row["task"], row["takes"]) for row in rows] == [
        ("Ball", "Ball", len(uids) // 2), ("Ball", "Aim", len(uids) // 4), ("Ball", "Kick", len(uids) // 4), ("all", "all", len(uids)),
    ]  # fmt: skip
    (only,) = task_statistics(dataclasses.replace(source, takes={}))
    assert (only["takes"], only["words"]) == (0, None)


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_statistics_never_break_a_word(tiny: Path, columns: str) -> None:
    command = [sys.executable, "-m", "mm_adapter.cli", "data", "stats", str(tiny / "miniature")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": columns})
    source = read_release(tiny / "miniature")
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if line.startswith("│")
    ]
    printed = " ".join(line[0] for line in lines)
    assert {word for take in source.takes.values() for word in str(take.task).split()} <= set(printed.split())
    heading = next(line for line in done.stdout.splitlines() if "takes" in line and line.startswith("┃"))
    assert heading.replace("┃", " ").split() == [
        "task",
        "takes",
        "people",
        "learners",
        "experts",
        "poses",
        "minutes",
        "remarks",
        "words",
    ]
    widths = {len(line) for line in done.stdout.splitlines() if line[:1] in "│┃┏┡└"}
    assert len(widths) == 2, "every line of a table is as wide as its first"
