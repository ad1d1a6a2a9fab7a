"""One call to a provider, from the bytes that are sent to the last byte that comes back."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from tracestore.capture.clock import ms_of
from tracestore.capture.recorder import Recorder
from tracestore.capture.redaction import mask
from tracestore.capture.span import Span
from tracestore.capture.wire import facts
from tracestore.capture.wire.messages import Packed, content_of, packed_of
from tracestore.record.limits import BODY_LIMIT_BYTES

NAME = "provider.request"
"""The name of the span."""
REQUEST_BODY_MSG = "http.request.body"
"""The log whose body is a request that was sent piece by piece, and was not known when the span opened."""
WIRE_MSG = "http.{}.wire"
"""The log whose body is a compressed request or response as it came; the span's own is what was in it."""

# Of a URL: an attribute may be called so.
_SECRET_PARAMETERS = frozenset(("key", "sig", "signature", "token", "x-goog-signature"))
_PARAMETER = re.compile(r"(?<=[?&#])([^=&#]+)=([^&#]*)")
_USER = re.compile(r"(?<=//)[^/?#]*@")
_URL_HEADERS = frozenset(("location", "content-location", "referer"))
_FIRST_ERROR_STATUS = 400
_STATUS_WITHOUT_BODY = (204, 304)
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
            call.into.funnel.drop("invalid")

    return run


