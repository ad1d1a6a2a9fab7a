"""An HTTP server in a thread beside the collector: on the store's socket, and over TCP if asked.

Sockets are opened where the server is made, so that an address in use is an error of the command, not of
a thread. At the end no new request is taken, those that run get ``END_WITHIN_S``, and what was received
is durable; then the caller drains the journal.
"""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from tracestore.errors import InputInvalid
from tracestore.layout import StoreLayout
from tracestore.remote import sockets
from tracestore.serve.app import Serving, owner_app, public_app
from tracestore.serve.appending import Appending
from tracestore.serve.guard import check_listen
from tracestore.serve.health import Status
from tracestore.serve.limits import BoundedProtocol, CutOff
from tracestore.serve.receiver import Received
from tracestore.serve.refs import AllowedFiles
from tracestore.store import TraceStore

END_WITHIN_S = 5
KEEP_ALIVE_S = 75
"""Longer than an exporter waits between two batches."""
CALLS_AT_ONCE = 16
SWITCH_S = 0.0002
"""How long a thread keeps the interpreter while others wait for it. With Python's 5 ms a small query, which needs it
a dozen times, takes 80 ms beside a collector that is busy, with this 20, and collecting a tenth longer."""
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on; port 0 is any that is free."""

    host: str
    port: int
    token: bytes | None = None


class Server:
    """Answers for one store that this process holds, from entering the context to `stop`."""

    def __init__(
        self, store: TraceStore, status: Status, *, listen: Listen | None = None, ref_directories: Iterable[Path] = ()
    ) -> None:
        """``status`` hears the collector's events; files that a span names are read below ``ref_directories``.

        Raises InputInvalid for an address that cannot be had, StoreUnavailable where there can be no socket.
        """
        layout = StoreLayout(store.path)
        with ExitStack() as stack:
            self.address: tuple[str, int] | None = None
            own = stack.enter_context(sockets.listen(layout.socket))
            stack.callback(layout.socket.unlink, missing_ok=True)
            tcp = None if listen is None else stack.enter_context(_bound(listen))
            appending = Appending(layout.journal, lambda: time.time_ns() // NS_PER_MS)
            stack.callback(appending.close)
            workers = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="call")
            stack.callback(workers.shutdown)
            serving = Serving(
                store, status, status.lag_bytes, appending, Received(), AllowedFiles(ref_directories),
                workers,
            )  # fmt: skip
            stack.callback(serving.queries.close)
            self._servers = [_server(owner_app(serving), own)]
            if listen is not None and tcp is not None:
                self.address = tcp.getsockname()[:2]
                self._servers.append(_server(public_app(serving, listen.host, listen.token), tcp))
            self._workers = workers
            self._closing = stack.pop_all()
        self._thread = threading.Thread(target=self._run, name="server")

    def __enter__(self) -> "Server":
        self._closing.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer what was asked, and end; may be called twice."""
        for server, _ in self._servers:
            server.should_exit = True
        with self._closing:  # also where a second signal comes while this waits
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await asyncio.gather(*(server.serve([listening]) for server, listening in self._servers))
        for server, _ in self._servers:
            for connection in list(server.server_state.connections):  # of clients that do not read
                connection.transport.abort()
        await asyncio.to_thread(self._workers.shutdown)  # while the loop runs: they may have something to send


def _bound(listen: Listen) -> socket.socket:
    """Return a socket that listens; asyncio sets TCP_NODELAY where it is one of TCP by its number, too."""
    check_listen(listen.host, listen.token)
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
        bound.listen(sockets.BACKLOG)
    except OSError as error:
        bound.close()
        wanted = f"an address of this machine that is free, found {listen.host}:{listen.port}"
        raise InputInvalid(f"--listen: wanted {wanted}: {error.strerror}; give another one") from error
    return bound


def _server(app: ASGIApp, listening: socket.socket) -> tuple[uvicorn.Server, socket.socket]:
    config = uvicorn.Config(
        CutOff(app), loop="asyncio", http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=END_WITHIN_S, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config), listening
