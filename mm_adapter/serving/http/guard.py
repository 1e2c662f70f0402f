"""Who may ask, and how much they may send: checked before a request is read."""

import hmac
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mm_adapter.serving.http.replies import error_body

_OPEN = ("/", "/health")
_STATIC = "/static/"
_BODIES_AT_ONCE = 8  # of the largest size, in memory


class Guard:
    """ASGI middleware.

    Requests of other web pages are refused whatever key they have: a browser would send them from the machine of whoever
    looks at such a page.

    Args:
        app: Application that is guarded.
        max_bytes: Largest body of a request in bytes.
        key: API key (``Authorization: Bearer KEY``), or None. The page itself is open; what it asks is not.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, key: str | None) -> None:
        self.app, self.max_bytes, self.key, self._held = app, max_bytes, key, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or lets the app answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if problem := self._problem(scope["path"], headers):
            await _refusal(*problem)(scope, receive, send)
            return
        taken, began, status = 0, False, 413

        async def counted() -> Message:
            nonlocal taken, status
            message = await receive()
            taken += (size := len(message.get("body", b"")))
            self._held += size
            if self._held > _BODIES_AT_ONCE * self.max_bytes:
                status = 429
                raise _TooMuchError
            if taken > self.max_bytes:
                raise _TooMuchError
            return message

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooMuchError:
            if not began:
                busy = "Others are sending large files; try again soon."
                problem = busy if status == 429 else self._too_large(f"more than {self.max_bytes:,}")
                await _refusal(status, problem)(scope, receive, send)
        finally:
            self._held -= taken

    def _problem(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "Requests from other web pages are refused."
        if self.key is not None and path not in _OPEN and not path.startswith(_STATIC):
            sent = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(sent, f"Bearer {self.key}".encode()):
                return 401, "The API key is missing or wrong: send it as Authorization: Bearer KEY."
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return 400, f"Content-Length {length[:20]!r} is not a number."
        if int(length) > self.max_bytes:
            return 413, self._too_large(f"{int(length):,}")
        return None

    def _too_large(self, size: str) -> str:
        return (
            f"The request has {size} bytes; at most {self.max_bytes:,} are taken. Cut the video, or export it smaller."
        )


class _TooMuchError(Exception):
    pass


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse(error_body(status, message), status)
