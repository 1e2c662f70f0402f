"""`mm-coach report`."""

from pathlib import Path


def report(
    answers: Path,
    out: Path,
    *,
    task: str | None = None,
    training: Path | None = None,
    tokenizer_training: Path | None = None,
    started: float | None = None,
) -> None:
    """Write a self-contained page about an answered run: numbers with baselines, and a dozen clips with truth and answer.

    Args:
        answers: Folder that `mm-coach answer` wrote.
        out: Folder for index.html and metrics.json.
        task: Task of the answers, where they were made elsewhere: expertaf, desccoach, nae, cot-afa, or module:NAME.
        training: The coach's training folder, for the loss curve.
        tokenizer_training: The tokenizer's training folder, for its curve.
        started: Epoch seconds at which the whole run began.
    """
    from mm_adapter.evaluation.report import PAGE, write_page
    from mm_data.ground.files import check_apart

    check_apart(out, answers, training, tokenizer_training)
    is_new = write_page(answers, out, training, tokenizer_training, started, task)
    print(f"{out / PAGE}{'' if is_new else ' is up to date'}")
