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


def test_small_answers_are_not_held_back():
    """Without its protocol number asyncio leaves Nagle's algorithm on: every answer took 44 ms."""
    with server_module._bound(Listen("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP


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
