"""The expected score of an answer, by a scorer that is certain of what the coach would write."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mm_adapter.evaluation import task_answers
from mm_adapter.evaluation.task_answers import confidence, expected_score
from mm_adapter.inference.scoring import CandidateScores
from mm_data.tasks import ScoreSlot
from mm_data.tasks.desccoach import DescCoachFormat, DescCoachOptions
from mm_data.tasks.nae import NaeFormat, NaeOptions

SCORES = [9.0, 9.5, 90.0, 90.25, 90.5, 91.0, 99.9, 100.0]
END = 0
"""Id of the end of a turn; every other character is its own token."""


class Characters:
    """A tokenizer of characters."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(character) for character in text]


def writes(coach_text: str, otherwise: dict[str, float] | None = None) -> Any:
    """A scorer that gives every sequence the probability of the coach's texts that begin with it, the prompt left out."""
    texts = otherwise or {coach_text: 1.0}

    def score(coach: Any, prefix: dict[str, list[int]], candidates: list[Any]) -> CandidateScores:
        begun = [token for token in prefix["input_ids"] if token != END]
        whole = {(*map(ord, text), END): share for text, share in texts.items()}
        rows = [[*begun, *(map(ord, c) if isinstance(c, str) else c)] for c in candidates]
        likely = [sum(share for text, share in whole.items() if list(text[: len(row)]) == row) for row in rows]
        total = torch.tensor([p + 1e-12 for p in likely], dtype=torch.float64).log()
        return CandidateScores(
            total, [value / len(row) * torch.ones(len(row)) for value, row in zip(total, rows, strict=True)]
        )

    return score


def coach() -> Any:
    processor = SimpleNamespace(tokenizer=Characters(), end_of_turn_id=END)
    return SimpleNamespace(processor=processor, prompt=lambda messages, item_id: {"input_ids": [END], "labels": [-100]})


def expected(form: Any, text: str, monkeypatch: pytest.MonkeyPatch, otherwise: dict[str, float] | None = None) -> float:
    monkeypatch.setattr(task_answers, "score", writes(text, otherwise))
    value = expected_score(coach(), form, [], text, "x")
    assert value is not None
    return value


@pytest.fixture
def nae() -> NaeFormat:
    return NaeFormat({"lowest": 0.0, "highest": 105.0, "scores": SCORES, "actions": {"pike": "pike"}}, NaeOptions())


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    "text",
    [
        "A pike dive that scores {} points.",
        "A pike dive. The score is {}.",
        "A pike dive with a score of {}. He is pleased",
        "Score: {}",
        "It scores {}, a pike dive.",
        "Score: {}/105",
        "Pike. **Score:** {} ** points",
        "{} points\nA pike.",
    ],
)
def test_a_coach_that_is_certain_expects_what_it_writes(
    nae: NaeFormat, text: str, score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected(nae, text.format(f"{score:g}"), monkeypatch) == pytest.approx(score, abs=1e-6)


def test_a_doubtful_coach_expects_the_mean(nae: NaeFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    written = "It scores 90.5 points."
    shares = {written: 0.5, "It scores 90 points.": 0.25, "It scores 100 points.": 0.25}
    assert expected(nae, written, monkeypatch, shares) == pytest.approx(0.5 * 90.5 + 0.25 * 90 + 0.25 * 100)
    shares = {"It is 9. Good.": 0.5, "It is 9.5. Good.": 0.25, "It is 90.5. Good.": 0.25}
    assert nae.parse("It is 9. Good.").score is None, "no word calls it a score: a sentence that does is begun"
    shares = {f"Score: {score}. Good.": share for score, share in (("9", 0.5), ("9.5", 0.25), ("90.5", 0.25))}
    assert expected(nae, "Score: 9. Good.", monkeypatch, shares) == pytest.approx(4.5 + 2.375 + 22.625)


def test_scores_of_desccoach_end_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    form = DescCoachFormat({"lowest": 0.0, "highest": 10.0, "scores": [7.0, 7.33, 7.5, 10.0]}, DescCoachOptions())
    for score in (7.0, 7.33, 7.5, 10.0):
        assert expected(form, f"Overall: fine\nScore: {score:g}", monkeypatch) == pytest.approx(score, abs=1e-6)


def test_candidates_that_begin_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    form = SimpleNamespace(score_slot=lambda text: ScoreSlot("Score:", {"8 points": 8.0, "7.": 7.0, "7.5": 7.5}))
    monkeypatch.setattr(task_answers, "score", writes("Score: 7.5"))
    with pytest.raises(ValueError, match=r"x: '7\.' is a beginning of '7\.5'"):
        expected_score(coach(), form, [], "Score: 7.5", "x")  # type: ignore[arg-type]


def test_an_answer_is_as_likely_as_it_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short answer that begins a likelier long one gains nothing by that."""
    monkeypatch.setattr(task_answers, "score", writes("", {"Good.": 0.25, "Good. It scores 90 points.": 0.75}))
    short, long = (confidence(coach(), [], text, "x") for text in ("Good.", "Good. It scores 90 points."))
    assert short is not None and long is not None
    assert short == pytest.approx(float(torch.tensor(0.25).log()) / 6)
    assert long == pytest.approx(float(torch.tensor(0.75).log()) / 27)
    assert confidence(coach(), [], "", "x") is None
