"""Labellers: rules, polarity and a language model behind an endpoint that fails in every way it can."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, answer, slow
from tiny_coach import ROOT, launch

from mm_data.asking.completions import Endpoint, EndpointError
from mm_data.ground.funnel import Funnel
from mm_data.ground.jsonl import append_record, read_records
from mm_data.labelling import Labels, LlmLabeller, PolarityLabeller, RulesLabeller, label_remarks, read_labels
from mm_data.labelling.agreement import LABELS, cohen_kappa, compare_labels
from mm_data.labelling.llm import LOG, NOT_MENTIONED, labels_schema, remark_prompt
from mm_data.labelling.rules import label_by_rules
from mm_data.miniature.truth import MiniatureTruth
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CORRECT, IMPROVE, Demonstration, LabelledRemark, Remark
from mm_data.release.egoexo4d import read_release


def remark(text: str, number: int = 0) -> Remark:
    return Remark(f"take/abc/{number}", "take", "abc", 1.0, text)


def labels(summary: str = "Bend the knees.", **regions: str) -> str:
    return json.dumps({"summary": summary, "regions": {r: regions.get(r, NOT_MENTIONED) for r in REGIONS}})


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "regions", "summary"),
    [
        (
            "Um, so the elbow is sticking out too wide. You want to bring it in line. Yeah.",
            {"arms": IMPROVE},
            "The elbow is sticking out too wide; bring it in line.",
        ),
        ("You know, great push from the legs.", {"legs": CORRECT}, "Great push from the legs."),
        (
            "The head stays down well, but there is too much backward lean in the trunk. Try to stay over the ball.",
            {"head": CORRECT, "torso": IMPROVE},
            "There is too much backward lean in the trunk; stay over the ball.",
        ),
        (
            "The knees stay too straight, so use the hands less. I will give this a five out of ten.",
            {"legs": IMPROVE},
            "The knees stay too straight; use the hands less.",
        ),
        ("Good stance, feet shoulder width apart.", {"feet": CORRECT}, "Good stance, feet shoulder width apart."),
    ],
)
def test_rules(text: str, regions: dict[str, str], summary: str) -> None:
    result = label_by_rules(remark(text))
    assert isinstance(result, LabelledRemark)
    assert (result.regions, result.summary) == (regions, summary)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("I will give this a six out of ten.", "no body region"), ("He moves his foot now.", "takes no side")],
)
def test_remarks_without_content_are_dropped_with_a_reason(text: str, reason: str) -> None:
    assert label_by_rules(remark(text)) == reason


def test_rules_against_the_truth_of_a_miniature(big_miniature: Path, big_tuples: Path) -> None:
    agreement = compare_labels(read_labels(big_tuples / "labels.jsonl"), MiniatureTruth(big_miniature).labels())
    assert agreement.compared > 3000
    for region in agreement.regions:
        for label in (IMPROVE, CORRECT):
            precision, recall = region.precision(label), region.recall(label)
            assert precision is not None and precision >= 0.97, (region.region, label, region.confusion)
            assert recall is not None and recall >= 0.97, (region.region, label, region.confusion)


# --- polarity --------------------------------------------------------------------------------------------------------


def test_polarity_takes_the_nearest_moment_of_the_same_commentator() -> None:
    moments = [
        Demonstration("take", "abc", 1.1, False, ("The knees are too straight",)),
        Demonstration("take", "abc", 1.1, True, ("Good grip", "Nice head position")),
        Demonstration("take", "abc", 1.4, False, ("The elbow flares",)),
        Demonstration("take", "xyz", 1.0, False, ("The torso leans",)),
    ]
    (result,) = PolarityLabeller(moments).label([remark("whatever was said")])
    assert isinstance(result, LabelledRemark)
    assert result.regions == {"hands": CORRECT, "head": CORRECT, "legs": IMPROVE}
    assert result.summary == "The knees are too straight."
    far = Remark("take/abc/1", "take", "abc", 3.0, "later")
    assert PolarityLabeller(moments).label([far]) == ["no judgement of this moment"]
    with pytest.raises(ValueError, match="proficiency_demonstration"):
        PolarityLabeller([])


def test_polarity_of_a_miniature_finds_what_is_wrong(big_miniature: Path) -> None:
    source, truth = read_release(big_miniature), MiniatureTruth(big_miniature).labels()
    results = PolarityLabeller(source.demonstrations).label(source.remarks)
    found = {r.remark.remark_id: r.regions for r in results if not isinstance(r, str)}
    agreement = compare_labels(Labels("polarity", found), truth)
    assert agreement.compared > 2500
    assert all((region.recall(IMPROVE) or 0) > 0.95 for region in agreement.regions)


# --- agreement -------------------------------------------------------------------------------------------------------


def test_kappa_of_a_known_table() -> None:
    # Cohen (1960) by hand: p_o = 0.7, p_e = 0.6 * 0.5 + 0.4 * 0.5 = 0.5, kappa = 0.4.
    a, b = LABELS[0], LABELS[1]
    table = Counter({(a, a): 40, (a, b): 20, (b, a): 10, (b, b): 30})
    assert cohen_kappa(table) == pytest.approx(0.4)
    assert cohen_kappa(Counter({(a, a): 7})) is None, "chance explains everything"
    assert cohen_kappa(Counter()) is None


def test_agreement_counts_what_cannot_be_compared(tmp_path: Path) -> None:
    first = Labels("one", {"x": {"legs": IMPROVE}, "y": {}, "only one": {}}, frozenset({"z"}))
    second = Labels("two", {"x": {"legs": CORRECT}, "y": {}, "z": {}})
    agreement = compare_labels(first, second)
    assert (agreement.compared, agreement.failed, agreement.only_one) == (2, 1, 1)
    legs = next(region for region in agreement.regions if region.region == "legs")
    assert legs.examples == ["x"] and legs.precision(IMPROVE) == 0 and legs.recall(IMPROVE) is None
    with pytest.raises(ValueError, match="no remark in common"):
        compare_labels(first, Labels("two", {"q": {}}))


def test_label_file_keeps_every_outcome(tmp_path: Path) -> None:
    remarks = [remark("Good legs.", 0), remark("Here we go.", 1), remark("He moves his foot.", 2)]
    funnel = Funnel("label", 1.0)
    label_remarks(RulesLabeller(), remarks, tmp_path / "labels.jsonl", funnel)
    loaded = read_labels(tmp_path / "labels.jsonl")
    assert loaded.regions == {"take/abc/0": {"legs": CORRECT}, "take/abc/1": {}, "take/abc/2": {}}
    assert loaded.texts["take/abc/1"] == "Here we go." and not loaded.failed
    assert funnel.summary()["dropped"] == {"no body region": 1, "takes no side": 1}


# --- language model --------------------------------------------------------------------------------------------------


def test_prompt_is_the_golden_one() -> None:
    """A changed prompt changes labels: give it a new version and a new golden file."""
    rendered = "\n=====\n".join(
        f"{m['role']}\n{m['content']}" for m in remark_prompt('Keep the "elbow" in.', "Mid-Range Jumpshot")
    )
    assert rendered + "\n" == (ROOT / "tests/golden/remark-labels-1.txt").read_text()


def behave(question: str, before: int) -> tuple[int, object]:
    text = question.split('"')[1]
    rules: dict[str, object] = {
        "429 twice": (429, {"error": "slow down"}) if before < 2 else (200, labels(legs=IMPROVE)),
        "500 once": (500, {"error": "oops"}) if before < 1 else (200, labels(arms=CORRECT)),
        "500 always": (500, {"error": "oops"}),
        "too slow": (200, slow(1.5, labels(legs=IMPROVE))) if text == "too slow" else None,
        "refused": (200, answer("", refusal="I cannot help with that.")),
        "filtered": (200, answer("", finish_reason="content_filter")),
        "truncated": (200, answer('{"summary": "Ben', finish_reason="length")),
        "not json": (200, "Sure! Here are the labels:"),
        "not json once": (200, "oops") if before < 1 else (200, labels(feet=IMPROVE)),
        "unknown region": (200, json.dumps({"summary": "x", "regions": {"tail": IMPROVE}})),
        "unknown label": (200, labels(legs="bad")),
        "missing field": (200, json.dumps({"summary": "x"})),
        "a list": (200, "[]"),
        "rejected": (400, {"error": "context too long"}),
        "nothing said": (200, labels(summary="")),
        "no choices": (200, {**answer(""), "choices": []}),
    }
    return rules.get(text) or (200, labels(head=CORRECT))  # type: ignore[return-value]


EXPECTED = {
    "429 twice": {"legs": IMPROVE},
    "500 once": {"arms": CORRECT},
    "500 always": "LLM: server error",
    "too slow": "LLM: timed out",
    "refused": "LLM: refused",
    "filtered": "LLM: content filter",
    "truncated": "LLM: truncated",
    "not json": "LLM: not JSON",
    "not json once": {"feet": IMPROVE},
    "unknown region": "LLM: wrong content",
    "unknown label": "LLM: wrong content",
    "missing field": "LLM: wrong content",
    "a list": "LLM: wrong content",
    "rejected": "LLM: request rejected",
    "nothing said": "no body region",
    "no choices": "LLM: server error",
    "fine": {"head": CORRECT},
}


def test_every_failure_has_a_class_and_transient_ones_are_asked_again(tmp_path: Path) -> None:
    remarks = [remark(text, number) for number, text in enumerate(EXPECTED)]
    with ScriptedEndpoint(behave).running() as server:
        endpoint = Endpoint(server.url, "scripted", timeout=0.5, retries=2, concurrency=4)
        labeller = LlmLabeller(endpoint, {"take": "Penalty Kick"}, tmp_path / LOG)
        outcomes = [r if isinstance(r, str) else r.regions for r in labeller.label(remarks)]
        assert dict(zip(EXPECTED, outcomes, strict=True)) == EXPECTED
        assert server.most_in_flight <= 4
        body = server.bodies[0]
        assert body["response_format"]["json_schema"]["schema"] == labels_schema().json_schema
        assert server.asked[remark_prompt("429 twice", "")[1]["content"]] == 3
        seeds = [b["seed"] for b in server.bodies if '"not json"' in b["messages"][-1]["content"]]
        assert seeds == [0, 1], "a malformed answer is asked for once more, with another seed"

        before = Counter(server.asked)
        assert [r if isinstance(r, str) else r.regions for r in labeller.label(remarks)] == outcomes
        again = {question.split('"')[1] for question, count in server.asked.items() if count > before[question]}
        assert again == {"500 always", "too slow", "no choices", "rejected"}, "only what was never answered"


def test_equal_questions_are_asked_once_and_the_estimate_knows(tmp_path: Path) -> None:
    remarks = [remark("fine", 0), remark("fine", 1), remark("429 twice", 2)]
    with ScriptedEndpoint(behave).running() as server:
        labeller = LlmLabeller(Endpoint(server.url, "scripted"), {"take": "x"}, tmp_path / LOG)
        estimate = labeller.estimate(remarks)
        assert (estimate.requests, estimate.cached) == (2, 0) and estimate.prompt_tokens > 300
        assert not server.asked, "an estimate asks nothing"
        assert all(not isinstance(r, str) for r in labeller.label(remarks))
        assert server.asked[remark_prompt("fine", "")[1]["content"]] == 1
        done = labeller.estimate(remarks)
        assert (done.cached, done.prompt_tokens, done.cost(1.0, 1.0)) == (2, 0, 0.0)
        other = LlmLabeller(Endpoint(server.url, "another"), {"take": "x"}, tmp_path / LOG)
        assert other.estimate(remarks).cached == 0, "another model's answers are not reused"


def test_a_dead_or_unwilling_endpoint_stops_the_run(tmp_path: Path) -> None:
    remarks = [remark(f"remark {number}", number) for number in range(60)]
    dead = Endpoint("http://127.0.0.1:9/v1", "scripted", retries=0, concurrency=4)
    with pytest.raises(EndpointError, match=r"20 requests in a row failed.*unreachable.*finished answers are kept"):
        LlmLabeller(dead, {"take": "x"}, tmp_path / LOG).label(remarks)
    with ScriptedEndpoint(lambda question, before: (404, {"error": "no such model"})).running() as server:
        with pytest.raises(EndpointError, match=r"refuses model 'scripted'.*model's name and the key"):
            LlmLabeller(Endpoint(server.url, "scripted"), {"take": "x"}, tmp_path / LOG).label(remarks)
        assert sum(server.asked.values()) <= 8


def test_a_killed_run_resumes_without_repeating_a_finished_call(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def script(question: str, before: int) -> tuple[int, object]:
        return 200, slow(0.05, labels(legs=IMPROVE))

    with ScriptedEndpoint(script).running() as server:
        command = [
            "mm-coach", "data", "label", str(tiny / "miniature"), str(out), "--labeller", "llm",
            "--base-url", server.url, "--model", "scripted", "--concurrency", "2",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(read_records(out / LOG)[0]) < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = {record["key"] for record in read_records(out / LOG)[0]}
        assert len(finished) >= 20
        with (out / LOG).open("ab") as log:
            log.write(b'{"key": "cut off by the cra')
        launch(*command)
        records, torn = read_records(out / LOG)
        assert torn == 1
        assert len({record["key"] for record in records}) == len(records), "no finished call was repeated"
        asked = Counter(json.dumps(body["messages"]) for body in server.bodies)
        repeated = [question for question, count in asked.items() if count > 1]
        assert len(repeated) <= 2, "only what was in flight at the kill"
        assert len(asked) == len(records) > len(finished)
    assert read_labels(out / "labels.jsonl").regions


def test_answers_with_broken_unicode_are_kept(tmp_path: Path) -> None:
    broken = (
        '{"summary": "half \\ud83d", "regions": '
        + json.dumps(dict.fromkeys(REGIONS, NOT_MENTIONED) | {"legs": IMPROVE})
        + "}"
    )
    with ScriptedEndpoint(lambda question, before: (200, broken)).running() as server:
        labeller = LlmLabeller(Endpoint(server.url, "scripted"), {"take": "x"}, tmp_path / LOG)
        (result,) = labeller.label([remark("fine")])
        assert isinstance(result, LabelledRemark) and result.regions == {"legs": IMPROVE}
        label_remarks(labeller, [remark("fine")], tmp_path / "labels.jsonl", Funnel("label", 1.0))
        assert sum(server.asked.values()) == 1 and read_labels(tmp_path / "labels.jsonl").regions


def test_append_only_files_survive_torn_lines_and_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    append_record(path, {"a": 3})
    assert read_records(path) == ([{"a": 1}, {"a": 3}], 1)
    program = "import sys; from pathlib import Path; from mm_data.ground.jsonl import append_record\nfor i in range(200): append_record(Path(sys.argv[1]), {'writer': sys.argv[2], 'i': i, 'text': 'x' * 500})"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert all(writer.wait() == 0 for writer in writers)
    records, torn = read_records(path)
    assert len(records) == 602 and torn == 1
    for name in "abc":
        assert [r["i"] for r in records if r.get("writer") == name] == list(range(200))
