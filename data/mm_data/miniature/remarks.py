"""What the miniature's commentators say: several wordings per error, praise, fillers and remarks without content."""

from dataclasses import dataclass, field

import numpy as np

from mm_data.records import CORRECT, IMPROVE

CORRECTIONS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("basketball", "elbow_flare"): (
        ("The shooting elbow is flaring out to the side", "keep it tucked in under the ball"),
        ("The elbow is sticking out too wide", "bring it in line with the basket"),
        ("That elbow wings out on the way up", "tuck it in so that it points at the rim"),
    ),
    ("basketball", "straight_knees"): (
        ("There is hardly any bend in the knees", "sit lower and use the legs to power the shot"),
        ("The knees stay too straight before the jump", "bend them more and push off the floor"),
        ("The legs are too stiff in the dip", "bend the knees deeper to get lift"),
    ),
    ("basketball", "short_follow_through"): (
        ("The shooting hand drops too early after the release", "hold the follow-through up high"),
        ("There is no follow-through with the wrist", "leave the hand up in the cookie jar until the ball lands"),
        ("The hand is pulled down too soon", "finish with the wrist relaxed and hold it there"),
    ),
    ("basketball", "eyes_down"): (
        ("The eyes are down on the floor", "look up and find the rim before shooting"),
        ("The head is dropped through the shot", "keep the eyes on the rim"),
        ("The chin is tucked and the gaze is too low", "look up at the target"),
    ),
    ("basketball", "leaning_back"): (
        ("The upper body is leaning back at the release", "stay upright over the base"),
        ("The torso falls away from the basket", "stay balanced with the chest over the toes"),
        ("There is too much backward lean in the trunk", "keep the body tall and straight"),
    ),
    ("basketball", "narrow_base"): (
        ("The feet are too close together", "set them shoulder width apart for balance"),
        ("The stance is too narrow", "spread the feet to get a stable base"),
        ("The feet are almost touching", "take a wider stance before going up"),
    ),
    ("soccer", "plant_foot_behind"): (
        ("The plant foot lands too far behind the ball", "step right up beside it"),
        ("The standing foot is planted too early and too far back", "get it next to the ball"),
        ("The planting foot is well short of the ball", "place it level with the ball"),
    ),
    ("soccer", "leaning_back"): (
        ("The upper body is leaning back at contact", "get the chest over the ball"),
        ("The torso falls backwards through the strike", "lean forward to keep the shot down"),
        ("There is too much backward lean in the trunk", "stay over the ball"),
    ),
    ("soccer", "short_backswing"): (
        ("There is hardly any backswing in the kicking leg", "draw the leg back further to get power"),
        ("The kicking knee does not bend enough behind the body", "load the leg with a longer backswing"),
        ("The leg swing is too short and stiff", "bring the heel up behind before striking"),
    ),
    ("soccer", "arms_clamped"): (
        ("The arms are pinned to the sides", "spread the opposite arm out for balance"),
        ("The arms are not being used at all", "open them up to balance the kick"),
        ("The arms stay too tight to the body", "throw the arm out wide as the kick comes through"),
    ),
    ("soccer", "eyes_up"): (
        ("The eyes are up at the goal too soon", "keep looking down at the ball"),
        ("The head comes up before contact", "keep the eyes on the ball"),
        ("The gaze is on the keeper instead of the ball", "keep the head down through the strike"),
    ),
    ("soccer", "clenched_hands_high"): (
        ("The hands fly up in the air after the strike", "keep them low and relaxed"),
        ("The hands are thrown up too high in the finish", "let them swing low by the hips"),
        ("The wrists are lifted way over the shoulders at the end", "keep the hands quiet"),
    ),
    ("bouldering", "bent_arms"): (
        ("The arms are bent and locked off at the start", "hang on straight arms to save energy"),
        ("The elbows stay bent far too much", "straighten the arms and hang from the skeleton"),
        ("The arms are doing all the pulling while hanging", "relax into long straight arms"),
    ),
    ("bouldering", "hips_off_wall"): (
        ("The hips are hanging too far away from the wall", "pull the body in close"),
        ("The torso is sagging out from the wall", "keep the hips in tight"),
        ("There is too much space between the body and the wall", "bring the hips in to the wall"),
    ),
    ("bouldering", "low_foot"): (
        ("The right foot stays too low", "step it up to the higher foothold before reaching"),
        ("The foot is left behind on a low hold", "use a high step"),
        ("The feet do not move up enough", "place the foot high before the move"),
    ),
    ("bouldering", "no_leg_drive"): (
        ("The legs are not pushing through the reach", "stand up on the leg to gain height"),
        ("The knees stay bent at the top of the move", "drive up with the legs"),
        ("There is no drive from the legs", "extend the leg instead of pulling"),
    ),
    ("bouldering", "eyes_down"): (
        ("The eyes are looking down during the reach", "look at the next hold"),
        ("The head is dropped while moving", "keep the eyes on the target hold"),
        ("The gaze goes to the floor", "spot the hold before going for it"),
    ),
    ("bouldering", "overreaching_hand"): (
        ("The reaching hand swings far out to the side of the hold", "go straight up to it"),
        ("The hand misses the line and slaps wide", "place it precisely on the hold"),
        ("The grabbing hand is thrown out too wide", "bring the hand directly over the hold"),
    ),
}
"""(activity slug, error) to wordings of (what is wrong, what to do)."""

