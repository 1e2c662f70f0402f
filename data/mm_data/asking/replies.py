"""What chat-completion servers send back, read as an answer or as the class of its failure; nothing that they send raises.

Servers behind proxies answer with status 200 and parts, nulls, errors, web pages or JSON within prose. An answer is one JSON object,
wherever the server put it; what is left of the reply is kept as it came.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

REFUSED, FILTERED, TRUNCATED = "refused", "content filter", "truncated"
NOT_JSON, WRONG_CONTENT = "not JSON", "wrong content"
SERVER_ERROR = "server error"

_THINKING = re.compile(r"^.*(?:</(?:think|thinking|reasoning)>|<\|message\|>)", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """A server's reply.

    Attributes:
        content: The answer's object, or None.
        failure: Class of the failure, or None.
        detail: What failed.
        raw: The answer's text as it came.
        prompt_tokens: Tokens of the question, 0 where the server does not say.
        completion_tokens: Tokens of the answer, 0 where the server does not say.
        served_model: What the server says it is.
        fingerprint: Fingerprint of the server's system, where it tells.
        finish_reason: Why the answer ended.
    """

    content: dict[str, Any] | None = None
    failure: str | None = None
    detail: str = ""
    raw: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_model: str | None = None
    fingerprint: str | None = None
    finish_reason: str | None = None


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
        named = body.get("param")
        return f"{sentence} ({named})" if isinstance(named, str) and named not in sentence else sentence
    if not body or (isinstance(body, str) and body.lstrip().startswith("<")):
        return sentence
    return f"{sentence} - {body if isinstance(body, str) else json.dumps(body)}"


def read_reply(body: bytes) -> Reply:
    """Reads the body of a chat completion.

    Args:
        body: Bytes that came with status 200.

    Returns:
        The content, or what is wrong with it.
    """
    reply = _parsed(body)
    if not isinstance(reply, dict):
        return _broken(f"the response is {_kind(reply)}, not an object: {body[:200].decode(errors='replace')!r}")
    if reply.get("error"):
        return _broken(f"the server passed on an error: {json.dumps(reply['error'])[:200]}")
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return _broken("the response has no choices with a message")
    usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
    raw = _text(message)
    finish_reason = choice.get("finish_reason")
    content, failure, detail = _outcome(choice, message, raw, _count(usage, "completion_tokens"))
    return Reply(
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


def _outcome(choice: dict[str, Any], message: dict[str, Any], raw: str, length: int) -> tuple[dict[str, Any] | None, str | None, str]:  # fmt: skip
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
    function = calls[0].get("function") if isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict) else None  # fmt: skip
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


def _broken(detail: str) -> Reply:
    return Reply(failure=SERVER_ERROR, detail=detail)
