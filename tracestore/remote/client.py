"""One call to the process that holds a store: HTTP over its socket, the answer as it comes."""

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from tracestore.errors import StoreUnavailable
from tracestore.remote import sockets
from tracestore.remote.calls import Call, encode_call
from tracestore.remote.frames import PROTOCOL, PROTOCOL_HEADER, decode

CALLS_PATH = "/store"


class _SocketConnection(HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock: socket.socket = sockets.connect(self._path)


class Client:
    """Calls one process; every call has a connection of its own, so that threads do not meet."""

    def __init__(self, path: Path, holder: str) -> None:
        """``path`` is the socket's, ``holder`` names the process in errors."""
        self._path = path
        self._holder = holder

    def result(self, call: Call, on_progress: Callable[[int, int], None] | None = None) -> Any:
        """Return the result of a call."""
        return self.run(call, lambda item: None, on_progress)

    def items(self, call: Call) -> list[Any]:
        """Return all items of a call."""
        found: list[Any] = []
        self.run(call, found.append)
        return found

    def run(
        self, call: Call, on_item: Callable[[Any], None], on_progress: Callable[[int, int], None] | None = None
    ) -> Any:
        """Hand over every item as it comes, and return the result."""
        for kind, value in self.frames(call):
            if kind == "result":
                return value
            if kind == "item":
                on_item(value)
            elif kind == "progress" and on_progress is not None:
                on_progress(*value)
        raise self.ended_early()

    def ended_early(self) -> StoreUnavailable:
        """Return what to raise where frames end without a result."""
        return StoreUnavailable(f"{self._holder} ended before it had answered; try again")

    def frames(self, call: Call) -> Generator[tuple[str, Any]]:
        """Give kind and value of every frame; leaving early tells the other side to stop."""
        with self._translated(), closing(_SocketConnection(self._path)) as connection:
            connection.request("POST", CALLS_PATH, encode_call(call), {PROTOCOL_HEADER: PROTOCOL})
            response = connection.getresponse()
            self._check(response)
            while line := response.readline():
                yield decode(line)

    def _check(self, response: HTTPResponse) -> None:
        found = response.getheader(PROTOCOL_HEADER)
        if found != PROTOCOL:
            wanted = f"protocol {PROTOCOL} of {self._holder}, found {found or 'another one'}"
            raise StoreUnavailable(f"wanted {wanted}; stop it, and start it with this release of tracestore")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable:
            raise
        except (OSError, HTTPException) as error:
            raise StoreUnavailable(f"{self._holder} does not answer: {error}; try again") from error