NAMING: dict[tuple[str, str], str] = {
    ("basketball", "elbow_flare"): r"\belbow",
    ("basketball", "straight_knees"): r"\bknees?\b|\blegs?\b",
    ("basketball", "short_follow_through"): r"follow-through|\bhand\b|\bwrist",
    ("basketball", "eyes_down"): r"\beyes\b|\bhead\b|\bgaze\b|\bchin\b",
    ("basketball", "leaning_back"): r"\blean|falls away|upper body|\btorso|\btrunk",
    ("basketball", "narrow_base"): r"\bfeet\b|\bstance\b",
    ("soccer", "plant_foot_behind"): r"\b(plant|standing|planting) foot",
    ("soccer", "leaning_back"): r"\blean|falls backwards|upper body|\btorso|\btrunk",
    ("soccer", "short_backswing"): r"backswing|kicking (leg|knee)|leg swing",
    ("soccer", "arms_clamped"): r"\barms?\b",
    ("soccer", "eyes_up"): r"\beyes\b|\bhead\b|\bgaze\b",
    ("soccer", "clenched_hands_high"): r"\bhands\b|\bwrists\b",
    ("bouldering", "bent_arms"): r"\barms\b|\belbows\b",
    ("bouldering", "hips_off_wall"): r"\bhips\b|\btorso\b|the body and the wall",
    ("bouldering", "low_foot"): r"\bfoot\b|\bfeet\b",
    ("bouldering", "no_leg_drive"): r"\blegs?\b|\bknees\b",
    ("bouldering", "eyes_down"): r"\beyes\b|\bhead\b|\bgaze\b",
    ("bouldering", "overreaching_hand"): r"\bhand\b",
}
"""(activity slug, error) to the pattern by which the evaluation recognises that a text names the error."""

PRAISE: dict[tuple[str, str], tuple[str, ...]] = {
    ("basketball", "arms"): ("Nice elbow, tucked right under the ball", "The elbow is perfectly in line"),
    ("basketball", "legs"): ("Great bend in the knees", "Good use of the legs to get power"),
    ("basketball", "hands"): ("Beautiful follow-through with the wrist", "The hand stays up nicely after the release"),
    ("basketball", "head"): ("Good eyes on the rim", "The head is nice and still"),
    ("basketball", "torso"): ("Great balance, the torso is upright", "The upper body stays nice and tall"),
    ("basketball", "feet"): ("Good stance, feet shoulder width apart", "The feet are set well"),
    ("soccer", "feet"): ("Great plant foot, right beside the ball", "The standing foot is placed well"),
    ("soccer", "torso"): ("Good body shape, the chest is over the ball", "The trunk is in a great position"),
    ("soccer", "legs"): ("Excellent backswing with the kicking leg", "Good bend in the kicking knee"),
    ("soccer", "arms"): ("The arms are out nicely for balance", "Great use of the opposite arm"),
    ("soccer", "head"): ("Good, the eyes are on the ball", "The head stays down well"),
    ("soccer", "hands"): ("The hands are nicely relaxed", "Good quiet hands in the finish"),
    ("bouldering", "arms"): ("Great straight arms while hanging", "The arms are nice and relaxed"),
    ("bouldering", "torso"): ("The hips are nicely in to the wall", "Good, the torso is tight to the wall"),
    ("bouldering", "feet"): ("Excellent high step with the foot", "The feet are placed precisely, well done"),
    ("bouldering", "legs"): ("Great push from the legs", "The legs drive the move well"),
    ("bouldering", "head"): ("Good, the eyes are on the next hold", "The head is turned to the target nicely"),
    ("bouldering", "hands"): ("The hand goes precisely to the hold, good", "Nice controlled hand on the hold"),
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
