"""Transports for httpx that record every call, byte for byte, and change none.

For any client of httpx, and of httpx2, which the clients of OpenAI and Anthropic use by now: the
library is recognised by the request, and none is imported here.
"""

from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from tracestore.capture.recorder import Recorder
from tracestore.capture.span import Span
from tracestore.capture.wire.call import ProviderCall
from tracestore.capture.wire.messages import library_of
from tracestore.capture.wire.streams import listen_to_response, listening_to_request
from tracestore.errors import InputInvalid

_MAX_CONNECTIONS = 1000  # as in the clients of OpenAI and Anthropic; with the libraries' own 100, calls would wait
_MAX_IDLE_CONNECTIONS = 100

if TYPE_CHECKING:  # so that clients of either library take them; at run time it counts what they do
    import httpx
    import httpx2

    class _Transport(httpx.BaseTransport, httpx2.BaseTransport):  # type: ignore[misc]  # each has a request of its own
        """What a client wants its transport to be."""

    class _AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):  # type: ignore[misc]
        """The same for an asynchronous client."""
else:
    _Transport = _AsyncTransport = object


class _Capturing:
    """What both transports have in common: into what they record, and what they wrap."""

    _DEFAULT: str
    _SENDS: str

    def __init__(self, into: Recorder | Span, wrapped: Any = None) -> None:
        if not isinstance(into, Recorder | Span):
            raise InputInvalid(f"into: wanted a Recorder or a Span, found {into!r:.60}")
        if wrapped is not None and not hasattr(wrapped, self._SENDS):
            raise InputInvalid(f"wrapped: wanted a transport with a {self._SENDS}, found {wrapped!r:.60}")
        self._into = into
        self._given = wrapped
        self._made: dict[str, Any] = {}
        self._making = Lock()

    def __getattr__(self, name: str) -> Any:
        """Say which transport is wanted, to who gave one to the wrong client."""
        wanted = "a Client takes CaptureTransport, an AsyncClient AsyncCaptureTransport"
        raise AttributeError(f"{type(self).__name__} has no {name}: {wanted}", name=name, obj=self)

    def _transport(self, request: Any) -> Any:
        """Return the wrapped transport; where none was given, one of the library that the request is of."""
        if self._given is not None:
            return self._given
        library = library_of(request)
        with self._making:
            if library.__name__ not in self._made:
                limits = library.Limits(
                    max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_IDLE_CONNECTIONS
                )
                self._made[library.__name__] = getattr(library, self._DEFAULT)(limits=limits)
            return self._made[library.__name__]

    def _wrapped(self) -> list[Any]:
        """Return the transports that make the calls."""
        return list(self._made.values()) if self._given is None else [self._given]


class CaptureTransport(_Capturing, _Transport):
    """Records each call of a client as a span ``provider.request``.

    ``OpenAI(http_client=DefaultHttpxClient(transport=CaptureTransport(recorder)))``. ``into`` is a recorder,
    or the span in which the calls are made. ``wrapped`` is the transport that makes them; without one
    it is an ``HTTPTransport`` of the client's library, which uses no proxy.
    """

    _DEFAULT = "HTTPTransport"
    _SENDS = "handle_request"

    def handle_request(self, request: Any) -> Any:
        """Send a request and return its response, whose bytes are recorded as they are read."""
        call = ProviderCall(self._into)
        call.send(request)
        try:
            with listening_to_request(request, call, is_async=False):
                response = self._transport(request).handle_request(request)
        except BaseException as error:
            call.end(error)
            raise
        call.answer(response)
        listen_to_response(response, call, is_async=False)
        return response

    def close(self) -> None:
        """Close the connections."""
        for wrapped in self._wrapped():
            wrapped.close()

    def __enter__(self) -> Self:
        for wrapped in self._wrapped():
            wrapped.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        for wrapped in self._wrapped():
            wrapped.__exit__(*about)


class AsyncCaptureTransport(_Capturing, _AsyncTransport):
    """`CaptureTransport` for an ``AsyncClient``; without ``wrapped`` it is an ``AsyncHTTPTransport``."""

    _DEFAULT = "AsyncHTTPTransport"
    _SENDS = "handle_async_request"

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request and return its response, whose bytes are recorded as they are read."""
        call = ProviderCall(self._into)
        call.send(request)
        try:
            with listening_to_request(request, call, is_async=True):
                response = await self._transport(request).handle_async_request(request)
        except BaseException as error:  # a cancelled task as well
            call.end(error)
            raise
        call.answer(response)
        listen_to_response(response, call, is_async=True)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        for wrapped in self._wrapped():
            await wrapped.aclose()

    async def __aenter__(self) -> Self:
        for wrapped in self._wrapped():
            await wrapped.__aenter__()
        return self

    async def __aexit__(self, *about: Any) -> None:
        for wrapped in self._wrapped():
            await wrapped.__aexit__(*about)
