"""One call to a provider, from the bytes that are sent to the last byte that comes back."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from tracestore.capture.recorder import Recorder
from tracestore.capture.redaction import Redaction, mask
from tracestore.capture.span import Span
from tracestore.capture.wire import facts
from tracestore.record.limits import BODY_LIMIT_BYTES

NAME = "provider.request"
"""The name of the span."""
REQUEST_BODY_MSG = "http.request.body"
"""The log whose body is a request that was sent piece by piece, and was not known when the span opened."""
WIRE_MSG = "http.{}.wire"
"""The log whose body is a compressed request or response as it came; the span's own is what was in it."""

_SECRET_PARAMETERS = frozenset(("key", "sig", "signature", "token"))  # in a URL; an attribute may be called so
_US_PER_MS = 1000
_NS_PER_US = 1000
_FIRST_ERROR_STATUS = 400
_P = ParamSpec("_P")


def _quiet(
    method: "Callable[Concatenate[ProviderCall, _P], None]",
) -> "Callable[Concatenate[ProviderCall, _P], None]":
    """Keep whatever fails in here from the application, and count it."""

    @wraps(method)
    def run(call: "ProviderCall", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(call, *args, **kwargs)
        except Exception:
            call.into.funnel.queue.drop("invalid")

    return run


class ProviderCall:
    """Records one request and its response as a span; none of its methods raises.

    Request and response are those of httpx, or of a library with the same classes. The chunks of the
    response are held as they are until it ends, which is the only copy; joined, they become its body.
    """

    def __init__(self, into: Recorder | Span) -> None:
        self.into = into
        self._span: Span | None = None
        self._started_ns = into.funnel.clock.elapsed_ns()
        self._first_byte_ns: int | None = None
        self._sent = _Chunks()
        self._received = _Chunks()
        self._response: Any = None
        self._is_ended = False
        self.knows_request = False
        """Whether the body of the request is known before it is sent."""

    @_quiet
    def send(self, request: Any) -> None:
        """Open the span of a request that is about to be sent."""
        url, headers = request.url, request.headers
        attributes: dict[str, Any] = {"provider": facts.provider_of(url.host, url.path)}
        content = _content(request)
        body: bytes | None = None
        unpacked: bytes | None = None
        self.knows_request = content is not None
        if content is not None:
            unpacked = _unpacked(request, content)
            body = content if unpacked is None else unpacked
            attributes |= facts.of_request(body)
            attributes["requestBytes"] = len(content)
        attributes |= {"http.request.method": request.method, "url.full": _masked_url(url, self.into.funnel.redaction)}
        attributes |= {f"http.request.header.{name}": value for name, value in _headers(headers)}
        resent = headers.get("x-stainless-retry-count", "0")
        if resent.isdecimal() and resent != "0":
            attributes["http.request.resend_count"] = int(resent)
        open_span = self.into.child if isinstance(self.into, Span) else self.into.span
        self._span = open_span(NAME, attributes, body or None)
        if content is not None and unpacked is not None:
            self._keep_wire("request", content, unpacked)

    def sent(self, chunk: bytes) -> None:
        """Take a piece of a request that is sent piece by piece."""
        self._sent.add(chunk)

    @_quiet
    def answer(self, response: Any) -> None:
        """Take the head of the response."""
        self._response = response
        if self._span is not None:
            attributes: dict[str, Any] = {"http.response.status_code": response.status_code}
            attributes |= {f"http.response.header.{name}": value for name, value in _headers(response.headers)}
            request_id = facts.request_id_of(response.headers)
            if request_id is not None:
                attributes["requestId"] = request_id
            self._span.set_attributes(attributes)

    def received(self, chunk: bytes) -> None:
        """Take a chunk of the response, on its way to the application."""
        if self._first_byte_ns is None:
            self._first_byte_ns = self.into.funnel.clock.elapsed_ns()
        self._received.add(chunk)

    @_quiet
    def end(self, error: BaseException | None = None, *, is_cut: bool = False) -> None:
        """Close the span: the response has ended, broke with an error, or was left before its end. Once."""
        if self._is_ended or self._span is None:
            return
        self._is_ended = True
        if self._sent.size_bytes:
            self._span.log(REQUEST_BODY_MSG, "debug", body=self._taken(self._sent))
        attributes: dict[str, Any] = {}
        body: bytes | None = None
        failed: BaseException | str | None = error
        if self._response is not None:
            attributes = {"responseBytes": self._received.size_bytes}
            if self._first_byte_ns is not None:
                attributes["firstByteMs"] = (self._first_byte_ns - self._started_ns) // _NS_PER_US / _US_PER_MS
            content = self._taken(self._received)
            unpacked = _unpacked(self._response, content) if content else None
            body = content if unpacked is None else unpacked
            if unpacked is not None and content is not None:
                self._keep_wire("response", content, unpacked)
            attributes |= facts.of_response(body or b"")
            attributes["responseComplete"] = error is None and (not is_cut or facts.is_finished(body or b""))
            if error is None and self._response.status_code >= _FIRST_ERROR_STATUS:
                failed = f"HTTP {self._response.status_code}"
        self._span.end(failed, attributes, body or None)

    def _taken(self, chunks: "_Chunks") -> bytes | None:
        """Return what was held, once; None, and a count, where it was too much to be recorded."""
        content = chunks.taken()
        if content is None and self._span is not None:
            self.into.funnel.queue.drop("too_large")
            self._span.set_attributes(body_dropped_bytes=chunks.size_bytes)
        return content

    def _keep_wire(self, side: str, content: bytes, unpacked: bytes) -> None:
        """Record compressed bytes as they are, but for those that hold a secret, which cannot be masked in there."""
        if self._span is None:
            return
        if self.into.funnel.redaction.data(unpacked) == unpacked:
            self._span.log(WIRE_MSG.format(side), "debug", body=content)
        else:
            self._span.log(WIRE_MSG.format(side), "debug", redacted_bytes=len(content))


class _Chunks:
    """Chunks as they came, up to what a body may have."""

    __slots__ = ("_chunks", "size_bytes")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.size_bytes = 0

    def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes <= BODY_LIMIT_BYTES:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def taken(self) -> bytes | None:
        """Return them as one, and hold them no longer; None where they were too many."""
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks) if self.size_bytes <= BODY_LIMIT_BYTES else None


