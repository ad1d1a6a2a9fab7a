"""A provider of our own, on a real socket, and what a recorder wrote of the calls to it."""

import base64
import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tracestore.capture import AsyncCaptureTransport, CaptureTransport

WAIT_S = 15.0


@dataclass
class Answer:
    """What the provider says next, in pieces, each sent by itself.

    One piece goes out with its length, more of them, or none, in chunks. `ends` "broken" is a connection
    that closes before the end, "hangs" one without another word. `head` "none" is a provider that never answers.
    A `gate` is passed before each piece, so that a client may take one before the next is sent.
    """

    pieces: list = field(default_factory=list)
    status: int = 200
    headers: dict = field(default_factory=lambda: {"content-type": "application/json"})
    ends: str = "whole"
    head: str = "sent"
    gate: threading.Semaphore | None = None

    @property
    def body(self):
        return b"".join(self.pieces)


@dataclass
class Asked:
    """A request, as it was read from the socket."""

    method: str
    path: str
    headers: dict
    body: bytes


class Provider:
    """Answers one request after the other; the last answer stays."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked = []
        self.answers = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._connections = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def will_say(self, *answers):
        self.answers = list(answers)
        return answers[-1]

    def close(self):
        self._stopped.set()
        for open_socket in [self._socket, *self._connections]:
            with suppress(OSError):  # it is closed by now
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection):
        # The client may go at any time, also within its request.
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            while (asked := self._read(stream)) is not None:
                with self._lock:
                    self.asked.append(asked)
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not self._say(connection, answer, asked):
                    return

    def _read(self, stream):
        first = stream.readline()
        if not first:
            return None
        method, path, _ = first.decode("latin-1").split(" ", 2)
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(stream.readline(), 16):
                parts.append(stream.read(size))
                stream.readline()
            stream.readline()
            return Asked(method, path, headers, b"".join(parts))
        return Asked(method, path, headers, stream.read(int(headers.get("content-length", 0))))

    def _say(self, connection, answer, asked):
        if answer.head == "none":
            self._stopped.wait(WAIT_S)
            return False
        headers = dict(answer.headers)
        is_one = "content-length" in headers or (len(answer.pieces) == 1 and answer.ends == "whole")
        has_body = answer.status != 204 and answer.status != 304
        if has_body and is_one:
            headers.setdefault("content-length", str(len(answer.body)))
        elif has_body:
            headers["transfer-encoding"] = "chunked"
        lines = [f"HTTP/1.1 {answer.status} Said", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        if asked.method == "HEAD" or not has_body:
            return True
        for piece in answer.pieces:
            if answer.gate is not None:
                answer.gate.acquire(timeout=WAIT_S)
            connection.sendall(piece if is_one else b"%x\r\n%s\r\n" % (len(piece), piece))
        if answer.ends == "hangs":
            self._stopped.wait(WAIT_S)
        if answer.ends != "whole":
            return False
        if not is_one:
            connection.sendall(b"0\r\n\r\n")
        return True


class Recorded:
    """Reads what a recorder wrote."""

    def __init__(self, recorder, journal):
        self._recorder = recorder
        self._journal = journal

    def raw(self):
        assert self._recorder.flush()
        return b"".join(path.read_bytes() for path in self._journal.segments())

    def records(self, **wanted):
        assert self._recorder.flush()
        found = self._journal.records()
        return [each for each in found if all(each.get(name) == value for name, value in wanted.items())]

    def opened(self):
        """The only call's span as it was opened."""
        (record,) = self.records(kind="span-open")
        return record

    def closed(self):
        """The only call's span as it was closed."""
        (record,) = self.records(kind="span-close")
        return record

    def log(self, msg):
        (record,) = self.records(kind="log", msg=msg)
        return record


def bytes_of(record):
    """The body of a record, as bytes."""
    body = record.get("body", "")
    if record.get("bodyEncoding") == "base64":
        return base64.b64decode(body)
    return body.encode()


@pytest.fixture
def provider():
    one = Provider()
    yield one
    one.close()


@pytest.fixture
def recorded(recorder, journal):
    return Recorded(recorder, journal)


@pytest.fixture(params=["httpx", "httpx2"])
def library(request):
    return pytest.importorskip(request.param)


@pytest.fixture(scope="session")
def answer():
    return Answer


@pytest.fixture(scope="session")
def body_of():
    return bytes_of


def events_of(*events, names=False):
    """Server-sent events, one piece each."""
    pieces = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
        name = f"event: {event['type']}\n" if names and isinstance(event, dict) else ""
        pieces.append(f"{name}data: {data}\n\n".encode())
    return pieces


@pytest.fixture(scope="session")
def stream():
    """`stream(event, ..., "[DONE]")` is an answer of server-sent events."""

    def make(*events, names=False, **more):
        return Answer(events_of(*events, names=names), headers={"content-type": "text/event-stream"}, **more)

    return make


@pytest.fixture(scope="session")
def plain():
    """`plain({...})` is an answer of JSON."""

    def make(value, **more):
        return Answer([json.dumps(value).encode()], **more)

    return make


@pytest.fixture
def client(library, recorder, provider):
    with library.Client(transport=CaptureTransport(recorder), base_url=provider.url, timeout=10) as one:
        yield one


@pytest.fixture
def async_client(library, recorder, provider):
    return library.AsyncClient(transport=AsyncCaptureTransport(recorder), base_url=provider.url, timeout=10)
