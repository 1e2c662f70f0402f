"""Splits speech into clauses, and clauses into phrases that take one side each."""

import re
from dataclasses import dataclass
from functools import cache

_APOSTROPHE = re.compile("[\u2018\u2019\u201b\u02bc\u2032\uff07\u00b4`]")
_CONTRACTIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), expansion)
    for pattern, expansion in (
        (r"\bcan(?:no|[' ])?t\b|\bca n't\b", "can not"),
        (r"\bwo ?n[' ]?t\b", "will not"),
        (r"\bain'?t\b", "is not"),
        (r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should|must|need) ?n[' ]?t\b", r"\1 not"),
        (r"\b(it|that|there|here|what|where|who|how|he|she|everything|nothing)'s\b", r"\1 is"),
        (r"\b(that|there|what)s\b", r"\1 is"),
        (r"\blet's\b|\blets (?=see|keep|get|try|have|make|work)", "let us "),
        (r"\b(you|they|we)'?re\b(?<!\bwere)", r"\1 are"),
        (r"\b(i)'?m\b", r"\1 am"),
        (r"'ll\b", " will"),
        (r"'ve\b", " have"),
        (r"'d\b", " would"),
        (r"\b(?:u|ur)\b", "you"),
    )
)
_FILLER = re.compile(
    r"^(?:(?:um+|uh+|er+|oh|yeah|yes|okay|ok|alright|here|so(?! (?:much|far|good|nice|close|well|many|low|high)\b))\b[,.]?\s*|"
    r"(?:no|right|well|now|again|also|and|honestly|overall|i think|i feel|you know|you see|i mean|basically|actually)"
    r"(?:,\s*|\s+(?=(?:so|the|your|his|her|their|you|he|she|they|it|there|that|this|we|i)\b))|"
    r"(?:like|additionally|furthermore|moreover),\s*)+",
    re.I,
)
_ASIDE = re.compile(
    r"\bi will give this\b|\bthat's (?:how|what) i would\b|\blet's see the\b|\bhere we go\b|\bout of ten\b", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|[;\n]+|\s{2,}|\s+[–—-]+\s+|—")
_CONTRAST = re.compile(
    r",?\s+(?<!nothing )(?<!anything )(?:but|however|although|though|even though|whereas|except(?: that)?|apart from that|"
    r"other than that|yet(?= (?:the|your|his|her|their|you|he|she|they|it)\b))\b,?\s+|,\s+yet\s+|,\s+while\s+",
    re.I,
)
_SUBJECT = (
    r"(?:the|your|his|her|their|my|both|you|he|she|they|it|there|that|this|these|those|we|i|no|not|nor|never|is|are|was|were|has|"
    r"have|does|do|could|should|needs?|looks?|stays?|try|make|then|so|more|less|with no|don't|doesn't|isn't|aren't|too)\b"
)
_LINK = re.compile(r"^(?:and|or|so|then|also|still)\s+(?=\w)", re.I)


@dataclass(frozen=True)
class Clause:
    """A stretch of speech between sentence ends and words of contrast.

    Attributes:
        text: As spoken, without fillers and final punctuation.
        phrases: Its parts, as spoken.
        question: Whether it ends with a question mark.
        contrast: Whether it follows after "but" and the like.
    """

    text: str
    phrases: tuple[str, ...]
    question: bool
    contrast: bool


def normalise(text: str) -> str:
    """Returns a text in lower case with straight apostrophes, contractions written out and single spaces."""
    text = _APOSTROPHE.sub("'", text).lower()
    for pattern, replacement in _CONTRACTIONS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def split_clauses(text: str, verbs: str) -> list[Clause]:
    """Splits a text into clauses; asides that judge nothing are left out.

    Args:
        text: As spoken.
        verbs: Alternatives of a regular expression: verbs that begin an instruction, before which "and" ends a phrase.

    Returns:
        The clauses in order.
    """
    clauses = []
    for sentence in _SENTENCE.split(_APOSTROPHE.sub("'", text).strip()):
        question = sentence.rstrip().endswith("?")
        for number, part in enumerate(_CONTRAST.split(sentence)):
            part = _FILLER.sub("", part.strip(" .,!?…"))
            if not part or _ASIDE.search(part):
                continue
            # The advice after "so" is a clause of its own: it may name other regions than the fault.
            for piece in re.split(r",\s+(?=so \w)", part):
                phrases = tuple(_phrases(piece, verbs))
                if phrases:
                    clauses.append(Clause(piece, phrases, question, contrast=number > 0))
    return clauses


@cache
def _ends(verbs: str) -> re.Pattern[str]:
    return re.compile(rf"[,:()]\s*|\s+and\s+(?=(?:{_SUBJECT}|{verbs}\b))|\s+(?=nor\b)", re.I)


def _phrases(clause: str, verbs: str) -> list[str]:
    stripped = [_LINK.sub("", part.strip(" .!?\"'")) for part in _ends(verbs).split(clause)]
    return [part for part in stripped if part]
