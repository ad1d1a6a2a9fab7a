"""How much is asked of a server at once, and for how long: of its app, and of its connections."""

import asyncio
import json
from http import HTTPStatus
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tracestore.serve.failures import failure

REQUESTS_AT_ONCE = 256
TIME_LIMIT_S = 60.0
"""For reading requests; POST is SQL, which has a limit of its own, or a client that sends."""
_UNTIMED = frozenset({"/v1/export"})
"""As long as the store is large."""


class Limits:
    """Sends away with 503 what is too much: more requests than so many at once, a GET that takes too long.

    An answer that has begun is cut off: the client sees that it is not whole.
    """

    def __init__(
        self, app: ASGIApp, *, requests_at_once: int = REQUESTS_AT_ONCE, time_limit_s: float = TIME_LIMIT_S
    ) -> None:
        self._app = app
        self._requests_at_once = requests_at_once
        self._time_limit_s = time_limit_s
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if self._running >= self._requests_at_once:
            message = f"{self._requests_at_once} requests are being answered; try again"
            return await failure(503, "Busy", message)(scope, receive, send)
        self._running += 1
        try:
            if scope["method"] in ("GET", "HEAD") and scope["path"] not in _UNTIMED:
                await self._in_time(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            self._running -= 1

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        noting = _Noting(send)
        try:
            async with asyncio.timeout(self._time_limit_s) as limit:
                await self._app(scope, receive, noting)
        except TimeoutError:
            if not limit.expired():
                raise
            if not noting.has_begun:
                message = f"it took more than {self._time_limit_s:g} s; ask for less, or try again"
                await failure(503, "TimedOut", message)(scope, receive, send)


class _Noting:
    """Sends, and knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


class CutOff:
    """Answers with 503 what outlives the server; of an answer that has begun the rest stays away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it; only the end of the server cancels one."""
        noting = _Noting(send)
        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if not noting.has_begun:
                message = "the server ends, and did not wait for the answer; ask again once it runs"
                await failure(503, "Ending", message)(scope, receive, send)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that bounds what a client gets before a request of its is known: uvicorn bounds none of it.

    Without it whoever reaches the address can fill the memory with a header that never ends, and take every
    file descriptor of the process that collects with connections that say nothing.
    """

    connections_at_once = 512
    head_bytes = 256 << 10
    """Of the request line and headers; what comes in one read is taken as it is."""
    head_within_s = 30.0
    """So long a connection may be without a request that is being answered, once it has said anything."""

    _in_head = False
    _received_bytes = 0
    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or send it away where there are too many."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._expect_request()
        if len(self.connections) > self.connections_at_once:
            self._refuse(503, "Busy", f"{self.connections_at_once} connections are open; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a connection go."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is a head that is too long."""
        if self.transport.is_closing():
            return
        was_in_head = self._in_head
        super().data_received(data)
        self._received_bytes = self._received_bytes + len(data) if was_in_head and self._in_head else 0
        if self._received_bytes > self.head_bytes:
            message = f"wanted a request line and headers of at most {self.head_bytes:,} bytes, found more"
            self._refuse(431, "RequestHeaderFieldsTooLarge", message)
        elif self.cycle is None or self.cycle.response_complete:
            self._expect_request()
        else:
            self._expect_nothing()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "BadRequest", msg)

    def _expect_request(self) -> None:
        if self._ending is None:
            self._ending = self.loop.call_later(self.head_within_s, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _refuse(self, status: int, error: str, message: str) -> None:
        content = json.dumps({"error": error, "message": message}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
        self.transport.close()
