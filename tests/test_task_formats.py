"""What coaches of the other tasks are taught, asked, and how their answers are read: round trips and adversarial text."""

import random
import re
import string
from dataclasses import replace

import numpy as np
import pytest

from mm_adapter.tasks.cot_afa.format import (
    ChainStep,
    CotAfaFormat,
    CotAfaOptions,
    explanation,
    inconsistencies,
    read_chain,
)
from mm_adapter.tasks.desccoach.files import DIMENSIONS
from mm_adapter.tasks.desccoach.format import DescCoachFormat, DescCoachOptions, structured
from mm_adapter.tasks.known import TASKS, find_task, task_options
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions, altered, score_intervals
from mm_data.records import VideoClip
from mm_data.tasks import Answer, ScoreSlot, TaskFormat, TaskItem
from mm_data.tasks.numbers import (
    NO_SCORE,
    OTHER_SCALE,
    OUTSIDE,
    RANGE,
    SEVERAL,
    in_digits,
    in_words,
    named_actions,
    read_score,
)
from mm_data.tasks.questions import Choice, Likelihoods, Words

ACTIONS = {name: name for name in ("forward", "backward", "inward", "1.5 somersaults", "2.5 somersaults", "1 twists", "tuck", "pike")}  # fmt: skip
NAE_KNOWLEDGE = {"lowest": 0.0, "highest": 105.0, "scores": [30.0, 45.5, 60.0, 77.0, 91.2], "actions": ACTIONS | {"back": "backward"}}  # fmt: skip
STEPS = {"squat": ["Stand.", "Sit.", "Rise.", "Breathe."], "squat jump": ["Stand.", "Jump.", "Keep calm."]}
DESC_KNOWLEDGE = {"lowest": 0.0, "highest": 10.0, "scores": [2.0, 4.0, 8.0]}


def formats() -> list[NaeFormat | CotAfaFormat | DescCoachFormat]:
    return [
        NaeFormat(NAE_KNOWLEDGE, NaeOptions()),
        CotAfaFormat({"steps": STEPS}, CotAfaOptions()),
        DescCoachFormat(DESC_KNOWLEDGE, DescCoachOptions()),
    ]


