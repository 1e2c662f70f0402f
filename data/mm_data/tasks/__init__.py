"""What all tasks share: reading a data set into items, questions and formats, numbers in texts, what training and testing have in common."""

from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.tasks.questions import ScoreSlot
from mm_data.tasks.task import TaskData, TaskFormat

__all__ = ["Answer", "ScoreSlot", "TaskData", "TaskFormat", "TaskItem"]
