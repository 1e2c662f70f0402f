"""Answers on held-out clips, written down at every evaluation: what a falling loss does not show."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mm_adapter.inference.coach import Coach
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.training.trainer import CoachTrainer
from mm_data.conversation import Conversation
from mm_data.ground.jsonl import append_record

FILE = "commentaries.jsonl"


class SampleAnswers(TrainerCallback):
    """Greedy answers to a few held-out samples, printed and appended to ``commentaries.jsonl``.

    A sample is asked up to its last answer in words. Every rank generates the same, because sharded weights have to be gathered.

    Args:
        trainer: The run.
        dataset: Held-out samples; evenly spaced ones that are answered in words are used.
        count: How many.
    """

    def __init__(self, trainer: CoachTrainer, dataset: CoachDataset, count: int) -> None:
        self.trainer = trainer
        asked = [(index, turn) for index in range(len(dataset)) if (turn := _last_words(dataset.conversation(index)))]
        self.asked = []
        for index, turn in asked[:: max(1, len(asked) // count)][:count]:
            source = dataset.sources[dataset.items[index][0]]
            coach = Coach(trainer.model, trainer.processor, source.poses, source.features)
            self.asked.append((coach, dataset.conversation(index), turn))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Generates, prints and writes."""
        answers = []
        for coach, conversation, turn in self.asked:
            coach.model = self.trainer.model  # sharding replaces it
            with self.trainer.compute_loss_context_manager():
                answers += coach.answer([(conversation.sample_id, conversation.messages[:turn])], max_new_tokens=128)
        if not state.is_world_process_zero:
            return
        table = Table(title=f"Step {state.global_step}: held out", title_justify="left")
        for heading in ("sample", "expert", "coach"):
            table.add_column(heading)
        for (_, conversation, turn), answer in zip(self.asked, answers, strict=True):
            expert = conversation.messages[turn]["content"][0]["text"]
            table.add_row(conversation.sample_id, expert, answer)
            record = {"step": state.global_step, "sample": conversation.sample_id, "expert": expert, "coach": answer}
            append_record(Path(str(args.output_dir)) / FILE, record)
        Console(markup=False, emoji=False).print(table)  # answers are printed as they are


def _last_words(conversation: Conversation) -> int | None:
    """The last supervised turn that is words."""
    turns = [t for t in conversation.supervised if conversation.messages[t]["content"][0]["type"] == "text"]
    return turns[-1] if turns else None
