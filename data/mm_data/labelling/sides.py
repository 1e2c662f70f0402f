"""Whether a phrase finds fault, asks for a change, or praises."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mm_data.labelling.regions import REGION_WORDS, is_body_word
from mm_data.records import CORRECT, IMPROVE

_CUES = Path(__file__).with_name("cues.yaml")
_TAGS = {
    "neutral": "",
    "praise_idioms": "GOOD",
    "fault_idioms": "BAD",
    "advice": "ADVICE",
    "negators": "NOT",
    "excess": "TOO",
    "praise": "GOOD",
    "fault": "BAD",
    "mishaps": "MISHAP",
    "doubtful": "DOUBT",
    "contrasts": "INSTEAD",
    "closers": "CLOSE",
}
_NEGATED = ("BAD", "MISHAP", "TOO", "DOUBT")
_BEFORE_VERB = (
    r"(?:(?:and|then|so|now|just|also|really|always|first|next|finally|slightly|gently|slowly|quickly|still|maybe|perhaps|"
    r"at least|only|simply|fully|again|try and|go ahead and|do|either|both) )*"
)
_FINITE = r"(?:is|are|was|were|has|have|had|looks?|looked|gets?|goes|went|feels?|seems?|did|does)"


@dataclass(frozen=True)
class Reading:
    """What a phrase does.

    Attributes:
        side: `IMPROVE` or `CORRECT`.
        advice: Whether it asks for a change rather than stating a fault.
        yields: Whether it is praise where praise of the same region stands beside it: "good, keep it there".
        posture: Whether it names a posture and no more, which is praise after any praise: "good setup, chest up".
    """

    side: str
    advice: bool = False
    yields: bool = False
    posture: bool = False


@cache
def cues() -> dict[str, str]:
    """Reads kind of cue, and name of a part, to one regular expression of alternatives."""
    table = yaml.safe_load(_CUES.read_text(encoding="utf-8"))
    filled: dict[str, str] = {}
    for name, text in (table.pop("parts") | table).items():
        pattern = "|".join(line for line in text.splitlines() if line)
        for part, meaning in filled.items():
            pattern = pattern.replace(f"<{part}>", meaning)
        filled[name] = f"(?:{pattern})"
    return filled


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(rf"(?<![\w'-]){cues()[kind]}(?![\w'])"), tag) for kind, tag in _TAGS.items()]


@cache
def _forms() -> dict[str, re.Pattern[str]]:
    verbs, holding, comparative = cues()["verbs"], cues()["holding"], cues()["comparative"]
    body = "|".join(REGION_WORDS.values())
    # "Drive is good" and "plant foot lands behind the ball" begin with nouns.
    not_verb = (
        rf"(?! (?:{_FINITE}|could|should|needs?|of)\b)(?! (?:foot|leg|knee|hip|arm|elbow|hand|shoulder) \w+(?:s|ed)\b)"
    )
    return {
        "instruction": re.compile(
            rf"^{_BEFORE_VERB}(?:(?:\w+ly )?(?:{verbs}|{holding})\b{not_verb}|do not (?!know|mind)|not to )"
        ),
        "light": re.compile(cues()["light"]),
        "holding": re.compile(rf"^{_BEFORE_VERB}(?:{holding})\b"),
        "less": re.compile(r"^(?:(?:a|much|far|still|even|bit|lot|little|slightly) )*less\b"),
        "comparison": re.compile(
            rf"^(?:\w+ ){{0,3}}?{comparative}\b(?!.*\b{_FINITE}\b)(?!.* than before)|"
            rf"^(?!.*\b{_FINITE}\b).*\b{comparative}$"
        ),
        "posture": re.compile(
            rf"^(?:(?:your|the|both|left|right|front|back|lead|rear) )*(?:{body}) "
            rf"(?:(?:more|right|all the way|a bit|a little|nice and) )?{cues()['postures']}$"
        ),
        "question": re.compile(rf"^(?:and |but |so |now )?(?:{cues()['questions']})\b"),
        "rhetorical": re.compile(
            r"^(?:(?:is|are|was|were|does|do|did|has|have|can|could|would) not "
            r"(?=(?:it|that|this|the|those|these|she|he|you|they|your)\b)|do not you (?:think|agree|find) )"
        ),
    }


def read_side(phrase: str, question: bool = False) -> Reading | None:
    """Reads the side that a phrase takes.

    Args:
        phrase: Text as `normalise` returns it.
        question: Whether it is part of a question.

    Returns:
        The side, or None where the phrase only describes.
    """
    forms = _forms()
    if question:
        phrase = forms["rhetorical"].sub("", phrase)
        if forms["question"].match(phrase):
            return Reading(IMPROVE)
    tags = tag(phrase)
    if "ADVICE" in tags or (forms["instruction"].match(phrase) and tags[0] not in ("GOOD", "_")):
        return Reading(IMPROVE, advice=True, yields=bool(forms["holding"].match(phrase)) and "ADVICE" not in tags)
    if forms["less"].match(phrase):
        return Reading(IMPROVE, advice=True, yields=True)
    if reading := _weigh(tags):
        return reading
    posture = bool(forms["posture"].match(phrase))
    return Reading(IMPROVE, advice=True, posture=posture) if posture or forms["comparison"].match(phrase) else None


def tag(phrase: str) -> list[str]:
    """Returns the words of a phrase, cues replaced by the tag of their kind."""
    for pattern, name in _patterns():
        phrase = " ".join(pattern.sub(f" {name or '_'} ", phrase).split())
    return phrase.split()


def _weigh(tags: list[str]) -> Reading | None:
    """Walks over the cues of a phrase with the negations that reach them."""
    good = bad = mishap = doubt = plain = False
    negations, pending, joined = 0, False, False  # joined: the reach over faults has ended
    for word in tags:
        odd = negations % 2 == 1
        if word == "NOT":
            negations, pending, joined = negations + 1, not odd, False
        elif word == "CLOSE":
            plain, negations, pending = plain or (pending and not good), 0, False
        elif word == "and":
            joined = True
        elif word in _NEGATED and odd and not joined:
            good, pending = good or word in ("BAD", "MISHAP"), False
        elif word in ("BAD", "TOO"):
            bad = True
        elif word in ("MISHAP", "DOUBT"):
            mishap, doubt = mishap or word == "MISHAP", doubt or word == "DOUBT"
        elif word == "GOOD":
            good, bad, pending = good or not odd, bad or odd, False
        elif pending and not (_forms()["light"].fullmatch(word) or is_body_word(word)):
            joined = True
    if bad or (plain and good):
        return Reading(IMPROVE)
    plain = plain or (pending and not good)
    if good:
        return Reading(CORRECT)
    if mishap or doubt or plain or "INSTEAD" in tags:
        return Reading(IMPROVE, yields=not mishap)
    return None
