"""Requests handed on to the engine, and given up when the client has gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mm_adapter.serving.http.engine import NO_ANSWER, Engine
from mm_adapter.serving.http.replies import error_body

_LOOK = 0.5  # seconds between looks whether the client is there
_GONE = 499  # as nginx counts clients that left


async def pass_on(engine: Engine, body: dict[str, Any], request: Request, slot: ExitStack) -> Response:
    """Hands a chat request on to the engine.

    Args:
        engine: Engine that answers.
        body: Fields of the request for the engine.
        request: Request of the client.
        slot: Place among the questions; a stream takes it over and closes it at its end.

    Returns:
        The engine's answer.

    Raises:
        HTTPException: The engine does not answer or fails, or the client has gone.
    """
    sent = engine.client.build_request("POST", "/v1/chat/completions", json=body)
    try:
        reply = await _while_there(request, engine.client.send(sent, stream=True))
        if reply.status_code == 200 and body.get("stream"):
            return _Stream(reply, slot.pop_all())
        try:
            content = await _while_there(request, reply.aread())
        finally:
            await reply.aclose()
    except httpx.TransportError as error:
        raise HTTPException(503, NO_ANSWER) from error
    if reply.status_code >= 500 and not _is_json(content):
        raise HTTPException(502, f"The engine failed (status {reply.status_code}); look at its log.")
    return Response(content, reply.status_code, media_type="application/json")


async def _while_there(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK))[0]:
            if await request.is_disconnected():
                raise HTTPException(_GONE, "The client has gone.")
        return task.result()
    finally:
        task.cancel()


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


async def _events(reply: httpx.Response) -> AsyncIterator[bytes]:
    """The engine's events; where it dies in the middle, the last one is an error, as OpenAI's clients expect it."""
    half = b""  # a line that the engine has not ended
    try:
        async for piece in reply.aiter_raw():
            whole, end, half = (half + piece).rpartition(b"\n")
            yield whole + end
        yield half
    except httpx.TransportError:
        yield f"\ndata: {json.dumps(error_body(503, NO_ANSWER))}\n\n".encode()


class _Stream(StreamingResponse):
    """The engine's stream, closed with its slot however the client leaves."""

    def __init__(self, reply: httpx.Response, slot: ExitStack) -> None:
        super().__init__(_events(reply), media_type="text/event-stream")
        self.reply, self.slot = reply, slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.slot:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self.reply.aclose()
