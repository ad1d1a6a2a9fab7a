"""How much is asked of a server at once, and for how long."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._time_limit_s) as limit:
                await self._app(scope, receive, noting)
        except TimeoutError:
            if not limit.expired():
                raise
            if not has_begun:
                message = f"it took more than {self._time_limit_s:g} s; ask for less, or try again"
                await failure(503, "TimedOut", message)(scope, receive, send)
