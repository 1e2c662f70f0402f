"""What the rules read in remarks of many kinds, and how they split, weigh and place them."""

import re

import pytest
from tiny_coach import ROOT

from mm_data.labelling import PolarityLabeller
from mm_data.labelling.clauses import normalise, split_clauses
from mm_data.labelling.regions import judged_regions
from mm_data.labelling.rules import label_by_rules
from mm_data.labelling.sides import cues, read_side
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CORRECT, IMPROVE, Demonstration, LabelledRemark, Remark

SIDES = {"-": IMPROVE, "+": CORRECT}


def remark(text: str) -> Remark:
    return Remark("take/abc/0", "take", "abc", 1.0, text)


def read(text: str) -> dict[str, str]:
    result = label_by_rules(remark(text))
    return {} if isinstance(result, str) else result.regions


def cases() -> list[tuple[str, dict[str, str]]]:
    """Every sentence of golden/remarks.txt with its regions."""
    lines = (ROOT / "tests/golden/remarks.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.rpartition("|") for line in lines if line and not line.startswith("#")]
    return [(text.strip(), {r[:-1]: SIDES[r[-1]] for r in said.split()}) for text, _, said in parts]


@pytest.mark.parametrize(("text", "regions"), cases())
def test_a_sentence_is_read_as_a_person_reads_it(text: str, regions: dict[str, str]) -> None:
    assert read(text) == regions


def test_the_sentences_cover_every_region_on_both_sides() -> None:
    said = {(region, side) for _, regions in cases() for region, side in regions.items()}
    assert said == {(region, side) for region in REGIONS for side in (IMPROVE, CORRECT)}


@pytest.mark.parametrize("apostrophe", ["'", "\u2019", "\u2018", "\u02bc", "\u00b4", "`", "", " "])
@pytest.mark.parametrize("verb", ["is", "was", "does", "did", "has", "would", "could", "can", "wo", "should"])
def test_contractions_in_every_spelling(verb: str, apostrophe: str) -> None:
    spelt = f"{verb}{'' if verb == 'can' else 'n'}{apostrophe}t"
    assert normalise(f"It {spelt.upper()} bend") == f"it {'will' if verb == 'wo' else verb} not bend"


@pytest.mark.parametrize(
    ("words", "region"),
    [
        ("the chin, her gaze, both eyes, your neck, his face", "head"),
        (
            "the shoulders, your lower back, his core, the hips, the pelvis, your posture, a rib cage, the glutes",
            "torso",
        ),
        ("an elbow, both forearms, the biceps", "arms"),
        ("the grip, a thumb, your wrists, the left palm, the follow through, two fists", "hands"),
        ("the knees, a thigh, your calves, the hamstrings, her turnout, the lower body", "legs"),
        ("the stance, your footwork, a heel, the toes, both ankles, the left foot", "feet"),
    ],
)
def test_regions_go_by_many_names(words: str, region: str) -> None:
    for word in words.split(", "):
        assert judged_regions(word) == [region], word
        assert judged_regions(f"{word} is too low") == [region], word


@pytest.mark.parametrize(
    ("phrase", "regions"),
    [
        ("the hands are over the shoulders", ["hands"]),
        ("there is no drive from the legs", ["legs"]),
        ("your arms and shoulders are stiff", ["arms", "torso"]),
        ("bring the elbow towards the hips and knees", ["arms"]),
        ("the hand drops when the foot lands", ["hands"]),
        ("pulling with the arms instead of the legs", ["arms"]),
        ("the back foot lands behind the back knee", ["feet"]),
        ("raise it to shoulder height", []),
        ("step back and get back up", ["feet"]),
        ("the elbow looks good", ["arms"]),
        ("on the other hand it is slow", []),
        ("the handle and the footage look fine", []),
    ],
)
def test_a_phrase_is_about_its_subject(phrase: str, regions: list[str]) -> None:
    assert judged_regions(phrase) == regions


@pytest.mark.parametrize(
    ("phrase", "side"),
    [
        ("no wobble", CORRECT),
        ("no bend", IMPROVE),
        ("not good", IMPROVE),
        ("not bad", CORRECT),
        ("never good or smooth", IMPROVE),
        ("never wobbles or collapses", CORRECT),
        ("not bent and too stiff", IMPROVE),
        ("not turned stiff", IMPROVE),
        ("not too wide", None),
        ("no wobble and poor timing", IMPROVE),
        ("never without bend", None),
        ("no longer stiff", CORRECT),
        ("not rotating because it is stiff", IMPROVE),
        ("bent at the top", None),
    ],
)
def test_the_reach_of_a_negation(phrase: str, side: str | None) -> None:
    reading = read_side(phrase)
    assert (reading.side if reading else None) == side


def test_denied_praise_is_no_demonstration_and_its_summary_says_so() -> None:
    result = label_by_rules(remark("Yeah, so the head is fine, but his stance isn\u2019t good."))
    assert isinstance(result, LabelledRemark)
    assert result.regions == {"head": CORRECT, "feet": IMPROVE}
    assert result.summary == "His stance isn't good."


def test_the_summary_holds_what_a_pronoun_speaks_of() -> None:
    result = label_by_rules(remark("See that elbow? Not good."))
    assert isinstance(result, LabelledRemark)
    assert result.summary == "See that elbow; not good."


def test_a_clause_with_both_sides_gives_each_its_own_words() -> None:
    result = label_by_rules(remark("The knees are too stiff, the head is lovely."))
    assert isinstance(result, LabelledRemark)
    assert result.regions == {"legs": IMPROVE, "head": CORRECT} and result.summary == "The knees are too stiff."


def test_clauses_end_at_contrast_and_before_advice() -> None:
    clauses = split_clauses("Good feet, but the arms drop, so lift them. Why so low?", cues()["verbs"])
    assert [(c.text, c.contrast, c.remedy, c.question) for c in clauses] == [
        ("Good feet", False, False, False),
        ("the arms drop", True, False, False),
        ("so lift them", True, True, False),
        ("Why so low", False, False, True),
    ]


def test_polarity_finds_regions_in_words_with_apostrophes_and_places() -> None:
    moments = [Demonstration("take", "abc", 1.0, False, ("The wrist isn\u2019t over the knees", "Lower back rounds"))]
    (result,) = PolarityLabeller(moments).label([remark("whatever")])
    assert isinstance(result, LabelledRemark) and result.regions == {"hands": IMPROVE, "torso": IMPROVE}


def test_every_cue_is_a_pattern_over_text_in_lower_case() -> None:
    for kind, pattern in cues().items():
        assert re.compile(pattern), kind
        assert "<" not in re.sub(r"\(\?<?[!=]", "", pattern), f"{kind}: a part that is not there"
        assert pattern == pattern.lower() or "\\" in pattern, f"{kind}: text is in lower case before it is matched"
