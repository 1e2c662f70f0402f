"""Dialogues about items, and the expected score of an answer, with an answerer that is certain of what it would write."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mm_adapter.evaluation.coach_system import RECORDS, CoachSystem
from mm_adapter.inference.asking import hold
from mm_adapter.inference.continuations import continuations
from mm_adapter.inference.sampling import GREEDY
from mm_adapter.samples.clip_stores import NoPoses
from mm_adapter.tasks.desccoach.format import DescCoachFormat, DescCoachOptions
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks import Answer, ScoreSlot
from mm_data.tasks.questions import CANNOT, Choice, Dialogue, Likelihoods, Poses, Words, ask_for_words
from mm_eval.answers.test_sets import OURS

SCORES = [9.0, 9.5, 90.0, 90.25, 90.5, 91.0, 99.9, 100.0]
END = 0
"""Id of the end of a turn; every other character is its own token."""


class Characters:
    """A tokenizer of characters, which begins with an end unless it is told not to."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [*([END] if add_special_tokens else []), *map(ord, text)]


class Writer:
    """Answers with one text, and gives every sequence the probability of the texts that begin with it.

    Args:
        text: The answer.
        shares: Text that could be written to its probability; the answer alone by default.
    """

    at_once, can_choose, can_demonstrate = 2, True, True

    def __init__(self, text: str, shares: dict[str, float] | None = None) -> None:
        self.text = text
        self.whole = {(*map(ord, text), END): share for text, share in (shares or {text: 1.0}).items()}

    def answer_words(self, questions: Any, sampling: Any = GREEDY) -> list[str]:
        return [self.text] * len(questions)

    def answer_choices(self, questions: Any) -> list[Likelihoods]:
        return [self._likely(name, choice) for name, choice in questions]

    def answer_poses(self, questions: Any, sampling: Any = GREEDY) -> list[Any]:
        raise AssertionError("nobody asks for poses")

    def decode(self, codes: np.ndarray) -> np.ndarray:
        raise AssertionError("nobody asks for poses")

    def _likely(self, name: str, choice: Choice) -> Likelihoods:
        processor: Any = SimpleNamespace(tokenizer=Characters(), end_of_turn_id=END)
        tokens = continuations(processor, NoPoses(), choice, name)
        rows = [[*tokens.begun, *candidate] for candidate in tokens.candidates]
        likely = [sum(p for text, p in self.whole.items() if list(text[: len(row)]) == row) for row in rows]
        total = np.log(np.array(likely) + 1e-12)
        return Likelihoods(total, total / [len(row) for row in rows])


def record(score_slot: Any, text: str, shares: dict[str, float] | None = None) -> dict[str, Any]:
    return hold({"x": ask_for_words([], 99, score_slot)}, Writer(text, shares))["x"]


def expected(form: Any, text: str, shares: dict[str, float] | None = None) -> float:
    return record(form.score_slot, text, shares)["expected"]


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
def test_a_coach_that_is_certain_expects_what_it_writes(nae: NaeFormat, text: str, score: float) -> None:
    assert expected(nae, text.format(f"{score:g}")) == pytest.approx(score, abs=1e-6)


def test_a_doubtful_coach_expects_the_mean(nae: NaeFormat) -> None:
    written = "It scores 90.5 points."
    shares = {written: 0.5, "It scores 90 points.": 0.25, "It scores 100 points.": 0.25}
    assert expected(nae, written, shares) == pytest.approx(0.5 * 90.5 + 0.25 * 90 + 0.25 * 100)
    shares = {"It is 9. Good.": 0.5, "It is 9.5. Good.": 0.25, "It is 90.5. Good.": 0.25}
    assert nae.parse("It is 9. Good.").score is None, "no word calls it a score: a sentence that does is begun"
    shares = {f"Score: {score}. Good.": share for score, share in (("9", 0.5), ("9.5", 0.25), ("90.5", 0.25))}
    assert expected(nae, "Score: 9. Good.", shares) == pytest.approx(4.5 + 2.375 + 22.625)


def test_unlikely_answers_have_an_expected_score_too() -> None:
    """Likelihoods of long answers lie far below what an exponential can hold."""
    likely = np.array([-2000.0, -2000.0 + np.log(3)])
    assert ScoreSlot("", {"1": 1.0, "5": 5.0}).expected(Likelihoods(likely, likely)) == pytest.approx(4.0)


def test_scores_of_desccoach_end_with_the_answer() -> None:
    form = DescCoachFormat({"lowest": 0.0, "highest": 10.0, "scores": [7.0, 7.33, 7.5, 10.0]}, DescCoachOptions())
    for score in (7.0, 7.33, 7.5, 10.0):
        assert expected(form, f"Overall: fine\nScore: {score:g}") == pytest.approx(score, abs=1e-6)


