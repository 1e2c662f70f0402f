"""Answering a task's items: the questions of many items together, against one question after another.

    python benchmarks/answering.py COACH ITEMS [--items 32] [--rounds 2] [--save]

Together is `mm-coach answer`: words of 16 items at a time, and all choices behind one question with its prefix in the cache. One after another
asks the same questions item by item, and every candidate in a forward pass of its own. ``ratio`` is the second's time over the first's, the median of
interleaved rounds; texts have to be equal, and the largest differences of confidence and expected score are printed.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from record import finish, parse, timed

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.evaluation.coach_system import RECORDS, CoachSystem
from mm_adapter.evaluation.item_set import ItemSet, open_inputs
from mm_adapter.inference.asking import hold
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.continuations import continuations
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.model.processor import IGNORE
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words


class OneByOne:
    """A coach that is asked one question after another, one candidate after another."""

    at_once, can_choose, can_demonstrate = 1, True, True

    def __init__(self, coach: Coach) -> None:
        self.coach = coach

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Answers in words, one question at a time."""
        return self.coach.answer_words(questions, sampling, batch_size=1)

    @torch.inference_mode()
    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Runs prompt and candidate in full, pair by pair."""
        replies = []
        for name, question in questions:
            prompt = self.coach.prompt(question.messages, name)
            choice = continuations(self.coach.processor, self.coach.poses, question, name)
            rows = [self._likely(prompt, choice.begun, candidate) for candidate in choice.candidates]
            replies.append(Likelihoods.of_tokens(rows))
        return replies

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes pose codes."""
        return self.coach.decode(codes)

    def answer_poses(self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY) -> list[Any]:
        """Answers in poses, one question at a time."""
        return self.coach.answer_poses(questions, sampling, batch_size=1)

    def _likely(self, prompt: dict[str, Any], begun: Sequence[int], candidate: Sequence[int]) -> np.ndarray:
        ids = [*prompt["input_ids"], *begun, *candidate]
        labels = [IGNORE] * (len(ids) - len(candidate)) + list(candidate)
        inputs = self.coach.inputs([{**prompt, "input_ids": ids, "labels": labels}])
        logits = self.coach.model(**inputs, logits_to_keep=len(candidate) + 1).logits[0, :-1].float().log_softmax(-1)
        return logits.gather(-1, torch.tensor(candidate, device=logits.device)[:, None])[:, 0].cpu().numpy()


def main() -> None:
    """Measures and prints."""
    args = parse(__doc__, "coach", "folder", items=32, rounds=2)
    saved = SavedCoach.from_pretrained(args.coach)
    store, poses = open_inputs(saved.model.config, args.folder, None, None)
    coach = Coach(saved.model, saved.processor, poses, store, saved.pose_tokenizer)
    items = ItemSet.open(args.folder, store, args.items)
    form, _ = items.form(saved.run_config.get("tasks", {}).get(items.task.name, {}))

    def answers(answerer: Answerer) -> dict[str, dict[str, Any]]:
        with TemporaryDirectory() as folder:
            system = CoachSystem(answerer, "", "transformers", poses, [], {}, {})
            system.answer(items, form, Path(folder), lambda what, done, total: None)
            return SharedRecords(Path(folder), RECORDS).read()

    hold({"warm up": form.questions(items.test[0])}, coach)  # starts the libraries
    rounds = [(timed(answers, OneByOne(coach)), timed(answers, coach)) for _ in range(args.rounds)]
    alone, ours = rounds[0][0][1], rounds[0][1][1]
    slow, fast = (statistics.median(pair[side][0] for pair in rounds) for side in (0, 1))

    def largest(field: str) -> float | None:
        pairs = [(alone[name].get(field), ours[name].get(field)) for name in ours]
        return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=None)

    result = {
        "task": items.task.name,
        "items": len(items.test),
        "ratio": round(slow / fast, 2),
        "items_per_second": {
            "together": round(len(items.test) / fast, 2),
            "one_by_one": round(len(items.test) / slow, 2),
        },
        "same_texts": sum(alone[name]["text"] == ours[name]["text"] for name in ours),
        "largest_difference": {field: largest(field) for field in ("confidence", "expected")},
    }
    finish("answering", result, args.save)


if __name__ == "__main__":
    main()
