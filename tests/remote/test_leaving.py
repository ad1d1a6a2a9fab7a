"""What becomes of work at the process that holds a store, when the client that asked for it leaves."""

import threading

import pytest

from tracestore import RetentionPolicy, TraceStore
from tracestore.maintenance.summary import PackReport
from tracestore.remote import calls, sockets
from tracestore.remote.calls import encode_call
from tracestore.serve import calls as calls_module


def _leave(done, planned):
    raise KeyboardInterrupt


def _sent(held, call):
    """A connection on which a call was sent, and whose answer nobody has read yet."""
    connection = sockets.connect(held.path / "socket")
    connection.sendall(
        b"POST /store HTTP/1.1\r\nHost: x\r\nTracestore-Protocol: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(call), call)
    )
    return connection


def test_packing_whose_client_leaves_ends(both, monkeypatch):
    _, asking = both
    ended = threading.Event()

    def pack(self, *, is_stopped, on_progress, **_):
        on_progress(1, 2)
        while not is_stopped() and not ended.wait(0.01):
            pass
        ended.set()
        return PackReport()

    monkeypatch.setattr("tracestore.store.upkeep.Upkeep.pack", pack)
    with pytest.raises(KeyboardInterrupt):
        asking.pack(on_progress=_leave)
    try:
        assert ended.wait(20)
    finally:
        ended.set()


def test_verifying_whose_client_leaves_ends(both, monkeypatch):
    _, asking = both
    ended, is_over = threading.Event(), threading.Event()

    def verify(self, data, subset, on_progress):
        try:
            while not is_over.wait(0.001):
                on_progress(2, 2)
        finally:
            ended.set()

    monkeypatch.setattr("tracestore.store.reading.Reading.verify", verify)
    with pytest.raises(KeyboardInterrupt):
        asking.verify(on_progress=_leave)
    try:
        assert ended.wait(20)
    finally:
        is_over.set()


def test_a_client_that_leaves_ends_its_query(both, monkeypatch):
    held, _ = both
    ended = threading.Event()
    begun = threading.Event()
    real = TraceStore.sql

    def watched(self, query, **options):
        begun.set()
        try:
            return real(self, query, **options)
        finally:
            ended.set()

    monkeypatch.setattr(TraceStore, "sql", watched)
    connection = _sent(held, b'{"call": "query", "sql": "SELECT count(*) FROM range(100000000000) a"}')
    assert begun.wait(10)
    connection.close()
    assert ended.wait(20)


def test_a_prune_whose_client_leaves_goes_to_its_end(open_store, answering, make, clock):
    held = open_store()
    held.insert_records([make.log(turnId=f"t{n}", body=make.body(n)) for n in range(20)])
    answering(held)
    clock.forward(days=10)
    with TraceStore(held.path, read_only=True) as asking:
        with pytest.raises(KeyboardInterrupt):
            asking.prune(RetentionPolicy(max_age="7d"), on_progress=_leave)
        waited = threading.Event()
        for _ in range(1000):
            if asking.stats()["blob_files"] <= 1 and not asking.stats()["records"]:
                break
            waited.wait(0.01)
        assert asking.verify().is_clean
        assert asking.stats()["unique_bodies"] == 0


def test_a_call_that_nobody_waits_for_any_more_never_begins(open_store, answering, make, clock, monkeypatch):
    monkeypatch.setattr("tracestore.serve.server.CALLS_AT_ONCE", 1)
    held = open_store()
    held.insert_records([make.log(turnId="t")])
    begun, may_end, gone = threading.Event(), threading.Event(), threading.Event()
    asked = []
    monkeypatch.setattr(TraceStore, "stats", lambda self: begun.set() or may_end.wait(20) or {})
    monkeypatch.setattr(TraceStore, "prune", lambda *_, **__: asked.append("prune"))
    abandon = calls_module.Frames.abandon
    monkeypatch.setattr(calls_module.Frames, "abandon", lambda self: abandon(self) or gone.set())
    answering(held)
    asking = TraceStore(held.path, read_only=True)
    first = threading.Thread(target=asking._remote.stats)
    first.start()
    assert begun.wait(10)
    connection = _sent(held, encode_call(calls.Prune(1, None, False, False)))
    assert connection.recv(12) == b"HTTP/1.1 200"
    connection.close()
    assert gone.wait(10)
    may_end.set()
    first.join(20)
    assert asking.sql("SELECT 1").rows == [(1,)]  # the only worker came past it
    assert asked == []
