"""Ends a benchmark: one JSON line, and on request a record with hardware, commit and command."""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the flag that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--save", action="store_true", help="append a record to benchmarks/results/")
    return made


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
