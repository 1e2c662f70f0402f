"""What a suite is: metrics of a run's answers, and how they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mm_eval.answers.clips import AnsweredClip, read_clips
from mm_eval.answers.test_sets import FILE, OURS, TRAINING, About, TestItem, read_answers, systems_of
from mm_eval.metrics.text import BertModel
from mm_eval.statistics.metric import Metric
from mm_eval.tables import Column, ScoreTable
from mm_eval.tables.tiles import Tile

Tables = dict[str, dict[str, dict[str, Metric]]]


@dataclass(frozen=True)
class AnsweredRun:
    """A run as it lies on disk.

    Attributes:
        items: Test items with the run's answers.
        training: Training items, which baselines answer with; empty where the run has none.
        clips: Clips by id.
        about: What was answered.
    """

    items: list[TestItem]
    training: list[TestItem]
    clips: dict[str, AnsweredClip]
    about: About

    @classmethod
    def read(cls, folder: Path) -> "AnsweredRun":
        """Reads a run.

        Args:
            folder: Folder of the run.

        Returns:
            The run.

        Raises:
            FileNotFoundError: It has no answers.
            ValueError: A file cannot be read, or the run has no answers of its own.
        """
        items = read_answers(folder)
        if lacking := [item.item_id for item in items if OURS not in item.answers]:
            known = ", ".join(systems_of(items)) or "none"
            count = f"{lacking[0]!r} has none ({len(lacking)} of {len(items)})"
            raise ValueError(
                f"{folder / FILE}: the run's own answers stand under {OURS!r}, and {count}; systems there: {known}."
            )
        training = read_answers(folder, TRAINING) if (folder / TRAINING).is_file() else []
        return cls(items, training, read_clips(folder), About.read(folder))


@dataclass(frozen=True)
class Run:
    """A scored run.

    Attributes:
        name: Name of its row.
        items: Test items with every system's answers.
        tables: Table to row to metric.
        result: Content of ``metrics.json``, with the metrics' statistics.
        notes: Sentences on what could not be computed.
        system: System whose answers it stands for; a baseline's after `against`.
        cost: What training and answering took, or "".
    """

    name: str
    items: list[TestItem]
    tables: Tables
    result: dict[str, Any]
    notes: list[str]
    system: str = OURS
    cost: str = ""

    @property
    def clusters(self) -> list[str]:
        """Cluster of each item."""
        return [item.cluster for item in self.items]

    def metric(self, column: Column) -> Metric | None:
        """Returns the system's metric in one column."""
        return self.tables.get(column.table, {}).get(self.system, {}).get(column.metric)

    def against(self, system: str) -> "Run":
        """Returns the same run with one of its other systems, such as a baseline, in the place of ours.

        Args:
            system: Name of the system.

        Returns:
            The run, named after the system.

        Raises:
            ValueError: No table has it.
        """
        known = sorted({name for table in self.tables.values() for name in table} - {OURS})
        if system not in known:
            raise ValueError(f"{self.name} has no system {system!r}; choose from {', '.join(known)}.")
        return replace(self, name=system, system=system)

    def text(self, item: TestItem) -> str:
        """Returns the system's answer to one of its items; empty where it has no words, as for chance."""
        return item.answers[self.system].text if self.system in item.answers else ""


class Suite(Protocol):
    """The metrics of a task, and the tables that show them."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table in which runs stand against each other."""
        ...

    def score(self, run: AnsweredRun, bert: BertModel | None) -> tuple[list[TestItem], dict[str, Any]]:
        """Scores a run with its baselines.

        Args:
            run: The run.
            bert: Weights of BERTScore.

        Returns:
            Items with every system's answers, and a JSON-ready result with ``tables``, ``notes`` and the ``headline``, three names
            of numbers that sum it up to their values.
        """
        ...

    def table(self, runs: Sequence[Run], footnotes: Sequence[str], published: Sequence[str] | None) -> ScoreTable:
        """Puts runs into a table, with baselines, footnotes and the paper's rows of these names (None for all)."""
        ...

    def details(self, run: Run) -> list[ScoreTable]:
        """Puts one run into tables with every baseline, for its page."""
        ...

    def tiles(self, run: Run) -> list[Tile]:
        """Returns the first line of the run's page: three numbers at most."""
        ...
