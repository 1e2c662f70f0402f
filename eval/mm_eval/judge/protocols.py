"""What a judge is asked, and when its answer is well formed.

The default protocol asks for a verdict and a quote per technical detail, so that a reader can check each and no count is made up;
TechCoach's count protocol is there for comparison. Generated texts are untrusted: they stand in the user's turn between tags that they
cannot close, and texts that speak to the judge are not judged at all.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from mm_data.asking.completions import Request, Schema
from mm_data.asking.prompts import Prompt, load_prompt
from mm_eval.metrics.text import clean

VERSION = "1"
"""Of parsing and aggregation; it goes up whenever the same raw answers would give other numbers."""

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
    r"|\b(?:give|award|assign)\b(?: (?:it|me|this|yourself))? (?:full|maximum|top|the (?:highest|best|maximum)) (?:marks?|scores?|ratings?|grades?)\b"
    r"|\b(?:rate|grade|score|mark|judge) (?:this|my|the) (?:text|answer|commentary|comment|response)\b"
    r"|\b(?:you are|as) (?:a|an|the) (?:grader|evaluator|ai|language model)\b"
    r"|\bdear (?:judge|grader|evaluator)\b|\bsystem prompt\b|\"verdicts?\"\s*:",
    re.IGNORECASE,
)
"""What no coach would say to a learner. "Give it more power" and "do not forget the previous step" are coaching."""


def prompts_of(protocol: str) -> list[Prompt]:
    """Its prompts, in the order in which they are asked."""
    return [load_prompt("mm_eval.judge", name) for name in PROMPTS[protocol]]


def speaks_to_the_judge(text: str) -> str | None:
    """The words by which a text gives a judge instructions, or None."""
    found = _SPEAKS_TO_THE_JUDGE.search(clean(text))
    return found.group(0) if found else None


def details_request(text: str) -> Request:
    """Asks for the technical details of a text; equal texts make equal requests, whatever system wrote them."""

    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or not isinstance(content.get("details"), list):
            return "expected an object with a list 'details'"
        if not all(isinstance(detail, str) and detail.strip() for detail in content["details"]):
            return "every detail has to be a text"
        return None

    schema = _object("details", {"details": {"type": "array", "items": {"type": "string"}}}, problem)
    return _request(f"details/{_digest(text)}", DETAILS, 0, {}, {"text": fenced(text)}, schema)


def verdicts_request(name: str, details: Sequence[str], text: str, repeat: int) -> Request:
    """Asks for one verdict per detail, with the words it rests on."""
    shown, count = fenced(text), len(details)
    allowed = _for_search(shown)

    def problem(content: Any) -> str | None:
        verdicts = content.get("verdicts") if isinstance(content, dict) else None
        if not isinstance(verdicts, list) or not all(isinstance(v, dict) for v in verdicts):
            return "expected an object with a list 'verdicts'"
        if [v.get("detail") for v in verdicts] != list(range(1, count + 1)):
            return (
                f"expected verdicts on the details 1 to {count} in order, found {[v.get('detail') for v in verdicts]}"
            )
        for v in verdicts:
            if v.get("verdict") not in VERDICTS:
                return f"detail {v['detail']}: verdict {v.get('verdict')!r} is none of {', '.join(VERDICTS)}"
            quote = v.get("quote")
            if not isinstance(quote, str) or not isinstance(v.get("reason"), str):
                return f"detail {v['detail']}: quote and reason have to be texts"
            if v["verdict"] == NOT_MENTIONED:
                continue
            words = _for_search(quote)
            if len(words.split()) < min(2, len(allowed.split())):
                return f"detail {v['detail']}: {v['verdict']!r} needs a quote of two words at least, found {quote!r}"
            if f" {words} " not in f" {allowed} ":
                return f"detail {v['detail']}: the quote {quote!r} is not in the text"
        return None

    verdict = {
        "type": "object",
        "properties": {
            "detail": {"type": "integer"},
            "quote": {"type": "string"},
            "reason": {"type": "string"},
            "verdict": {"type": "string", "enum": list(VERDICTS)},
        },
        "required": ["detail", "quote", "reason", "verdict"],
        "additionalProperties": False,
    }
    schema = _object("verdicts", {"verdicts": {"type": "array", "items": verdict}}, problem)
    listed = "\n".join(f"{number}. {fenced(detail)}" for number, detail in enumerate(details, start=1))
    return _request(name, DETAILS, 1, {}, {"details": listed, "text": shown}, schema, repeat)


def counts_request(name: str, truth: str, text: str, repeat: int) -> Request:
    """Asks for TechCoach's three counts (§4.3), whose order is all that can be checked."""
    fields = ("total", "mentioned", "same")

    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or not all(type(content.get(name)) is int for name in fields):
            return f"expected whole numbers {', '.join(fields)}"
        g, b, s = (content[name] for name in fields)
        return None if 0 <= s <= b <= g else f"expected 0 <= same <= mentioned <= total, found {s}, {b}, {g}"

    numbers = {name: {"type": "integer", "minimum": 0} for name in fields}
    schema = _object("counts", {"reason": {"type": "string"}, **numbers}, problem)
    return _request(name, COUNTS, 0, {}, {"truth": fenced(truth), "text": fenced(text)}, schema, repeat)