class ProviderCall:
    """Records one request and its response as a span; none of its methods raises.

    Request and response are those of httpx, or of a library with the same classes. The chunks of the
    response are held as they are until it ends, which is the only copy; joined, they become its body.
    """

    def __init__(self, into: Recorder | Span) -> None:
        self.into = into
        self._span: Span | None = None
        self._started_ns = 0
        self._first_byte_ns: int | None = None
        self._sent = _Chunks()
        self._received = _Chunks()
        self._request: Any = None
        self._response: Any = None
        self._is_ended = False
        self.knows_request = False
        """Whether the body of the request is known before it is sent."""

    @_quiet
    def send(self, request: Any) -> None:
        """Open the span of a request that is about to be sent."""
        self._started_ns = self.into.funnel.clock.elapsed_ns()
        self._request = request
        url, headers = request.url, request.headers
        attributes: dict[str, Any] = {"provider": facts.provider_of(url.host, url.path)}
        content = content_of(request)
        self.knows_request = content is not None
        packed = packed_of(request, content or b"")
        body = packed.body if packed else content or b""
        if content is not None:
            attributes["requestBytes"] = len(content)
        attributes |= facts.of_request(url.path, body)
        attributes |= {"http.request.method": request.method, "url.full": self._masked_url(str(url))}
        attributes |= {f"http.request.header.{name}": value for name, value in self._headers(headers)}
        resent = headers.get("x-stainless-retry-count", "0")
        if resent.isdecimal() and resent != "0":
            attributes["http.request.resend_count"] = int(resent)
        open_span = self.into.child if isinstance(self.into, Span) else self.into.span
        self._span = open_span(NAME, attributes, body or None)
        if packed is not None:
            self._keep_wire("request", packed)

    def sent(self, chunk: bytes) -> None:
        """Take a piece of a request that is sent piece by piece."""
        if self._span is not None:
            self._sent.add(chunk)

    @_quiet
    def answer(self, response: Any) -> None:
        """Take the head of the response."""
        self._response = response
        if self._span is not None:
            attributes: dict[str, Any] = {"http.response.status_code": response.status_code}
            attributes |= {f"http.response.header.{name}": value for name, value in self._headers(response.headers)}
            request_id = facts.request_id_of(response.headers)
            if request_id is not None:
                attributes["requestId"] = request_id
            self._span.set_attributes(attributes)

    def received(self, chunk: bytes) -> None:
        """Take a chunk of the response, on its way to the application."""
        if self._span is not None:
            if self._first_byte_ns is None:
                self._hear_first()
            self._received.add(chunk)

    @_quiet
    def end(self, error: BaseException | None = None, *, is_cut: bool = False) -> None:
        """Close the span: the response has ended, broke with an error, or was left before its end. Once."""
        if self._is_ended or self._span is None:
            return
        self._is_ended = True
        attributes: dict[str, Any] = {}
        if self._sent.size_bytes:
            body = self._readable("request", self._request, self._sent)
            attributes = {"requestBytes": self._sent.size_bytes, **facts.of_request(self._request.url.path, body)}
            self._span.log(REQUEST_BODY_MSG, "debug", body=body or None)
        failed: BaseException | str | None = error
        body = b""
        if self._response is not None:
            body = self._readable("response", self._response, self._received)
            said = facts.of_response(body)
            is_complete = (error is None and not is_cut) or self._has_all() or facts.is_finished(body)
            attributes |= said.attributes | {"responseBytes": self._received.size_bytes}
            attributes["responseComplete"] = is_complete
            if self._first_byte_ns is not None:
                attributes["firstByteMs"] = ms_of(self._first_byte_ns - self._started_ns)
            failed = error or self._failure(said.error)
        self._span.end(failed, attributes, body or None)

    @_quiet
    def _hear_first(self) -> None:
        self._first_byte_ns = self.into.funnel.clock.elapsed_ns()

    def _has_all(self) -> bool:
        """Tell whether as much came as the head of the response announced."""
        if self._request.method == "HEAD" or self._response.status_code in _STATUS_WITHOUT_BODY:
            return True
        length: str | None = self._response.headers.get("content-length")
        return length is not None and length.isdecimal() and self._received.size_bytes >= int(length)

    def _failure(self, said: str | None) -> str | None:
        """Return what went wrong by the response's own word: by its status, or by an event after that was sent."""
        status: int = self._response.status_code
        if status >= _FIRST_ERROR_STATUS:
            return f"HTTP {status}: {said}" if said else f"HTTP {status}"
        is_stream = self._response.headers.get("content-type", "").startswith("text/event-stream")
        return said if is_stream else None

    def _readable(self, side: str, message: Any, chunks: "_Chunks") -> bytes:
        """Return the body that came in chunks, of which nothing is held any longer; compressed, what is in it."""
        content = self._taken(chunks) or b""
        packed = packed_of(message, content)
        if packed is None:
            return content
        self._keep_wire(side, packed)
        return packed.body

    def _taken(self, chunks: "_Chunks") -> bytes | None:
        """Return what was held, once; None, and a count, where it was too much to be recorded."""
        content = chunks.taken()
        if content is None and self._span is not None:
            self.into.funnel.drop("too_large")
            self._span.set_attributes(body_dropped_bytes=chunks.size_bytes)
        return content

    def _keep_wire(self, side: str, packed: Packed) -> None:
        """Record compressed bytes as they are, unless they hold a secret, or may, which cannot be masked in there."""
        if self._span is None:
            return
        if packed.is_read_whole and self.into.funnel.redaction.data(packed.body) == packed.body:
            self._span.log(WIRE_MSG.format(side), "debug", body=packed.content)
        else:
            self._span.log(WIRE_MSG.format(side), "debug", redacted_bytes=len(packed.content))

    def _headers(self, headers: Any) -> list[tuple[str, str]]:
        named = [(name.lower(), value) for name, value in headers.items()]
        return [(name, self._masked_url(value) if name in _URL_HEADERS else value) for name, value in named]

    def _masked_url(self, url: str) -> str:
        """Return a URL without its user, and with the values of secret parameters masked."""

        def masked(found: "re.Match[str]") -> str:
            name, value = found.groups()
            is_secret = name.lower() in _SECRET_PARAMETERS
            return f"{name}={mask(value) if is_secret else self.into.funnel.redaction.named(name, value)}"

        return _PARAMETER.sub(masked, _USER.sub("", url))


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
