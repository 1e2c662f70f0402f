"""`mm-coach eval`: evaluated runs against each other."""

from pathlib import Path

from cyclopts import App

from mm_adapter.cli.flags import BertFlags

app = App(
    name="eval",
    help="Put evaluated runs into one table with baselines and intervals; `eval diff A B` compares two, item by item.",
)
_NO_BERT = BertFlags()


@app.default
def table(runs: list[str], *, suite: str = "expertaf", out: Path | None = None, bert: BertFlags = _NO_BERT) -> None:
    """Put evaluated runs into one table with baselines and intervals; `eval diff A B` compares two, item by item.

    Args:
        runs: Folders with answers.jsonl, or NAME=FOLDER.
        suite: expertaf, desccoach, nae, cot-afa, or module:NAME for one of your own.
        out: Folder for table.md, .tex, .csv and .html.
        bert: Weights of BERTScore.
    """
    from mm_data.ground.files import write_atomically
    from mm_eval.suites.runs import open_run, runs_table
    from mm_eval.tables import RENDERERS, to_markdown

    model = bert.model()
    scores = runs_table([open_run(run, suite, model) for run in runs], suite)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for ending, render in RENDERERS.items():
            write_atomically(out / f"table.{ending}", render(scores))
    _print(to_markdown(scores), 200)


@app.command
def diff(
    runs: list[str],
    *,
    suite: str = "expertaf",
    out: Path | None = None,
    against: str | None = None,
    by: str | None = None,
    show: int = 5,
    bert: BertFlags = _NO_BERT,
) -> None:
    """Compare two runs, item by item, or with --against a run with one of its baselines.

    Args:
        runs: Two folders with answers.jsonl, or NAME=FOLDER; one with --against.
        suite: expertaf, desccoach, nae, cot-afa, or module:NAME for one of your own.
        out: Folder for diff.md.
        against: Baseline that the run is compared with, by the name in its table.
        by: Metric by which items are listed; by default the first that has items.
        show: Number of wins, and of losses, that are shown.
        bert: Weights of BERTScore.
    """
    from mm_data.ground.files import write_atomically
    from mm_eval.suites.diff import diff_markdown
    from mm_eval.suites.runs import open_run

    if len(runs) != (2 if against is None else 1):
        expected = "two runs" if against is None else "one run with --against"
        raise ValueError(f"`eval diff` compares {expected}, {len(runs)} were given.")
    model = bert.model()
    opened = [open_run(run, suite, model) for run in runs]
    first, second = opened if against is None else (opened[0].against(against), opened[0])
    text = diff_markdown(first, second, suite, by, show)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "diff.md", text)
    _print(text, 160)


def _print(text: str, width: int) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=width).print(Markdown(text))
