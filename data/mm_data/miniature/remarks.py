"""What the miniature's commentators say: several wordings per error, praise, fillers and remarks without content."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from mm_data.records import CORRECT, IMPROVE

_TEXTS = yaml.safe_load(Path(__file__).with_name("remarks.yaml").read_text(encoding="utf-8"))
_ERRORS = {(slug, error): texts for slug, errors in _TEXTS["errors"].items() for error, texts in errors.items()}

CORRECTIONS: dict[tuple[str, str], list[tuple[str, str]]] = {
    key: texts["corrections"] for key, texts in _ERRORS.items()
}
"""(activity slug, error) to wordings of (what is wrong, what to do)."""

NAMING: dict[tuple[str, str], str] = {key: texts["pattern"] for key, texts in _ERRORS.items()}
"""(activity slug, error) to the pattern by which the evaluation recognises that a text names the error."""

PRAISE: dict[tuple[str, str], list[str]] = {
    (slug, region): texts for slug, regions in _TEXTS["praise"].items() for region, texts in regions.items()
}
"""(activity slug, region) to compliments."""

_OPENERS = ("", "", "Okay, so ", "Um, so ", "Yeah, so here ", "Alright, ", "You know, ", "So, uh, ")
_CLOSERS = ("", "", "", " That's what I would work on.", " Yeah.", " I will give this a five out of ten.")
_EMPTY = ("I will give this a six out of ten.", "Okay, let's see the next one.", "Here we go again.", "Uh, yeah.")


@dataclass(frozen=True)
class Spoken:
    """A remark as spoken, with what it means.

    Attributes:
        text: The words; None where the transcription failed.
        regions: Label per body region that it judges.
        good: What it praises, in the words of an annotator.
        tips: What it would improve, in the words of an annotator.
    """

    text: str | None
    regions: dict[str, str] = field(default_factory=dict)
    good: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()


def _joined(opener: str, sentence: str) -> str:
    return opener + (sentence[0].lower() + sentence[1:] if opener else sentence)


def correction(rng: np.random.Generator, slug: str, error: str, region: str, praised: str | None) -> Spoken:
    """Makes a correction of an error in ``region``, optionally after praise of another region."""
    problem, fix = CORRECTIONS[slug, error][rng.integers(len(CORRECTIONS[slug, error]))]
    opener, closer = rng.choice(_OPENERS), rng.choice(_CLOSERS)
    link = rng.choice([". You want to ", ", so ", ". Try to "])
    body = f"{problem}{link}{fix}."
    regions, good = {region: IMPROVE}, ()
    if praised is not None:
        compliment = _compliment(rng, slug, praised)
        body = f"{compliment}, but {body[0].lower()}{body[1:]}"
        regions, good = {praised: CORRECT, **regions}, (compliment,)
    return Spoken(_joined(str(opener), body) + str(closer), regions, good, (problem,))


def _compliment(rng: np.random.Generator, slug: str, region: str) -> str:
    options = PRAISE[slug, region]
    return options[rng.integers(len(options))]


def praise(rng: np.random.Generator, slug: str, region: str) -> Spoken:
    """Makes a compliment."""
    opener, compliment = str(rng.choice(_OPENERS)), _compliment(rng, slug, region)
    return Spoken(_joined(opener, f"{compliment}." + str(rng.choice(_CLOSERS))), {region: CORRECT}, (compliment,))


def empty_remark(rng: np.random.Generator) -> Spoken:
    """Makes a remark that says nothing about technique."""
    return Spoken(str(rng.choice(_EMPTY)))
