"""What all tasks share: items and their folders, questions and answers, numbers in texts, what training and testing have in common."""

from mm_data.tasks.answer import Answer
from mm_data.tasks.questions import ScoreSlot
from mm_data.tasks.task import TaskData, TaskFormat, TaskItem

__all__ = ["Answer", "ScoreSlot", "TaskData", "TaskFormat", "TaskItem"]
