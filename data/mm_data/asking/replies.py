"""What chat-completion servers send back, read as an answer or as the class of its failure; nothing that they send raises.

Servers behind proxies answer with status 200 and parts, nulls, errors, web pages or JSON within prose. An answer is one JSON object,
wherever the server put it; what is left of the reply is kept as it came.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REFUSED, FILTERED, TRUNCATED = "refused", "content filter", "truncated"
NOT_JSON, WRONG_CONTENT = "not JSON", "wrong content"
SERVER_ERROR = "server error"

_THINKING = re.compile(r"^.*(?:</(?:think|thinking|reasoning)>|<\|message\|>)", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Completion:
    """An answer for one item, or the last of several: ``content`` or the ``failure`` class, never both.

    Attributes:
        item_id: Of the request.
        content: The parsed answer.
        failure: Its class.
        detail: What failed.
        raw: The answer's text as it came.
        prompt_tokens: Of all attempts.
        completion_tokens: Of all attempts.
        served_model: What the endpoint says it is.
        fingerprint: Of the endpoint's system, where it tells.
        finish_reason: Why the answer ended.
        adapted: What the endpoint does not take and the request therefore lacked or named otherwise, such as ``temperature``.
        seconds: From the question to the answer.
    """

    item_id: str
    content: dict[str, Any] | None = None
    failure: str | None = None
    detail: str = ""
    raw: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_model: str | None = None
    fingerprint: str | None = None
    finish_reason: str | None = None
    adapted: Sequence[str] = ()
    seconds: float = 0.0


def is_web_page(body: bytes) -> bool:
    """Whether a body is HTML: the address is that of a page for people."""
    return body.lstrip()[:1] == b"<"


def refusal(error: Exception) -> str:
    """What a client's error says, with what it leaves out of a server's refusal.

    The client quotes a message that stands where OpenAI's servers put it, and neither the parameter that they name beside it nor
    what others send: a sentence, ``{"detail": ...}``, a list.
    """
    sentence, body = str(error), getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        parameter = body.get("param")
        missing = isinstance(parameter, str) and parameter not in sentence
        return f"{sentence} ({parameter})" if missing else sentence
    if not body or (isinstance(body, str) and body.lstrip().startswith("<")):
        return sentence
    return f"{sentence} - {body if isinstance(body, str) else json.dumps(body)}"


def read_reply(body: bytes, item_id: str = "") -> Completion:
    """Reads the body of a chat completion.

    Args:
        body: Bytes that came with status 200.
        item_id: Id of the request.

    Returns:
        The content, or what is wrong with it.
    """

    def broken(detail: str) -> Completion:
        return Completion(item_id, failure=SERVER_ERROR, detail=detail)

    reply = _parsed(body)
    if not isinstance(reply, dict):
        return broken(f"the response is {_kind(reply)}, not an object: {body[:200].decode(errors='replace')!r}")
    if reply.get("error"):
        return broken(f"the server passed on an error: {json.dumps(reply['error'])[:200]}")
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return broken("the response has no choices with a message")
    usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
    raw = _text(message)
    finish_reason = choice.get("finish_reason")
    content, failure, detail = _outcome(choice, message, raw, _count(usage, "completion_tokens"))
    return Completion(
        item_id,
        content,
        failure,
        detail,
        raw,
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _string(reply.get("model")),
        _string(reply.get("system_fingerprint")),
        _string(finish_reason),
    )


def _outcome(
    choice: dict[str, Any], message: dict[str, Any], raw: str, length: int
) -> tuple[dict[str, Any] | None, str | None, str]:
    """Content, class of failure and detail."""
    if message.get("refusal"):
        return None, REFUSED, str(message["refusal"])
    if choice.get("finish_reason") == "content_filter":
        return None, FILTERED, "stopped by a content filter"
    if choice.get("finish_reason") == "length":
        return None, TRUNCATED, f"the answer was cut off after {length} tokens"
    if choice.get("finish_reason") == "error" or choice.get("error"):
        return None, SERVER_ERROR, f"the server passed on an error: {json.dumps(choice.get('error'))[:200]}"
    if not raw.strip():
        reasoned = bool(message.get("reasoning_content") or message.get("reasoning"))
        hint = "; the model only reasoned: turn its reasoning off or allow longer answers" if reasoned else ""
        return None, NOT_JSON, f"the answer is empty{hint}"
    try:
        content = find_object(raw)
    except ValueError as error:
        return None, NOT_JSON, str(error)
    except TypeError as error:
        return None, WRONG_CONTENT, str(error)
    return content, None, ""


def find_object(text: str) -> dict[str, Any]:
    """Finds the one JSON object of an answer: bare, in a Markdown fence, or behind reasoning or a sentence.

    Args:
        text: The answer.

    Returns:
        The object.

    Raises:
        ValueError: There is none, or there are several.
        TypeError: The answer is a list.
    """
    text = _THINKING.sub("", text.strip().lstrip("\ufeff")).strip()
    fenced = _FENCE.findall(text)
    if len(fenced) == 1:
        text = fenced[0].strip()
    objects, position = [], text.find("{")
    if text[:1] == "[" and isinstance(_decode(text, 0)[0], list):
        raise TypeError("the answer is a list, not an object")
    while position >= 0:
        value, end = _decode(text, position)
        objects.append(value)
        position = text.find("{", end)
    if len(objects) != 1:
        raise ValueError("no JSON object" if not objects else f"{len(objects)} JSON objects instead of one")
    return objects[0]


def _decode(text: str, position: int) -> tuple[Any, int]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON number")

    try:
        # Not strict: models break lines inside strings.
        return json.JSONDecoder(strict=False, parse_constant=refuse).raw_decode(text, position)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(message: dict[str, Any]) -> str:
    """The text of an answer: a string, text parts, an object, or the arguments of its only call of a tool or function."""
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        return content
    if isinstance(content, dict):
        return json.dumps(content)
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") in ("text", "output_text") else part
            for part in content
        ]
        return "".join(part for part in parts if isinstance(part, str))
    calls = message.get("tool_calls") or [{"function": message.get("function_call")}]
    call = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict):
        arguments = function.get("arguments")
        return arguments if isinstance(arguments, str) else json.dumps(arguments) if isinstance(arguments, dict) else ""
    # Servers that split reasoning off put an answer of a model that did not reason there as a whole.
    for name in ("reasoning_content", "reasoning"):
        reasoning = message.get(name)
        if isinstance(reasoning, str) and reasoning.strip().startswith("{") and reasoning.strip().endswith("}"):
            return reasoning
    return ""


def _count(usage: Any, name: str) -> int:
    try:
        return max(0, int(usage.get(name) or 0))
    except (TypeError, ValueError, OverflowError):
        return 0


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _kind(value: Any) -> str:
    return (
        "not JSON" if value is None else {list: "a list", str: "a string"}.get(type(value), f"a {type(value).__name__}")
    )
