"""A table of one's own: clips with remarks and scores, as people write them in a spreadsheet."""

from dataclasses import dataclass

from mm_adapter.tasks.table.files import read_items_table
from mm_adapter.tasks.table.format import TableFormat
from mm_adapter.tasks.task import Task


@dataclass(frozen=True)
class TableOptions:
    """A table has no switches: what it holds decides what is asked."""


TABLE = Task(name="table", read=read_items_table, options=TableOptions, format=TableFormat, phrase="comment on this")
