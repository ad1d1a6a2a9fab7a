"""Bodies on their way: each chunk goes through as it is, and the call hears of it."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tracestore.capture.wire.call import ProviderCall
from tracestore.capture.wire.messages import content_of, library_of


class _Received:
    """A response that is read: it ends with its last chunk, with an error, or by being closed before."""

    def __init__(self, stream: Any, call: ProviderCall) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        received = self._call.received
        try:
            for chunk in self._stream:
                received(chunk)
                yield chunk
        except GeneratorExit:
            raise  # who reads has enough; `close` says so to the call
        except BaseException as error:
            self._call.end(error)
            raise
        self._call.end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.end(is_cut=True)

    def __del__(self) -> None:
        _forgotten(self._call)


class _ReceivedAsync:
    """`_Received` in an event loop."""

    def __init__(self, stream: Any, call: ProviderCall) -> None:
        self._stream = stream
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = self._call.received
        try:
            async for chunk in self._stream:
                received(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:  # a cancelled task as well
            self._call.end(error)
            raise
        self._call.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.end(is_cut=True)

    def __del__(self) -> None:
        _forgotten(self._call)


class _Sent:
    """A request that is sent piece by piece."""

    def __init__(self, stream: Any, call: ProviderCall) -> None:
        self._stream = stream
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._call.sent(chunk)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _SentAsync:
    """`_Sent` in an event loop."""

    def __init__(self, stream: Any, call: ProviderCall) -> None:
        self._stream = stream
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._call.sent(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _forgotten(call: ProviderCall) -> None:
    """End a call whose response was never closed; not while the interpreter ends, and modules are gone."""
    if not sys.is_finalizing():
        call.end(is_cut=True)


def listen_to_response(response: Any, call: ProviderCall, *, is_async: bool) -> None:
    """Have the call hear what is read of a response."""
    content = content_of(response)
    if content is not None:  # a transport answered by itself, as a cache does: the stream is not asked
        call.received(content)
        call.end()
        return
    kind = _ReceivedAsync if is_async else _Received
    response.stream = _of_library(kind, _base(response, is_async))(response.stream, call)


@contextmanager
def listening_to_request(request: Any, call: ProviderCall, *, is_async: bool) -> Iterator[None]:
    """Have the call hear what is sent of a request, where it was not known before."""
    if call.knows_request:
        yield
        return
    stream = request.stream
    request.stream = _of_library(_SentAsync if is_async else _Sent, _base(request, is_async))(stream, call)
    try:
        yield
    finally:
        request.stream = stream  # it may be sent again, by another call


def _base(message: Any, is_async: bool) -> type:
    library = library_of(message)
    base: type = library.AsyncByteStream if is_async else library.SyncByteStream
    return base


@cache
def _of_library(kind: type, base: type) -> Any:
    """Return the kind of stream as a class of the library, which insists on its own."""
    return type(kind.__name__, (kind, base), {})
