"""`mm-coach eval`: answered runs scored, and against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from mm_adapter.cli.flags import BertFlags

if TYPE_CHECKING:
    from mm_eval.suites.suite import Run, Suite

app = App(
    name="eval",
    help="Score answered runs, with baselines and intervals, in one table; `eval diff A B` compares two, item by item.",
)
_NO_BERT = BertFlags()


@app.default
def table(runs: list[str], *, task: str | None = None, out: Path | None = None, bert: BertFlags = _NO_BERT) -> None:
    """Score answered runs, with baselines and intervals, in one table; `eval diff A B` compares two, item by item.

    Args:
        runs: Folders that `mm-coach answer` wrote, or NAME=FOLDER.
        task: Task of the answers, where they were made elsewhere: expertaf, desccoach, nae, cot-afa, or module:NAME.
        out: Folder for table.md, .tex, .csv and .html.
        bert: Weights of BERTScore.
    """
    from mm_eval.suites.runs import runs_table
    from mm_eval.tables import to_markdown, write_table

    opened, suite = _open(runs, task, bert)
    scores = runs_table(opened, suite)
    if out is not None:
        write_table(out, scores)
    _print(to_markdown(scores), 200)


@app.command
def diff(
    runs: list[str],
    *,
    task: str | None = None,
    out: Path | None = None,
    against: str | None = None,
    by: str | None = None,
    show: int = 5,
    bert: BertFlags = _NO_BERT,
) -> None:
    """Compare two runs, item by item, or with --against a run with one of its baselines.

    Args:
        runs: Two folders that `mm-coach answer` wrote, or NAME=FOLDER; one with --against.
        task: Task of the answers, where they were made elsewhere: expertaf, desccoach, nae, cot-afa, or module:NAME.
        out: Folder for diff.md.
        against: Baseline that the run is compared with, by the name in its table.
        by: Metric by which items are listed; by default the first that has items.
        show: Number of wins, and of losses, that are shown.
        bert: Weights of BERTScore.
    """
    from mm_data.ground.files import write_atomically
    from mm_eval.suites.diff import diff_markdown

    if len(runs) != (2 if against is None else 1):
        expected = "two runs" if against is None else "one run with --against"
        raise ValueError(f"`eval diff` compares {expected}, {len(runs)} were given.")
    opened, suite = _open(runs, task, bert)
    first, second = opened if against is None else (opened[0].against(against), opened[0])
    text = diff_markdown(first, second, suite, by, show)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "diff.md", text)
    _print(text, 160)


def _open(runs: list[str], task: str | None, bert: BertFlags) -> tuple[list[Run], Suite]:
    from mm_adapter.tasks.known import suite_of
    from mm_eval.suites.runs import name_and_folder, open_run

    model = bert.model()
    suite = suite_of([name_and_folder(run)[1] for run in runs], task)
    return [open_run(run, suite, model) for run in runs], suite


def _print(text: str, width: int) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=width).print(Markdown(text))
