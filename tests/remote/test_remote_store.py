"""A store that another process holds answers as one at rest, through the same methods."""

import json
import threading
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from http.client import HTTPConnection

import pytest

from blobs import Digest
from tracestore import InputInvalid, QueryInvalid, RetentionPolicy, StoreLocked, StoreUnavailable, TraceStore
from tracestore.database.answers import QueryLimits
from tracestore.maintenance.summary import PackReport, PruneSummary
from tracestore.remote import calls, frames, sockets
from tracestore.remote.client import CALLS_PATH, Client

ASKED = {
    "turn": lambda store: store.get_turn("t"),
    "unknown turn": lambda store: store.get_turn("none"),
    "record": lambda store: store.get_record(store.get_turn("t")[0].record_id),
    "unknown record": lambda store: store.get_record("0199" + "0" * 28),
    "body of a record": lambda store: store.get_body(store.get_turn("t")[0].record_id),
    "body by digest": lambda store: store.get_body(Digest.of(b"\x00\xff").hex()),
    "body by bytes": lambda store: store.get_body(bytes(Digest.of(b"\x00\xff"))),
    "unknown body": lambda store: store.get_body("00" * 32),
    "bodies": lambda store: sorted(store.get_bodies([Digest.of(b"\x00\xff").hex(), "00" * 32])),
    "easy view": lambda store: store.easy_view("t"),
    "rows": lambda store: store.sql("SELECT * FROM records ORDER BY record_id"),
    "types": lambda store: store.sql(
        "SELECT 1.20::DECIMAL(9,2), 'x'::BLOB, NULL, uuid() IS NULL, DATE '2026-03-02', INTERVAL 3 DAY, [1, 2],"
        " {'a': 1}, MAP {1: 'one'}, 170141183460469231731687303715884105727::HUGEINT, 'nan'::DOUBLE = 'nan'::DOUBLE"
    ),
    "no rows": lambda store: store.sql("SELECT 1 AS one WHERE false"),
    "schema": lambda store: store.schema(),
    "stats": lambda store: store.stats(),
    "verify": lambda store: store.verify(data=True),
    "turns": lambda store: store.reader.turns(5, since=None, status=None, conversation_id=None),
    "conversations": lambda store: store.reader.conversations(5, since=None, status="open", conversation_id=None),
    "conversations of": lambda store: store.reader.conversations_of(["c-t", "none"]),
    "span": lambda store: store.reader.span("s-t"),
    "body digest": lambda store: store.reader.body_digest(_id(store)),
    "body state": lambda store: store.reader.body_state(Digest.of(b"\x00\xff")),
    "dry run": lambda store: asdict(store.prune(RetentionPolicy(max_age="1d"), dry_run=True)),
}  # fmt: skip


def _id(store):
    from uuid import UUID

    return UUID(store.get_turn("t")[0].record_id)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_the_answer_is_that_of_the_process_that_holds_it(both, ask):
    held, asking = both
    assert asking.is_remote
    assert not held.is_remote
    wanted = ask(held)
    assert ask(asking) == wanted
    assert repr(ask(asking)) == repr(wanted)


def test_every_option_goes_through(both, monkeypatch):
    """What is handed over comes as the same; most of it makes no difference to a store as small as this."""
    _, asking = both
    asked = []

    def heard(name, answer):
        def listen(self, *given, **options):
            asked.append((name, *given, {key: value for key, value in options.items() if not callable(value)}))
            return answer

        return listen

    since = datetime(2026, 3, 2, 1, 12, 47, 75)
    filters = {"since": since, "status": "ok", "conversation_id": "c"}
    policy = RetentionPolicy(max_age="7d", max_total_body_bytes="1MB")
    monkeypatch.setattr("tracestore.database.reader.Reader.turns", heard("turns", []))
    monkeypatch.setattr("tracestore.database.reader.Reader.conversations", heard("conversations", []))
    monkeypatch.setattr("tracestore.store.upkeep.Upkeep.prune", heard("prune", PruneSummary()))
    monkeypatch.setattr("tracestore.store.upkeep.Upkeep.pack", heard("pack", PackReport()))
    asking.reader.turns(3, **filters)
    asking.reader.conversations(4, **filters)
    asking.prune(policy, True, force=True)
    asking.prune(policy)
    asking.pack(grace_ms=5, settled_ms=6)
    assert asked == [
        ("turns", 3, filters),
        ("conversations", 4, filters),
        ("prune", policy, True, {"force": True}),
        ("prune", policy, False, {"force": False}),
        ("pack", {"grace_ms": 5, "settled_ms": 6}),
    ]


