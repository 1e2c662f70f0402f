"""The fields of OpenAI's chat requests: what is handed on to the engine, and what clients may send as it changes nothing."""

import json
from collections.abc import Mapping
from typing import Any

HANDED_ON = ("temperature", "top_p", "top_k", "seed", "max_tokens", "max_completion_tokens", "stop", "stream", "stream_options", "vllm_xargs")  # fmt: skip
"""Fields that the engine gets as they are."""

_NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "n repetition_penalty": (1,),
    "presence_penalty frequency_penalty min_p top_logprobs": (0,),
    "logprobs store": (False,),
    "logit_bias metadata": ({},),
    "tools functions": ([],),
    "tool_choice function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "audio prediction web_search_options": (),
}
NEUTRAL = {name: values for names, values in _NEUTRAL_VALUES.items() for name in names.split()}
"""Values at which a field changes nothing: the protocol's defaults, and null. Clients send them with every question."""

LABELS = ("user", "safety_identifier", "prompt_cache_key")
"""Texts for the books of whoever runs a service; no answer depends on them."""

_SHOWN = 60  # characters of a refused value


# A table rather than a pydantic model: most fields are refused, and each refusal names the values that change nothing.
def engine_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the fields of a request that the engine gets.

    Args:
        body: Fields of the request.

    Returns:
        Fields for the engine.

    Raises:
        ValueError: A field is unknown, or has a value that would change something and cannot be set here.
    """
    there = {name: value for name, value in body.items() if value is not None}
    if unknown := sorted(set(there) - {*HANDED_ON, *NEUTRAL, *LABELS}):
        raise ValueError(f"{', '.join(unknown)} cannot be set here; {', '.join(HANDED_ON)} can.")
    for name, value in there.items():
        if name in NEUTRAL and not any(_same(value, neutral) for neutral in NEUTRAL[name]):
            raise _refusal(name, value, " or ".join(json.dumps(neutral) for neutral in NEUTRAL[name]) or "null")
        if name in LABELS and not isinstance(value, str):
            raise _refusal(name, value, "a text")
    if not isinstance(there.get("stream", False), bool):
        raise ValueError("stream is true or false.")
    return {name: value for name, value in there.items() if name in HANDED_ON}


def check_message(message: Mapping[str, Any]) -> None:
    """Refuses a message that holds more than its role, content and name.

    Args:
        message: Message as it came.

    Raises:
        ValueError: It does; names the field.
    """
    for name, value in message.items():
        empty = value is None or value in ("", [], {})
        if name not in ("role", "content") and not empty and not (name == "name" and isinstance(value, str)):
            raise ValueError(f"{name[:_SHOWN]} cannot be read here; a message has a role and a content.")


def _same(value: Any, neutral: Any) -> bool:
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)  # True equals 1 in Python


def _refusal(name: str, value: Any, neutral: str) -> ValueError:
    written = json.dumps(value, ensure_ascii=False)
    short = written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"
    return ValueError(f"{name} cannot be {short} here; send {neutral}, or leave it out.")
