"""What all commands print with."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


def plain_console(**options: Any) -> Console:
    """Opens a console that prints texts and paths as they are: brackets are no styles, ``:100:`` is no picture."""
    return Console(markup=False, emoji=False, **options)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None, numbers: Collection[str] = ()
) -> None:
    """Prints a table without breaking a word: where the console is too narrow for that, lines are longer than it is wide.

    Args:
        columns: Headings.
        rows: One cell per heading.
        title: Line above the table.
        numbers: Headings of columns that are justified to the right.
    """
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for heading in columns:
        table.add_column(heading, justify="right" if heading in numbers else "left")
    for row in rows:
        table.add_row(*map(str, row))
    print_unbroken(table)


def print_unbroken(table: Table) -> None:
    """Prints a table of one's own making without breaking a word."""
    console = plain_console()
    wide = console.options.update(max_width=10_000)
    lengths = [
        [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)] for column in table.columns
    ]
    words = [max(cell.minimum for cell in column) for column in lengths]
    frame = Measurement.get(console, wide, table).minimum - sum(words)
    room = max(0, console.width - frame - sum(words))
    for column, cells, word in zip(table.columns, lengths, words, strict=True):
        column.width = word + min(room, max(cell.maximum for cell in cells) - word)
        room -= column.width - word
    plain_console(width=max(console.width, frame + sum(words))).print(table)


def progress_bar() -> Progress:
    """A progress bar like those of all commands."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=plain_console(),
    )


@contextmanager
def stage_progress(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per stage; the result is called with (stage, done, total).

    Args:
        quiet: Print nothing: one of several processes speaks for all.
    """
    if quiet:
        yield lambda stage, done, total: None
        return
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        yield show


class ConsoleReport:
    """Prints finished stages and progress bars; see `mm_data.ground.progress.Report`.

    Args:
        quiet: Print nothing: one of several processes speaks for all.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        """A stage has finished."""
        if not self.quiet:
            print(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar; the result is called with the number done."""
        if self.quiet:
            yield lambda done: None
            return
        with progress_bar() as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
