"""Where real people's data lie: an argument, or MM_COACH_REAL_DATA; and how our commands are run on them."""

import os
import subprocess
import sys
from pathlib import Path

VARIABLE = "MM_COACH_REAL_DATA"


def find_data(given: str, name: str) -> Path:
    """Returns the folder of a data set; the process ends with status 0 and the reason where there is none.

    Args:
        given: Folder from the command line; empty for the part ``name`` of the folder that the environment names.
        name: Name of the data set's folder.
    """
    root = os.environ.get(VARIABLE, "")
    folder = Path(given) if given else Path(root, name)
    if not given and not root:
        print(f"skipped: give --data FOLDER, or set {VARIABLE} to the folder that holds {name}/.")
        sys.exit(0)
    if not folder.is_dir():
        print(f"skipped: {folder} does not exist.")
        sys.exit(0)
    return folder


def mm_coach(*words: str | Path) -> None:
    """Runs a command of ours; its failure is ours."""
    subprocess.run([sys.executable, "-m", "mm_adapter.cli", *map(str, words)], check=True)
