"""The tasks that a coach was taught, asked about a clip of one's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_adapter.inference.asking import hold
from mm_adapter.inference.protocols import Answerer
from mm_adapter.tasks.known import offered_tasks
from mm_data.items.answer import Answer


class OwnTasks:
    """What a coach may be asked about a clip of one's own, beside conversation and demonstration.

    Args:
        record: Record of the coach's run, or what its export says about that.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.tasks = offered_tasks(record)

    @property
    def phrases(self) -> dict[str, str]:
        """What a person says to be answered in a task, such as "score this", to the task's name."""
        return {task.phrase or name: name for name, (task, _) in self.tasks.items()}

    def answer(self, name: str, answerer: Answerer, clip_id: str, views: Sequence[str], has_poses: bool) -> Answer:
        """Asks a task's questions about a clip.

        Args:
            name: Name of the task.
            answerer: Whatever runs the coach.
            clip_id: Id of the clip, which the answerer knows.
            views: Views of the clip that the coach sees.
            has_poses: Whether its poses are known.

        Returns:
            The answer, taken apart.

        Raises:
            ValueError: The coach was not taught the task.
        """
        if name not in self.tasks:
            raise ValueError(f"This coach has no task {name!r}; it has {', '.join(self.tasks) or 'none'}.")
        task, form = self.tasks[name]
        questions = form.questions(task.own_item(clip_id, views, has_poses))
        return form.read(hold({clip_id: questions}, answerer)[clip_id], {})
