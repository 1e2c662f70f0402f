"""How an endpoint wants to be asked: found out from its refusals, for all requests of a run."""

import json
import re
from collections.abc import Mapping
from typing import Any

from mm_data.asking.prompts import Messages

_LENGTH, _LENGTH_TODAY = "max_tokens", "max_completion_tokens"
_DROPPABLE = ("seed", "temperature", "top_p")
_FORMATS = ("json_schema", "json_object", "text")
"""From the most to the least that an endpoint can do for an answer's form."""
_NOT_TAKEN = re.compile(
    r"unsupported|not (?:be )?supported|n[o']t support|not permitted|not allowed|unrecogni[sz]ed|unknown|unexpected|"
    r"unavailable|invalid",
    re.I,
)
_TOO_LONG = re.compile(r"context length|context window|too (?:large|long|many)|exceed", re.I)


class Settings:
    """What an endpoint does not take; every request of a run is made accordingly.

    OpenAI's reasoning models want ``max_completion_tokens`` and no temperature, others know no seed or no JSON schema. Without a
    schema the question itself says what the answer looks like.
    """

    def __init__(self) -> None:
        self._without: tuple[str, ...] = ()
        self._format = 0

    @property
    def adapted(self) -> tuple[str, ...]:
        """Names of what requests lack or say otherwise."""
        return self._without + (() if self._format == 0 else (f"response_format {_FORMATS[self._format]}",))

    def request(
        self, messages: Messages, name: str, schema: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Writes the body of a request, but for the model's name.

        Args:
            messages: Conversation to answer.
            name: Name of the schema.
            schema: JSON schema of the answer.
            parameters: Sampling parameters.

        Returns:
            The body.
        """
        body = {key: value for key, value in parameters.items() if key not in self._without}
        if _LENGTH in self._without and _LENGTH in parameters:
            body[_LENGTH_TODAY] = parameters[_LENGTH]
        form = _FORMATS[self._format]
        if form == "json_schema":
            body["response_format"] = {"type": form, "json_schema": {"name": name, "schema": schema, "strict": True}}
            return {"messages": messages, **body}
        if form == "json_object":
            body["response_format"] = {"type": form}
        instruction = f"Answer with one JSON object of this JSON schema and nothing else: {json.dumps(schema)}"
        return {"messages": [*messages[:-1], _with_text(messages[-1], instruction)], **body}

    def adapt(self, refusal: str, body: Mapping[str, Any]) -> bool:
        """Learns from a refused request.

        Args:
            refusal: Message of the endpoint.
            body: Body of the refused request.

        Returns:
            Whether another try makes sense.
        """
        if _TOO_LONG.search(refusal) or not _NOT_TAKEN.search(refusal):
            return False
        if _LENGTH in body and _LENGTH in refusal:
            self._without += (_LENGTH,)
        elif named := next((name for name in _DROPPABLE if name in body and name in refusal), None):
            self._without += (named,)
        elif "response_format" in body and any(
            word in refusal for word in ("response_format", "json_schema", "json_object", "guided", "schema")
        ):
            self._format += 1
        else:
            return False
        return True


def _with_text(message: dict[str, Any], text: str) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": f"{content}\n\n{text}"}
    return {**message, "content": [*content, {"type": "text", "text": text}]}
