"""Which body regions a phrase is about."""

import re
from dataclasses import dataclass

_SIDE = r"your|the|his|her|their|my"
_PART = r"foot|feet|legs?|knees?|heels?|hips?|shoulders?|arms?|hands?|elbows?|ankles?|toes?|sides?|thighs?|wrists?"

REGION_WORDS: dict[str, str] = {
    "head": (
        rf"heads?|eyes?|gaze|chin|(?:{_SIDE}) face|necks?|jaw|nose|ears?|forehead|brow|cheeks?|mouth|lips|embouchure|vision|"
        rf"(?:looking|staring) (?:down )?at (?:{_SIDE}) (?:own )?(?:feet|toes|hands?|floor|ground)"
    ),
    "torso": (
        r"torso|trunk|chest|spine|posture|core|hips?|pelvis|waist|buttocks?|butt|bum|backside|glutes?|tailbone|abs|abdomen|"
        r"abdominals?|stomach|belly|tummy|midsection|ribs?|rib ?cage|sternum|diaphragm|lats?|pecs?|obliques|lumbar|thoracic|"
        r"shoulder blades?|shoulders?|scapulae?|collarbones?|clavicles?|delt(?:oid)?s?|traps?|(?:upper[- ])?body|"
        rf"(?:{_SIDE}) bottom|(?:(?:{_SIDE}|an?|low|lower|mid|upper|straight|flat|rounded|arched|neutral|long|strong) back|"
        r"back(?= (?:straight|flat|round|rounded|arched|upright|neutral|tall|muscles)\b)|^back(?= (?:is|was)\b))"
        rf"(?! (?:{_PART})\b)(?! (?:of|to|up|in|into|down|and forth)\b)"
    ),
    "arms": r"arms?|elbows?|forearms?|biceps?|triceps?|armpits?",
    "hands": (
        r"hands?|wrists?|fingers?|fingertips?|thumbs?|palms?|grip|fists?|knuckles?|follow[- ]?through|fingering|bow hold"
    ),
    "legs": (
        r"legs?|knees?|thighs?|calf|calves|shins?|hamstrings?|quads?|quadriceps|kneecaps?|patellas?|adductors?|groin|"
        r"lower[- ](?:body|leg)|turn-?out"
    ),
    "feet": r"feet|foot|footing|footwork|ankles?|toes?|tiptoes?|heels?|soles?|instep|forefoot|midfoot|achilles|stance",
}
"""Body region to the words that mean it, over normalised text. Shoulders and hips are the torso's, as in `REGIONS`."""

_VAGUE: dict[str, str] = {
    "hands": rf"(?:{_SIDE}) guard",
    "head": r"look(?:s|ing)? (?:up|down|over|ahead|forward|at|to|towards?|away|straight|left|right|into)",
    "torso": r"(?:your|his|her|their) (?:left|right) side|lean(?:s|ing|ed)?|slouch\w*|hunch\w*",
    "legs": r"squats?|squatting|lunges?|pli[eé]s?",
    "feet": rf"step(?:s|ping)?|(?:{_SIDE}|an?|wider|wide|stable|narrow|solid) base",
}
"""Words that mean a region where a phrase names none otherwise."""

_NOT_BODY = re.compile(
    r"\b(?:(?:shoulder|hip|chest|waist|head|knee|eye|ankle|elbow|arm|foot|body|belly)s?[- ]?"
    r"(?:width|height|level|weight|length|language)s?|on the other hand|first hand|hand in hand|(?:about|half) a foot|"
    r"(?:chest|shoulder|leg|hip|face|toe|heel|head|hand|arm) (?:compressions?|press|pass|passes|pulls?|loop|pick|hop|stand|bar)|"
    r"head start|head over heels|upper hand|face to face|heads? (?:to|for|towards?|into) the|at hand|next step|step by step)\b"
)
"""Wordings with a body word in them that name no part of the body."""

_PLACE = re.compile(
    r"\b(?:(?:in front|on top|in line|instead|out|ahead|clear|short|away|outside|inside) (?:of|from|with)|next to|rather than|"
    r"as opposed to|behind|over|under|underneath|below|beneath|above|between|besides?|by|near|nearer|beyond|across|against|"
    r"around|along|towards?|into|onto|on|past|to|from|with|through|in|at|off|of|than|like|inside|outside|"
    r"using|facing|touching|passing|crossing|meeting|leaving)"
    rf"(?: (?:{_SIDE}|to|of|both|each|left|right|front|back|rear|lead|leading|other|opposite|standing|supporting|whole|upper|"
    r"lower))*$"
)
"""What stands before a part of the body that only says where another part is."""

_JOINED = re.compile(
    rf"^,? ?(?:and|or|nor|plus|as well as|&|/|,) ?(?:(?:{_SIDE}|both|left|right|upper|lower|front|back) ?)*$"
)
_REASON = re.compile(
    r" (?:because|(?<! at )that|where|so|so that|which|when|while|whenever|before|after|until|if|as you|as the|to keep|to get)\b"
)


def _pattern(words: dict[str, str]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(f"(?P<{region}>{pattern})" for region, pattern in words.items()) + r")\b")


_MENTION, _VAGUE_MENTION = _pattern(REGION_WORDS), _pattern(_VAGUE)


@dataclass(frozen=True)
class _Mention:
    """A part of the body in a phrase.

    Attributes:
        region: Its region.
        place: Whether it says where another part is.
        group: Number of its group; parts that are joined by "and" are one group.
    """

    region: str
    place: bool
    group: int


def is_body_word(word: str) -> bool:
    """Says whether a word alone names a region."""
    return bool(_MENTION.fullmatch(word))


def judged_regions(phrase: str) -> list[str]:
    """Finds the regions that a phrase is about: not those that say where another part is, or when, or what for.

    Of "the hands are over the shoulders" that is the hands; of "there is no drive from the legs", which has nothing
    else, the legs.

    Args:
        phrase: Normalised text.

    Returns:
        Their names, in order of first mention.
    """
    text = _NOT_BODY.sub("", phrase)
    cut = _REASON.search(text)
    mentions = (_mentions(text[: cut.start()]) if cut else []) or _mentions(text)
    judged = [m for m in mentions if not m.place] or [m for m in mentions if m.group == 0]
    return list(dict.fromkeys(m.region for m in judged))


def _mentions(text: str) -> list[_Mention]:
    """Mentions in order; what is joined with a place ("over the hips and knees") is a place, too."""
    mentions: list[_Mention] = []
    end = 0
    for match in _MENTION.finditer(text) if _MENTION.search(text) else _VAGUE_MENTION.finditer(text):
        before = text[end : match.start()].strip()
        joined = bool(mentions) and bool(_JOINED.match(before))
        place = mentions[-1].place if joined else bool(_PLACE.search(text[: match.start()].rstrip()))
        group = mentions[-1].group + (not joined) if mentions else 0
        mentions.append(_Mention(str(match.lastgroup), place, group))
        end = match.end()
    return mentions


_ONLY = re.compile(rf"^(?:(?:{_SIDE}|both|left|right|front|back|rear|upper|lower|and|or|also) )*$")


def names_region_only(phrase: str) -> bool:
    """Says whether a phrase is a region's name and no more: "your left wrist"; "arms and shoulders"."""
    if not _MENTION.search(phrase):
        return False
    rest = _MENTION.sub(" ", phrase)
    return bool(_ONLY.match(f"{' '.join(rest.split())} ".lstrip()))
