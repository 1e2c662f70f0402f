"""Scores and actions in free text: digits, words, hyphens, "and". What is ambiguous is not guessed at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from num2words import num2words
from text_to_num import alpha2digit

NO_SCORE, SEVERAL, RANGE, OTHER_SCALE, OUTSIDE = (
    "no score", "several scores", "a range instead of a score", "a score on another scale", "a score outside the scale"
)  # fmt: skip

_NUMBER = r"\d+(?:\.\d+)?"
_CUE = re.compile(r"\b(?:scor\w*|points?|total\w*|mark(?:s|ed)?|award\w*|earn\w*|receiv\w*|rat(?:ed|ing|es?))\b")
_FINAL = re.compile(r"\b(?:final|total|overall)\b")
_OTHER = re.compile(r"\b(?:difficulty|dd|degree|attempt|round|number)(?:\s*(?:of|is|was|:|=|,))*\s*$")
"""What stands directly before a number that is something else."""

_COUNTED = re.compile(
    r"^\s*(?:-\s*)?(?:somersaults?|twists?|turns?|rotations?|saltos?|met(?:re|er)s?|m\b|seconds?|s\b|judges?|dives?|rounds?|steps?|degrees?|%|percent|st\b|nd\b|rd\b|th\b)"
)


@dataclass(frozen=True)
class Reading:
    """A score, or why there is none."""

    score: float | None
    problem: str | None = None


def in_digits(text: str) -> str:
    """Lower case, numbers as digits, without Markdown: "Forty-five point two" becomes "45.2", "two and a half" "2.5"."""
    text = re.sub(r"[*_`#|>]+", " ", text.lower())
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    text = re.sub(r"(?<=[a-z])\s*-\s*(?=[a-z])", "-", text)
    text = re.sub(r"-and-a-half\b", " and a half", text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"\bpoint (?:oh|o)\b", "point zero", text)
    text = alpha2digit(re.sub(r"\s+", " ", text), "en", threshold=0)
    text = re.sub(r"(?<![\d.])(\d+) point (\d+)\b", r"\1.\2", text)
    text = re.sub(rf"({_NUMBER}),? and (?:a|1|one) half\b", lambda m: f"{float(m[1]) + 0.5:g}", text)
    text = re.sub(rf"\b({_NUMBER})-half\b|\ba half\b", lambda m: f"{float(m[1]) + 0.5:g}" if m[1] else "0.5", text)
    return text.strip()


def read_score(text: str, lowest: float, highest: float) -> Reading:
    """The score that a text states.

    Numbers that count something else (somersaults, difficulty, metres) are passed over. "N out of M" is a score where M is the
    scale's end and otherwise one on another scale, which is never converted.

    Args:
        text: An answer.
        lowest: Least score of the scale.
        highest: Its end.
    """
    plain = in_digits(text)
    found: list[tuple[float, bool, bool]] = []  # value, with a word for scores beside it, called final
    problem = None
    spans = list(re.finditer(rf"(?<![\w.])({_NUMBER})(?![\w]|\.\d)", plain))
    taken = {second.start() for first, second in pairwise(spans) if _joined(plain, first, second)}
    for index, match in enumerate(spans):
        if match.start() in taken:
            continue
        before, after = plain[: match.start()], plain[match.end() :]
        sentence = re.split(r"(?<=[a-z)])[.;!?]\s", before)[-1]
        if _COUNTED.match(after) or _OTHER.search(sentence) or re.search(r"\bpoint $", before):
            continue
        following = spans[index + 1] if index + 1 < len(spans) else None
        how = _joined(plain, match, following) if following else None
        if how == "range":
            problem = RANGE
            continue
        if how == "scale" and following is not None:
            if float(following[1]) != highest:
                problem = problem or OTHER_SCALE
                continue
            after = plain[following.end() :]
        near = sentence[-60:] + " " + re.split(r"[.;!?]\s", after)[0][:25]
        cued = how == "scale" or bool(_CUE.search(near))
        sign = -1 if re.search(r"(?:^|\s)-$", before) else 1
        found.append((sign * float(match[1]), cued, bool(_FINAL.search(near))))
    for wanted in ((True, True), (True, None), (None, None)):
        values = {v for v, cued, final in found if wanted[0] in (None, cued) and wanted[1] in (None, final)}
        if len(values) > 1:
            return Reading(None, SEVERAL)
        if values:
            if problem == RANGE and not wanted[0]:
                break
            value = values.pop()
            return Reading(value) if lowest <= value <= highest else Reading(None, OUTSIDE)
    return Reading(None, problem or NO_SCORE)


def _joined(text: str, first: re.Match[str], second: re.Match[str]) -> str | None:
    """Whether two numbers form one expression: ``range`` or ``scale``."""
    between = text[first.end() : second.start()]
    if re.fullmatch(r"\s*(?:-|to|or|and)\s*", between):
        word = between.strip()
        return "range" if word != "and" or re.search(r"\bbetween\s*$", text[: first.start()]) else None
    return "scale" if re.fullmatch(r"\s*(?:out of|/|of)\s*(?:a possible\s*)?", between) else None


def in_words(value: float) -> str:
    """25.6 as "twenty-five point six", as score prompts of PGMI spell bounds (§4.2)."""
    return num2words(value)


def named_actions(text: str, vocabulary: Mapping[str, str]) -> list[str]:
    """Actions that a text names, in its order, longest phrases first.

    Args:
        text: An answer.
        vocabulary: Phrase to the action that it names; several phrases may name one.
    """
    plain = _words(text)
    found: list[tuple[int, str]] = []
    for phrase, action in sorted(((_words(p), a) for p, a in vocabulary.items()), key=lambda pair: -len(pair[0])):
        for match in re.finditer(rf"(?<!\S){re.escape(phrase)}(?!\S)", plain):
            found.append((match.start(), action))
        plain = re.sub(rf"(?<!\S){re.escape(phrase)}(?!\S)", lambda m: "\0" * len(m[0]), plain)
    return list(dict.fromkeys(action for _, action in sorted(found)))


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    plain = re.sub(r"-|(?<!\d)\.|\.(?!\d)", " ", in_digits(text))
    plain = re.sub(r"[^\w. ]", " ", plain)
    return re.sub(r"\s+", " ", re.sub(r"\b(somersault|twist)s\b", r"\1", plain)).strip()
