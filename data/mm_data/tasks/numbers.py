"""Scores and actions in free text: digits, words, hyphens, "and". What is ambiguous is not guessed at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from num2words import num2words
from text_to_num import alpha2digit

NO_SCORE, SEVERAL, RANGE = "no score", "several scores", "a range instead of a score"
OTHER_SCALE, OUTSIDE = "a score on another scale", "a score outside the scale"

MAX_CANDIDATES = 64
"""Scores among which the expected one is taken: quantiles of the training scores."""

_NUMBER = r"\d+(?:\.\d+)?"
_VERB = (
    r"(?:scor(?:es?|ed|ing)|award(?:s|ed)?|earn(?:s|ed)?|receiv(?:es?|ed)|gets|gains?|gained|gives?|gave|"
    r"given|rate[sd]?|grades?|graded|marked)"
)
_NOUN = r"(?:scores?|points|total|sum|marks?|ratings?|grades?)"
_FILLER = (
    r"(?:of|is|was|be|at|as|a|an|the|this|that|it|its|him|his|her|them|their|final|total|overall|score|"
    r"mark|rating|points|just|only|about|around|approximately|exactly|with|for|now|stands|comes|to|equals|"
    r"[:=,(\"'~-])"
)
_CUE = re.compile(
    rf"(?:\b(?:final|total|overall)\s+)?\b(?:{_VERB}|{_NOUN})\b(?:\s*{_FILLER}(?![a-z]))*(?:\s+an?\s+[a-z-]+)?\s*$"
    rf"|(?:\b(?:final|total|overall)\s+)?\b{_NOUN}\b(?:\s+[a-z'-]+){{0,8}}(?:\s+(?:is|was|equals)|"
    rf"\s*[:=])\s*(?:an?\s*)?$"
)
"""What makes the number after it a score: a verb or noun with words between that say nothing, or a noun and then "is"."""

_UNIT = re.compile(
    r"^\s*-?\s*(?:points|pts?|marks|(?:point|mark)(?!\s*-?\w))\b"
    r"(?!\s+(?:plus|or (?:more|so|less|better)|behind|ahead|clear|adrift|short|off|more|less|fewer|better|"
    r"worse|higher|lower|lead|margin|advantage|deduct\w*|penalty|to (?:go|spare|catch|make|get)|"
    r"from (?:the|first|second|third|\d)))"
)
"""Its unit behind it, where that is no distance to somebody else's."""

_FORECAST = re.compile(
    r"(?:(?:\b(?:will|won't|could|might|may|can|should|gonna|if|not|never)|'ll|n't)\s+(?:\w+\s+){0,3}|"
    r"\bto\s+(?:(?:get|have|score|make|reach|take|be)\s+)?(?:\w+\s+)?|\b(?:aim|go|look|hop)(?:s|es|ing)\s+for\s+(?:an?\s+)?)$"
)
"""What stands shortly before a score that nobody has given."""

_INFLECTED = re.compile(r"(?:scor|award|earn|receiv|get|gain|give|rate|grade|mark)(?:e?s|e?d|ing)\b(?! of)|gave|given")
_OTHERS_SCORE = re.compile(
    r"\b(?:high|highest|best|lowest|leading|winning|previous|average|maximum|possible|target)\s*$"
)
_DISTANCE = re.compile(
    r"\b(?:need(?:s|ed)?|requir(?:es?|ed)|wants?|by|another|extra|further|pick(?:s|ed|ing)? up|lead(?:s|ing)?|los(?:es?|t|ing)|"
    r"dropp?(?:s|ed|ing)?|deduct\w*|penalt(?:y|ies)|bonus(?:es)?|difference|gap|margin|advantage|take[sn]? off|took off|within|cost(?:s|ing)?)"
    r"(?:\s+(?:of|at|least|about|around|only|just|a|an|the|him|her|them|it|more|than|some))*\s*[:=]?\s*$"
)
"""What makes a number of points a difference or an aim instead of a score."""

_LOST = re.compile(r"^\s*(?:points?|pts?|marks?)\s+(?:(?:is|are|was|were|being)\s+)?(?:deducted|lost|taken off)\b")
_OPERAND = (
    re.compile(rf"{_NUMBER}(?:\s*points?)?\s*(?:[+×x]|times|multiplied by)\s*$"),
    re.compile(rf"^(?:\s*points?)?\s*(?:[+×x]|times|multiplied by)\s*(?:an?\s+[a-z ]*)?{_NUMBER}"),
)
"""Before and behind a number that is added or multiplied; what comes behind "=" is the result."""

_RESULT = re.compile(rf"(?:[+×x]|times|multiplied by)\s*{_NUMBER}\s*=\s*$")
_GIVER = re.compile(rf"\b(?!score\b)(?:{_VERB}|total)\b")
_THINGS = re.compile(
    r"^\s+(?:\d+s\b|(?!(?:points|pts|marks|plus|thanks|as|is|was|has|does|this|his|its|across|unless|towards|besides|always)\b)"
    r"[a-z]+s\b(?!\s+(?:the|an?|his|her|him|its?|them|their|this|that|how|what|up)\b))"
)
_ONE_THING = re.compile(
    r"^\s+(?!(?:points?|pts?|marks?|for|in|from|out|and|but|by|on|with|after|as|because|since|to|at|of|which|is|was|"
    r"overall|total|only)\b)[a-z]"
)
"""Behind a number that counts what is given ("2 chances", "1 star", "three 9s"), instead of being it."""

