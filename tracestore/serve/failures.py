"""What every failure looks like over HTTP: a status and JSON, never a traceback.

::

    {"error": "NotFound", "message": "no turn 't9'; GET /v1/turns lists those there are"}

``error`` is the name of the error as `tracestore.errors` has it, or the phrase of the status. What was
not expected is raised again behind the answer, so that the server logs its traceback.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tracestore.errors import (
    InputInvalid,
    NotFound,
    PruneRefused,
    StoreLocked,
    StoreUnavailable,
    TraceStoreError,
    message_of,
)

RETRY_AFTER_S = 1
"""When a client may come again that was sent away; what keeps it away passes soon, or not by itself."""

_STATUSES: dict[type[TraceStoreError], int] = {
    InputInvalid: 400,
    NotFound: 404,
    PruneRefused: 409,
    StoreLocked: 503,
    StoreUnavailable: 503,
}
"""What is not here is damage: 500."""


def failure(status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that says why there is no other; a 503 says when to come again."""
    retry = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    # Escaped to ASCII, because a message may quote a lone surrogate.
    content = json.dumps({"error": error, "message": message}).encode()
    return Response(content, status, {**retry, **(headers or {})}, media_type="application/json")


def status_of(error: TraceStoreError) -> int:
    """Return the HTTP status that an error means."""
    return next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 500)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, TraceStoreError)
    return failure(status_of(error), type(error).__name__, message_of(error))


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses: an unknown path, a method that it does not have."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    message = error.detail
    if message == phrase:
        message = _sentence(request, error)
    return failure(error.status_code, phrase.title().replace(" ", ""), message, error.headers)


def _sentence(request: Request, error: HTTPException) -> str:
    path = f"{request.scope['path']!r:.80}"  # request.url would fail on a query that is no UTF-8
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"nothing is at {path}; GET / lists what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{path}: wanted {allowed}, found {request.method:.20}"
    return error.detail


async def _gone(request: Request, error: Exception) -> Response:
    """Answer nobody: the client left while it was sending."""
    return failure(400, "ClientDisconnected", "the request ended before its body did")


async def _unexpected(request: Request, error: Exception) -> Response:
    """Say nothing of what happened to the client; Starlette raises it again, and the server logs it."""
    return failure(500, "Unexpected", f"unexpected {type(error).__name__}; the server's log on stderr says more")


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    TraceStoreError: _known,
    HTTPException: _refused,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
"""For ``Starlette(exception_handlers=HANDLERS)``."""
