"""Replies as servers really send them: each is an answer or a class of failure, and none ends a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import Script, ScriptedEndpoint, answer

from mm_data.asking.completions import (
    REJECTED,
    Completion,
    Endpoint,
    EndpointError,
    Request,
    Schema,
    complete,
    read_completions,
)
from mm_data.asking.replies import (
    NOT_JSON,
    REFUSED,
    SERVER_ERROR,
    TRUNCATED,
    WRONG_CONTENT,
    find_object,
    read_reply,
)
from mm_data.asking.settings import Settings

GOOD = {"reason": "ok", "total": 3}
TEXT = json.dumps(GOOD)
SCHEMA = Schema("test-1", {"type": "object"}, lambda content: None if "total" in content else "total is missing")


def reply(message: Any = None, choice: Any = None, **fields: Any) -> bytes:
    """A body whose message, choice or top level is replaced."""
    whole = answer(TEXT)
    if choice is not None:
        whole["choices"] = [{**whole["choices"][0], **choice}]
    if message is not None:
        whole["choices"][0]["message"] = {"role": "assistant", **message} if isinstance(message, dict) else message
    return json.dumps(whole | fields).encode()


@pytest.mark.parametrize(
    "body",
    [
        reply(),
        reply({"content": f"```json\n{TEXT}\n```"}),
        reply({"content": f"Here it is:\n```\n{TEXT}\n```\nAnything else?"}),
        reply({"content": f"<think>\nIs {{this}} it?\n</think>\n\n{TEXT}"}),
        reply({"content": f"no opening tag</think>{TEXT}"}),
        reply({"content": f"Here is the JSON:\n{TEXT}"}),
        reply({"content": f"{TEXT}\n\n<|im_end|>"}),
        reply({"content": "\ufeff" + TEXT}),
        reply({"content": TEXT.replace("ok", "line one\nline two")}),
        reply({"content": GOOD}),
        reply({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": TEXT[:5]}, {"type": "text", "text": TEXT[5:]}]}),
        reply({"content": None, "tool_calls": [{"function": {"name": "json", "arguments": TEXT}}]}, {"finish_reason": "tool_calls"}),
        reply({"content": "", "tool_calls": [{"function": {"name": "json", "arguments": GOOD}}]}),
        reply({"content": None, "function_call": {"name": "json", "arguments": TEXT}}, {"finish_reason": "function_call"}),
        reply({"content": [TEXT[:5], TEXT[5:]]}),
        reply({"content": f'<thinking>{{"total": 9}}</thinking>\n{TEXT}'}),
        reply({"content": f'<|channel|>analysis<|message|>{{"total": 9}}<|end|><|channel|>final<|message|>{TEXT}'}),
        reply({"content": None, "reasoning_content": TEXT}),
        reply(usage=None),
        reply(usage={"prompt_tokens": "10", "completion_tokens": None}),
        reply(usage=[1, 2]),
        reply(usage={"prompt_tokens": 1e400, "completion_tokens": -3}),
        reply(choice={"finish_reason": None}),
        reply(model=None),
    ],
)  # fmt: skip
def test_answers_are_found_wherever_servers_put_them(body: bytes) -> None:
    found = read_reply(body)
    assert found.failure is None and found.content is not None and found.content["total"] == 3


@pytest.mark.parametrize(
    ("body", "failure", "detail"),
    [
        (reply("null"), SERVER_ERROR, "no choices with a message"),
        (reply(choices=None), SERVER_ERROR, "no choices with a message"),
        (reply(choices=[]), SERVER_ERROR, "no choices with a message"),
        (reply(choices=[None]), SERVER_ERROR, "no choices with a message"),
        (reply(choices={"0": {}}), SERVER_ERROR, "no choices with a message"),
        (reply(choices=[{"text": TEXT}]), SERVER_ERROR, "no choices with a message"),
        (b"", SERVER_ERROR, "the response is not JSON"),
        (b'{"choices": [', SERVER_ERROR, "the response is not JSON"),
        (b"[1]", SERVER_ERROR, "the response is a list"),
        (json.dumps(TEXT).encode(), SERVER_ERROR, "the response is a string"),
        (b"[" * 200_000, SERVER_ERROR, "the response is not JSON"),
        (reply(error={"message": "Provider returned error", "code": 502}), SERVER_ERROR, "Provider returned error"),
        (reply({"content": ""}, {"finish_reason": "error", "error": {"message": "upstream"}}), SERVER_ERROR, "upstream"),
        (reply({"content": None}), NOT_JSON, "the answer is empty"),
        (reply({"content": None, "reasoning_content": f"let me see {TEXT}"}), NOT_JSON, "the model only reasoned"),
        (reply({"content": [None, {"type": "image"}]}), NOT_JSON, "the answer is empty"),
        (reply({"content": 7}), NOT_JSON, "the answer is empty"),
        (reply({"content": "I would say three."}), NOT_JSON, "no JSON object"),
        (reply({"content": f"[{TEXT}]"}), WRONG_CONTENT, "a list, not an object"),
        (reply({"content": f"{TEXT} or rather {TEXT}"}), NOT_JSON, "2 JSON objects instead of one"),
        (reply({"content": "[" * 100_000 + "]" * 100_000}), NOT_JSON, "nested too deeply"),
        (reply({"content": '{"a":' * 100_000}), NOT_JSON, "nested too deeply"),
        (reply({"content": '{"total":' + "9" * 5000 + "}"}), NOT_JSON, "4300"),
        (reply({"content": '{"total": NaN}'}), NOT_JSON, "NaN is no JSON number"),
        (reply({"content": TEXT[:9]}, {"finish_reason": "length"}), TRUNCATED, "cut off after 20 tokens"),
        (reply({"content": None, "refusal": "I cannot."}), REFUSED, "I cannot."),
    ],
)  # fmt: skip
def test_everything_else_is_a_class_of_failure(body: bytes, failure: str, detail: str) -> None:
    body = body.replace(b'"null"', b"null")
    found = read_reply(body)
    assert (found.content, found.failure) == (None, failure) and detail in found.detail


def test_nothing_is_made_of_pieces_of_broken_json() -> None:
    for text in ('{"a": {"total": 1}, broken', "{", 'x } {"a"'):
        with pytest.raises(ValueError):
            find_object(text)


def ask(script: Script, log: Path, items: int = 3, **about: Any) -> tuple[dict[str, Completion], ScriptedEndpoint]:
    with ScriptedEndpoint(script).running() as server:
        endpoint = Endpoint(server.url, "m", retries=0, answer_attempts=1, concurrency=2, **about)
        requests = [Request(str(i), [{"role": "user", "content": f"question {i}"}], SCHEMA) for i in range(items)]
        return complete(endpoint, requests, log), server


def test_odd_replies_are_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    def script(question: str, before: int) -> tuple[int, Any]:
        return 200, {"question 0": answer("")["choices"], "question 1": reply("null").replace(b'"null"', b"null")}.get(
            question, TEXT
        )

    found, _ = ask(script, tmp_path / "log")
    assert [found[i].failure for i in "012"] == [SERVER_ERROR, SERVER_ERROR, None] and found["2"].content == GOOD
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def refusing(word: str, message: str) -> Script:
    def script(question: str, before: int) -> tuple[int, Any]:
        body = script.server.bodies[-1]  # type: ignore[attr-defined]
        if word in json.dumps(body):
            return 400, {"error": {"message": message}}
        return 200, TEXT

    return script


@pytest.mark.parametrize(
    ("word", "message", "adapted"),
    [
        ('"max_tokens"', "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", ("max_tokens",)),
        ('"seed"', "Extra inputs are not permitted: seed", ("seed",)),
        ('"temperature"', "Unsupported value: 'temperature' does not support 0.0 with this model.", ("temperature",)),
        ('"json_schema"', "This response_format type is unavailable now", ("response_format json_object",)),
        ('"response_format"', "response_format is not supported by this model", ("response_format text",)),
    ],
)  # fmt: skip
def test_models_are_asked_as_they_want_it(word: str, message: str, adapted: tuple[str, ...], tmp_path: Path) -> None:
    script = refusing(word, message)
    endpoint = ScriptedEndpoint(script)
    script.server = endpoint  # type: ignore[attr-defined]
    with endpoint.running() as server:
        requests = [Request(str(i), [{"role": "user", "content": f"question {i}"}], SCHEMA) for i in range(3)]
        found = complete(Endpoint(server.url, "m", retries=0, concurrency=1), requests, tmp_path / "log")
    assert [(c.content, tuple(c.adapted)) for c in found.values()] == [(GOOD, adapted)] * 3
    last = endpoint.bodies[-1]
    assert ("max_completion_tokens" in last) == ("max_tokens" in adapted)
    assert ("of this JSON schema" in last["messages"][-1]["content"]) == adapted[0].startswith("response_format")
    assert {tuple(c.adapted) for c in read_completions(tmp_path / "log").values()} == {adapted}


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' is too large: 400. This model's maximum context length is 2048 tokens.",
        "Your credit is used up.",
        "The picture cannot be read.",
    ],
)
def test_refusals_that_no_setting_mends_are_said(message: str, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="all 3 requests failed, the last one: request rejected .*" + message[:20]):
        ask(lambda question, before: (400, {"error": {"message": message}}), tmp_path / "log")
    assert [json.loads(line)["failure"] for line in (tmp_path / "log").read_text().splitlines()] == [REJECTED] * 3
    assert not Settings().adapt(message, {"max_tokens": 1, "response_format": {}})


@pytest.mark.parametrize(
    "body",
    [
        {"error": "max_tokens is not supported, use max_completion_tokens"},
        {"detail": "max_tokens: extra inputs are not permitted"},
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
        {"object": "error", "message": "Unsupported parameter: max_tokens"},
        {"error": {"message": "Unsupported parameter.", "param": "max_tokens"}},
        {"error": {"message": {"text": "unknown field max_tokens"}}},
        ["max_tokens is not supported"],
    ],
)
def test_refusals_are_read_in_every_form(body: Any, tmp_path: Path) -> None:
    def script(question: str, before: int) -> tuple[int, Any]:
        return (422, json.dumps(body).encode()) if "max_tokens" in endpoint.bodies[-1] else (200, TEXT)

    endpoint = ScriptedEndpoint(script)
    with endpoint.running() as server:
        request = Request("0", [{"role": "user", "content": "question"}], SCHEMA)
        found = complete(Endpoint(server.url, "m", retries=0, concurrency=1), [request], tmp_path / "log")
    assert (found["0"].content, tuple(found["0"].adapted)) == (GOOD, ("max_tokens",))


@pytest.mark.parametrize(
    "body", [{"error": "No credit is left. \ud83d"}, {"detail": [{"msg": "No credit is left."}]}, "No credit is left."]
)
def test_a_refusal_is_said_in_the_words_of_the_server(body: Any, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"request rejected \(Error code: 402 - .*No credit is left\."):
        ask(lambda question, before: (402, json.dumps(body).encode()), tmp_path / "log")


def test_a_web_page_is_the_wrong_address(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="answers with a web page"):
        ask(lambda question, before: (200, b"<!doctype html><html>Open WebUI</html>"), tmp_path / "log")


def test_two_questions_under_one_id_are_refused(tmp_path: Path) -> None:
    requests = [Request("a", [{"role": "user", "content": text}], SCHEMA) for text in ("one", "two")]
    with pytest.raises(ValueError, match="1 item ids are asked about twice, such as 'a'"):
        complete(Endpoint("http://127.0.0.1:1/v1", "m"), requests, tmp_path / "log")
