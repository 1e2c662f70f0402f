"""One room per task: how its data is read, taught, asked, scored, annotated and made up. `find_task` finds it by name."""

from mm_adapter.tasks.task import Task

__all__ = ["Task"]