def item(**facts) -> TaskItem:
    truth = Answer("Good.", score=60.0, label="squat", verdict="standard")
    return TaskItem("1_7", "test", "1", "dive", VideoClip("1_7", {"exo": "1_7.mp4"}, 0, 2), truth, ["Good."], facts)


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("She scores 84.5 points.", 84.5),
        ("It earned forty-five point two points", 45.2),
        ("a score of forty - five point six", 45.6),
        ("one hundred and four point five points", 104.5),
        ("ninety-one", 91.0),
        ("forty five point oh five points", 45.05),
        ("seven and a half points", 7.5),
        ("**Score:** `91.80`", 91.8),
        ("a forward two and a half somersaults, difficulty of 3.2, scored 76.8 points", 76.8),
        ("a 10 metre dive of 2.5 somersaults: 88.8", 88.8),
        ("He scored 50 on paper, but the judges gave a total of 60.5 points.", 60.5),
        ("He gets 70.2 from 7 judges", 70.2),
        ("It scores 84.5 points, and 84.5 points is a lot.", 84.5),
        ("This time the diver scores 85.5 points in round two.", 85.5),
        ("On the third attempt, with a difficulty of 3, she earns 70.4 points", 70.4),
        ("forty-five point twenty-five points", 45.25),
        ("two and one half somersaults, score 50", 50.0),
        ("scores 50 and 60 points", SEVERAL),
        ("scores 45 to 50 points", RANGE),
        ("between 45 and 50", RANGE),
        ("eight or nine", RANGE),
        ("nine out of ten", OTHER_SCALE),
        ("9/10", OTHER_SCALE),
        ("the final score is 3 of 5", OTHER_SCALE),
        ("scores 1,000 points", OUTSIDE),
        ("scores -5 points", OUTSIDE),
        ("80%", NO_SCORE),
        ("the first dive", NO_SCORE),
        ("² and ½", NO_SCORE),
        ("", NO_SCORE),
        ("Her score is 84.5.", 84.5),
        ("The score that she received from the judges was 84.5.", 84.5),
        ("It would score 84.5 points.", 84.5),
        ("I'd give this dive a score of 84.5", 84.5),
        ("The judges awarded her an impressive 84.5", 84.5),
        ("She deserves an 84.5 mark", 84.5),
        ("84.5", 84.5),
        ("Final score: 84.5/105", 84.5),
        ("With a total of sixty-point five, it is good", 60.5),
        ("He needs 90 points to win and scores 84.5 points", 84.5),
        ("They lead by 12 points; this dive earns 76.5", 76.5),
        ("On March 12 at 10:30 she scores 70.5 points", 70.5),
        ("Placed 4th of 8 in round 3, he scored 70.5", 70.5),
        ("1 of the best dives, 85.5 points", 85.5),
        ("reversed two and a half with pike", NO_SCORE),
        ("one of the top six", NO_SCORE),
        ("it gets her into the top 18", NO_SCORE),
        ("he scores well in round 3", NO_SCORE),
        ("third after 2 of 3 dives", NO_SCORE),
        ("5 of 7 judges liked it", NO_SCORE),
        ("on 12 March 2016, at 10:30", NO_SCORE),
        ("2016-08-12", NO_SCORE),
        ("she is 20.5 points ahead", NO_SCORE),
        ("another 20 points behind the leader", NO_SCORE),
        ("he could score 80", NO_SCORE),
        ("he needs 80 points", NO_SCORE),
        ("that will not score 80", NO_SCORE),
        ("a 100 point dive", NO_SCORE),
        ("the highest score so far is 46", NO_SCORE),
        ("over 80 points", RANGE),
        ("80 points or more", NO_SCORE),
        ("scores of 8.5, 8 and 8.5", SEVERAL),
        ("scores 8.5, 9 and 9.5, a total of 81", 81.0),
        ("score minus 5", OUTSIDE),
        ("The score is minus five.", OUTSIDE),
        ("scores negative 5", OUTSIDE),
    ],
)
def test_scores_in_free_text(text: str, wanted: float | str) -> None:
    found = read_score(text, 0.0, 105.0)
    assert (found.problem if isinstance(wanted, str) else found.score) == wanted
    assert (found.score is None) == isinstance(wanted, str)


def test_out_of_ten_is_a_score_where_ten_is_the_end() -> None:
    assert read_score("nine out of ten", 0, 10).score == 9 and read_score("Score: 7.5/10", 0, 10).score == 7.5
    assert read_score("Score: 8 of 10", 0, 10).score == 8
    for share in ("8 of 10 repetitions are clean", "8 out of 10 attempts", "8 of 10 are clean"):
        assert read_score(share, 0, 10).score is None, "a share is no score"


def test_every_score_survives_digits_and_words() -> None:
    draws = random.Random(0)
    for _ in range(400):
        value = round(draws.uniform(0, 104.5), draws.choice([0, 1, 2]))
        words = in_words(value)
        for text in (
            f"It scores {value:g} points.",
            f"It scores {words} points.",
            f"A total of {words.replace('-', ' ')} points",
        ):
            assert read_score(text, 0, 105).score == pytest.approx(value), text


def test_actions_are_found_in_other_words_and_not_inside_others() -> None:
    text = "A back two-and-a-half somersault with one twist, in the PIKE position; feedback came forward."
    assert named_actions(text, NAE_KNOWLEDGE["actions"]) == [
        "backward",
        "2.5 somersaults",
        "1 twists",
        "pike",
        "forward",
    ]
    nae = NaeFormat(NAE_KNOWLEDGE, NaeOptions())
    assert nae.parse("A backward dive. He arches the back and leans slightly forward. 50 points").actions == [
        "backward"
    ]
    assert named_actions("feedback, tucked", {"back": "backward", "tuck": "tuck"}) == []
    assert in_digits("Twenty-One and a half") == "21.5"


# --- parsers ---------------------------------------------------------------------------------------------------------