_BOUND = re.compile(r"\b(?:over|under|above|below|at least|at most|more than|less than|up to|nearly|almost)\s*$")
_FINAL = re.compile(r"\b(?:final|total|overall)\b")
_IN_ALL = re.compile(r"^\s*(?:points?|pts?|marks)?\s*(?:in total|in all|overall|altogether)\b")
_OTHER = re.compile(
    r"\b(?:difficulty|dd|degree|tariff|attempt|round|number|rank(?:s|ed)?|position|aged?)(?:\s*(?:of|is|"
    r"was|:|=|,))*\s*$"
    r"|\b(?:no\.?|top|place[sd]?|lane|heat|group|step|day|dive|minute|second|hour|year)\s*$"
)
"""What stands directly before a number that is something else."""

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|march|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_COUNTED = re.compile(
    r"^\s*(?:-\s*)?(?:somersaults?|twists?|turns?|rotations?|saltos?|met(?:re|er)s?|m\b|cm\b|feet\b|"
    r"seconds?|minutes?|hours?|days?|years?|s\b|[ap]\.?m\b|o'clock|judges?|dives?|divers?|rounds?|steps?|"
    r"times|after the other|of the|attempts?|repetitions?|reps?\b|place\b|degrees?|%|percent|st\b|nd\b|"
    r"rd\b|th\b|'s\b|from (?:1|an?|each|every) judges?\b"
    rf"|{_MONTH}\b(?!\s+(?:be|have|not)\b)|:\d)"
)
_DATE = re.compile(rf"\d{{1,4}}([/.-])\d{{1,2}}\1\d{{1,4}}|\b{_MONTH}\s+\d{{1,2}}\b(?!\.\d)|\d:\d\d(?:[:.]\d+)?")
_NOTHING_ELSE = re.compile(r"(?:.*:)?\W*", re.S)
"""Before a number that is a text of its own, or stands alone behind a colon."""


@dataclass(frozen=True)
class Reading:
    """A score, or the reason why there is none."""

    score: float | None
    problem: str | None = None


def in_digits(text: str) -> str:
    """Returns a text in lower case, numbers as digits, without Markdown: "Forty-five point two" becomes "45.2", "two and a half" "2.5"."""
    text = re.sub(r"[*_`#|]+|^[ \t]*>+(?!\s*=?\s*\d)", " ", text.lower(), flags=re.M)
    for sign, words in (("≥|>=", "at least"), ("≤|<=", "at most"), (">", "over"), ("<", "under")):
        text = re.sub(rf"(?:{sign})(?=\s*\d)", f" {words} ", text)
    text = re.sub(r"(?<=\d)\s*½|(?<=\d)\s+1/2\b", ".5", text)
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    text = re.sub(r"(?<=[a-z])\s*-\s*(?=[a-z])", "-", text)
    text = re.sub(r"-and-a-half\b", " and a half", text)
    text = re.sub(r"-point\b", " point", text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"\bpoint (?:oh|o)\b", "point zero", text)
    text = alpha2digit(re.sub(r"\s+", " ", text), "en", threshold=0)
    text = re.sub(r"(?<![\d.])(\d+) point (\d+)\b", r"\1.\2", text)
    text = re.sub(rf"({_NUMBER}),? and (?:a|1|one) half\b", lambda m: f"{float(m[1]) + 0.5:g}", text)
    text = re.sub(rf"\b({_NUMBER})-half\b|\ba half\b", lambda m: f"{float(m[1]) + 0.5:g}" if m[1] else "0.5", text)
    return text.strip()


def read_score(text: str, lowest: float, highest: float) -> Reading:
    """Reads the score that a text states.

    A number is a score where a word says so: "scores", "awarded", "a total of" before it or "points" behind it, where it is "N out of
    M" with M the scale's end, and where the text is nothing but a number or ends in one behind a colon. Ranks, rounds, dates, times,
    margins and what is counted (somersaults, metres, attempts) are passed over. "N out of M" with another M is a score on another
    scale, which is never converted.

    Args:
        text: An answer.
        lowest: Least score of the scale.
        highest: Greatest score of the scale.

    Returns:
        The score, or why there is none.
    """
    plain = _DATE.sub(" date ", in_digits(text))
    stated, problem = _stated(plain, highest)
    for scores in ([score for score in stated if score.final], stated):
        values = {score.value for score in scores}
        if len(values) > 1:
            return Reading(None, SEVERAL)
        if values:
            value = values.pop()
            return Reading(value) if lowest <= value <= highest else Reading(None, OUTSIDE)
    return Reading(None, problem or NO_SCORE)


@dataclass(frozen=True)
class _Stated:
    """A number that a text calls a score; ``final`` where it calls it so."""

    value: float
    final: bool


