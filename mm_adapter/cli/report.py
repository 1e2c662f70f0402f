"""`mm-coach report`."""

from pathlib import Path


def report(
    evaluation: Path,
    out: Path,
    *,
    training: Path | None = None,
    tokenizer_training: Path | None = None,
    started: float | None = None,
) -> None:
    """Write a self-contained page about a finished run.

    Args:
        evaluation: Folder written by `mm-coach evaluate`.
        out: Folder for index.html and metrics.json.
        training: The coach's training folder, for the loss curve.
        tokenizer_training: The tokenizer's training folder, for its curve.
        started: Epoch seconds at which the whole run began.
    """
    from mm_adapter.evaluation.report import PAGE, write_page
    from mm_data.ground.files import check_apart

    check_apart(out, evaluation, training, tokenizer_training)
    is_new = write_page(evaluation, out, training, tokenizer_training, started)
    print(f"{out / PAGE}{'' if is_new else ' is up to date'}")