def test_candidates_that_begin_others_are_refused() -> None:
    slot = ScoreSlot("Score:", {"8 points": 8.0, "7.": 7.0, "7.5": 7.5})
    with pytest.raises(ValueError, match=r"x: '7\.' is a beginning of '7\.5'"):
        record(lambda text: slot, "Score: 7.5")


def test_an_answer_is_as_likely_as_it_and_its_end() -> None:
    """A short answer that begins a likelier long one gains nothing by that."""
    shares = {"Good.": 0.25, "Good. It scores 90 points.": 0.75}
    short, long = (record(lambda text: None, text, shares)["confidence"] for text in shares)
    assert short == pytest.approx(np.log(0.25) / 6) and long == pytest.approx(np.log(0.75) / 27)
    assert record(lambda text: None, "") == {"text": "", "confidence": None, "expected": None}


def test_dialogues_side_by_side_get_their_own_replies() -> None:
    """Items that ask different things at different times: each reply goes to the question it answers."""

    class Echo(Writer):
        at_once = 3

        def answer_words(self, questions: Any, sampling: Any = GREEDY) -> list[str]:
            calls.append([name for name, _ in questions])
            return [f"{name} said {question.limit}" for name, question in questions]

        def answer_choices(self, questions: Any) -> list[Likelihoods]:
            return [Likelihoods(np.array([float(len(choice.begun))]), np.zeros(1)) for _, choice in questions]

        def answer_poses(self, questions: Any, sampling: Any = GREEDY) -> list[Any]:
            return [f"poses of {name}" for name, _ in questions]

    def short(limit: int) -> Dialogue:
        (text,) = yield [Words([], limit)]
        return {"text": text}

    def long() -> Dialogue:
        likely, poses = yield [Choice([], ["a"], "four"), Poses([])]
        first, second = yield [Words([], 1), Words([], 2)]
        return {"likely": likely.total[0], "poses": poses, "texts": [first, second]}

    calls: list[list[str]] = []
    records = hold({"a": short(7), "b": long(), "c": short(8)}, Echo(""))
    assert records == {
        "a": {"text": "a said 7"},
        "b": {"likely": 4.0, "poses": "poses of b", "texts": ["b said 1", "b said 2"]},
        "c": {"text": "c said 8"},
    }
    assert calls == [["a", "c"], ["b", "b"]]


def test_what_somebody_cannot_answer_is_not_asked() -> None:
    class Speaker(Writer):
        can_choose = can_demonstrate = False

    def asks() -> Dialogue:
        text, likely, poses = yield [Words([], 1), Choice([], ["a"]), Poses([])]
        return {"text": text, "likely": likely, "poses": poses}

    assert hold({"x": asks()}, Speaker("Good.")) == {"x": {"text": "Good.", "likely": CANNOT, "poses": CANNOT}}


def test_finished_items_are_not_asked_again(tmp_path: Path) -> None:
    """A run that ends in its second batch leaves the first one's records, and the next run goes on behind them."""
    asked: list[str] = []

    class Mortal(Writer):
        def answer_words(self, questions: Any, sampling: Any = GREEDY) -> list[str]:
            asked.extend(name for name, _ in questions)
            if len(asked) == 4:
                raise KeyboardInterrupt
            return [f"Answer to {name}" for name, _ in questions]

    form: Any = SimpleNamespace(
        shared_questions=lambda training: {},
        questions=lambda item: ask_for_words([], 9),
        read=lambda record, shared: Answer(record["text"]),
        variants=lambda record, shared: {},
    )
    items: Any = SimpleNamespace(training=[], frames=8, test=[SimpleNamespace(item_id=name) for name in "abcde"])
    system = CoachSystem(Mortal(""), "", "transformers", None, [], {}, {})
    with pytest.raises(KeyboardInterrupt):
        system.answer(items, form, tmp_path, lambda *step: None)
    assert asked == ["a", "b", "c", "d"]
    asked.append("a run that lives")
    told: list[tuple[str, int, int]] = []
    answers = system.answer(items, form, tmp_path, lambda *step: told.append(step))
    assert asked[5:] == ["c", "d", "e"] and told == [("answering", 2, 3), ("answering", 3, 3)]
    texts = {name: f"Answer to {name}" for name in "abcde"}
    assert answers == {name: {OURS: Answer(text)} for name, text in texts.items()}
    assert {name: record["text"] for name, record in SharedRecords(tmp_path, RECORDS).read().items()} == texts
