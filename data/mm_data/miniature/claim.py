"""One folder, one miniature: what it was asked for is compared before anything is written into it."""

import json
from pathlib import Path
from typing import Any

from mm_data.ground.files import check_same_inputs, claim_folder, write_atomically
from mm_data.ground.safe_load import read_json
from mm_data.miniature.truth import SIDECAR

RECORD, UNFINISHED = "miniature.json", ".miniature"
"""What a finished miniature was asked for, with its counts; and what an unfinished one was."""


def claim_miniature(out: Path, request: dict[str, Any]) -> dict[str, int] | None:
    """Marks a folder as a miniature that was begun, unless it is finished.

    Args:
        out: The folder.
        request: Everything that decides its content.

    Returns:
        Counts of a finished one, or None.

    Raises:
        ValueError: The folder holds something else; says what.
    """
    if (out / RECORD).is_file():
        record = read_json(out / RECORD, "")
        check_same_inputs(out, record["request"], request)
        return record["counts"]
    claim_folder(out, request, mark=UNFINISHED, other_marks=(UNFINISHED, SIDECAR))
    return None


def finish_miniature(out: Path, request: dict[str, Any], counts: dict[str, int]) -> None:
    """Marks a claimed folder as finished."""
    write_atomically(out / RECORD, json.dumps({"request": request, "counts": counts}, indent=1))
    (out / UNFINISHED).unlink(missing_ok=True)