def library_of(message: Any) -> Any:
    """Return the library that a request or response is of: ``httpx``, or one that has the same classes."""
    return sys.modules[type(message).__module__.partition(".")[0]]


def _content(request: Any) -> bytes | None:
    """Return the body of a request; None where it is sent piece by piece."""
    try:
        content: bytes = request.content
    except Exception:  # the library's own: the body was not read
        return None
    return content


def _unpacked(message: Any, content: bytes) -> bytes | None:
    """Return what is in a compressed body; None where it is not compressed, or cannot be read."""
    encoding = message.headers.get("content-encoding", "identity")
    if encoding == "identity":
        return None
    try:
        read: bytes = library_of(message).Response(200, headers={"content-encoding": encoding}, content=content).content
    except Exception:  # broken off, or not what it says: then it is kept as it came
        return None
    return None if read == content else read


def _headers(headers: Any) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]


def _masked_url(url: Any, redaction: Redaction) -> str:
    """Return a URL without its user, and with the values of secret parameters masked."""
    port = "" if url.port is None else f":{url.port}"
    query = url.query.decode("ascii", "replace")
    parts = (part.partition("=") for part in query.split("&")) if query else ()
    shown = "&".join(
        name + equals + (mask(value) if name in _SECRET_PARAMETERS else redaction.named(name, value))
        for name, equals, value in parts
    )
    return f"{url.scheme}://{url.host}{port}{url.path}" + (f"?{shown}" if shown else "")
