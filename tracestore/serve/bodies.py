"""The exact bytes of a body over HTTP: whole, a range, or that they have not changed.

A body never changes, and its digest is its ETag. It is sent as bytes that nobody interprets: what a model or
a stranger wrote must not become a page in somebody's browser.
"""

import re
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blobs import Digest, DigestInvalid
from tracestore.errors import NotFound
from tracestore.record import BodyState
from tracestore.serve.answering import Parameters, in_thread
from tracestore.serve.failures import failure
from tracestore.views.answers import gone_text

if TYPE_CHECKING:
    from tracestore.store import TraceStore

_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII)
_ETAG = re.compile(r'"[^"]*"')  # a weak one, W/"...", will do: bytes of one digest are the same bytes


async def answer_body(request: Request) -> Response:
    """The exact bytes of a body, by the id of its record or by its digest; takes Range."""
    Parameters(request)
    digest, body, state = await in_thread(lambda: _find(request.app.state.store, request.path_params["id"]))
    if body is None:
        return failure(404 if state is None else 410, "NotFound" if state is None else "Gone", gone_text(digest, state))
    headers = {
        "ETag": f'"{digest}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    asked = request.headers
    if _is_known(asked, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    is_whole = asked.get("if-range", headers["ETag"]) != headers["ETag"]
    found = None if is_whole else _range(asked.get("range", ""), len(body))
    if found is None:
        return _sent(request, body, 200, headers)
    start, end = found
    if start >= end:
        unsatisfied = {"Content-Range": f"bytes */{len(body)}", "Accept-Ranges": "bytes"}
        message = f"Range: wanted a part of {len(body)} bytes, found {asked['range']!r:.80}"
        return failure(416, "RangeNotSatisfiable", message, unsatisfied)
    return _sent(request, body[start:end], 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})


ROUTES = [Route("/v1/bodies/{id}", answer_body)]


def _find(store: "TraceStore", id_: str) -> tuple[str, bytes | None, BodyState | None]:
    """Return digest, bytes and, where there are none, what the ledger says."""
    try:
        digest = Digest.parse(id_.lower()).hex()
    except DigestInvalid:
        digest = _digest_of_record(store, id_)
    body = store.get_body(digest)
    return digest, body, store.reader.body_state(bytes.fromhex(digest)) if body is None else None


def _digest_of_record(store: "TraceStore", id_: str) -> str:
    try:
        record = store.reader.record(UUID(id_))
    except ValueError:
        record = None
    if record is None:
        raise NotFound(f"{id_!r:.80} is neither a record (a UUID) nor a body (64 hex digits) of this store")
    if record.body_digest is None:
        raise NotFound(f"record {id_} has no body")
    return record.body_digest


def _is_known(asked: Headers, etag: str) -> bool:
    """Tell whether the client has these bytes."""
    known = asked.get("if-none-match", "")
    return known.strip() == "*" or etag in _ETAG.findall(known)


def _range(text: str, size_bytes: int) -> tuple[int, int] | None:
    """Read a Range header as start and end; an empty one cannot be had, None is the whole.

    Several ranges, and what is none, give the whole, as RFC 9110 (14.2) allows.
    """
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        suffix_bytes = int(match[2])
        return None if suffix_bytes and not size_bytes else (max(0, size_bytes - suffix_bytes), size_bytes)
    start, last = int(match[1]), int(match[2] or size_bytes)
    if last < start:
        return None if match[2] else (start, start)  # 5-2 is no range; 9- of 5 bytes is one that cannot be had
    return start, max(start, min(last + 1, size_bytes)) if start < size_bytes else start


def _sent(request: Request, body: bytes, status: int, headers: dict[str, str]) -> Response:
    """Return bytes, or for HEAD what would be said of them."""
    length = {"Content-Length": str(len(body))}
    content = b"" if request.method == "HEAD" else body
    return Response(content, status, headers | length, media_type="application/octet-stream")