def test_what_is_taught_is_read_back() -> None:
    draws = random.Random(1)
    words = lambda: " ".join("".join(draws.choices(string.ascii_lowercase, k=5)) for _ in range(draws.randint(1, 9)))  # noqa: E731
    desc = DescCoachFormat(DESC_KNOWLEDGE, DescCoachOptions())
    cot = CotAfaFormat({"steps": STEPS}, CotAfaOptions())
    for _ in range(200):
        points = {n: (words() if draws.random() < 0.6 else "", words() if draws.random() < 0.6 else "") for n in draws.sample(DIMENSIONS, 4)}  # fmt: skip
        overall, score = words(), round(draws.uniform(0, 10), 2)
        read = desc.parse(structured(points, overall, score))
        assert (read.text, read.score) == (overall, score)
        assert read.findings == [n for n in DIMENSIONS if points.get(n, ("", ""))[1]]
        chain = [
            ChainStep(n, words(), words() if draws.random() < 0.5 else "") for n in sorted(draws.sample(range(1, 6), 3))
        ]
        verdict = draws.choice(["standard", "non-standard"])
        text = explanation("squat jump", verdict, chain)
        assert [(c.step, c.outcome.rstrip("."), c.solution.rstrip(".")) for c in read_chain(text)] == [tuple(vars(c).values()) for c in chain]  # fmt: skip
        answer = cot.parse(text)
        assert (answer.label, answer.verdict, answer.unread) == ("squat jump", verdict, None)
        assert answer.findings == [f"step {c.step}" for c in chain if c.solution]


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("Step 1: the knees cave in. Solution:", [ChainStep(1, "the knees cave in.", "")]),
        ("Step 1: the knees cave in. Solution", [ChainStep(1, "the knees cave in.", "")]),
        (
            "Step 1: the knees cave in. **Solution:** push them out.",
            [ChainStep(1, "the knees cave in.", "push them out.")],
        ),
        (
            "Step 2: high. solution : sit lower. Step 3: fine.",
            [ChainStep(2, "high.", "sit lower."), ChainStep(3, "fine.", "")],
        ),
        ("Step 1: high → Solutions: sit lower", [ChainStep(1, "high", "sit lower")]),
        (
            "Step 1: low. Resolution: the video is blurred.",
            [ChainStep(1, "low. Resolution: the video is blurred.", "")],
        ),
        ("Step 1: a good solution is found.", [ChainStep(1, "a good solution is found.", "")]),
        ("Step 1: fine. Solution: None.", [ChainStep(1, "fine.", "")]),
        ("Step 1: Observed outcome: high. Solution: Solution: sit.", [ChainStep(1, "high.", "Solution: sit.")]),
    ],
)
def test_links_of_a_chain_and_where_it_is_cut_off(text: str, links: list[ChainStep]) -> None:
    assert read_chain(text) == links
    answer = CotAfaFormat({"steps": STEPS}, CotAfaOptions()).parse(f"The squat action is bad. {text}")
    assert answer.findings == [f"step {link.step}" for link in links if link.solution]
    assert answer.unread == (["cut off before a solution"] if re.search(r"Solution:?$", text) else None)


def test_sections_come_in_any_order_and_dress() -> None:
    text = "### Score: nine out of ten\n\n**Overall commentary**\nGood kick.\nPlant it nearer.\n\n2) feet and heels\n- **What can be improved:** plant\n  nearer\n- Strengths: none"
    read = DescCoachFormat(DESC_KNOWLEDGE, DescCoachOptions()).parse(text)
    assert read == Answer("Good kick. Plant it nearer.", 9.0, findings=["Feet & Heels"])


def test_short_answers_hold_the_facts() -> None:
    facts = {
        "task": "Kick",
        "techpoints": {},
        "commentary": {"Feet & Heels": ("", "Plant it."), "Legs & Knees": ("Loose.", "")},
    }
    known = replace(
        item(**facts), references=["The squat action in this video is bad. Step 2: high. Solution: sit lower."]
    )
    known = replace(
        known,
        truth=replace(known.truth, score=7.5, actions=["forward", "pike"], verdict="non-standard"),
    )
    said = [form.short(known).messages[-1]["content"][0]["text"] for form in formats()]
    assert said == [
        "forward, pike: 7.5 points",
        "squat: high in step 2, so non-standard",
        "Feet & Heels: Plant it.\nScore: 7.5",
    ]