FAILING = {
    "bad SQL": lambda store: store.sql("SELECT none"),
    "writing SQL": lambda store: store.sql("DROP TABLE raw.records"),
    "a bad id": lambda store: store.get_body("no id"),
    "a bad subset": lambda store: store.verify(subset="7"),
}


@pytest.mark.parametrize("ask", FAILING.values(), ids=FAILING)
def test_the_error_is_that_of_the_process_that_holds_it(both, ask):
    held, asking = both
    with pytest.raises(InputInvalid) as wanted:
        ask(held)
    with pytest.raises(type(wanted.value)) as found:
        ask(asking)
    assert str(found.value) == str(wanted.value)


def test_lone_surrogates_pass(open_store, answering, make):
    held = open_store()
    held.insert_lines([json.dumps(make.log(turnId="\udcff", msg="a\ud800b", body="\udfff")).encode()])
    answering(held)
    with TraceStore(held.path, read_only=True) as asking:
        (record,) = asking.get_turn("\udcff")
    assert (record.msg, record.body) == ("a\ud800b", "\udfff")


def test_what_is_inserted_meanwhile_is_read(both, make):
    held, asking = both
    held.insert_records([make.log(turnId="new", body="fresh")])
    assert asking.get_turn("new")[0].body == "fresh"
    assert asking.get_body(Digest.of(b"fresh").hex()) == b"fresh"


def test_pruning_and_packing_go_through(both, clock):
    held, asking = both
    shown = []
    packed = asking.pack(grace_ms=0, on_progress=lambda *progress: shown.append(progress))
    assert packed.bodies == 2
    assert shown[-1] == (2, 2)
    clock.forward(days=10)
    pruned = asking.prune(RetentionPolicy(max_age="7d"), on_progress=lambda *progress: shown.append(progress))
    assert (pruned.records_deleted, pruned.bodies_deleted) == (4, 2)
    assert held.stats()["records"] == asking.stats()["records"] == 0


def test_what_only_its_holder_can_do_names_the_holder(both):
    _, asking = both
    for call in (asking.repair, asking.unpack):
        with pytest.raises(StoreLocked, match="held by process"):
            call()
    for call in (lambda: asking.insert_records([]), asking.snapshot, asking.compact, asking.pack_is_due):
        with pytest.raises(InputInvalid, match="read_only"):
            call()


def test_an_error_of_a_part_comes_as_the_public_error_that_it_is(both, monkeypatch):
    from tracestore.database.query.running import TakesTooMuch

    def fail(*_, **__):
        raise TakesTooMuch("query: too much")

    _, asking = both
    monkeypatch.setattr(TraceStore, "sql", fail)
    with pytest.raises(QueryInvalid, match="too much") as found:
        asking._remote.query("SELECT 1")
    assert found.value.exit_code == 2


def test_what_the_disk_of_the_holder_says_is_not_taken_for_silence(both, monkeypatch):
    def fail(self):
        raise StoreUnavailable(28, "no space", "/store/file")

    _, asking = both
    monkeypatch.setattr(TraceStore, "stats", fail)
    with pytest.raises(StoreUnavailable) as found:
        asking._remote.stats()
    assert (found.value.errno, found.value.strerror, found.value.filename) == (28, "no space", "/store/file")


def test_a_collector_that_took_the_store_before_its_second_opening_is_asked(open_store, answering, make, monkeypatch):
    with open_store() as writing:
        writing.insert_records([make.log(turnId="t")])
    held = []

    def taken(self):
        held.append(open_store())
        answering(held[0])

    monkeypatch.setattr(TraceStore, "_is_behind", lambda self, layout: not held)
    monkeypatch.setattr(TraceStore, "_catch_up", taken)
    asking = TraceStore(writing.path, read_only=True)
    assert asking.is_remote
    assert len(asking.get_turn("t")) == 1


