"""What a connection may cost before a request of it is known: bytes, time and a number."""

import asyncio
import json
import os
import socket
import threading
import time
from http.client import HTTPResponse

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from tracestore.serve.limits import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HELLO = (200, b"/ 0")


class Strict(BoundedProtocol):
    """Small limits, so that a test reaches them; the time is long, but for those that wait for it."""

    connections_at_once = 3
    head_bytes = 10_000


class Hasty(BoundedProtocol):
    head_within_s = 0.05


async def hello(scope, receive, send):
    body = b""
    while (message := await receive()).get("more_body") or message.get("body"):
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    content = f"{scope['path']} {len(body)}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


class Serving:
    """A server on a port of its own, and connections to it."""

    def __init__(self, protocol):
        config = uvicorn.Config(hello, port=0, lifespan="off", ws="none", log_config=None, http=protocol)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        self._opened = []
        until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def connect(self):
        self._opened.append(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        return self._opened[-1]

    def close(self):
        for one in self._opened:
            one.close()
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def open_connections(self):
        return len(self.server.server_state.connections)


def until(is_done):
    deadline = time.monotonic() + 20
    while not is_done():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


@pytest.fixture
def serving():
    started = []

    def start(protocol):
        started.append(Serving(protocol))
        return started[-1]

    yield start
    for one in started:
        one.close()


def answered(connection, data=b""):
    """Send, and read until the other side closes."""
    received = b""
    try:
        connection.sendall(data)
        while chunk := connection.recv(65536):
            received += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass  # it closed while we were still sending
    return received


def once(connection, data):
    """Send a request, and read its whole answer."""
    connection.sendall(data)
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def test_a_head_that_never_ends_is_cut_off(serving):
    server = serving(Strict)
    connection = server.connect()
    head = b"GET / HTTP/1.1\r\nX: "
    connection.sendall(head)
    sent = 0
    try:
        while sent < 100_000_000:
            sent += connection.send(b"x" * 65536)
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert sent < 100_000_000
    until(lambda: server.open_connections == 0)
    assert once(server.connect(), REQUEST) == HELLO


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 4318)})
        self.written = b""
        self.is_closed = False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.is_closed

    def close(self):
        self.is_closed = True


def test_a_head_that_is_too_long_is_told_so():
    async def receive(*parts):
        config = uvicorn.Config(hello, lifespan="off", ws="none", log_config=None)
        protocol, wire = Strict(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        for part in parts:
            protocol.data_received(part)
        protocol.connection_lost(None)
        return wire.written

    begun, short, long = b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"A: x\r\n", b"B: " + b"x" * 6000 + b"\r\n"
    assert asyncio.run(receive(begun, short, long)) == b""
    written = asyncio.run(receive(begun, long, long, b"\r\n"))
    assert written.startswith(b"HTTP/1.1 431 ")
    assert json.loads(written.partition(b"\r\n\r\n")[2])["error"] == "RequestHeaderFieldsTooLarge"


def test_a_long_body_is_no_long_head(serving):
    server = serving(Strict)
    connection = server.connect()
    body = os.urandom(300_000)
    for _ in range(2):  # the second one on the connection counts from its own start
        connection.sendall(b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n")
        for start in range(0, len(body) - 4096, 4096):
            connection.sendall(body[start : start + 4096])
        assert once(connection, body[start + 4096 :]) == (200, b"/in 300000")


def test_connections_beyond_the_limit_are_sent_away_and_later_ones_get_through(serving):
    server = serving(Strict)
    held = [server.connect() for _ in range(3)]
    assert once(held[0], REQUEST) == HELLO
    until(lambda: server.open_connections == 3)
    away = answered(server.connect())
    assert away.startswith(b"HTTP/1.1 503 ")
    assert json.loads(away.partition(b"\r\n\r\n")[2])["error"] == "Busy"
    held[1].close()
    until(lambda: server.open_connections == 2)
    assert once(server.connect(), REQUEST) == HELLO
    assert once(held[0], REQUEST) == HELLO


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: y", b"\r\n"])
def test_a_connection_that_does_not_come_to_a_request_is_ended(serving, said):
    server = serving(Hasty)
    assert answered(server.connect(), said) == b""
    until(lambda: server.open_connections == 0)


def test_a_connection_that_only_sends_empty_lines_after_a_request_is_ended(serving):
    server = serving(Hasty)
    connection = server.connect()
    assert once(connection, REQUEST) == HELLO
    assert answered(connection, b"\r\n") == b""


def test_a_connection_is_kept_between_requests(serving):
    """The time that counts is that of a request which does not come to its end, not of silence."""
    server = serving(Hasty)
    connection = server.connect()
    for _ in range(3):
        assert once(connection, REQUEST) == HELLO
        assert answered(server.connect()) == b""  # for as long as it takes to end one that says nothing
    assert once(connection, REQUEST) == HELLO


def test_what_is_no_http_gets_an_error_in_json(serving):
    server = serving(Strict)
    for data in (b"\x16\x03\x01\x02\x00\x01", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"what?\r\n\r\n"):
        received = answered(server.connect(), data)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"] == "BadRequest"


@pytest.fixture(scope="module")
def hasty():
    server = Serving(Hasty)
    yield server
    server.close()


PIECES = st.sampled_from([
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: 5\r\n", b"hello",
    b"Transfer-Encoding: chunked\r\n", b"5\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
])  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=8))
def test_whatever_comes_in_the_server_goes_on(hasty, pieces):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=20) as connection:
        assert once(connection, REQUEST) == HELLO
