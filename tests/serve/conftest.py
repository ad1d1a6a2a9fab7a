"""An app asked in this process, without a socket; and the receiver on a socket of its own."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette


class Asking:
    """Asks an ASGI app, one request after the other, each in an event loop of its own."""

    def __init__(self, app: Any, base_url: str = "http://127.0.0.1:4318", *, raises: bool = True) -> None:
        self.app = app
        self._base_url = base_url
        self._raises = raises

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=self._raises)
        async with httpx.AsyncClient(transport=transport, base_url=self._base_url) as client:
            return await client.request(method, path, **options)


@pytest.fixture
def asking() -> Callable[..., Asking]:
    """`asking(app).get(path)` is the app's whole answer."""
    return Asking


class Api(Asking):
    """The JSON API over a store, and the status that a collector would report to."""

    def __init__(self, store: Any, **options: Any) -> None:
        from tracestore.serve import bodies, health, index, prometheus, receiver, records
        from tracestore.serve.failures import HANDLERS

        modules = (index, records, bodies, health, prometheus)
        app = Starlette(routes=[route for module in modules for route in module.ROUTES], exception_handlers=HANDLERS)
        self.status = health.Status(**options)
        self.lag_bytes = 0
        app.state.store, app.state.status, app.state.received = store, self.status, receiver.Received()
        app.state.lag_bytes = lambda: self.lag_bytes
        super().__init__(app)


@pytest.fixture
def api() -> Callable[..., Api]:
    """`api(store).get("/v1/turns")` is an answer of the JSON API."""
    return Api


class Loopback:
    """A real server in a thread, on a port of loopback; it answers with whatever ``app`` is at the moment."""

    def __init__(self) -> None:
        self.app: Any = None

        async def current(scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

        config = uvicorn.Config(current, port=0, lifespan="off", ws="none", log_config=None, http="httptools")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.005)
        assert self._server.started
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    """One server for the tests of a module: to start and end one takes 0.2 s."""
    server = Loopback()
    yield server
    server.close()


class Receiving:
    """The receiver's endpoints on a real server, over a journal on disk."""

    def __init__(self, loopback: Loopback, directory: Path) -> None:
        from tracestore.serve import receiver
        from tracestore.serve.appending import Appending
        from tracestore.serve.health import Status

        self.journal = directory
        self.lag_bytes = self.lines_read = 0
        self.references: dict[str, bytes] = {}
        self.appending = Appending(directory, lambda: 1_700_000_000_000)
        self.received = receiver.Received()
        self.port = loopback.port
        app = Starlette(routes=receiver.ROUTES)
        self.status = app.state.status = Status()
        app.state.appending, app.state.received = self.appending, self.received
        app.state.lag_bytes, app.state.read_ref = (lambda: self.lag_bytes), self.references.get
        loopback.app = app

    def url(self, signal: str = "traces") -> str:
        return f"http://127.0.0.1:{self.port}/v1/{signal}"

    def post(self, content: Any, signal: str = "traces", **headers: str) -> httpx.Response:
        """Post protobuf, unless a header says otherwise: `content_type="..."`."""
        named = {"Content-Type": "application/x-protobuf"} | {
            name.replace("_", "-").title(): value for name, value in headers.items()
        }
        options: dict[str, Any] = {"timeout": 20, "trust_env": False, "verify": False}  # certificates load for 15 ms
        return httpx.post(self.url(signal), content=content, headers=named, **options)

    def lines(self) -> list[dict[str, Any]]:
        """What stands in the journal."""
        paths = sorted(self.journal.glob("*.ndjson"))
        return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


@pytest.fixture
def receiving(loopback: Loopback, tmp_path: Path) -> Iterator[Receiving]:
    """A receiver that listens on loopback, on the journal of the store `tmp_path/store`."""
    directory = tmp_path / "store" / "journal"
    directory.mkdir(parents=True, exist_ok=True)
    receiver = Receiving(loopback, directory)
    yield receiver
    receiver.appending.close()
