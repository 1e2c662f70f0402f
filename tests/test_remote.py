"""A server's coach over HTTP: streams as engines and proxies write them."""

import json
from functools import partial
from typing import Any

import httpx
import pytest

from mm_adapter.serving.client import CoachClient
from mm_data.tasks.coaching import commentary_prompt

ABOUT = {"model": "coach", "experts": 0}


def chunk(content: Any) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": content}}]})


def words(monkeypatch: pytest.MonkeyPatch, *lines: str, end: str = "\n\n") -> str:
    """What is said where a server streams these lines."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/coach":
            return httpx.Response(200, json=ABOUT)
        return httpx.Response(200, stream=httpx.ByteStream("".join(line + end for line in lines).encode()))

    monkeypatch.setattr("httpx.Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
    return "".join(CoachClient("http://127.0.0.1:1").stream(commentary_prompt("clip"), "turn 1"))


DONE = "data: [DONE]"


@pytest.mark.parametrize(
    "lines",
    [
        [chunk("Bend "), chunk("up."), DONE],
        [chunk("Bend "), chunk("up."), 'data: {"choices": [], "usage": {"total_tokens": 2}}', DONE],
        ['data: {"choices": [{"delta": {"role": "assistant"}}]}', chunk("Bend "), chunk(None), chunk("up."), DONE],
        [": keep-alive", chunk("Bend "), ":", ": ping", chunk("up."), DONE],
        [chunk("Bend "), 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}', chunk("up."), DONE],
        [chunk("Bend "), 'data: {"choices": [{"delta": null}]}', 'data: {"choices": null}', "data: {}", chunk("up.")],
        ["event: message", "id: 5", "retry: 100", chunk("Bend "), chunk("up."), DONE, chunk("never")],
        [chunk("Bend ").replace("data: ", "data:"), chunk("up."), "data:[DONE]"],
        [chunk("Bend "), chunk("up.")],
    ],
)
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_words_of_a_stream(monkeypatch: pytest.MonkeyPatch, lines: list[str], end: str) -> None:
    assert words(monkeypatch, *lines, end=end) == "Bend up."


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['data: {"error": {"message": "engine died", "code": 500}}', DONE], "127.0.0.1:1: engine died"),
        (['data: {"error": "engine died"}'], "127.0.0.1:1: engine died"),
        (['data: {"error": {"code": 500}, "choices": []}'], "500"),
        (["data: half of it {", DONE], "sends what is no piece of an answer: 'half of it {'"),
        (["data: [1]"], "sends what is no piece of an answer"),
        (['data: {"choices": [5]}'], "sends what is no piece of an answer"),
        (["<html>Sign in</html>"], "sends no answer; is this `mm-coach serve`?"),
        ([], "sends no answer"),
    ],
)
def test_streams_that_are_no_answer(monkeypatch: pytest.MonkeyPatch, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        words(monkeypatch, *lines)
    assert message in str(error.value)
