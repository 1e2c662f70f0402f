"""Ends a benchmark: one JSON line, and on request a record with hardware, commit and command."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"

Result = TypeVar("Result")


def parse(
    description: str | None, *folders: str, words: list[str] | None = None, **options: float | str | tuple
) -> argparse.Namespace:
    """Reads the command line of a benchmark, with the flag that all of them share.

    Args:
        description: Text of the help.
        *folders: Names of the folders, in order.
        words: Words of the command line; by default those of the process.
        **options: Defaults of further flags by name; a tuple is a choice whose first is the default.

    Returns:
        The values by name.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="append a record to benchmarks/results/")
    for name in folders:
        parser.add_argument(name, type=Path)
    for name, value in options.items():
        choices = value if isinstance(value, tuple) else None
        default = choices[0] if choices else value
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, choices=choices)
    return parser.parse_args(words)


def timed(function: Callable[..., Result], *arguments: Any) -> tuple[float, Result]:
    """Calls a function; returns seconds by the wall clock, and the result."""
    begun = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - begun, result


def processor() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()


def finish(name: str, result: dict[str, Any], save: bool) -> None:
    """Prints the result as the last line; appends it to ``results/<name>.jsonl`` when asked."""
    if save:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS)
        record = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": commit.stdout.strip() or "unknown",
            "hardware": f"{os.cpu_count()} cores, {processor()}",
            "command": " ".join(["python", *sys.argv]),
            **result,
        }
        with (RESULTS / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    print(json.dumps(result))
