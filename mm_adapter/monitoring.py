"""Remarks on held-out clips, written down at every evaluation: what a falling loss does not show."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mm_adapter.dataset import CoachDataset
from mm_adapter.inference.generation import Coach
from mm_adapter.training import CoachTrainer
from mm_data.jsonl import append_record

FILE = "commentaries.jsonl"


class SampleCommentaries(TrainerCallback):
    """Greedy commentary on a few held-out learners' clips, printed and appended to ``commentaries.jsonl``.

    Every rank generates the same, because sharded weights have to be gathered.

    Args:
        trainer: The run.
        dataset: Of held-out learners; evenly spaced tuples are used.
        count: How many.
    """

    def __init__(self, trainer: CoachTrainer, dataset: CoachDataset, count: int) -> None:
        self.trainer = trainer
        self.coach = Coach(trainer.model, trainer.processor, dataset.poses, dataset.features)
        self.tuples = dataset.tuples[:: max(1, len(dataset.tuples) // count)][:count]

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Generates, prints and writes."""
        self.coach.model = self.trainer.model  # sharding replaces it
        with self.trainer.compute_loss_context_manager():
            remarks = list(self.coach.comment([t.learner.clip_id for t in self.tuples]))
        if not state.is_world_process_zero:
            return
        table = Table(title=f"Step {state.global_step}: held-out learners", title_justify="left")
        for heading in ("clip", "expert", "coach"):
            table.add_column(heading)
        for t, remark in zip(self.tuples, remarks, strict=True):
            table.add_row(t.learner.clip_id, t.summary, remark)
            record = {"step": state.global_step, "clip": t.learner.clip_id, "expert": t.summary, "coach": remark}
            append_record(Path(str(args.output_dir)) / FILE, record)
        Console().print(table)
