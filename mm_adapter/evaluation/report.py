"""The page about an answered run, kept where it is up to date."""

import time
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import differences
from mm_adapter.tasks.known import suite_of
from mm_data.ground.digests import sha256_of
from mm_data.ground.safe_load import read_json
from mm_eval.answers.test_sets import FILE
from mm_eval.pages.report import write_report
from mm_eval.statistics.storage import write_metrics
from mm_eval.suites.runs import open_run

METRICS = "metrics.json"
PAGE = "index.html"
REPORT_OF = "report_of"
"""Entry of the page's ``metrics.json`` that tells whether it is what would be made again."""


def write_page(
    run: Path,
    out: Path,
    training: Path | None,
    tokenizer_training: Path | None,
    started: float | None,
    task: str | None = None,
) -> bool:
    """Scores a run and writes its page; an existing one of the same answers and trainings is kept.

    Args:
        run: Folder that `mm-coach answer` wrote.
        out: Folder for ``index.html`` and ``metrics.json``.
        training: The coach's training folder, for the loss curve, or None.
        tokenizer_training: The tokenizer's training folder, for its curve, or None.
        started: Epoch seconds at which the whole run began, or None.
        task: Task of the answers, where the run does not say.

    Returns:
        Whether the page was written; False where it is up to date.

    Raises:
        FileNotFoundError: The run has no answers, or a training has not finished.
        ValueError: The page is about something else; says what differs.
    """
    suite = suite_of([run], task)
    page, numbers = out / PAGE, out / METRICS
    made_of = _made_of(run, {"training": training, "tokenizer training": tokenizer_training})
    if page.is_file():
        before = read_json(numbers, f"{page} was not finished; delete it.").get(REPORT_OF, {})
        if changed := differences(before, made_of):
            raise ValueError(
                f"{page} is the report of something else: {'; '.join(changed)}. "
                "Give another folder, or delete the page to write it again."
            )
        return False
    scored = open_run(str(run), suite)
    minutes = None if started is None else (time.time() - started) / 60
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(out, {**scored.result, "minutes": minutes, REPORT_OF: made_of})
    write_report(out, run, scored, suite, training, tokenizer_training, minutes)  # last: it marks the end
    return True


def _made_of(run: Path, trainings: dict[str, Path | None]) -> dict[str, Any]:
    """Hashes of all that a page shows but for the minutes."""
    if not (run / FILE).is_file():
        raise FileNotFoundError(f"{run / FILE} is not there; `mm-coach answer` writes it.")
    hashes = {name: path and sha256_of(path / "trainer_state.json") for name, path in trainings.items()}
    judges = {path.parent.name: sha256_of(path) for path in sorted(run.glob(f"judge*/{METRICS}"))}
    return {"answers": sha256_of(run / FILE), "judges": judges, **hashes}