def rating_request(name: str, text: str, repeat: int) -> Request:
    """Asks how much could be learned from a text, 0 to 5 (TechCoach's Coach-Score, which compares data sets)."""

    def problem(content: Any) -> str | None:
        rating = content.get("rating") if isinstance(content, dict) else None
        if type(rating) is not int or not 0 <= rating <= HIGHEST_RATING:
            return f"expected a whole 'rating' from 0 to {HIGHEST_RATING}, found {rating!r}"
        return None

    rating = {"type": "integer", "minimum": 0, "maximum": HIGHEST_RATING}
    schema = _object("coach-score", {"reason": {"type": "string"}, "rating": rating}, problem)
    return _request(name, COACH_SCORE, 0, {}, {"text": fenced(text)}, schema, repeat)


def preference_request(name: str, truth: str, first: str, second: str, repeat: int) -> Request:
    """Asks which of two texts is better; it has to be asked in both orders."""

    def problem(content: Any) -> str | None:
        better = content.get("better") if isinstance(content, dict) else None
        return None if better in (FIRST, SECOND, TIE) else f"'better' is {better!r}; expected first, second or tie"

    better = {"type": "string", "enum": [FIRST, SECOND, TIE]}
    schema = _object("preference", {"reason": {"type": "string"}, "better": better}, problem)
    user = {"truth": fenced(truth), "first": fenced(first), "second": fenced(second)}
    return _request(name, PREFERENCE, 0, {}, user, schema, repeat)


def fenced(text: str) -> str:
    """Cleaned, and unable to close the tags it stands between."""
    return clean(text).replace("<", "‹").replace(">", "›")


def _for_search(text: str) -> str:
    """Letters and digits alone: judges straighten quotes and drop full stops when they copy."""
    return " ".join(re.findall(r"[^\W_]+", clean(text).lower()))


def _digest(text: str) -> str:
    return hashlib.sha256(fenced(text).encode()).hexdigest()[:16]


def _object(name: str, properties: dict[str, Any], problem: Callable[[Any], str | None]) -> Schema:
    form = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return Schema(f"{name}-{VERSION}", form, problem)


def _request(
    name: str, protocol: str, step: int, system: dict[str, str], user: dict[str, str], schema: Schema, repeat: int = 0
) -> Request:
    prompt = prompts_of(protocol)[step]
    about = {"protocol": protocol, "protocol_version": VERSION, "prompt": prompt.name, "prompt_sha256": prompt.digest}
    return Request(f"{name}#{repeat}", prompt.messages(system, user), schema, repeat, about | {"repeat": repeat})
