"""The page about a finished evaluation, kept where it is up to date."""

import time
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import differences
from mm_data.ground.digests import hash_of, sha256_of
from mm_data.ground.safe_load import read_json
from mm_eval.pages.report import write_report
from mm_eval.statistics.storage import read_metrics, write_metrics

METRICS = "metrics.json"
PAGE = "index.html"
REPORT_OF = "report_of"
"""Entry of the page's ``metrics.json`` that tells whether it is what would be made again."""


def write_page(
    evaluation: Path, out: Path, training: Path | None, tokenizer_training: Path | None, started: float | None
) -> bool:
    """Writes the page; an existing one of the same evaluation and trainings is kept.

    Args:
        evaluation: Folder of an evaluation.
        out: Folder for ``index.html`` and ``metrics.json``.
        training: The coach's training folder, for the loss curve, or None.
        tokenizer_training: The tokenizer's training folder, for its curve, or None.
        started: Epoch seconds at which the whole run began, or None.

    Returns:
        Whether the page was written; False where it is up to date.

    Raises:
        ValueError: The page is about something else; says what differs.
    """
    result = read_metrics(evaluation, hint="`mm-coach evaluate` writes it when it has scored everything.")
    page, numbers = out / PAGE, out / METRICS
    made_of = _made_of(evaluation, result, {"training": training, "tokenizer training": tokenizer_training})
    if page.is_file():
        before = read_json(numbers, f"{page} was not finished; delete it.").get(REPORT_OF, {})
        if changed := differences(before, made_of):
            raise ValueError(
                f"{page} is the report of something else: {'; '.join(changed)}. "
                "Give another folder, or delete the page to write it again."
            )
        return False
    result["summary"]["minutes"] = (time.time() - started) / 60 if started else None
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(out, {**result, REPORT_OF: made_of})
    write_report(out, evaluation, result, training, tokenizer_training)  # last: it marks the end
    return True


def _made_of(folder: Path, evaluation: dict[str, Any], trainings: dict[str, Path | None]) -> dict[str, Any]:
    """Hashes of all that a page shows but for the minutes."""
    content = {key: value for key, value in evaluation.items() if key != REPORT_OF}
    content["summary"] = {key: value for key, value in evaluation["summary"].items() if key != "minutes"}
    return {
        "evaluation": hash_of(content),
        "examples": sha256_of(folder / "examples.json"),
        **{name: path and sha256_of(path / "trainer_state.json") for name, path in trainings.items()},
    }
