"""The offline labeller: rules over clauses. Speech that mentions no body region, or takes no side, is dropped.

`split_clauses` cuts a remark into clauses and phrases, `read_side` tells which side a phrase takes by the cues of cues.yaml
and the negations that reach them, `judged_regions` which regions it is about; here sides and regions come together.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from mm_data.labelling.clauses import Clause, normalise, split_clauses
from mm_data.labelling.labeller import NO_SIDE, NOTHING_SAID
from mm_data.labelling.regions import judged_regions, names_region_only
from mm_data.labelling.sides import Reading, cues, read_side
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark

_REMEDY = re.compile(r"(?:you want to|try to|so)\b", re.I)
_NOUN_SUBJECT = re.compile(
    r"(?:the|your|his|her|their|my|a|an|some|this|that|these|those) "
    r"(?!(?:is|was|are|one|would|could|should|needs?|looks?|little|bit|touch|tad|lot(?! of))\b)"
)
_DENIES = re.compile(r"(?:the|your|his|her|their|my|it|they|he|she|you|that|this|there|i|we) .*\b(?:not|never|no)\b")
_PERSON = re.compile(r"(?:you|he|she|we|i|they)\b")
_POINTS_BACK = re.compile(r"^(?:it|they|that|this|these|those|which|both)\b|\b(?:it|them|that|this)$|\b(?:it|them)\b")


class RulesLabeller:
    """The labeller that needs no model and no network."""

    version = "rules-3"

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """Labels remarks; returns one result per remark, in order."""
        results = [label_by_rules(remark) for remark in remarks]
        progress(len(results))
        return results


@dataclass
class _Phrase:
    """A phrase on its way to a side and regions.

    Attributes:
        text: The phrase as spoken.
        words: The same, normalised.
        regions: Body regions that it is about.
        reading: The side that it takes, if it does.
    """

    text: str
    words: str
    regions: list[str]
    reading: Reading | None


def label_by_rules(remark: Remark) -> LabelledRemark | str:
    """Labels one remark offline.

    Every phrase takes a side by its own words; one without a region lends its side to its neighbours, or speaks of what
    was named before. Improvement wins over praise in the same region. The summary is the clauses of the winning side,
    joined into one sentence.

    Args:
        remark: The remark.

    Returns:
        The labelled remark, or the reason why it has to be dropped.
    """
    regions: dict[str, str] = {}
    texts: dict[str, list[str]] = {IMPROVE: [], CORRECT: []}
    before: list[_Phrase] = []
    for clause in split_clauses(remark.text, _verbs()):
        phrases = _read(clause)
        if _is_remedy(clause, phrases, before):
            # What to do instead may name a neighbouring region ("use the legs"); the region at fault was named before.
            texts[IMPROVE].append(clause.text)
            before = []
            continue
        _let_praise_spread(phrases)
        _lend_regions(phrases)
        _lend_sides(phrases)
        _look_back(clause, phrases, before, texts)
        _look_forward(before, phrases)
        for side, region in ((p.reading.side, region) for p in phrases if p.reading for region in p.regions):
            if regions.get(region) != IMPROVE:
                regions[region] = side
        _collect(clause, phrases, texts)
        before = phrases
    if not regions:
        return NO_SIDE if regions_named(remark.text) else NOTHING_SAID
    return LabelledRemark(remark, _sentence(texts[IMPROVE] or texts[CORRECT]), regions, RulesLabeller.version)


def regions_named(text: str) -> list[str]:
    """Returns the regions that a text is about, whatever it says of them, in order of first mention."""
    named = [
        region
        for clause in split_clauses(text, _verbs())
        for phrase in clause.phrases
        for region in judged_regions(normalise(phrase))
    ]
    return list(dict.fromkeys(named))


def _verbs() -> str:
    return f"(?:{cues()['verbs']}|{cues()['holding']})"


def _read(clause: Clause) -> list[_Phrase]:
    words = [normalise(phrase) for phrase in clause.phrases]
    return [
        _Phrase(text, word, judged_regions(word), read_side(word, clause.question))
        for text, word in zip(clause.phrases, words, strict=True)
    ]


def _is_remedy(clause: Clause, phrases: list[_Phrase], before: list[_Phrase]) -> bool:
    """Whether advice follows upon a fault whose region was named."""
    stated = any(p.reading and p.reading.side == IMPROVE and not p.reading.advice and p.regions for p in before)
    advises = bool(phrases[0].reading and phrases[0].reading.advice)
    return stated and advises and bool(_REMEDY.match(clause.text))


def _let_praise_spread(phrases: list[_Phrase]) -> None:
    """Turns what yields to praise beside it into praise."""
    for index, phrase in enumerate(phrases):
        if phrase.reading is None or not (phrase.reading.yields or phrase.reading.posture):
            continue
        stands = _DENIES.match(phrase.words)  # "it is not firm" stands for itself; "not leaning back" does not
        earlier = [p for p in phrases[:index] if p.reading and p.reading.side == CORRECT and not stands]
        later = [p for p in phrases[index + 1 : index + 2] if p.reading and p.reading.side == CORRECT and not p.regions]
        near = earlier[-1:] + later
        same = any(not p.regions or not phrase.regions or set(p.regions) & set(phrase.regions) for p in near)
        if same or (earlier and phrase.reading.posture):
            phrase.reading = replace(phrase.reading, side=CORRECT)


def _lend_regions(phrases: list[_Phrase]) -> None:
    """Gives phrases that have a side only the regions of a neighbour: of one that says nothing of them, if there is one."""
    for index, phrase in enumerate(phrases):
        if phrase.reading is None or phrase.regions:
            continue
        back = takewhile(lambda p: p.reading is None, phrases[:index][::-1])
        ahead = takewhile(lambda p: p.reading is None or not p.regions, phrases[index + 1 :])
        silent = [p for p in (*back, *ahead) if p.regions and p.reading is None]
        spoken = [p for p in phrases[:index][-1:] if p.regions and phrase.reading.side == IMPROVE]
        if silent or (spoken and not _NOUN_SUBJECT.match(phrase.words)):
            phrase.regions = list((silent or spoken)[0].regions)


def _lend_sides(phrases: list[_Phrase]) -> None:
    """Gives phrases that name a region and no more the side of what was said before, else after."""
    for index, phrase in enumerate(phrases):
        sided = [p.reading for p in phrases[:index][::-1] + phrases[index + 1 :] if p.reading]
        if phrase.reading is None and sided and names_region_only(phrase.words):
            phrase.reading = sided[0]


def _look_back(clause: Clause, phrases: list[_Phrase], before: list[_Phrase], texts: dict[str, list[str]]) -> None:
    """Gives the regions of the clause before to a phrase that speaks of them: "Look at that elbow. It is too low."."""
    named = [p for p in before if p.regions]
    if not named or any(p.regions for p in phrases):
        return
    silent = all(p.reading is None for p in before)
    for phrase in phrases:
        if phrase.reading is None or _NOUN_SUBJECT.match(phrase.words):
            continue
        points_back, person = bool(_POINTS_BACK.search(phrase.words)), bool(_PERSON.match(phrase.words))
        if phrase.reading.side == CORRECT:
            speaks = silent and (points_back or not person)
        elif phrase.reading.advice:
            speaks = silent or clause.contrast or points_back
        else:
            speaks = silent or points_back or not person
        if speaks:
            phrase.regions = list(dict.fromkeys(region for p in named for region in p.regions))
            if silent:
                texts[phrase.reading.side].extend(p.text for p in named)


def _look_forward(before: list[_Phrase], phrases: list[_Phrase]) -> None:
    """Lets an exclamation praise what follows: "Perfect! The elbow right under the ball."."""
    exclaims = [
        p for p in before if p.reading and p.reading.side == CORRECT and not p.regions and len(p.words.split()) < 3
    ]
    silent = all(p.reading is None or p.reading.yields or p.reading.posture for p in phrases)
    for phrase in phrases if len(exclaims) == len(before) == 1 and silent else []:
        phrase.reading = exclaims[0].reading if phrase.regions else phrase.reading


def _collect(clause: Clause, phrases: list[_Phrase], texts: dict[str, list[str]]) -> None:
    """Adds the clause, or where it takes both sides its phrases, to the texts of its side."""
    judging = [(phrase.text, phrase.reading.side) for phrase in phrases if phrase.reading and phrase.regions]
    sides = {side for _, side in judging}
    for text, side in [(clause.text, side) for side in sides] if len(sides) == 1 else judging:
        texts[side].append(text)


def _sentence(clauses: list[str]) -> str:
    parts = [re.sub(r"^(?:so|you want to|try to)\s+", "", clause, flags=re.I) for clause in clauses]
    parts = list(dict.fromkeys(part for part in parts if part))
    text = "; ".join([parts[0], *(re.sub(r"^(?!I\b).", lambda first: first[0].lower(), part) for part in parts[1:])])
    return text[0].upper() + text[1:] + "."
