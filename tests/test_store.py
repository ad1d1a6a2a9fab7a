"""The public object: opening, inserting, reading, and who may do what at the same time."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

import tracestore
from blobs import Digest
from tracestore import (
    InputInvalid,
    LogRecord,
    RecordInvalid,
    StoreBroken,
    StoreNotFound,
    StoreUnavailable,
    TraceStore,
    TraceStoreError,
)

REPOSITORY = Path(__file__).resolve().parent.parent


def tree(path):
    return sorted(path.rglob("*")) if path.exists() else None


class TestOpening:
    """Where a store is made, and where not."""

    @pytest.mark.parametrize("place", ["absent", "absent/deeper/still", "empty"])
    def test_a_store_is_made_where_nothing_is(self, tmp_path, place, make):
        (tmp_path / "empty").mkdir()
        with TraceStore(tmp_path / place) as store:
            store.insert_records([make.log()])
        with TraceStore(str(tmp_path / place), create=False) as store:
            assert store.stats()["records"] == 1

    @pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}, {"create": True, "read_only": True}])
    @pytest.mark.parametrize("place", ["absent", "empty", "absent/deeper"])
    def test_a_mistyped_path_is_an_error_and_creates_nothing(self, tmp_path, place, options):
        """Seed defect `cli`: a mistyped path creates an empty database."""
        (tmp_path / "empty").mkdir()
        before = tree(tmp_path)
        with pytest.raises(StoreNotFound, match="wanted a store, found nothing; check the path"):
            TraceStore(tmp_path / place, **options)
        assert tree(tmp_path) == before

    @pytest.mark.parametrize("create", [True, False])
    def test_a_directory_of_something_else_is_left_alone(self, tmp_path, create):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(StoreNotFound, match="found a directory of something else"):
            TraceStore(tmp_path, create=create)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_file_is_no_store(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(StoreNotFound, match="found a file"):
            TraceStore(tmp_path / "file")
        with pytest.raises((StoreNotFound, StoreUnavailable)):
            TraceStore(tmp_path / "file" / "below")
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_creation_that_was_cut_short_is_finished(self, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "lock").touch()
        (tmp_path / "store" / "FORMAT.new").write_text("{")
        with TraceStore(tmp_path / "store") as store:
            assert store.stats()["records"] == 0

    @pytest.mark.parametrize(
        "content", [b'{"format": 2, "requires": []}', b'{"format": 1, "requires": ["new"]}', b"", b"{", b"[]", b"\xff"]
    )
    def test_an_unknown_format_is_refused_and_nothing_is_changed(self, open_store, tmp_path, content):
        open_store().close()
        (tmp_path / "store" / "FORMAT").write_bytes(content)
        before = tree(tmp_path)
        with pytest.raises(StoreBroken, match="wanted format 1 without requirements"):
            open_store()
        assert tree(tmp_path) == before
        (tmp_path / "store" / "FORMAT").write_bytes(b'{"format": 1, "requires": []}')
        open_store().close()  # the failure let the lock go

    def test_a_store_without_its_database_is_not_filled_by_a_reading_command(self, open_store, tmp_path):
        open_store().close()
        (tmp_path / "store" / "records.duckdb").unlink()
        before = tree(tmp_path)
        for options in ({"create": False}, {"read_only": True}):
            with pytest.raises(StoreBroken, match="wanted a database, found none"):
                open_store(**options)
            assert tree(tmp_path) == before

    def test_a_deleted_database_is_made_anew_and_said(self, open_store, make, tmp_path):
        with open_store() as store:
            store.insert_records([make.log(body="text")])
        (tmp_path / "store" / "records.duckdb").unlink()
        with open_store() as store:
            assert len(store.notices) == 1
            assert "records.duckdb was missing: rebuilt 1 records from the journal" in store.notices[0]

    def test_the_directory_is_private(self, open_store, make, tmp_path):
        with open_store() as store:
            store.insert_records([make.log(body="secret")])
            assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
            for path in (tmp_path / "store").rglob("*"):
                assert path.is_dir() or not path.stat().st_mode & 0o022, path

    def test_opening_that_fails_lets_the_lock_go(self, open_store, tmp_path):
        open_store().close()
        good = (tmp_path / "store" / "records.duckdb").read_bytes()
        (tmp_path / "store" / "records.duckdb").write_bytes(b"damaged" * 5000)
        with pytest.raises(StoreBroken):
            open_store()
        (tmp_path / "store" / "records.duckdb").write_bytes(good)
        open_store().close()


class TestInserting:
    """One door: all or none, durable, idempotent."""

    def test_a_record_is_inserted_once(self, store, make):
        records = make.turn("t", request="text")
        assert store.insert_records(records) == tracestore.InsertSummary(3, 0, 0)
        assert store.insert_records(records) == tracestore.InsertSummary(0, 3, 0)
        assert store.insert_records([*records, make.log(msg="new")]) == tracestore.InsertSummary(1, 3, 0)

    def test_an_invalid_record_is_named_and_none_is_inserted(self, store, make, tmp_path):
        with pytest.raises(RecordInvalid, match="record 1: level: wanted one of debug, info, warn, error"):
            store.insert_records([make.log(body="orphan"), make.log(level="fatal")])
        assert store.stats()["records"] == 0
        assert store.verify().blobs == 0
        assert not list((tmp_path / "store" / "journal").glob("*-*.ndjson"))

    @pytest.mark.parametrize("records", [[None], "text", [5], [[]], [object()]])
    def test_what_is_no_record_is_refused(self, memory_store, records):
        with pytest.raises(RecordInvalid, match="record 0: record: wanted a record or a dict, found"):
            memory_store.insert_records(records)

    def test_any_iterable_will_do_and_none_is_none(self, memory_store, make):
        assert memory_store.insert_records(make.log(msg=str(n)) for n in range(3)).inserted == 3
        assert memory_store.insert_records([]).inserted == 0
        assert memory_store.insert_records(iter(())).inserted == 0

    def test_rows_survive_the_process(self, tmp_path, python, make):
        code = (
            "import os, sys; from tracestore import TraceStore, LogRecord\n"
            "store = TraceStore(sys.argv[1])\n"
            "store.insert_records([LogRecord(timestamp=1, extension_id='x', turn_id='t', level='info', msg='m',"
            " body='b')])\n"
            "os._exit(9)\n"
        )
        assert python("-c", code, tmp_path / "store", check=False).returncode == 9
        with TraceStore(tmp_path / "store") as store:
            assert [record.body for record in store.get_turn("t")] == ["b"]
            assert store.verify(data=True).findings == ()

    def test_segments_of_its_own_are_removed_once_they_are_in(self, open_store, make, tmp_path):
        for n in range(3):
            with open_store() as store:
                store.insert_records([make.log(msg=str(n))])
            assert list((tmp_path / "store" / "journal").glob("*-*.ndjson")) == []
        with open_store(read_only=True) as store:  # no id of a segment is given twice
            assert store.sql("SELECT max(segment_id) FROM raw.positions").rows == [(3,)]

    def test_a_segment_that_a_crash_left_is_drained_by_the_next_insert(self, open_store, make, tmp_path):
        open_store().close()
        (tmp_path / "store" / "journal" / "inserted" / "1-1-0.ndjson").write_bytes(make.lines(3))
        with open_store() as store:
            assert store.insert_records([make.log(msg="new")]).inserted == 1
            assert store.stats()["records"] == 4

    def test_a_rejected_line_of_another_is_not_counted_as_ours(self, open_store, make, tmp_path):
        open_store().close()
        (tmp_path / "store" / "journal" / "inserted" / "1-1-0.ndjson").write_bytes(b"no record\n")
        with open_store() as store:
            assert store.insert_records([make.log(msg="new")]) == tracestore.InsertSummary(1, 0, 0)
            assert store.stats()["rejected"] == 1


class TestReading:
    """Turns, records, bodies."""

    def test_a_turn_comes_in_order_of_time_then_insertion(self, memory_store, make, now_ms):
        records = [make.log(now_ms + at, msg, turnId="t") for at, msg in ((5, "c"), (1, "a"), (5, "d"), (1, "b"))]
        memory_store.insert_records(records)
        assert [record.msg for record in memory_store.get_turn("t")] == ["a", "b", "c", "d"]

    def test_a_turn_has_everything_in_snake_case(self, memory_store, make, now_ms):
        memory_store.insert_records([
            make.closed("s", now_ms, turnId="t", conversationId="c", parentSpanId="p", attributes={"a": 1}, body="text",
                        links=[{"spanId": "x", "reason": "r"}], id="own", unknown=[1]),
        ])  # fmt: skip
        (record,) = memory_store.get_turn("t")
        assert (record.kind, record.timestamp, record.timestamp_ns) == ("span-close", now_ms, now_ms * 10**6)
        assert (record.extension_id, record.conversation_id, record.turn_id) == ("app", "c", "t")
        assert (record.span_id, record.parent_span_id, record.name) == ("s", "p", "step")
        assert (record.duration_ms, record.status, record.producer_id) == (100, "ok", "own")
        assert (record.attributes, record.links) == ({"a": 1}, [{"spanId": "x", "reason": "r"}])
        assert (record.body, record.body_state, record.body_size_bytes) == ("text", "present", 4)
        assert record.body_digest == str(Digest.of(b"text"))
        assert record.extra == {"unknown": [1]}
        assert (record.level, record.msg) == (None, None)

    def test_bodies_are_text_where_they_are_text_and_else_bytes(self, memory_store, make):
        bodies = ["", "text", "Grüße \ud800", b"\xff\x00", "\ufeff"]
        memory_store.insert_records([make.log(msg=str(n), turnId="t", body=body) for n, body in enumerate(bodies)])
        memory_store.insert_records([make.log(msg="none", turnId="t")])
        turn = memory_store.get_turn("t")
        assert [record.body for record in turn] == [*bodies, None]
        assert [record.body_state for record in turn] == ["present"] * 5 + [None]

    def test_a_body_is_found_by_record_id_and_by_digest(self, memory_store, make):
        memory_store.insert_records(make.turn("t", request="text"))
        opened, log, _ = memory_store.get_turn("t")
        digest = Digest.of(b"text")
        for key in (opened.record_id, opened.body_digest, bytes(digest), opened.record_id.upper()):
            assert memory_store.get_body(key) == b"text"
        assert memory_store.get_body(log.record_id) is None

    @pytest.mark.parametrize(
        "unknown", ["f" * 64, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", b"d" * 32]
    )
    def test_the_unknown_has_no_body(self, memory_store, unknown):
        assert memory_store.get_body(unknown) is None

    @pytest.mark.parametrize("senseless", ["", "junk", "f" * 63, b"short"])
    def test_what_is_neither_id_nor_digest_is_refused(self, memory_store, senseless):
        with pytest.raises(InputInvalid, match="id: wanted a record id"):
            memory_store.get_body(senseless)

    def test_an_unknown_turn_is_empty(self, memory_store):
        assert memory_store.get_turn("nothing") == []
        assert memory_store.easy_view("nothing") == ""
        assert memory_store.get_record("00000000-0000-0000-0000-000000000000") is None

    def test_damaged_bytes_are_never_returned(self, open_store, make, tmp_path):
        store = open_store()
        store.insert_records([make.log(turnId="t", body="text " * 100)])
        (path,) = (tmp_path / "store" / "blobs" / "objects").rglob("*.gz")
        path.chmod(0o644)
        stored = bytearray(path.read_bytes())
        stored[len(stored) // 2] ^= 0xFF
        path.write_bytes(stored)
        with pytest.raises(StoreBroken, match="run tracestore verify --data"):
            store.get_body(Digest.of(b"text " * 100).hex())
        (record,) = store.get_turn("t")
        assert (record.body, record.body_state) == (None, "lost")

    def test_the_easy_view_shows_the_turn(self, memory_store, make):
        memory_store.insert_records(make.turn("t", request="x" * 2150))
        assert memory_store.easy_view("t").splitlines() == ["- step 100ms [body 2.1k]", "  - in t"]

    def test_stats_count_what_is_there(self, store, make, now_ms):
        store.insert_records([*make.turn("t", request="shared", response="shared"), *make.turn("u", request="own")])
        stats = store.stats()
        wanted = {
            "records": 6, "turns": 2, "conversations": 2, "bodies": 3, "unique_bodies": 2, "body_bytes": 15,
            "unique_body_bytes": 9, "rejected": 0,
        }  # fmt: skip
        assert {name: stats[name] for name in wanted} == wanted
        assert stats["blob_bytes_on_disk"] >= 8192
        assert stats["blob_files"] >= 2
        assert stats["database_bytes"] > 0
        assert stats["oldest"].startswith("2026-03-02 01:12:47.075")
        assert stats["oldest"] < stats["newest"]

    def test_a_fraction_of_a_millisecond_is_kept(self, memory_store, make):
        memory_store.insert_records([make.log(Decimal("1772413967075.123456"), turnId="t")])
        (record,) = memory_store.get_turn("t")
        assert (record.timestamp, record.timestamp_ns) == (Decimal("1772413967075.123456"), 1772413967075123456)


class TestPackage:
    """What `import tracestore` gives and costs."""

    def test_importing_loads_neither_duckdb_nor_arrow(self, python):
        code = (
            "import sys, tracestore; tracestore.TraceStore; tracestore.LogRecord; tracestore.RetentionPolicy\n"
            "print([name for name in ('duckdb', 'arro3', 'arro3.core', 'click', 'rich') if name in sys.modules])"
        )
        assert python("-c", code).stdout == "[]\n"

    def test_every_public_name_is_there_and_the_list_is_sorted(self):
        assert sorted(tracestore.__all__) == tracestore.__all__
        assert all(getattr(tracestore, name) for name in tracestore.__all__)
        with pytest.raises(AttributeError):
            _ = tracestore.nothing

    def test_errors_have_one_root_and_exit_codes(self):
        values = [getattr(tracestore, name) for name in tracestore.__all__]
        errors = [value for value in values if isinstance(value, type) and issubclass(value, Exception)]
        assert len(errors) == 10
        assert all(issubclass(error, tracestore.TraceStoreError) for error in errors)
        assert {error.exit_code for error in errors} == {1, 2, 3, 4, 5, 6, 7}

    def test_a_record_object_says_what_it_is(self):
        record = LogRecord(timestamp=1, extension_id="x", level="info", msg="m")
        assert json.loads(json.dumps(record.kind)) == "log"


def test_a_journal_that_was_there_first_becomes_part_of_the_store(tmp_path):
    """A producer may start before the store exists."""
    (tmp_path / "store" / "journal").mkdir(parents=True)
    with TraceStore(tmp_path / "store") as store:
        assert store.stats()["records"] == 0


def test_sessions_leave_no_trail_of_positions(tmp_path, make):
    for session in range(4):
        with TraceStore(tmp_path / "store") as store:
            store.insert_records([make.log(msg=str(session))])
    with TraceStore(tmp_path / "store") as store:
        store.snapshot()
        assert len(store.reader.positions()) == 1
        assert list((tmp_path / "store" / "journal" / "inserted").iterdir()) == []
        assert store.stats()["records"] == 4


def test_what_a_crash_left_of_a_sort_or_a_compaction_is_removed(tmp_path):
    TraceStore(tmp_path / "store").close()
    (tmp_path / "store" / "tmp").mkdir(exist_ok=True)
    leftovers = [tmp_path / "store" / name for name in ("tmp/duckdb_temp_storage-0.tmp", "records.duckdb.new")]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    with TraceStore(tmp_path / "store") as store:
        assert not any(leftover.exists() for leftover in leftovers)
        assert store.stats()["records"] == 0


def test_a_turn_is_the_same_in_one_pass_and_in_two(store, make, monkeypatch):
    """A large store is asked for the turn's times first."""
    store.insert_records([make.log(n, msg=str(n), turnId=f"t{n % 3}", body=f"b{n}") for n in range(30)])
    once = [store.get_turn(turn) for turn in ("t1", "nobody's")]
    monkeypatch.setattr(store._reader, "_is_large", True)
    assert [store.get_turn(turn) for turn in ("t1", "nobody's")] == once
    assert len(once[0]) == 10


def test_a_closed_store_says_that_it_is_closed(tmp_path, make):
    store = TraceStore(tmp_path / "store")
    store.close()
    for use in (lambda: store.get_turn("t"), lambda: store.insert_records([make.log()]), lambda: store.sql("SELECT 1")):
        with pytest.raises(TraceStoreError, match="closed"):
            use()


def test_a_single_record_is_no_list_of_records(memory_store, make):
    for single in (make.log(), LogRecord(timestamp=1, extension_id="x", level="info", msg="m")):
        with pytest.raises(InputInvalid, match="put it into a list"):
            memory_store.insert_records(single)


def test_the_directory_of_blobs_is_no_store_and_stays_as_it_is(tmp_path, make):
    """Both have a FORMAT file; a lock made in the wrong place would be a stranger to verify."""
    with TraceStore(tmp_path / "store") as store:
        store.insert_records([make.log(body="text")])
    for options in ({"read_only": True, "create": False}, {"create": False}, {}):
        with pytest.raises(StoreNotFound, match="found a directory of blobs"):
            TraceStore(tmp_path / "store" / "blobs", **options)
    with TraceStore(tmp_path / "store") as store:
        assert store.verify(data=True).findings == ()
