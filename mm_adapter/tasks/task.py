"""What a task is: how its data is read, taught, asked for, scored, annotated and made up. `docs/adding-a-task.md` shows how to add one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_adapter.tasks.zero_shot import Instruction
from mm_data.annotation import Pictures, Stages
from mm_data.records import VideoClip
from mm_data.tasks import Answer, TaskData, TaskFormat, TaskItem
from mm_eval.suites.suite import Suite
from mm_eval.suites.tasks import GENERAL


@dataclass(frozen=True)
class Task:
    """A task. Name, reader, switches and format are what a task needs; the rest has defaults that work for every task.

    Attributes:
        name: Name in commands and tables.
        read: Reads a data set in its published form; one that is malformed raises `ValueError`.
        options: Dataclass of its switches.
        format: Knowledge and switches to its format.
        suite: Metrics and tables; by default those of texts, scores, classes, verdicts and findings, whichever the answers have.
        instruction: Knowledge and switches to what a model that was not trained here is asked; by default the format's own first question.
        annotate: Writes a data set like the one at the first path to the second, with texts by a language model; None where all data
            sets have their texts.
        annotate_by_rules: The same without a language model; returns a sentence on what was written.
        miniature: Writes a synthetic data set of the task, as `mm_data.miniature.write_miniature` does, and counts what it wrote.
        phrase: What a person says who wants this of their own clip, such as "score this".
        own_facts: Facts of an item that is a clip of one's own, where the format needs some.
        hidden_truth: Looks up what only the evaluation may know of test items, given the data set's folder: item id to it.
    """

    name: str
    read: Callable[[Path], TaskData]
    options: type
    format: Callable[[dict[str, Any], Any], TaskFormat]
    suite: Suite = field(default=GENERAL)
    instruction: Callable[[dict[str, Any], Any], Instruction] | None = None
    annotate: Callable[[Path, Path, Stages, Pictures], None] | None = None
    annotate_by_rules: Callable[[Path, Path], str] | None = None
    miniature: Callable[..., dict[str, int]] | None = None
    phrase: str = ""
    own_facts: dict[str, Any] = field(default_factory=dict)
    hidden_truth: Callable[[Path, Sequence[TaskItem]], dict[str, dict[str, Any]]] | None = None

    def own_item(self, clip_id: str, views: Sequence[str], has_poses: bool) -> TaskItem:
        """Makes an item of a clip of one's own, of which nothing is known.

        Args:
            clip_id: Id of the clip.
            views: Views that there are.
            has_poses: Whether its poses are known.

        Returns:
            The item.
        """
        clip = VideoClip(clip_id, dict.fromkeys(views, ""), 0.0, 0.0)
        return TaskItem(clip_id, "test", clip_id, "", clip, Answer(), [], self.own_facts, has_poses)
