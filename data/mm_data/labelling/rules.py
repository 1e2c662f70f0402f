"""The offline labeller: rules over clauses. Speech that mentions no body region, or takes no side, is dropped."""

import re
from collections.abc import Callable, Sequence

from mm_data.labelling.labeller import NO_SIDE, NOTHING_SAID
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark

REGION_WORDS: dict[str, str] = {
    "head": r"head|eyes?|gaze|chin|face|look(?:ing|s)?",
    "torso": r"torso|trunk|chest|back|upper body|body|hips?|core|spine|lean(?:ing|s)?|posture",
    "arms": r"arms?|elbows?|forearms?|shoulders?(?! width)",
    "hands": r"hands?|wrists?|fingers?|grip|follow-through|palms?",
    "legs": r"legs?|knees?|thighs?|backswing",
    "feet": r"feet|foot|ankles?|toes?|heels?|stance|footwork|step(?:ping)?",
}
_FIX_FOLLOWS = re.compile(r"\b(?:you want to|try to|so (?:keep|tuck|bring|bend|hold|look|stay|set|take|spread|sit|use|leave|finish|step|get|place|draw|load|open|throw|let|hang|straighten|relax|pull|stand|drive|extend|spot|go))\b", re.I)  # fmt: skip
_IMPROVE_WORDS = re.compile(
    r"\b(?:too|hardly|not (?:be|bend|enough|being|pushing|move)|do(?:es)? not|no|never|needs? to|should|instead|lacks?|"
    r"flaring|sticking out|wings? out|drops?|dropped|down too|falls?|stiff|behind|pinned|leaning back|fly up|thrown|"
    r"comes up before|bent and locked|sagging|short of|misses|slaps|swings far|stay bent|stays? too|doing all|looking down|"
    r"are down|are up|almost touching|goes to the floor|on the keeper|way over|left behind)\b",
    re.I,
)
_PRAISE_WORDS = re.compile(
    r"\b(?:good|great|nice|nicely|excellent|beautiful|perfect|perfectly|well|solid|lovely|controlled|precisely)\b", re.I
)
_FILLER = re.compile(
    r"^(?:(?:um|uh|okay|ok|so|yeah|alright|right|well|now|here|you know|i think|like)\b[,.]?\s*)+", re.I
)
_ASIDE = re.compile(r"i will give this|that's (?:how|what) i would|let's see|here we go|out of ten", re.I)


class RulesLabeller:
    """See `Labeller`."""

    version = "rules-2"

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """One result per remark; see `Labeller`."""
        results = [label_by_rules(remark) for remark in remarks]
        progress(len(results))
        return results


def label_by_rules(remark: Remark) -> LabelledRemark | str:
    """Labels one remark offline.

    Sentences are split into clauses at "but"; each clause takes a side by its cue words, and its body regions get that
    side. Improvement wins over praise in the same region. The summary is the clauses of the winning side, joined into
    one sentence.

    Returns:
        The labelled remark, or the reason why it has to be dropped.
    """
    regions: dict[str, str] = {}
    said: dict[str, list[str]] = {IMPROVE: [], CORRECT: []}
    side: str | None = None
    for clause in _clauses(remark.text):
        continues = side == IMPROVE and _FIX_FOLLOWS.match(clause)
        if not continues:
            side = IMPROVE if _IMPROVE_WORDS.search(clause) else CORRECT if _PRAISE_WORDS.search(clause) else None
        if side is None:
            continue
        mentioned = mentioned_regions(clause)
        if not mentioned and not continues:
            continue
        said[side].append(clause)
        # What to do instead may name a neighbouring region ("use the legs"); the region at fault was named before.
        for region in [] if continues else mentioned[:1] if side == IMPROVE else mentioned:
            regions[region] = IMPROVE if IMPROVE in (side, regions.get(region)) else CORRECT
    if not said[IMPROVE] and not said[CORRECT]:
        return NO_SIDE if mentioned_regions(remark.text) else NOTHING_SAID
    if not regions:
        return NOTHING_SAID
    chosen = said[IMPROVE] or said[CORRECT]
    return LabelledRemark(remark, _sentence(chosen), regions, RulesLabeller.version)


def _clauses(text: str) -> list[str]:
    clauses = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        for part in re.split(r",?\s+but\s+", sentence.strip()):
            clause = _FILLER.sub("", part.strip(" .!?"))
            if clause and not _ASIDE.search(clause):
                # The advice after "so" is a clause of its own: it may name other regions than the fault.
                clauses.extend(c for c in re.split(r",\s+(?=so \w)", clause) if c)
    return clauses


def mentioned_regions(clause: str) -> list[str]:
    """Mentioned regions in order of first mention."""
    first = {
        name: match.start()
        for name, words in REGION_WORDS.items()
        if (match := re.search(rf"\b(?:{words})\b", clause, re.I))
    }
    return sorted(first, key=first.__getitem__)


def _sentence(clauses: list[str]) -> str:
    parts = [re.sub(r"^(?:so|you want to|try to)\s+", "", clause, flags=re.I) for clause in clauses]
    parts = list(dict.fromkeys(parts))
    text = parts[0] + "".join(f"; {part[0].lower()}{part[1:]}" for part in parts[1:])
    return text[0].upper() + text[1:] + "."
