"""Requests read and refused: every error is OpenAI's shape with a sentence."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mm_adapter.serving.http.clips import BusyError


def error_body(status: int, message: str) -> dict[str, dict[str, object]]:
    """An error as OpenAI's clients expect it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


async def refused(request: Request, error: Exception) -> Response:
    """Starlette's handler of `HTTPException`."""
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.status_code, error.detail), error.status_code, error.headers)


async def failed(request: Request, error: Exception) -> Response:
    """Starlette's handler of everything that nobody expected; the traceback is in the log."""
    return JSONResponse(error_body(500, "Something went wrong here; the server's log says what."), 500)


@contextmanager
def refusing() -> Iterator[None]:
    """Bad input is a 400 with its sentence, too much at a time a 429."""
    try:
        yield
    except BusyError as error:
        raise HTTPException(429, str(error), {"Retry-After": "5"}) from error
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def no_clip(clip_id: Any) -> HTTPException:
    """A clip that is not kept."""
    return HTTPException(404, f"No clip {clip_id!r} is here (any more); upload it again.")


async def read_json(request: Request) -> dict[str, Any]:
    """Reads a request's JSON object.

    Args:
        request: Request of the client.

    Returns:
        The object.

    Raises:
        HTTPException: It is something else.
    """
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise HTTPException(415, "Send application/json.")
    try:
        body = await run_in_threadpool(_parsed, await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The request is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "The request has to be a JSON object.")
    return body


def _parsed(body: bytes) -> Any:
    """Strict: what Python reads beyond the standard could not be passed on."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    content = json.loads(body, parse_constant=refuse)
    if b"\\ud" in body.lower():
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
    return content


def read_seconds(name: str, value: str) -> float:
    """Reads a time in a form.

    Args:
        name: Name of the field.
        value: Text of the field.

    Returns:
        Seconds.

    Raises:
        HTTPException: It is no number.
    """
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise HTTPException(400, f"{name} is {value[:20]!r}; give seconds.")
    return seconds


def points(joints: np.ndarray) -> list[list[list[float] | None]]:
    """Joints ``[T, 17, 3 or 4]`` as JSON has them: metres, None where a joint is absent."""
    seen = np.asarray(joints[..., 3] > 0 if joints.shape[-1] == 4 else np.isfinite(joints).all(-1))
    rounded = joints[..., :3].astype(float).round(3).tolist()
    return [
        [point if there else None for point, there in zip(pose, flags, strict=True)]
        for pose, flags in zip(rounded, seen, strict=True)
    ]