def test_what_is_missing_is_listed() -> None:
    desc = DescCoachFormat(DESC_KNOWLEDGE, DescCoachOptions())
    assert desc.parse("Head & Eyes\nDone well: yes").unread == ["no overall commentary", "no score"]
    assert desc.parse("Overall: fine\nScore: 3 or 4").unread == ["no technical point", RANGE]
    assert desc.parse("Overall: fine\nScore: 3\nScore: 4").unread == ["no technical point", SEVERAL]
    assert desc.parse("Arms & Elbows: they flare\nOverall: fine\nScore: 3").unread == [
        "no technical point",
        "text under no heading",
    ]
    assert desc.parse("Arms & Elbows\nTo improve: None.\nOverall: fine\nScore: 3") == Answer("fine", 3.0, findings=[])
    assert desc.parse("rubbish").findings is None, "nothing read is not nothing to improve"
    assert desc.parse("").unread == ["no overall commentary", "no technical point", "no score"]
    nae = NaeFormat(NAE_KNOWLEDGE, NaeOptions())
    assert nae.parse("A dive.").unread == [NO_SCORE, "no action"] and nae.parse("A dive.").actions is None
    cot = CotAfaFormat({"steps": STEPS}, CotAfaOptions()).parse("The lunge action is fine.")
    assert cot.unread == ["no verdict", "no known action"] and cot.label is None and cot.findings is None


@pytest.mark.parametrize("seed", range(3))
def test_no_text_crashes_a_parser(seed: int) -> None:
    draws = random.Random(seed)
    pieces = [
        "Score", ":", "\n", "9", "out of", "ten", "Step", "2", "999999999999999999999999", "Solution", "**", "#", "Overall", "Head & Eyes",
        "To improve", "the squat action", "is bad", "point", "and a half", "-", "–", "½", "\u2028", "\0", "😀", "1e309", "nan", "(", "[", "\\",
    ]  # fmt: skip
    for _ in range(300):
        text = draws.choice([" ", "", "\n"]).join(draws.choices(pieces, k=draws.randint(0, 14)))
        for form in formats():
            answer = form.parse(text)
            assert isinstance(answer, Answer) and (answer.score is None or 0 <= answer.score <= 105)
            slot = None if isinstance(form, CotAfaFormat) else form.score_slot(text)
            assert slot is None or slot.values


def test_verdicts_and_their_negations() -> None:
    cot = CotAfaFormat({"steps": STEPS}, CotAfaOptions())
    for text, verdict in (
        ("The squat action in this video is bad.", "non-standard"),
        ("The squat action in this video is not good.", "non-standard"),
        ("This squat was performed non-standard.", "non-standard"),
        ("The Squat action is standard. It is not bad.", "standard"),
        ("The lighting is good. The squat action is bad.", "non-standard"),
        ("It is not done to standard.", "non-standard"),
        ("It was performed up to standard.", "standard"),
        ("The squat is not performed correctly. It is good to lower the hips.", "non-standard"),
        ("It is good that she warms up. The squat is bad.", "non-standard"),
        ("The squat action is very bad.", "non-standard"),
        ("It isn't good.", "non-standard"),
        ("It isn\u2019t good.", "non-standard"),
        ("It's not very good.", "non-standard"),
        ("The action isn't bad.", "standard"),
        ("It is not non-standard.", "standard"),
        ("It is not only good but excellent.", "standard"),
        ("The form is far from perfect.", "non-standard"),
        ("The squat was executed poorly.", "non-standard"),
        ("The squat is being done correctly.", "standard"),
        ("The action is classified as 'good'.", "standard"),
        ('The action is "**bad**".', "non-standard"),
        ("This is not a good execution.", "non-standard"),
        ("The action does not meet the standard.", "non-standard"),
        ("The action meets the standard.", "standard"),
        ("If the action is good, keep it. It is bad.", "non-standard"),
        ("It is good to lower the hips.", None),
        ("Whether the action is good depends.", None),
        ("Is the action good?", None),
        ("The action could be better, and would be good.", None),
        ("It is neither good nor bad.", None),
    ):
        assert cot.parse(text).verdict == verdict, text
    counted = cot.parse("It is bad because the knees cave in. You should push them out. As a result it hurts.").counts
    assert counted == {"reasoning_steps": 2, "suggestions": 1, "chain_links": 0}


# --- questions -------------------------------------------------------------------------------------------------------


