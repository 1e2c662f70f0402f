"""A model behind an OpenAI-compatible endpoint, which was not trained here: frames and an instruction per item."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.system import Answers, System, with_variants
from mm_adapter.tasks.zero_shot import Frames, Instruction
from mm_data.asking.completions import Budget, Endpoint, Estimate, complete, estimate
from mm_data.ground.progress import Progress
from mm_data.tasks import Answer, TaskFormat, TaskItem

LOG = "endpoint_answers.jsonl"
_AT_ONCE = 32
"""Items whose frames are in memory at a time."""


@dataclass(frozen=True)
class EndpointSystem(System):
    """A model behind an endpoint.

    Attributes:
        endpoint: Endpoint that is asked.
        frames: Frames that the model sees.
        switches: Switches of the task.
        max_failed: Share of answers that may fail; a failed one is empty, scores nothing and is counted.
        budget: Stops once it is spent.
        failures: Class of failure to the number of answers that it cost.
    """

    endpoint: Endpoint
    frames: Frames
    switches: Mapping[str, Any]
    max_failed: float = 0.02
    budget: Budget | None = None
    failures: dict[str, int] = field(default_factory=dict)

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format."""
        return items.form(self.switches)

    def instruction(self, items: ItemSet) -> Instruction:
        """Returns what the model is asked: the task's instruction for such models, or the first question of its format."""
        form, options = self.form(items)
        made = items.task.instruction
        return Instruction.of_format(form) if made is None else made(items.manifest.knowledge, options)

    def made_of(self) -> dict[str, Any]:
        """Returns the model's name, how it draws and what it sees; the log tells answers to other prompts apart."""
        return {
            "model": self.endpoint.model,
            "parameters": dict(self.endpoint.parameters),
            "frames": {**vars(self.frames), "views": list(self.frames.views)},
        }

    def inputs(self, items: ItemSet, form: TaskFormat) -> list[str]:
        """Returns what the model is told beside the frames."""
        return self.instruction(items).inputs

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers:
        """Asks what is not in the log yet; finished answers are kept where the endpoint or the budget (``EndpointError``) ends."""
        answers: Answers = {}
        self.failures.clear()
        instruction, videos = self.instruction(items), Path(items.manifest.videos)
        for batch in _batches(items.test):
            done = len(answers)
            requests = [instruction.request(item, videos, self.frames) for item in batch]
            completions = complete(
                self.endpoint, requests, out / LOG,
                lambda count, done=done: progress("answering", done + count, len(items.test)), self.budget,
            )  # fmt: skip
            for item in batch:
                completion = completions[item.item_id]
                if completion.failure is not None:
                    self.failures[completion.failure] = self.failures.get(completion.failure, 0) + 1
                answer = Answer() if completion.content is None else instruction.read(completion.content)
                answers[item.item_id] = with_variants(answer, {})
        failed = sum(self.failures.values())
        if failed > self.max_failed * len(items.test):
            raise ValueError(
                f"{failed} of {len(items.test)} answers failed ({self._reasons()}), more than --max-failed {self.max_failed:g} allows. "
                "The others are kept; run again to ask what the endpoint could not answer."
            )
        return answers

    def notes(self, items: ItemSet) -> list[str]:
        """Says how many answers failed, and that nobody here knows what the model was trained on."""
        failed = [f"Answers that failed and count as empty: {self._reasons()}."] if self.failures else []
        return [f"{self.endpoint.model}: what it was trained on is not known here.", *failed]

    def estimate(self, items: ItemSet, out: Path) -> Estimate:
        """Counts requests and tokens that are left to ask; videos are read, because frames are part of what is asked."""
        total, instruction, videos = Estimate(0, 0, 0, 0), self.instruction(items), Path(items.manifest.videos)
        for batch in _batches(items.test):
            requests = [instruction.request(item, videos, self.frames) for item in batch]
            part = estimate(self.endpoint, requests, out / LOG)
            total = Estimate(*(a + b for a, b in zip(vars(total).values(), vars(part).values(), strict=True)))
        return total

    def _reasons(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.failures.items()))


def _batches(items: Sequence[TaskItem]) -> Iterator[Sequence[TaskItem]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))
