"""Thresholds of judging and rating: words of a quote, checks failed, trouble in a row."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import ScriptedEndpoint

from mm_data.asking.completions import Endpoint, EndpointError, Request, Schema, complete
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import TestItem
from mm_eval.human.packs import CHECK, KEY, Design, make_pack
from mm_eval.human.ratings import import_answers
from mm_eval.judge.protocols import (
    counts_request,
    details_request,
    preference_request,
    rating_request,
    verdicts_request,
)


def verdict(quote: Any, said: str = "same", detail: Any = 1, reason: Any = "r") -> dict[str, Any]:
    return {"detail": detail, "quote": quote, "reason": reason, "verdict": said}


@pytest.mark.parametrize(
    ("text", "quote", "problem"),
    [
        ("Bend the knees, and look up.", "Bend the", None),
        ("Bend the knees, and look up.", "“the KNEES and”", None),
        ("Bend the knees, and look up.", "bend", "needs a quote of two words at least, found 'bend'"),
        ("Bend the knees, and look up.", "", "needs a quote of two words at least, found ''"),
        ("Bend the knees, and look up.", "bend the knee", "the quote 'bend the knee' is not in the text"),
        ("Bend the knees, and look up.", "knees look", "the quote 'knees look' is not in the text"),
        ("Bend!", "bend", None),  # there is no second word
        ("Bend!", "", "needs a quote of two words at least"),
    ],
)
def test_a_quote_is_two_words_of_the_text(text: str, quote: str, problem: str | None) -> None:
    for said in ("same", "different"):
        found = verdicts_request("x", ["a detail"], text, 0).schema.problem({"verdicts": [verdict(quote, said)]})
        assert (found is None) == (problem is None)
        assert problem is None or (found is not None and found.startswith("detail 1: ") and problem in found)
    content = {"verdicts": [verdict(quote, "not mentioned")]}
    assert verdicts_request("x", ["a detail"], text, 0).schema.problem(content) is None, "nothing said needs no quote"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "the answer has to be an object"),
        ({"verdicts": "all"}, "'verdicts' is 'all'; input should be a valid list"),
        ({"verdicts": [1, 2]}, r"'verdicts\.0' has to be an object"),
        ({"verdicts": [verdict("a b")]}, r"verdicts on the details 1 to 2 in order, found \[1\]"),
        ({"verdicts": [verdict("a b", detail=2), verdict("a b")]}, r"found \[2, 1\]"),
        (
            {"verdicts": [verdict("a b"), verdict("a b", "good", 2)]},
            r"'verdicts\.1\.verdict' is 'good'; .* 'same' or 'different'",
        ),
        ({"verdicts": [verdict(None), verdict("a b", detail=2)]}, r"'verdicts\.0\.quote' is None; .* valid string"),
        (
            {"verdicts": [verdict("a b"), verdict("a b", detail=2, reason=3)]},
            r"'verdicts\.1\.reason' is 3; .* valid string",
        ),
        ({"verdicts": [verdict("a b"), verdict("b c", detail=2)]}, None),
    ],
)
def test_verdicts_are_one_per_detail(content: Any, problem: str | None) -> None:
    found = verdicts_request("x", ["one", "two"], "a b c", 0).schema.problem(content)
    assert found is None if problem is None else re.search(problem, found or "")


@pytest.mark.parametrize(
    ("request_", "good", "bad"),
    [
        (details_request("t"), [{"details": []}, {"details": ["a"]}], [[], {}, {"details": "a"}, {"details": [" "]}, {"details": [1]}]),
        (
            counts_request("x", "t", "u", 0),
            [{"total": 0, "mentioned": 0, "same": 0}, {"total": 3, "mentioned": 3, "same": 3}],
            [
                {"total": 1, "mentioned": 2, "same": 0}, {"total": 2, "mentioned": 1, "same": 2}, {"total": 2, "mentioned": 1, "same": -1},
                {"total": 2, "mentioned": 1}, {"total": True, "mentioned": 1, "same": 1}, {"total": 2.0, "mentioned": 1, "same": 1}, [],
            ],
        ),
        (rating_request("x", "t", 0), [{"rating": 0}, {"rating": 5}], [{"rating": -1}, {"rating": 6}, {"rating": 2.5}, {"rating": True}, {}, []]),
        (preference_request("x", "t", "a", "b", 0), [{"better": "first"}, {"better": "second"}, {"better": "tie"}], [{"better": "A"}, {}, []]),
    ],
    ids=["details", "counts", "rating", "preference"],
)  # fmt: skip
def test_answers_of_judges_are_checked(request_: Request, good: list[Any], bad: list[Any]) -> None:
    assert [request_.schema.problem(content) for content in good] == [None] * len(good)
    assert all(request_.schema.problem(content) for content in bad)


# --- raters ----------------------------------------------------------------------------------------------------------


def study(folder: Path, failed: dict[str, int], seen: int) -> Path:
    """Raters who answered one question each, and of so many attention checks failed some."""
    questions: dict[str, Any] = {}
    lines = ["rater,question,label,value"]
    for rater, wrong in failed.items():
        questions[f"{rater}q"] = {
            "item_id": f"item {rater}",
            "cluster": "take",
            "systems": {"A": "ours"},
            "expected": None,
        }
        lines.append(f"{rater},{rater}q,A,3")
        for number in range(seen):
            questions[f"{rater}c{number}"] = {"item_id": CHECK, "cluster": CHECK, "systems": {}, "expected": {"A": 2}}
            lines.append(f"{rater},{rater}c{number},A,{1 if number < wrong else 2}")
    key = {"kind": "likert", "systems": ["ours"], "questions": questions, "synthetic": False}
    (folder / KEY).write_text(json.dumps(key))
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_raters_who_fail_half_of_their_checks_are_left_out(tmp_path: Path) -> None:
    study(tmp_path, {"none": 0, "one": 1, "half": 2, "most": 3, "all": 4}, seen=4)
    found = import_answers(tmp_path, [tmp_path / "all.csv"])
    assert found.left_out == ["all", "half", "most"]
    assert [rating.rater for rating in found.ratings] == ["none", "one"] and found.missing == 0
    assert found.checks == {"all": (0, 4), "half": (2, 4), "most": (1, 4), "none": (4, 4), "one": (3, 4)}
    study(tmp_path, {"odd": 1, "even": 2}, seen=3)
    assert import_answers(tmp_path, [tmp_path / "all.csv"]).left_out == ["even"]
    study(tmp_path, {"unchecked": 0}, seen=0)
    found = import_answers(tmp_path, [tmp_path / "all.csv"])
    assert found.left_out == [] and len(found.ratings) == 1 and found.checks == {}


@pytest.mark.parametrize("kind", ["likert", "rank"])
def test_longer_packs_have_more_checks(tmp_path: Path, kind: str) -> None:
    checks = {}
    for count in (2, 20, 60):
        items = [
            TestItem(f"item {i}", f"take {i}", "x", Answer("t"), {"a": Answer("A"), "b": Answer("B")})
            for i in range(count)
        ]
        out = tmp_path / str(count)
        total = make_pack(items, ["a", "b"], Design(kind, 2, 2, views=()), out)
        questions = json.loads((out / KEY).read_text())["questions"]
        assert total == len(questions)
        per_rater = Counter(name.partition("q")[0] for name, entry in questions.items() if entry["expected"])
        assert set(per_rater) == {"r1", "r2"} and len(set(per_rater.values())) == 1
        checks[count] = per_rater["r1"]
        for rater in ("r1", "r2"):
            mine = [name for name in questions if name.startswith(rater)]
            assert mine == [f"{rater}q{number}" for number in range(1, len(mine) + 1)]
            asked = Counter(questions[name]["item_id"] for name in mine)
            assert asked == {**{f"item {i}": 1 for i in range(count)}, CHECK: checks[count]}
    assert 1 <= checks[2] < checks[20] < checks[60] and checks[60] >= 4


# --- an endpoint that stumbles ---------------------------------------------------------------------------------------

FINE = Schema("anything", {"type": "object"}, lambda content: None)


def requests(count: int) -> list[Request]:
    return [Request(f"item {i}", [{"role": "user", "content": f"question {i}"}], FINE) for i in range(count)]


def test_only_trouble_in_a_row_stops_a_run(tmp_path: Path) -> None:
    """Nineteen failures, an answer, nineteen failures: thirty-eight in all, never twenty in a row."""

    def script(question: str, before: int) -> tuple[int, Any]:
        return (200, "{}") if question in ("question 19", "question 39") else (500, {"error": "oops"})

    with ScriptedEndpoint(script).running() as server:
        endpoint = Endpoint(server.url, "scripted", retries=0, concurrency=1)
        found = complete(endpoint, requests(40), tmp_path / "log.jsonl")
        assert Counter(completion.failure for completion in found.values()) == {"server error": 38, None: 2}
        assert list(found) == [f"item {i}" for i in range(40)]
        with pytest.raises(EndpointError, match="20 requests in a row failed, the last one: server error"):
            complete(
                endpoint, [r for r in requests(60) if r.item_id not in ("item 19", "item 39")], tmp_path / "log.jsonl"
            )