def test_a_writer_is_refused_at_once_where_the_holder_answers(both, monkeypatch):
    held, _ = both
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    with pytest.raises(StoreLocked):
        TraceStore(held.path)
    assert slept == []


def test_a_holder_that_does_not_answer_is_named(open_store, monkeypatch):
    held = open_store()
    monkeypatch.setattr("tracestore.directory.lock.WAIT_S", 0)
    sockets.listen(held.path / "socket").close()  # what a killed collector left
    with pytest.raises(StoreLocked, match="held by process"):
        TraceStore(held.path, read_only=True)


def test_the_store_is_read_at_rest_again_when_its_holder_ended(open_store, make):
    from tracestore.serve.health import Status
    from tracestore.serve.server import Server

    held = open_store()
    held.insert_records([make.log(turnId="t")])
    with Server(held, Status()), TraceStore(held.path, read_only=True) as asking:
        assert asking.is_remote
    assert not (held.path / "socket").exists()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        asking.get_turn("t")
    held.close()
    with TraceStore(held.path, read_only=True) as resting:
        assert not resting.is_remote
        assert len(resting.get_turn("t")) == 1


def test_a_query_has_the_limits_that_were_asked_for(both):
    _, asking = both
    result = asking.sql("SELECT * FROM range(1000)", limits=QueryLimits(max_rows=10))
    assert len(result.rows) == 10
    assert result.truncated


def test_too_much_for_the_holder_is_refused_and_never_cut_in_silence(both, monkeypatch):
    _, asking = both
    monkeypatch.setattr("tracestore.remote.store.RESULT_LIMIT_BYTES", 1000)
    with pytest.raises(QueryInvalid, match="wanted a result of at most 1000 bytes"):
        asking.sql("SELECT * FROM range(100000)")


def test_another_protocol_is_told_to_restart(both, monkeypatch):
    _, asking = both
    monkeypatch.setattr("tracestore.remote.client.PROTOCOL", "2")
    with pytest.raises(StoreUnavailable, match="start it with this release"):
        asking.stats()


def test_what_is_no_call_is_refused(both):
    held, _ = both
    bodies = (b"", b"[]", b'{"call": "drop"}', b'{"call": "turn"}', b'{"call": "turn", "turn_id": 1}', b"[" * 100_000)
    for body in bodies:
        with closing(HTTPConnection("x")) as connection:
            connection.sock = sockets.connect(held.path / "socket")
            connection.request("POST", CALLS_PATH, body, {frames.PROTOCOL_HEADER: frames.PROTOCOL})
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["error"]) == (400, "InputInvalid")


def test_an_unexpected_error_ends_the_answer_and_not_the_server(both, monkeypatch, caplog):
    _, asking = both
    with monkeypatch.context() as patch:
        patch.setattr(TraceStore, "stats", lambda self: 1 / 0)
        with pytest.raises(Exception, match="unexpected ZeroDivisionError"):
            asking._remote.stats()
    assert "ZeroDivisionError" in caplog.text
    assert asking.stats()["records"] == 4


def test_a_server_that_ends_in_the_middle_of_an_answer_is_an_error(tmp_path):
    listening = sockets.listen(tmp_path / "socket")

    def answer():
        connection, _ = listening.accept()
        asked = b""
        while not asked.endswith(b"}"):  # what is left unread would reset the connection
            asked += connection.recv(10_000)
        head = b"HTTP/1.1 200 OK\r\nTracestore-Protocol: 1\r\nConnection: close\r\n\r\n"
        connection.sendall(head + frames.encode("progress", [1, 2]))
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(StoreUnavailable, match="ended before it had answered"):
        Client(tmp_path / "socket", "process 1").result(calls.Stats())
    thread.join()
    listening.close()


def test_bodies_that_end_without_a_result_are_an_error(both, monkeypatch):
    _, asking = both
    monkeypatch.setattr(Client, "frames", lambda self, call: iter([("item", ["00", None, "lost"])]))
    with pytest.raises(StoreUnavailable, match="ended before it had answered"):
        list(asking.get_bodies(["00", "11"]))
