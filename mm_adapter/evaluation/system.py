"""What a system is: whatever answers a task's items."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.evaluation.item_set import ItemSet
from mm_data.ground.progress import Progress
from mm_data.tasks import Answer, TaskFormat
from mm_eval.answers.test_sets import OURS, variant_of_ours

Answers = dict[str, dict[str, Answer]]
"""Item id to the system's answer (`OURS`), and to the same read in other ways (`variant_of_ours`)."""


class System(ABC):
    """Whatever answers a task's items."""

    @abstractmethod
    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns how the items are asked and read, and the task's switches."""

    @abstractmethod
    def made_of(self) -> dict[str, Any]:
        """Returns what tells its answers from those of another system, JSON-ready."""

    @abstractmethod
    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers | None:
        """Answers every test item.

        Args:
            items: The items.
            form: How they are asked and read.
            out: Folder of the answers, where records of unfinished work lie too.
            progress: Is called with (what, done, total).

        Returns:
            The answers; None while other processes still have items.

        Raises:
            ValueError: The items lack what the system needs, or its answers cannot be read; says what and where.
        """

    def inputs(self, items: ItemSet, form: TaskFormat) -> list[str]:
        """Returns what the system is told beside the clip, in words."""
        return form.inputs

    def notes(self, items: ItemSet) -> list[str]:
        """Returns what a reader of its numbers has to know."""
        return []

    def round_trip(self, clip_id: str) -> np.ndarray | None:
        """Returns what its pose tokenizer makes of a clip's poses, joints ``[T, 17, 3]``; None of a system without one."""
        return None


def with_variants(answer: Answer, variants: dict[str, Answer]) -> dict[str, Answer]:
    """Names an answer and its variants as rows of a table."""
    return {OURS: answer, **{variant_of_ours(name): variant for name, variant in variants.items()}}
