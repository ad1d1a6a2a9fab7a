"""What a request sends, in bounded memory and time: its content type, its bytes, unzipped.

Limits, each with the status that says so: LIMIT_BYTES of one body, as it comes and unzipped (413);
READ_TIMEOUT_S for it to come (408); ROOM_BYTES for all requests together (503). A body that is
announced as too large is not read at all, one that turns out to be is read no further.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from isal import isal_zlib
from starlette.requests import Request

from tracestore.errors import InputInvalid, TraceStoreError
from tracestore.formats.otlp import JSON, PROTOBUF

LIMIT_BYTES = 64 * 1024 * 1024
ROOM_BYTES = 2 * LIMIT_BYTES
"""Held by all requests together before they are decoded: 200 clients could each send a body of the limit."""
READ_TIMEOUT_S = 30.0
RETRY_SOON_S = 1

_GZIP = 31  # "wbits" of one gzip member with its checksum and length
_StreamError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub declares an instance of it


class Refused(TraceStoreError):
    """A request that is answered with this status, and perhaps with when to try again."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class Room:
    """Bytes that requests hold at once; of one event loop."""

    def __init__(self, limit_bytes: int = ROOM_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count bytes as held; Refused with 503 where there is no room for them."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            raise Refused(
                503,
                f"wanted at most {self._limit_bytes} bytes of requests at once, found more; send this one again",
                {"Retry-After": str(RETRY_SOON_S)},
            )
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count bytes as held no longer."""
        self.held_bytes -= size_bytes


def content_type_of(request: Request) -> str:
    """Return PROTOBUF or JSON; anything else is Refused with 415."""
    found = request.headers.get("content-type", "")
    content_type = found.partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON):
        raise Refused(415, f"Content-Type: wanted {PROTOBUF} or {JSON}, found {found[:80] or 'none'}")
    return content_type


def is_zipped(request: Request) -> bool:
    """Tell whether the body is gzip; an encoding other than gzip and identity is Refused with 415."""
    found = request.headers.get("content-encoding", "")
    encoding = found.strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return True
    if encoding in ("", "identity"):
        return False
    raise Refused(415, f"Content-Encoding: wanted gzip or identity, found {found[:80]}", {"Accept-Encoding": "gzip"})


@asynccontextmanager
async def content_of(request: Request, room: Room) -> AsyncIterator[bytes]:
    """Read a body as it was sent; it takes room for as long as the block lasts."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced))
    pieces: list[bytes] = []
    size_bytes = 0
    try:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                async for piece in request.stream():
                    room.take(len(piece))
                    size_bytes += len(piece)
                    _check_size(size_bytes)
                    pieces.append(piece)
        except TimeoutError as error:
            message = f"wanted the whole body in {READ_TIMEOUT_S:g} s, found {size_bytes} bytes of it; send it again"
            raise Refused(408, message, {"Connection": "close"}) from error
        content = b"".join(pieces)
        pieces.clear()  # else the body is held twice for as long as it is decoded
        yield content
    finally:
        room.give_back(size_bytes)


def unzipped(data: bytes) -> bytes:
    """Unzip one gzip member and never make more than LIMIT_BYTES + 1 of it; InputInvalid when it is damaged.

    One member, as every client sends: a body may hold millions of empty ones, each with its price.
    """
    stream = isal_zlib.decompressobj(_GZIP)
    try:
        content: bytes = stream.decompress(data, LIMIT_BYTES + 1)
    except _StreamError as error:
        raise InputInvalid(f"body: wanted gzip, found {error}; send it again as it was zipped") from None
    _check_size(len(content))
    if not stream.eof or stream.unused_data:
        found = "more behind it" if stream.eof else "an end cut off"
        raise InputInvalid(f"body: wanted one whole gzip member, found {found}; send it again as it was zipped")
    return content


def _check_size(size_bytes: int) -> None:
    if size_bytes > LIMIT_BYTES:
        raise Refused(413, f"body: wanted at most {LIMIT_BYTES} bytes, found more; send fewer spans in a request")
