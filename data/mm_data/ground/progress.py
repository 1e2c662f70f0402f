"""What a long stage reports while it runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Report(Protocol):
    """Receives what happens."""

    def line(self, text: str) -> None:
        """A stage has finished."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a progress bar; the result is called with the number done."""
        ...


Progress = Callable[[str, int, int], None]
"""Is called with (what is done, number done, number in all)."""
