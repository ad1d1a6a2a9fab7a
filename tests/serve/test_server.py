"""Sockets, start and end of the server."""

import asyncio
import http.client
import json
import signal
import socket
import sys
import threading

import pytest

from tracestore import InputInvalid, StoreUnavailable, TraceStore
from tracestore.remote import calls, sockets
from tracestore.remote.calls import encode_call
from tracestore.serve import server as server_module
from tracestore.serve.health import Status
from tracestore.serve.server import Listen, Server
from tracestore.serve.sql import QuerySlots


def ask(address, path="/v1/ready", body=None, **headers):
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "text/plain", **headers})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def connected(store):
    connection = sockets.connect(store.path / "socket")
    connection.settimeout(20)
    return connection


def call(connection, asked):
    content = encode_call(asked)
    head = f"POST /store HTTP/1.1\r\nHost: x\r\nTracestore-Protocol: 1\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)


def test_it_answers_on_tcp_and_on_the_socket_until_it_ends(store):
    with Server(store, Status(), listen=Listen("127.0.0.1", 0)) as server:
        address = server.address
        assert ask(address, "/")[0] == 200
        with TraceStore(store.path, read_only=True) as asking:
            assert asking.stats()["records"] == 0
    assert not (store.path / "socket").exists()
    with pytest.raises(ConnectionRefusedError):
        ask(address)
    server.stop()


def test_what_the_owner_may_call_is_not_on_tcp(store):
    with Server(store, Status(), listen=Listen("127.0.0.1", 0)) as server:
        assert ask(server.address, "/store")[0] == 404


def test_a_token_is_asked_for_on_tcp_alone(store):
    with Server(store, Status(), listen=Listen("127.0.0.1", 0, b"x" * 16)) as server:
        assert ask(server.address, "/")[0] == 401
        assert ask(server.address, "/", Authorization=f"Bearer {'x' * 16}")[0] == 200
        with TraceStore(store.path, read_only=True) as asking:
            assert asking.schema()


def test_an_address_in_use_is_an_error_before_anything_runs(store):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputInvalid, match="free"):
        Server(store, Status(), listen=Listen("127.0.0.1", taken.getsockname()[1]))
    assert not (store.path / "socket").exists()
    assert [thread.name for thread in threading.enumerate() if thread.name in ("appending", "server")] == []


def test_other_machines_are_not_listened_to_without_a_token(store):
    with pytest.raises(InputInvalid, match="--token-file"):
        Server(store, Status(), listen=Listen("0.0.0.0", 0))


def test_a_store_without_room_for_a_socket_is_an_error(store):
    (store.path / "socket").mkdir()
    with pytest.raises(StoreUnavailable, match="socket"):
        Server(store, Status())


def test_small_answers_are_not_held_back_and_the_address_is_free_at_once():
    """Without its protocol number asyncio leaves Nagle's algorithm on: every answer took 44 ms."""
    with server_module._bound(Listen("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)  # else no restart for a minute


def test_threads_take_turns_while_it_serves_and_as_before_afterwards(store):
    before = sys.getswitchinterval()
    with Server(store, Status()):
        assert sys.getswitchinterval() == pytest.approx(server_module.SWITCH_S)
    assert sys.getswitchinterval() == before


def test_what_was_asked_before_the_end_is_answered(store, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    real = TraceStore.stats

    def slow(self):
        begun.set()
        assert may_end.wait(20)
        return real(self)

    monkeypatch.setattr(TraceStore, "stats", slow)
    answers = []
    with Server(store, Status(), listen=Listen("127.0.0.1", 0)) as server:
        asking = threading.Thread(target=lambda: answers.append(ask(server.address, "/v1/stats")[0]))
        asking.start()
        assert begun.wait(20)
        ending = threading.Thread(target=server.stop)
        ending.start()
        may_end.set()
        asking.join()
        ending.join()
    assert answers == [200]


def test_what_the_end_does_not_wait_for_is_told_so(store, monkeypatch, caplog):
    monkeypatch.setattr(server_module, "END_WITHIN_S", 0.01)
    begun = threading.Event()

    async def endless(self, work, receive):
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(QuerySlots, "run", endless)
    answers = []
    with Server(store, Status(), listen=Listen("127.0.0.1", 0)) as server:
        asking = threading.Thread(target=lambda: answers.append(ask(server.address, "/v1/sql", b"SELECT 1")))
        asking.start()
        assert begun.wait(20)
        server.stop()
        asking.join()
    [(status, body)] = answers
    assert (status, json.loads(body)["error"]) == (503, "Ending")
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_second_signal_still_closes_the_socket(store, monkeypatch):
    server = Server(store, Status())
    server.__enter__()
    joined = server._thread.join

    def interrupted():
        joined()
        raise KeyboardInterrupt(signal.SIGINT)

    monkeypatch.setattr(server._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.stop()
    assert not (store.path / "socket").exists()


def test_a_client_that_stops_reading_does_not_hold_up_the_end(store, monkeypatch):
    monkeypatch.setattr(server_module, "END_WITHIN_S", 0.1)
    with Server(store, Status()) as server, connected(store) as stuck:
        call(stuck, calls.Query("SELECT repeat('x', 1000) FROM range(20000)"))
        assert stuck.recv(12) == b"HTTP/1.1 200"
        ending = threading.Thread(target=server.stop, daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()


def test_the_end_waits_for_a_prune_and_the_next_server_of_the_store_answers(store, monkeypatch):
    monkeypatch.setattr(server_module, "END_WITHIN_S", 0.1)
    begun, may_end = threading.Event(), threading.Event()
    done = []

    def prune(self, *_, **__):
        begun.set()
        done.append(may_end.wait(20))

    with Server(store, Status()) as server, monkeypatch.context() as patch, connected(store) as asking:
        patch.setattr(TraceStore, "prune", prune)
        call(asking, calls.Prune(1, None, False, False))
        assert begun.wait(20)
        ending = threading.Thread(target=server.stop)
        ending.start()
        while asking.recv(1000):  # the end did not wait for the answer
            pass
        assert ending.is_alive()
        may_end.set()
        ending.join(20)
    assert done == [True]
    with Server(store, Status()), TraceStore(store.path, read_only=True) as asking:
        assert asking.stats()["records"] == 0
