"""What the rules read in remarks of many kinds, and how they split, weigh and place them."""

import re

import pytest
from tiny_coach import ROOT

from mm_data.labelling import PolarityLabeller
from mm_data.labelling.clauses import normalise, split_clauses
from mm_data.labelling.labeller import NO_SIDE, NOTHING_SAID
from mm_data.labelling.regions import judged_regions, names_region_only
from mm_data.labelling.rules import RulesLabeller, label_by_rules
from mm_data.labelling.sides import Reading, cues, read_side
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CORRECT, IMPROVE, Demonstration, LabelledRemark, Remark

SIDES = {"-": IMPROVE, "+": CORRECT}


def remark(text: str) -> Remark:
    return Remark("take/abc/0", "take", "abc", 1.0, text)


def read(text: str) -> dict[str, str]:
    result = label_by_rules(remark(text))
    return {} if isinstance(result, str) else result.regions


def summary(text: str) -> str:
    result = label_by_rules(remark(text))
    assert isinstance(result, LabelledRemark)
    return result.summary


def said(regions: str) -> dict[str, str]:
    """``"arms- feet+"`` as the regions of a remark."""
    return {word[:-1]: SIDES[word[-1]] for word in regions.split()}


def cases() -> list[tuple[str, dict[str, str]]]:
    """Every sentence of golden/remarks.txt with its regions."""
    lines = (ROOT / "tests/golden/remarks.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.rpartition("|") for line in lines if line and not line.startswith("#")]
    return [(text.strip(), said(regions)) for text, _, regions in parts]


@pytest.mark.parametrize(("text", "regions"), cases())
def test_a_sentence_is_read_as_a_person_reads_it(text: str, regions: dict[str, str]) -> None:
    assert read(text) == regions


def test_the_sentences_cover_every_region_on_both_sides() -> None:
    found = {(region, side) for _, regions in cases() for region, side in regions.items()}
    assert found == {(region, side) for region in REGIONS for side in (IMPROVE, CORRECT)}


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
        # Where everything is a place, the first group is meant: what "and" joins belongs to it, what follows does not.
        ("push from the legs and hips", ["legs", "torso"]),
        ("push from the legs over the toes", ["legs"]),
        ("push from the legs past the hips over the toes", ["legs"]),
        ("push from the legs past the hips and elbows", ["legs"]),
        # A reason names other parts, unless there are no others.
        ("it drops when the foot lands", ["feet"]),
        ("the elbow drops because the hand is late", ["arms"]),
        # Vague wordings count where nothing else is named; "that" is no reason where it points.
        ("look at that elbow", ["arms"]),
        ("the hand drops so that the elbow bends", ["hands"]),
        ("step to the left", ["feet"]),
        ("step with the elbow up", ["arms"]),
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
        ("not never without wobble", CORRECT),
        ("bent because of the ball", None),
        ("no bend because of the shoes", IMPROVE),
        ("no sway because the core is good", CORRECT),
        ("because the core is good", CORRECT),
        ("no bend because the shoes are good", IMPROVE),
        ("good with no bend until the end", CORRECT),
        ("never wobbles here or sways", CORRECT),
        ("no sign of a wobble", CORRECT),
        ("no knee wobble", CORRECT),
    ],
)
def test_the_reach_of_a_negation(phrase: str, side: str | None) -> None:
    reading = read_side(phrase)
    assert (reading.side if reading else None) == side


@pytest.mark.parametrize(
    ("phrase", "reading"),
    [
        ("the elbow drops", Reading(IMPROVE)),
        ("the back arches", Reading(IMPROVE, yields=True)),
        ("the elbow drops and the back arches", Reading(IMPROVE)),
        ("arms instead of legs", Reading(IMPROVE, yields=True)),
        ("no bend", Reading(IMPROVE, yields=True)),
        ("not good", Reading(IMPROVE)),
        ("too low", Reading(IMPROVE)),
        ("lovely", Reading(CORRECT)),
        ("bend the knees well", Reading(IMPROVE, advice=True)),
        ("keep the knees bent", Reading(IMPROVE, advice=True, yields=True)),
        ("please keep the knees bent", Reading(IMPROVE, advice=True)),
        ("the knees should bend", Reading(IMPROVE, advice=True)),
        ("less knee bend", Reading(IMPROVE, advice=True, yields=True)),
        ("more knee bend", Reading(IMPROVE, advice=True)),
        ("chest up", Reading(IMPROVE, advice=True, posture=True)),
        ("correct hand position", Reading(CORRECT)),
        ("bent at 90 degrees", None),
    ],
)
def test_what_a_phrase_does(phrase: str, reading: Reading | None) -> None:
    assert read_side(phrase) == reading


