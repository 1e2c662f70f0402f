"""Forms of answers: what is sent of a model, which replies pass, and the keys by which finished answers are found again."""

from typing import Annotated, Any

import pytest
from pydantic import model_validator

from mm_data.asking.completions import Endpoint, request_key
from mm_data.asking.forms import Form, OneOf, Text, answer_schema
from mm_eval.judge import protocols


class Remark(Form):
    """Says what is seen."""

    part: Annotated[str, OneOf(("knee",))]
    text: Text


class Remarks(Form):
    """Remarks with a score."""

    remarks: list[Remark]
    score: float = 0.0

    @model_validator(mode="after")
    def _is_short(self) -> "Remarks":
        if len(self.remarks) > 2:
            raise ValueError("more than two remarks")
        return self


SCHEMA = answer_schema("remarks-1", Remarks, lambda answer: "score 7" if answer.score == 7 else None)
KNEE = {"part": "knee", "text": "Bend it."}


def test_endpoints_get_every_field_required_and_nothing_else() -> None:
    remark = {
        "type": "object",
        "properties": {"part": {"type": "string", "enum": ["knee"]}, "text": {"type": "string"}},
        "required": ["part", "text"],
        "additionalProperties": False,
    }
    assert SCHEMA.name == "remarks-1" and SCHEMA.json_schema == {
        "type": "object",
        "properties": {"remarks": {"type": "array", "items": remark}, "score": {"type": "number"}},
        "required": ["remarks", "score"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"remarks": [KNEE], "score": 1}, None),
        ({"remarks": []}, None),
        (None, "the answer has to be an object"),
        ({"remarks": ["x"]}, "'remarks.0' has to be an object"),
        ({"score": 1.0}, "'remarks' is missing"),
        ({"remarks": [], "more": 1}, "'more' was not asked for"),
        ({"remarks": [], "score": True}, "'score' is True; input should be a valid number"),
        ({"remarks": [], "score": float("nan")}, "'score' is nan; input should be a finite number"),
        ({"remarks": [KNEE | {"part": "tail"}]}, "'remarks.0.part' is 'tail'; input should be 'knee'"),
        ({"remarks": [KNEE, KNEE | {"text": " "}]}, "'remarks.1.text' is empty"),
        ({"remarks": [KNEE] * 3}, "more than two remarks"),
        ({"remarks": [], "score": 7}, "score 7"),
    ],
)
def test_replies_are_refused_in_a_sentence(content: Any, problem: str | None) -> None:
    assert SCHEMA.problem(content) == problem


def test_finished_answers_of_judges_are_found_again() -> None:
    """Who changes a key asks, and pays for, every judgement anew."""
    endpoint = Endpoint("http://127.0.0.1/v1", "m")
    requests = (
        protocols.details_request("Bend the knees."),
        protocols.verdicts_request("n", ["x", "y"], "Bend the knees.", 1),
        protocols.counts_request("n", "t", "u", 0),
        protocols.rating_request("n", "t", 2),
        protocols.preference_request("n", "t", "a", "b", 0),
    )
    assert [request_key(endpoint, request)[:12] for request in requests] == [
        "f5ed05e9af17",
        "5bcea0ffbaa9",
        "6ddb9a84ffb1",
        "6bdc85e88d19",
        "e2dc4211e09c",
    ]