def asked(form: TaskFormat, of: TaskItem, ranking: dict[str, float] | None = None) -> str:
    """The question for words, after a first pass with this ranking where there is one."""
    dialogue = form.questions(of)
    (question,) = next(dialogue)
    if ranking is not None:
        assert isinstance(question, Choice) and question.ends and list(question.candidates) == list(ranking)
        (question,) = dialogue.send([Likelihoods(np.array([*ranking.values()]), np.zeros(len(ranking)))])
    assert isinstance(question, Words) and question.limit == form.max_new_tokens
    return "\n".join(part.get("text", "<clip>") for m in question.messages for part in m["content"])


def test_difficulty_is_told_only_when_asked_for() -> None:
    dive = item(difficulty=3.2)
    assert "3.2" not in asked(NaeFormat(NAE_KNOWLEDGE, NaeOptions()), dive)
    told = NaeFormat(NAE_KNOWLEDGE, NaeOptions(difficulty=True))
    assert "Its difficulty is 3.2." in asked(told, dive) and "difficulty: told" in told.inputs
    with pytest.raises(ValueError, match="1_7 has no difficulty"):
        asked(told, item())


def test_score_intervals_are_the_papers_quantiles_in_words() -> None:
    # Eq. 5 and 6 with N = 5 scores and R = 2: S*(floor(4·0/2)), S*(floor(4·1/2)), S*(floor(4·2/2)).
    assert score_intervals(NAE_KNOWLEDGE["scores"], 2) == [(30.0, 60.0), (60.0, 91.2)]
    text = asked(NaeFormat(NAE_KNOWLEDGE, NaeOptions(score_intervals=2)), item())
    assert "thirty to sixty; sixty to ninety-one point two" in text or "thirty point zero to sixty" in text


def test_steps_come_from_the_predicted_class_and_the_leak_says_so() -> None:
    ranking = {"squat": -5.0, "squat jump": -1.0}
    squat = item()
    by_steps = {steps: CotAfaFormat({"steps": STEPS}, CotAfaOptions(steps)) for steps in ("predicted", "ground-truth", "none", "retrieved")}  # fmt: skip
    assert "How squat jump is done:" in asked(by_steps["predicted"], squat, ranking)
    assert "How squat is done:" in asked(by_steps["ground-truth"], squat, ranking)
    assert "is done:" not in asked(by_steps["none"], squat, ranking)
    assert asked(by_steps["retrieved"], squat, ranking).count(" is done:") == 2
    assert by_steps["ground-truth"].inputs == ["steps: ground-truth (leak: tells the class)"]
    conversation = by_steps["retrieved"].conversation(squat, 0)
    assert conversation.supervised == (2, 4) and conversation.messages[2]["content"][0]["text"] == "squat"


def test_the_hint_names_what_the_truth_mentions() -> None:
    facts = {
        "task": "Penalty Kick",
        "techpoints": {"Feet & Heels": "Plant it."},
        "commentary": {"Feet & Heels": ["", "x"]},
    }
    for options, hinted, shown in (
        (DescCoachOptions(), False, True),
        (DescCoachOptions(hint=True, techpoints=False), True, False),
    ):
        form = DescCoachFormat(DESC_KNOWLEDGE, options)
        text = asked(form, item(**facts))
        assert ("Pay attention to Feet & Heels." in text) == hinted and ("Plant it." in text) == shown
        assert any(("told (a hint" in line) == hinted for line in form.inputs if line.startswith("mentioned"))


def test_the_slot_of_a_score() -> None:
    nae = NaeFormat(NAE_KNOWLEDGE, NaeOptions())

    def before(text: str) -> str:
        return nae.score_slot(text).before

    assert (
        before("A forward 1.5 somersaults dive. It scores 60.5 points.") == "A forward 1.5 somersaults dive. It scores"
    )
    assert before("2.5 somersaults. It scores 2.5 points") == "2.5 somersaults. It scores", (
        "not where actions are counted"
    )
    assert before("It earns Sixty-point five points.".replace("Sixty-", "Sixty ")) == "It earns", "in words too"
    assert before("A dive.") == "A dive. The score is" and before("") == "The score is"
    values = nae.score_slot("A dive.").values
    assert values == {f"{score:g} points": score for score in NAE_KNOWLEDGE["scores"]}
    for text, after, last in (
        ("It scores 60 points.", " points", False),
        ("It scores 60. Good", ". Good", False),
        ("It scores 60.", ".", True),
        ("It scores 60.0", "", True),
        ("Score: sixty/105", "/105", False),
    ):
        slot = nae.score_slot(text)
        assert (slot.values[f"45.5{after}"], slot.last) == (45.5, last), text
    assert before("It turns 90 degrees and scores 9 points") == "It turns 90 degrees and scores", (
        "9 does not stand in 90"
    )
    desc = DescCoachFormat({**DESC_KNOWLEDGE, "scores": [2.0, 22 / 3]}, DescCoachOptions())
    for text in ("Overall: fine\nScore: 4", "Overall: fine\n**Final score**: 4\nmore", "Overall: fine"):
        assert desc.score_slot(text) == ScoreSlot("Overall: fine\nScore:", {"2": 2.0, "7.33": 22 / 3}, last=True), text
    assert "Score: 7.33" in structured({}, "fine", 22 / 3), "candidates are written as they are taught"
    assert DescCoachFormat(DESC_KNOWLEDGE, DescCoachOptions("commentary")).score_slot("x") is None


