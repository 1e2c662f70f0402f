"""One folder, one miniature: what it was asked for is compared before anything is written into it."""

import json
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
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
    earlier = read_json(out / RECORD, "") if (out / RECORD).is_file() else None
    begun = (out / UNFINISHED).read_text() if (out / UNFINISHED).is_file() else ""
    asked = earlier["request"] if earlier else json.loads(begun) if begun else request
    if asked != request:
        raise ValueError(
            f"{out} holds a miniature of {_words(asked)}; asked for {_words(request)}. Give another folder or delete this one."
        )
    if earlier:
        return earlier["counts"]
    ours = any((out / name).is_file() for name in (UNFINISHED, SIDECAR))
    if out.exists() and any(out.iterdir()) and not ours:
        raise ValueError(f"{out} is not empty and is not an unfinished miniature; give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / UNFINISHED, json.dumps(request))
    return None


def finish_miniature(out: Path, request: dict[str, Any], counts: dict[str, int]) -> None:
    """Marks a claimed folder as finished."""
    write_atomically(out / RECORD, json.dumps({"request": request, "counts": counts}, indent=1))
    (out / UNFINISHED).unlink(missing_ok=True)


def _words(request: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())
