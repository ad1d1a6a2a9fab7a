"""What requests and responses of httpx hold, whichever library of that kind they are of."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from tracestore.record.limits import BODY_LIMIT_BYTES

_PIECE_BYTES = 16 * 1024  # of what is compressed, so that what little becomes is seen before it is too much


class Packed(NamedTuple):
    """A compressed body: as it came, what is in it, and whether all that came could be read."""

    content: bytes
    body: bytes
    is_read_whole: bool


def library_of(message: Any) -> Any:
    """Return the library that a request or response is of: ``httpx``, or one that has the same classes."""
    packages = (kind.__module__.partition(".")[0] for kind in type(message).__mro__)  # an application's own come first
    return next(sys.modules[package] for package in packages if hasattr(sys.modules.get(package), "SyncByteStream"))


def content_of(message: Any) -> bytes | None:
    """Return the body of a request or response; None where it goes over the wire piece by piece."""
    try:
        content: bytes = message.content
    except Exception:  # the library's own: the body was not read
        return None
    return content


def packed_of(message: Any, content: bytes) -> Packed | None:
    """Unpack a compressed body, as far as it came; None where it is none, whatever its header says."""
    encoding = message.headers.get("content-encoding", "identity")
    if encoding == "identity" or not content:
        return None
    is_taken = is_read_whole = False

    def pieces() -> Iterator[bytes]:
        nonlocal is_taken
        for start in range(0, len(content), _PIECE_BYTES):
            yield content[start : start + _PIECE_BYTES]
        is_taken = True  # so it is what it says; it may still be broken off

    parts: list[bytes] = []
    size_bytes = 0
    with suppress(Exception):  # broken off, or not what it says
        response = library_of(message).Response(200, headers={"content-encoding": encoding}, content=pieces())
        for part in response.iter_bytes():
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > BODY_LIMIT_BYTES:
                break
        else:
            is_read_whole = True
    body = b"".join(parts)
    return None if body == content or not (body or is_taken) else Packed(content, body, is_read_whole)