# --- checks of the annotation pipelines ------------------------------------------------------------------------------


def test_a_narrative_that_altered_something_is_noticed() -> None:
    form, truth = (
        NaeFormat(NAE_KNOWLEDGE, NaeOptions()),
        Answer(score=60.5, actions=["forward", "1.5 somersaults", "pike"]),
    )
    good = "A forward one and a half somersaults in pike, clean to the end. It earns sixty point five points."
    assert altered(truth, good, form) is None
    for text, problem in (
        (good.replace("sixty", "seventy"), "score 70.5 instead of 60.5"),
        (good.replace(" It earns sixty point five points.", ""), "score no score instead of 60.5"),
        (good.replace("pike", "tuck"), "actions"),
        (good.replace("forward", "forward, backward"), "actions"),
        (good + " Its difficulty is 3.4.", r"numbers \['3.4'\]"),
    ):
        found = altered(truth, text, form)
        assert found is not None and re.search(problem, found), (text, found)


def test_explanations_that_contradict_themselves_are_noticed() -> None:
    form = CotAfaFormat({"steps": STEPS}, CotAfaOptions())

    def problems(verdict: str, chain: list[ChainStep], said: str | None = None) -> list[str]:
        return inconsistencies(form.parse(explanation("squat", said or verdict, chain)), verdict, chain, STEPS["squat"])

    fine, bad = ChainStep(1, "fine", ""), ChainStep(2, "high", "sit lower")
    assert problems("standard", [fine]) == [] and problems("non-standard", [fine, bad]) == []
    assert problems("standard", [bad]) == ["standard, but mends step 2"]
    assert problems("non-standard", [fine]) == ["non-standard, but mends no step"]
    assert problems("standard", [fine], "non-standard") == ["says non-standard, the label is standard"]
    assert problems("non-standard", [bad, bad]) == ["a step occurs twice"]
    assert problems("non-standard", [replace(bad, step=7)]) == ["step 7 is none of the 3"]


# --- tasks by name ---------------------------------------------------------------------------------------------------


def test_tasks_and_switches_are_found_or_refused() -> None:
    assert find_task("nae") is TASKS["nae"]
    assert task_options(TASKS["nae"], {"difficulty": "true", "score_intervals": "7"}) == NaeOptions(True, 7)
    for call, message in (
        (lambda: find_task("golf"), "Unknown task 'golf'; choose from expertaf, nae, cot-afa, desccoach, table"),
        (lambda: find_task("golf:TASK"), "cannot be imported: No module named 'golf'"),
        (lambda: find_task("json:dumps"), "json:dumps is a function, not a Task"),
        (
            lambda: task_options(TASKS["nae"], {"hint": True}),
            "nae has no switch 'hint'; it has difficulty, score_intervals",
        ),
        (lambda: task_options(TASKS["desccoach"], {"hint": "yes"}), "hint is 'yes'; give true or false"),
        (lambda: task_options(TASKS["nae"], {"score_intervals": "x"}), "give a number"),
        (
            lambda: task_options(TASKS["cot-afa"], {"steps": "true class"}),
            "choose from predicted, retrieved, ground-truth, none",
        ),
        (lambda: task_options(TASKS["nae"], {"score_intervals": -1}), "score_intervals is -1"),
        (lambda: task_options(TASKS["desccoach"], {"output": "all"}), "choose full or commentary"),
    ):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            call()
