"""Scores and verdicts of answers that say something else beside them: what is not certain is unread, never wrong."""

import pytest

from mm_adapter.tasks.cot_afa.files import stated_verdict
from mm_data.tasks.numbers import NO_SCORE, RANGE, SEVERAL, read_score


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Final score: 87 1/2", 87.5),
        ("Final score: 87½ points", 87.5),
        ("score: 87 ½", 87.5),
        ("2 1/2 somersaults, a score of 77", 77.0),
        ("2½ twists", NO_SCORE),
        ("deduction: 5 points", NO_SCORE),
        ("Penalty: 2.5 points. Score: 60", 60.0),
        ("a bonus of 2 points", NO_SCORE),
        ("a difference of 12 points", NO_SCORE),
        ("5 points were deducted", NO_SCORE),
        ("score > 70", RANGE),
        ("score: ≥70", RANGE),
        ("score <= 70", RANGE),
        ("score: <70", RANGE),
        ("> score: 70", 70.0),
        ("> 70", RANGE),
        ("score: 70+", RANGE),
        ("Score: 8.5 + 8.0 + 9.0 = 25.5", 25.5),
        ("3.1 × 25 = 77.5", 77.5),
        ("25 points times 3.1", NO_SCORE),
        ("3.2 x 24 gives 76.8 points", 76.8),
        ("received 1 deduction", NO_SCORE),
        ("she is given 2 chances", NO_SCORE),
        ("the judges gave it one star", NO_SCORE),
        ("it earns three 9s", NO_SCORE),
        ("a total of 4 entries", NO_SCORE),
        ("a total of 5 splashes, 70 points", 70.0),
        ("a total of 70 reflects it", 70.0),
        ("Her total of 70 puts her in the lead.", 70.0),
        ("Her score of 70 beats the 65 points of her rival", SEVERAL),
        ("she gets 10 from one judge", NO_SCORE),
        ("she earns 9 for style and is awarded 1 for the rest", SEVERAL),
        ("She received 70 thanks to her entry.", 70.0),
        ("The judges gave 1 point.", 1.0),
        ("this is going to be 90 points as well", NO_SCORE),
        ("is he aiming for a hundred points this time", NO_SCORE),
        ("86.4 for him, and he picked up 15 points on it", NO_SCORE),
        ("two and a half with pike, 78 points", 78.0),
        ("a back two and a half with pike", NO_SCORE),
    ],
)
def test_what_stands_beside_a_score_is_none(text: str, wanted: float | str) -> None:
    reading = read_score(text, 0.0, 105.0)
    assert (reading.problem if isinstance(wanted, str) else reading.score) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The setup is good but the action is not standard.", "non-standard"),
        ("The action is not standard, but the grip is good.", "non-standard"),
        ("The action is good, but it was not performed correctly.", None),
        ("The landing of this action is good, but overall it is non-standard.", None),
        ("The action is not standard; it is wrong.", "non-standard"),
        ("The action is standard, and it is not bad.", "standard"),
        ("I do not think the action is standard.", None),
        ("I don't believe that the action is bad.", None),
        ("It is not true that the action is standard.", None),
        ("I doubt the action is correct.", None),
        ("There is no doubt that the action is correct.", "standard"),
        ("Nobody would say that the action is correct.", None),
        ("It isn't that the action is bad.", None),
        ("The action is correct except for the knees.", None),
        ("The action is correct only at the start.", None),
        ("The action is standard in name only.", None),
        ("The action has not been done correctly.", "non-standard"),
        ("The action had been performed well.", "standard"),
        ("The action is non\u2011standard.", "non-standard"),
        ("Non-standard.", "non-standard"),
        ("**Standard**", "standard"),
        ("Not standard", "non-standard"),
        ("very bad", "non-standard"),
        ("Not bad.", "standard"),
        ("Verdict: not correct", "non-standard"),
        ("Squats.\nVerdict: standard.", "standard"),
        ("Incorrect. The knees cave in.", "non-standard"),
        ("Step 1: feet apart. Correct. Step 2: knees. Wrong.", None),
        ("Good. The action is not standard.", "non-standard"),
        ("Standard?", None),
        ("Standard or non-standard", None),
    ],
)
def test_a_verdict_is_stated_or_unread(text: str, wanted: str | None) -> None:
    assert stated_verdict(text) == wanted