def test_only_a_question_finds_fault_by_asking() -> None:
    assert read_side("why the elbow is lovely") == Reading(CORRECT)
    assert read_side("why the elbow is lovely", question=True) == Reading(IMPROVE)
    assert read_side("is not that elbow lovely") == Reading(IMPROVE)
    assert read_side("is not that elbow lovely", question=True) == Reading(CORRECT)


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


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        # What to do instead names no fault of its own: only after a fault of a region, and only where it is put as a remedy.
        ("The knees are too straight. Try to use the hands less.", "legs-"),
        ("The knees are too straight. Try to use the hands less, each time.", "legs-"),
        ("The knees are too straight. Use the hands less.", "legs- hands-"),
        ("Nice knees. Try to use the hands less.", "legs+ hands-"),
        ("That was too slow. Try to use the hands less.", "hands-"),
        ("The knees are too straight, so use the hands less. Nice elbow.", "legs- arms+"),
        # Praise spreads from the nearest praise before and the next phrase, to the same region or where none is named.
        ("Good elbow, keep it there.", "arms+"),
        ("Good elbow, keep the elbow there.", "arms+"),
        ("Good stance, keep the elbow in.", "feet+ arms-"),
        ("Good knees, good elbow, less knee bend.", "legs- arms+"),
        ("Keep the elbow there, lovely.", "arms+"),
        ("On this rep, keep the elbow there, lovely.", "arms+"),
        ("On this rep, as before, keep the elbow there, lovely.", "arms+"),
        ("Keep the elbow in, from the start, great shot.", "arms-"),
        # A side without a region takes that of a neighbour that says nothing of it, the one before first.
        ("Lovely, the elbow stays high.", "arms+"),
        ("The elbow, as before, is not right.", "arms-"),
        ("The elbow stays high, lovely, the knees bend.", "arms+"),
        ("The stance is poor, the elbow bends, lovely.", "feet- arms+"),
        ("Lovely, the stance is poor, the elbow stays high.", "feet-"),
        # A fault takes that of the phrase before, whatever that says; not that of an earlier one.
        ("Nice elbow, a little stiff.", "arms-"),
        ("Nice elbow, a lot of splash.", "arms+"),
        ("Nice elbow, good energy, slow down a little.", "arms+"),
        # A region alone takes the side of the nearest phrase before, else after.
        ("Poor stance, good elbow, left wrist.", "feet- arms+ hands+"),
        ("Good elbow, as before, left wrist.", "arms+ hands+"),
        ("Left wrist, good, elbow too low.", "hands+ arms-"),
        # A clause without a region speaks of the clause before.
        ("Look at that elbow. The ball drops, it is too low.", "arms-"),
        ("Look at that elbow. I like that.", "arms+"),
        ("Look at that elbow. You did well.", ""),
        ("Look at that elbow. Relax.", "arms-"),
        ("Look at that elbow. You rushed.", "arms-"),
        ("Good elbow, the knees bend. Lovely.", "arms+"),
        ("Good elbow. Relax.", "arms+"),
        ("Good elbow. Bring it in.", "arms-"),
        ("Good elbow. Too stiff.", "arms-"),
        ("Good elbow. You rushed it.", "arms-"),
        # Two words that praise and no more praise what follows, where that takes no side of its own.
        ("Perfect! The elbow stays high.", "arms+"),
        ("Well done! The elbow stays high.", "arms+"),
        ("Perfect! Keep the elbow in.", "arms+"),
        ("Perfect! Bend the elbow.", "arms-"),
        ("That was good! The elbow stays high.", ""),
        ("That was really good! The elbow stays high.", ""),
        ("Too slow! The elbow stays high.", ""),
        ("Perfect! The elbow stays high, the feet are too wide.", "feet-"),
        # A clause that says nothing ends nothing.
        ("Okay, but the elbow is too low.", "arms-"),
        ("Here we go, but the elbow is too low.", "arms-"),
        ("I will give this lovely stance a six out of ten, but the elbow is too low.", "arms-"),
    ],
)
def test_what_a_phrase_lends_to_its_neighbours(text: str, regions: str) -> None:
    assert read(text) == said(regions)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Good stance, nice elbow.", "Good stance, nice elbow."),
        ("The elbow is too low, great shot.", "The elbow is too low, great shot."),
        ("Nice elbow, good energy, slow down a little.", "Nice elbow, good energy, slow down a little."),
        ("Good elbow. Lovely.", "Good elbow."),
        (
            "The knees are too straight. The elbow is too low. The feet are too close. The elbow is too low.",
            "The knees are too straight; the elbow is too low; the feet are too close.",
        ),
        (
            "The knees are too straight, so bend them. You want to sit back.",
            "The knees are too straight; bend them.",
        ),
        ("Look at that elbow. The ball drops, it is too low.", "Look at that elbow; the ball drops, it is too low."),
        ("Look at that elbow. I like that.", "Look at that elbow; I like that."),
    ],
)
def test_the_summary_is_the_clauses_of_the_winning_side(text: str, sentence: str) -> None:
    assert summary(text) == sentence


def test_results_are_in_order_with_reasons() -> None:
    told: list[int] = []
    praise, *reasons = RulesLabeller().label(
        [remark("Good elbow."), remark("Here we go."), remark("He moves his foot.")], told.append
    )
    assert isinstance(praise, LabelledRemark) and praise.regions == {"arms": CORRECT}
    assert reasons == [NOTHING_SAID, NO_SIDE] and told == [3]


@pytest.mark.parametrize(
    ("phrase", "only"),
    [("your left wrist", True), ("arms and shoulders", True), ("the left one", False), ("the wrist drops", False)],
)
def test_a_name_of_a_region_and_no_more(phrase: str, only: bool) -> None:
    assert names_region_only(phrase) is only


def test_clauses_end_at_contrast_and_before_advice() -> None:
    text = "Good feet, but the arms drop, so lift them, but not too high. Why so low?"
    clauses = split_clauses(text, cues()["verbs"])
    assert [(c.text, c.phrases, c.contrast, c.question) for c in clauses] == [
        ("Good feet", ("Good feet",), False, False),
        ("the arms drop", ("the arms drop",), True, False),
        ("so lift them", ("lift them",), True, False),
        ("not too high", ("not too high",), True, False),
        ("Why so low", ("Why so low",), False, True),
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
