"""Tasks beside ExpertAF's three functions: how their data is read, taught, asked for and taken apart.

This package's own imports stay light; `mm_data.tasks.known` has the tasks and `mm_data.tasks.folder` their folders.
"""

from mm_data.tasks.answer import Answer
from mm_data.tasks.questions import ScoreSlot
from mm_data.tasks.task import Task, TaskData, TaskFormat, TaskItem

__all__ = ["Answer", "ScoreSlot", "Task", "TaskData", "TaskFormat", "TaskItem"]
