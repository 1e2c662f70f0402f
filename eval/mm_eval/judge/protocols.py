"""What a judge is asked, and when its answer is well formed.

The default protocol asks for a verdict and a quote per technical detail, so that a reader can check each and no count is made up;
TechCoach's count protocol is there for comparison. Generated texts are untrusted: they stand in the user's turn between tags that they
cannot close, and texts that speak to the judge are not judged at all.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from mm_data.asking.completions import Request, Schema
from mm_data.asking.forms import OneOf, Text, answer_schema
from mm_data.asking.prompts import Prompt, load_prompt
from mm_eval.metrics.text import clean

VERSION = "1"
"""Version of parsing and aggregation; it goes up whenever the same raw answers would give other numbers."""

DETAILS, COUNTS, COACH_SCORE, PREFERENCE = "details", "counts", "coach-score", "preference"
PROMPTS = {
    DETAILS: ("details-1", "verdicts-1"),
    COUNTS: ("counts-1",),
    COACH_SCORE: ("coach-score-1",),
    PREFERENCE: ("preference-1",),
}
NOT_MENTIONED, SAME, DIFFERENT = "not mentioned", "same", "different"
VERDICTS = (NOT_MENTIONED, SAME, DIFFERENT)
FIRST, SECOND, TIE = "first", "second", "tie"
HIGHEST_RATING = 5

_SPEAKS_TO_THE_JUDGE = re.compile(
    r"\b(?:ignore|disregard|forget)\b[^.]{0,40}\b(?:instructions?|prompts?)\b"
    r"|\b(?:give|award|assign)\b(?: (?:it|me|this|yourself))? (?:full|maximum|top|the (?:highest|best|maximum)) "
    r"(?:marks?|scores?|ratings?|grades?)\b"
    r"|\b(?:rate|grade|score|mark|judge) (?:this|my|the) (?:text|answer|commentary|comment|response)\b"
    r"|\b(?:you are|as) (?:a|an|the) (?:grader|evaluator|ai|language model)\b"
    r"|\bdear (?:judge|grader|evaluator)\b|\bsystem prompt\b|\"verdicts?\"\s*:",
    re.IGNORECASE,
)
"""What no coach would say to a learner. "Give it more power" and "do not forget the previous step" are coaching."""


_Reason = Annotated[Any, WithJsonSchema({"type": "string"})]
"""What a judge says before it decides, so that it thinks first; nothing depends on it."""


class _Form(BaseModel):
    """An answer of a judge, which may hold more than it has to."""

    model_config = ConfigDict(strict=True)


class _Details(_Form):
    details: list[Text]


class _Verdict(_Form):
    detail: Annotated[float, WithJsonSchema({"type": "integer"})]  # some judges write 1.0
    quote: str
    reason: str
    verdict: Annotated[str, OneOf(VERDICTS)]


class _Verdicts(_Form):
    verdicts: list[_Verdict]


class _Counts(_Form):
    reason: _Reason = None
    total: int = Field(ge=0)
    mentioned: int = Field(ge=0)
    same: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_ordered(self) -> "_Counts":
        if not self.same <= self.mentioned <= self.total:
            counts = f"{self.same}, {self.mentioned}, {self.total}"
            raise ValueError(f"expected same <= mentioned <= total, found {counts}")
        return self


class _Rating(_Form):
    reason: _Reason = None
    rating: int = Field(ge=0, le=HIGHEST_RATING)


class _Preference(_Form):
    reason: _Reason = None
    better: Annotated[str, OneOf((FIRST, SECOND, TIE))]


def prompts_of(protocol: str) -> list[Prompt]:
    """Returns a protocol's prompts, in the order in which they are asked."""
    return [load_prompt("mm_eval.judge", name) for name in PROMPTS[protocol]]


def speaks_to_the_judge(text: str) -> str | None:
    """Returns the words by which a text gives a judge instructions, or None."""
    words = _SPEAKS_TO_THE_JUDGE.search(clean(text))
    return words.group(0) if words else None