def _stated(plain: str, highest: float) -> tuple[list[_Stated], str | None]:
    """Scores of a text in digits, and the last reason why a number that might be one is none."""
    stated, problem = [], None
    spans = list(re.finditer(rf"(?<![\w.])({_NUMBER})(?![\w]|\.\d)", plain))
    taken = {second.start() for first, second in pairwise(spans) if _joined(plain, first, second)}
    listed = False  # whether the number before this one is a score and only a comma stands between
    for index, match in enumerate(spans):
        before, after = plain[: match.start()], plain[match.end() :]
        sentence = re.split(r"(?<=[a-z)])[.;!?]\s", before)[-1]
        following = spans[index + 1] if index + 1 < len(spans) else None
        continues, listed = listed, False
        if match.start() in taken or _COUNTED.match(after) or _OTHER.search(sentence) or sentence.endswith("point "):
            continue
        how = _joined(plain, match, following) if following else None
        if how == "range":
            problem = RANGE
            continue
        scale = bool(following) and how in ("out of", "of")
        if scale and following is not None:
            after = plain[following.end() :]
            if _COUNTED.match(after):
                continue
            if float(following[1]) != highest:
                problem = problem or OTHER_SCALE
                continue
        if _OPERAND[1].match(after) or (_OPERAND[0].search(before) and not _RESULT.search(before)):
            continue
        sign = re.search(r"(?:^|\s)(?:-|minus\s+|negative\s+)$", sentence)
        sentence = sentence[: sign.start()] if sign else sentence
        bound = _BOUND.search(sentence)
        cue = _CUE.search(sentence[: bound.start()] if bound else sentence)
        unit = _UNIT.match(after) and not _DISTANCE.search(sentence) and not _FORECAST.search(sentence)
        if cue and (
            (not _INFLECTED.match(cue[0]) and _FORECAST.search(sentence[: cue.start()]))
            or _OTHERS_SCORE.search(sentence[: cue.start()])
        ):
            cue = unit = None
        if _LOST.match(after) or (cue and _GIVER.search(cue[0]) and _counts(match[1], after)):
            continue
        alone = _NOTHING_ELSE.fullmatch(before[: bound.start()] if bound else before) and not re.search(r"\w", after)
        if not (cue or unit or continues or how == "out of" or alone or _RESULT.search(before)):
            continue
        if bound or re.match(r"\s*\+", after):
            problem = RANGE
            continue
        final = bool(cue and _FINAL.search(cue[0])) or bool(_IN_ALL.match(after))
        stated.append(_Stated((-1 if sign else 1) * float(match[1]), final))
        listed = following is not None and bool(
            re.fullmatch(r"\s*(?:,|and|,\s*and|/)?\s*", plain[match.end() : following.start()])
        )
    return stated, problem


def _counts(number: str, after: str) -> bool:
    """Whether a number counts things that are given."""
    if "." in number:
        return False
    return bool(_THINGS.match(after) or (float(number) == 1 and _ONE_THING.match(after)))


def _joined(text: str, first: re.Match[str], second: re.Match[str]) -> str | None:
    """Whether two numbers form one expression: ``range``, ``out of`` (a scale's end) or ``of`` (a scale's end, or a share)."""
    between = text[first.end() : second.start()]
    if re.fullmatch(r"\s*(?:-|to|or|and)\s*", between):
        word = between.strip()
        return "range" if word != "and" or re.search(r"\bbetween\s*$", text[: first.start()]) else None
    scale = re.fullmatch(r"\s*(out of|/|of)\s*(?:a possible\s*)?", between)
    if scale is None:
        return None
    return "of" if scale[1] == "of" else "out of"


def in_words(value: float) -> str:
    """Writes 25.6 as "twenty-five point six", as score prompts of PGMI spell bounds (§4.2)."""
    return num2words(value)


def named_actions(text: str, vocabulary: Mapping[str, str]) -> list[str]:
    """Finds the actions that a text names, longest phrases first.

    Args:
        text: An answer.
        vocabulary: Phrase to the action that it names; several phrases may name one.

    Returns:
        The actions, in the order of the text.
    """
    plain = _words(text)
    places: list[tuple[int, str]] = []
    for phrase, action in sorted(((_words(p), a) for p, a in vocabulary.items()), key=lambda pair: -len(pair[0])):
        for match in re.finditer(rf"(?<!\S){re.escape(phrase)}(?!\S)", plain):
            places.append((match.start(), action))
        plain = re.sub(rf"(?<!\S){re.escape(phrase)}(?!\S)", lambda m: "\0" * len(m[0]), plain)
    return list(dict.fromkeys(action for _, action in sorted(places)))


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    plain = re.sub(r"-|(?<!\d)\.|\.(?!\d)", " ", in_digits(text))
    plain = re.sub(r"[^\w. ]", " ", plain)
    return re.sub(r"\s+", " ", re.sub(r"\b(somersault|twist)s\b", r"\1", plain)).strip()


def quantiles(scores: Sequence[float], most: int = MAX_CANDIDATES) -> list[float]:
    """Returns at most so many different values, evenly spaced by rank, lowest and highest among them."""
    ordered = sorted(set(scores))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
