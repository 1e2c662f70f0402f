"""Questions as clients write them: what changes nothing passes, what cannot be done is refused with a sentence."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from front_fixtures import Scripted, array, error_of, video
from starlette.testclient import TestClient

from mm_adapter.serving.http.conversation import take_upload
from mm_tokenizers.vocabulary import SEQUENCE_END

VIDEO = {"type": "video_url", "video_url": {"url": "data:v;base64,AAAA"}}
POSE = {"type": "text", "text": f"<|pose_01|>{SEQUENCE_END}"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "Message 0: needs a role"),
        ({"messages": [{"role": "user", "content": 5}]}, "Message 0: content has to be"),
        ({"messages": [{"role": "user", "content": [POSE]}]}, "Message 0: The last frame does not end in"),
        ({"messages": [{"role": "user", "content": f"see <|pose_01|>{SEQUENCE_END}"}]}, "hold something else"),
        ({"messages": [{"role": "user", "content": [{"type": "pose", "codes": [[1], [2, 3]]}]}]}, "a grid of integers"),
        ({"messages": [{"role": "user", "content": [{"type": "pose", "codes": [[1]]}]}]}, "have shape (1, 1)"),
        ({"messages": [{"role": "user", "content": "<|ego_video|>"}]}, "may not hold video placeholders"),
        ({"messages": [{"role": "user", "content": [{"type": "clip", "clip_id": "no"}]}]}, "No clip 'no' is here"),
        ({"messages": [{"role": "user", "content": [{"type": "video_embeds"}]}]}, "'video_embeds' cannot be read"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "file:///x"}}]}]},
            "other addresses are not fetched",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:v;base64,@"}}]}]},
            "The exo video's base64 holds '@' at character 0",
        ),
        ({"messages": [{"role": "user", "content": "x"}], "mm_processor_kwargs": {}}, "cannot be set here"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "other"}, "'other' is not served here"),
        ({"messages": [{"role": "user", "content": [VIDEO | {"view": ["exo"]}]}]}, "view is ego or exo"),
        ({"messages": [{"role": "user", "content": [VIDEO | {"view": "pose"}]}]}, "view is ego or exo"),
        ({"messages": [{"role": "user", "content": [VIDEO, VIDEO, VIDEO]}]}, "one video per view"),
        ({"messages": [{"role": "user", "content": "x"}], "temperature": float("nan")}, "NaN is no number of JSON"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "is not JSON"),
        ({"messages": [{"role": "user", "content": "x"}], "stream": "false"}, "stream is true or false"),
        ([], "has to be a JSON object"),
    ],
)  # fmt: skip
def test_bad_questions_never_reach_the_engine(client: TestClient, engine: Scripted, body: Any, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert message in error_of(client.post("/v1/chat/completions", content=json.dumps(body), headers=headers))
    assert not engine.asked


QUESTION = {"messages": [{"role": "user", "content": "x"}]}
NEUTRAL = [
    {"n": 1},
    {"n": None},
    {"user": "somebody", "safety_identifier": "somebody", "prompt_cache_key": "a key"},
    {"presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0},
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
    {"tools": None, "tool_choice": "auto", "parallel_tool_calls": False},
    {"functions": [], "function_call": "none"},
    {"response_format": {"type": "text"}, "modalities": ["text"], "verbosity": "medium"},
    {"store": False, "metadata": {}, "service_tier": "auto"},
    {"store": None, "metadata": None, "service_tier": "default", "audio": None, "prediction": None},
    {"logprobs": False, "top_logprobs": None, "logit_bias": {}},
    {"logprobs": None, "top_logprobs": 0, "logit_bias": None},
    {"stream": None, "stream_options": None, "seed": None, "stop": None, "max_tokens": None, "temperature": None},
    {"model": None, "reasoning_effort": None, "vllm_xargs": None},
]


@pytest.mark.parametrize("fields", NEUTRAL)
def test_fields_at_their_default_change_nothing(client: TestClient, engine: Scripted, fields: dict[str, Any]) -> None:
    """Clients send them with every question; the engine is asked as if they were not there."""
    for body in (QUESTION, QUESTION | fields):
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
    assert engine.asked[0] == engine.asked[1]


def test_a_stream_with_its_usage(client: TestClient, engine: Scripted) -> None:
    for options in ({"include_usage": True}, {"include_usage": False}):
        body = QUESTION | {"stream": True, "stream_options": options}
        assert "Bend the knees." in client.post("/v1/chat/completions", json=body).text
        assert engine.asked[-1]["stream_options"] == options and engine.asked[-1]["stream"] is True


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 2}, "n cannot be 2 here; send 1, or leave it out."),
        ({"n": True}, "n cannot be true here; send 1, or leave it out."),
        ({"presence_penalty": 0.5}, "presence_penalty cannot be 0.5 here; send 0, or leave it out."),
        ({"tools": [{"type": "function"}]}, 'tools cannot be [{"type": "function"}] here; send [], or leave it out.'),
        ({"tool_choice": "required"}, 'tool_choice cannot be "required" here; send "none" or "auto", or leave it out.'),
        ({"response_format": {"type": "json_object"}}, 'response_format cannot be {"type": "json_object"} here'),
        ({"store": True}, "store cannot be true here; send false, or leave it out."),
        ({"metadata": {"a": "b"}}, 'metadata cannot be {"a": "b"} here; send {}, or leave it out.'),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs cannot be true here"),
        ({"logit_bias": {"5": 1}}, 'logit_bias cannot be {"5": 1} here'),
        ({"user": 5}, "user cannot be 5 here; send a text, or leave it out."),
        ({"metadata": {"a": "b" * 10**5}}, "… here; send {}, or leave it out."),
        ({"echo": False}, "echo cannot be set here; temperature, top_p"),
    ],
)
def test_fields_that_would_change_something(
    client: TestClient, engine: Scripted, fields: dict[str, Any], message: str
) -> None:
    said = error_of(client.post("/v1/chat/completions", json=QUESTION | fields))
    assert message in said and len(said) < 300
    assert not engine.asked


@pytest.mark.parametrize(
    "turn",
    [
        {"content": None},
        {},
        {"content": None, "tool_calls": [], "refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"content": "", "name": "coach"},
        {"content": []},
    ],
)
def test_an_assistant_turn_without_words(client: TestClient, engine: Scripted, turn: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", **turn}, {"role": "user", "content": "y"}]
    reply = client.post("/v1/chat/completions", json={"messages": messages})
    assert reply.status_code == 200, reply.text
    said = engine.asked[0]["messages"][1]
    assert said == {"role": "assistant", "content": [{"type": "text", "text": ""}]}


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "content": None}, "Message 1: content has to be a text or a list of parts."),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
            "Message 1: tool_calls cannot be read here; a message has a role and a content.",
        ),
        ({"role": "assistant", "content": None, "refusal": "No."}, "Message 1: refusal cannot be read here"),
        ({"role": "user", "content": "x", "name": 5}, "Message 1: name cannot be read here"),
    ],
)
def test_turns_that_hold_more_than_words(
    client: TestClient, engine: Scripted, turn: dict[str, Any], message: str
) -> None:
    body = {"messages": [{"role": "user", "content": "x"}, turn]}
    assert message in error_of(client.post("/v1/chat/completions", json=body))
    assert not engine.asked


def lines_of(text: str, width: int, end: str) -> str:
    return "".join(text[k : k + width] + end for k in range(0, len(text), width))


@pytest.mark.parametrize(
    "written",
    [
        lambda text: f"data:video/mp4;base64,{text}",
        lambda text: f"data:video/mp4;base64,{lines_of(text, 76, chr(10))}",
        lambda text: f"data:video/mp4;base64,{lines_of(text, 64, chr(13) + chr(10))}",
        lambda text: f"data:video/mp4;base64,\n{text}\n",
        lambda text: f"data:video/mp4;codecs=avc1.42E01E;name=mine.mp4;base64,{text}",
        lambda text: f"data:video/mp4;name={'long' * 50};base64,{text}",
        lambda text: f"DATA:video/mp4;BASE64,{text}",
        lambda text: f"data:;base64,{text}",
        lambda text: "data:video/mp4;base64," + text.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    ],
)
def test_base64_as_people_write_it(written: Any) -> None:
    data = bytes(range(256)) * 3 + b"\xfb\xff"
    content = [{"type": "video_url", "video_url": {"url": written(base64.b64encode(data).decode())}}]
    taken = take_upload({"role": "user", "content": content})
    assert taken is not None and taken[0].videos == {"exo": data}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:v;base64,AA-_", "The exo video's base64 holds '-' at character 2: that is the URL-safe alphabet"),
        ("data:v;base64,A_8=", "The exo video's base64 holds '_' at character 1: that is the URL-safe alphabet"),
        (
            "data:v;base64,AAAAAA",
            "The exo video's base64 has 6 characters, no multiple of 4: it is cut off, or lacks =",
        ),
        ("data:v;base64,AAAAA", "The exo video's base64 has 5 characters, no multiple of 4: it is cut off"),
        ("data:v;base64,AAA@", "The exo video's base64 holds '@' at character 3"),
        ("data:v;base64,AAA A===", "The exo video's base64 holds ' ' at character 3"),
        ("data:v;base64,AA==AAAA", "The exo video's base64 goes on after its end (= at character 2)"),
        ("data:v;base64,AAAé", "The exo video's base64 holds 'é' at character 3"),
        ("data:video/mp4,AAAA", "The exo video's data: address is not in base64"),
        ("data:video/mp4;base64", "The exo video's data: address is not in base64"),
        (
            "AAAA",
            "Give the file itself as a data: address in base64 (data:video/mp4;base64,...); other addresses are not fetched",
        ),
        (None, "Give the file itself as a data: address"),
    ],
)
def test_what_is_said_about_broken_base64(client: TestClient, url: Any, message: str) -> None:
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "x"}]
    body = {"messages": [{"role": "user", "content": content}]}
    assert message in error_of(client.post("/v1/chat/completions", json=body))


def test_a_form_with_empty_fields(client: TestClient, poses: np.ndarray) -> None:
    """As a page without a script sends it."""
    files = {"exo": ("a.mp4", video()), "pose": ("p.npy", array(poses))}
    plain = client.post("/v1/clips", files=files)
    request = client.build_request("POST", "/v1/clips", files=files, data={"start": "", "stop": " "})
    boundary = request.headers["content-type"].partition("boundary=")[2]
    no_file = f'--{boundary}\r\nContent-Disposition: form-data; name="ego"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n'
    headers = {"Content-Type": request.headers["content-type"]}
    reply = client.post("/v1/clips", content=no_file.encode() + request.read(), headers=headers)
    assert reply.status_code == 201, reply.text
    assert reply.json()["id"] == plain.json()["id"]