def details_request(text: str) -> Request:
    """Asks for the technical details of a text; equal texts make equal requests, whatever system wrote them."""
    schema = answer_schema(f"details-{VERSION}", _Details)
    return _request(f"details/{_digest(text)}", DETAILS, 0, {"text": fenced(text)}, schema)


def verdicts_request(name: str, details: Sequence[str], text: str, repeat: int) -> Request:
    """Asks for one verdict per detail, with the words it rests on.

    Args:
        name: Name of the judgement.
        details: Details of the truth.
        text: Text that is judged.
        repeat: Number of the answer, from 0.

    Returns:
        The request; its schema refuses quotes that are not in the text.
    """
    words = _for_search(fenced(text))

    def problem(answer: _Verdicts) -> str | None:
        numbers = [verdict.detail for verdict in answer.verdicts]
        if numbers != list(range(1, len(details) + 1)):
            listed = ", ".join(f"{number:g}" for number in numbers)
            return f"expected verdicts on the details 1 to {len(details)} in order, found [{listed}]"
        return next(filter(None, (_quote_problem(verdict, words) for verdict in answer.verdicts)), None)

    schema = answer_schema(f"verdicts-{VERSION}", _Verdicts, problem)
    listed = "\n".join(f"{number}. {fenced(detail)}" for number, detail in enumerate(details, start=1))
    return _request(name, DETAILS, 1, {"details": listed, "text": fenced(text)}, schema, repeat)


def _quote_problem(verdict: _Verdict, words: str) -> str | None:
    """Says what is wrong with a quote of a text with these words, or None."""
    if verdict.verdict == NOT_MENTIONED:
        return None
    quote = _for_search(verdict.quote)
    place = f"detail {verdict.detail:g}"
    if len(quote.split()) < min(2, len(words.split())):
        return f"{place}: {verdict.verdict!r} needs a quote of two words at least, found {verdict.quote!r}"
    return None if f" {quote} " in f" {words} " else f"{place}: the quote {verdict.quote!r} is not in the text"


def counts_request(name: str, truth: str, text: str, repeat: int) -> Request:
    """Asks for TechCoach's three counts (§4.3), whose order is all that can be checked."""
    schema = answer_schema(f"counts-{VERSION}", _Counts)
    return _request(name, COUNTS, 0, {"truth": fenced(truth), "text": fenced(text)}, schema, repeat)


def rating_request(name: str, text: str, repeat: int) -> Request:
    """Asks how much could be learned from a text, 0 to 5 (TechCoach's Coach-Score, which compares data sets)."""
    schema = answer_schema(f"coach-score-{VERSION}", _Rating)
    return _request(name, COACH_SCORE, 0, {"text": fenced(text)}, schema, repeat)


def preference_request(name: str, truth: str, first: str, second: str, repeat: int) -> Request:
    """Asks which of two texts is better; it has to be asked in both orders."""
    schema = answer_schema(f"preference-{VERSION}", _Preference)
    texts = {"truth": fenced(truth), "first": fenced(first), "second": fenced(second)}
    return _request(name, PREFERENCE, 0, texts, schema, repeat)


def fenced(text: str) -> str:
    """Cleans a text and makes it unable to close the tags it stands between."""
    return clean(text).replace("<", "‹").replace(">", "›")


def _for_search(text: str) -> str:
    """Keeps letters and digits alone: judges straighten quotes and drop full stops when they copy."""
    return " ".join(re.findall(r"[^\W_]+", clean(text).lower()))


def _digest(text: str) -> str:
    return hashlib.sha256(fenced(text).encode()).hexdigest()[:16]


def _request(name: str, protocol: str, step: int, texts: Mapping[str, str], schema: Schema, repeat: int = 0) -> Request:
    prompt = prompts_of(protocol)[step]
    about = {"protocol": protocol, "protocol_version": VERSION, **prompt.about, "repeat": repeat}
    return Request(f"{name}#{repeat}", prompt.messages({}, texts), schema, repeat, about)
