"""Writes down answers on held-out clips at every evaluation: they show what a falling loss does not."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mm_adapter.inference.answering import ANSWER_TOKENS
from mm_adapter.inference.coach import Coach
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.training.trainer import CoachTrainer
from mm_data.conversation import Conversation
from mm_data.ground.jsonl import append_record
from mm_data.tasks.questions import Words

FILE = "commentaries.jsonl"


class SampleAnswers(TrainerCallback):
    """Callback that answers a few held-out samples greedily, prints the answers and appends them to ``commentaries.jsonl``.

    A sample is shown up to its last answer in words. Every rank generates the same, because sharded weights have to be gathered.

    Args:
        trainer: The run's trainer.
        dataset: Held-out samples; evenly spaced ones that are answered in words are used.
        count: Number of samples.
    """

    def __init__(self, trainer: CoachTrainer, dataset: CoachDataset, count: int) -> None:
        self.trainer = trainer
        answered = [
            (index, turn) for index in range(len(dataset)) if (turn := _last_words(dataset.conversation(index)))
        ]
        self.questions = []
        for index, turn in answered[:: max(1, len(answered) // count)][:count]:
            source = dataset.sources[dataset.items[index][0]]
            coach = Coach(trainer.model, trainer.processor, source.poses, source.features)
            self.questions.append((coach, dataset.conversation(index), turn))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Generates, prints and writes the answers."""
        answers = []
        for coach, conversation, turn in self.questions:
            coach.model = self.trainer.model  # sharding replaces it
            with self.trainer.compute_loss_context_manager():
                question = Words(conversation.messages[:turn], ANSWER_TOKENS)
                answers += coach.answer_words([(conversation.sample_id, question)])
        if not state.is_world_process_zero:
            return
        table = Table(title=f"Step {state.global_step}: held out", title_justify="left")
        for heading in ("sample", "expert", "coach"):
            table.add_column(heading)
        for (_, conversation, turn), answer in zip(self.questions, answers, strict=True):
            expert = conversation.messages[turn]["content"][0]["text"]
            table.add_row(conversation.sample_id, expert, answer)
            record = {"step": state.global_step, "sample": conversation.sample_id, "expert": expert, "coach": answer}
            append_record(Path(str(args.output_dir)) / FILE, record)
        Console(markup=False, emoji=False).print(table)  # answers are printed as they are


def _last_words(conversation: Conversation) -> int | None:
    """Returns the last supervised turn that is words, or None."""
    turns = [t for t in conversation.supervised if conversation.messages[t]["content"][0]["type"] == "text"]
    return turns[-1] if turns else None
