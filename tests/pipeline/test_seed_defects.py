"""Every defect that was reproduced in the seed system, absent here: one named test each, at the public surface.

The seed is the SQLite trace store whose behaviour this project takes over. Its defects are grouped
by the name of the part they were found in: insert, prune, migration, journal, scale, collector, cli. Those of ids
and bodies stand in `tests/record`, those of the easy view in `tests/views`.
"""

import os
import threading
import time

import pytest

from tracestore import InputInvalid, RecordInvalid, RetentionPolicy
from tracestore.collector import Collected, Pruned
from tracestore.database import schema
from tracestore.database.schema import Migration
from tracestore.journal.rejects import read_rejected

DAY_MS = 86_400_000
WEEK = RetentionPolicy(max_age="7d")


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "app.ndjson"


def messages(store):
    return [msg for (msg,) in store.sql("SELECT msg FROM records ORDER BY timestamp, seq").rows]


def rejected(store):
    return [entry.line() for entry in read_rejected(str(store.path / "journal" / "rejected.ndjson"))]


# --- insert


@pytest.mark.parametrize("field", ["extensionId", "timestamp"])
def test_insert_without_a_required_field_is_rejected_and_leaves_no_body(store, journal, make, collecting, field):
    """insert: a record without `extensionId` or `timestamp` vanishes silently and leaves an orphan body."""
    record = make.log(body="orphan")
    del record[field]
    journal.write_bytes(make.line(record) + make.lines(1))
    collecting(store, journal).drain()
    assert messages(store) == ["line 0"]
    (entry,) = read_rejected(str(store.path / "journal" / "rejected.ndjson"))
    assert entry.line() + b"\n" == make.line(record)
    assert entry.reason == f"{field}: wanted a value, found none"
    assert store.stats()["rejected"] == 1
    assert store.verify(data=True).blobs == 0


def test_insert_the_line_null_loses_nothing_and_starts_no_loop(open_store, journal, make, collecting):
    """insert: the line `null` throws and the whole batch is lost again and again."""
    journal.write_bytes(make.lines(5) + b"null\n" + make.lines(5, start=5))
    for _ in range(2):
        with open_store() as store:
            collecting(store, journal).drain()
            assert len(messages(store)) == 10
            assert rejected(store) == [b"null"]


def test_insert_a_text_timestamp_is_rejected(memory_store, make):
    """insert: text timestamps never expire."""
    with pytest.raises(RecordInvalid, match=r"timestamp: wanted int \| float, found str '2026-03-02'"):
        memory_store.insert_records([make.log("2026-03-02")])


def test_insert_an_unknown_kind_is_rejected(memory_store, make):
    """insert: an unknown kind is stored as a span-close."""
    with pytest.raises(RecordInvalid, match="kind: wanted one of log, span-open, span-close, found str 'metric'"):
        memory_store.insert_records([make.closed("s") | {"kind": "metric"}])
    assert memory_store.stats()["records"] == 0


def test_insert_integers_above_2_to_the_53_are_exact(memory_store, make):
    """insert: integers above 2^53 change."""
    numbers = {"a": 2**53 + 1, "b": 2**63, "c": 10**30, "d": -(2**64) - 1}
    memory_store.insert_records([make.log(turnId="t", attributes=numbers, extra=numbers)])
    (record,) = memory_store.get_turn("t")
    assert record.attributes == numbers
    assert record.extra == {"extra": numbers}


# --- prune


def test_prune_counts_bodies_as_bodies_and_records_as_records(store, make, now_ms):
    """prune: eviction counts bodies as records; age counts references as bodies."""
    store.insert_records([make.log(now_ms - 8 * DAY_MS, str(n), body="shared") for n in range(5)])
    store.insert_records([make.log(now_ms, str(n), body=f"of {n}") for n in range(3)])
    aged = store.prune(WEEK)
    assert (aged.records_deleted, aged.bodies_deleted, aged.bodies_evicted) == (5, 1, 0)
    capped = store.prune(RetentionPolicy(max_total_body_bytes=0))
    assert (capped.records_deleted, capped.bodies_deleted, capped.bodies_evicted) == (0, 3, 3)


@pytest.mark.parametrize("limit", [float("nan"), -1, "-7d", "soon"])
@pytest.mark.parametrize("name", ["max_age", "max_total_body_bytes"])
def test_prune_senseless_limits_are_errors(name, limit):
    """prune: NaN, null and negative limits wipe or ignore."""
    with pytest.raises(InputInvalid, match=name):
        RetentionPolicy(**{name: limit})


def test_prune_null_is_no_rule(store, make, clock):
    """prune: NaN, null and negative limits wipe or ignore."""
    store.insert_records([make.log(body="text")])
    clock.forward(days=4000)
    assert store.prune(RetentionPolicy(max_age=None, max_total_body_bytes=None)).records_deleted == 0


def test_prune_a_body_sent_again_a_moment_ago_is_evicted_last(store, make, now_ms):
    """prune: a body re-sent a moment ago is evicted first, by the age of its oldest use."""
    store.insert_records([make.log(now_ms - 9000, turnId="old", body=make.body(1))])
    store.insert_records([make.log(now_ms - 10_000, body="x")])
    store.insert_records([make.log(now_ms, "again", turnId="new", body="x")])
    store.prune(RetentionPolicy(max_total_body_bytes=4096))
    assert store.get_turn("new")[0].body == "x"
    assert store.get_turn("old")[0].body_state == "evicted"


def test_prune_eviction_keeps_both_halves_of_a_span(store, make):
    """prune: eviction deletes the span-open row and leaves its close."""
    store.insert_records(make.turn("t", request=make.body(1)))
    store.prune(RetentionPolicy(max_total_body_bytes=0))
    assert [record.kind for record in store.get_turn("t")] == ["span-open", "log", "span-close"]


def test_prune_age_never_cuts_a_span_in_half(store, make, now_ms):
    """prune: age cuts a span in half."""
    store.insert_records([make.opened("s", now_ms - 8 * DAY_MS, turnId="t"), make.closed("s", now_ms, turnId="t")])
    assert store.prune(WEEK).records_deleted == 0
    assert store.sql("SELECT status FROM spans").rows == [("ok",)]


def test_prune_makes_files_smaller_by_what_it_says(store, make, now_ms, clock, tmp_path):
    """prune: the file never shrinks while `bytesReclaimed` says so."""
    store.insert_records([make.log(now_ms + n, make.body(n, 1200), turnId="t") for n in range(8000)])
    store._database.checkpoint()
    clock.forward(days=8)
    file = tmp_path / "store" / "records.duckdb"
    before_bytes = file.stat().st_size
    summary = store.prune(WEEK)
    assert file.stat().st_size < before_bytes / 4
    assert summary.bytes_reclaimed == before_bytes - file.stat().st_size


def test_prune_collects_orphan_bodies(store, make):
    """prune: orphan bodies are never collected."""
    store.insert_records([make.log(body="kept")])
    store._blobs.put_many([b"orphan"])
    assert store.prune(WEEK).bodies_deleted == 1
    assert store.verify(data=True).findings == ()


# --- migration


def test_migration_a_database_of_the_previous_version_opens(open_store, make, monkeypatch):
    """migration: opening a database of the previous version throws."""
    with open_store() as store:
        store.insert_records(make.turn("t", request="text"))
    later = Migration(2, "later", "CREATE TABLE raw.later (a INTEGER)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    with open_store() as store:
        assert store.get_turn("t")[0].body == "text"


# --- journal


def test_journal_rotation_below_the_offset_loses_no_line(store, journal, make, collecting):
    """journal: rotation or truncation below the offset: lines lost (3,000 emitted, 1,294 stored)."""
    one = collecting(store, journal)
    for n in range(3000):
        if n % 250 == 249:
            os.replace(journal, f"{journal}.1")
        with journal.open("ab") as file:
            file.write(make.lines(1, start=n))
        if n % 200 == 0:
            one.drain()
    one.drain()
    assert messages(store) == [f"line {n}" for n in range(3000)]


def test_journal_truncation_below_the_offset_never_resumes_inside_a_record(store, journal, make, collecting):
    """journal: truncation below the offset: lines lost, resumes mid-record."""
    journal.write_bytes(make.lines(10))
    one = collecting(store, journal).drain()
    journal.write_bytes(make.lines(40, start=10))
    one.drain()
    assert messages(store) == [f"line {n}" for n in range(50)]
    assert rejected(store) == []


def test_journal_invalid_utf8_shifts_no_offset(store, journal, make, collecting):
    """journal: invalid UTF-8 shifts the offset and eats the next record."""
    journal.write_bytes(make.lines(1) + b'{"msg":"\xff\xfe\xfd"}\n')
    one = collecting(store, journal).drain()
    with journal.open("ab") as file:
        file.write(make.lines(2, start=1))
    one.drain()
    assert messages(store) == ["line 0", "line 1", "line 2"]
    assert rejected(store) == [b'{"msg":"\xff\xfe\xfd"}']


def test_journal_malformed_lines_are_kept(store, journal, make, collecting):
    """journal: malformed lines are gone for good."""
    journal.write_bytes(b'{"kind":"log", oops\n' + make.lines(1))
    collecting(store, journal).drain()
    assert rejected(store) == [b'{"kind":"log", oops']


def test_journal_offset_and_rows_are_one_transaction(open_store, journal, make, collecting, clock):
    """journal: the offset file is not atomic; reset to 0 it re-ingests what was pruned."""
    journal.write_bytes(make.lines(10))
    with open_store() as store:
        collecting(store, journal).drain()
        clock.forward(days=8)
        assert store.prune(WEEK).records_deleted == 10
    with open_store() as store:
        assert collecting(store, journal).drain().of(Collected) == []
        assert store.stats()["records"] == 0
        assert store.sql('SELECT "offset" FROM raw.positions').rows == [(journal.stat().st_size,)]


def test_journal_a_deleted_database_is_filled_again(open_store, journal, make, collecting):
    """journal: database deleted but offset kept: never read again."""
    journal.write_bytes(make.lines(10))
    with open_store() as store:
        collecting(store, journal).drain()
    for name in ("records.duckdb", "records.duckdb.wal"):
        (store.path / name).unlink(missing_ok=True)
    with open_store() as store:
        collecting(store, journal).drain()
        assert len(messages(store)) == 10


def test_journal_an_unreadable_journal_is_an_error(store, journal, collecting):
    """journal: an unreadable journal is swallowed."""
    journal.symlink_to(journal)
    with pytest.raises(OSError, match=r"app\.ndjson"):
        collecting(store, journal).drain()


def test_journal_a_short_write_glues_no_records(store, make, monkeypatch):
    """journal: a short write glues two records."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
    assert store.insert_records([make.log(msg=str(n)) for n in range(20)]).inserted == 20
    assert rejected(store) == []


# --- scale


def test_scale_the_backlog_is_read_in_bounded_pieces(store, journal, make, collecting, monkeypatch):
    """scale: the whole backlog is read at once. (Memory itself is measured in test_crash.py.)"""
    monkeypatch.setattr("tracestore.ingest.BATCH_BYTES", 10_000)
    journal.write_bytes(make.lines(1000))
    batches = collecting(store, journal).drain().of(Collected)
    assert len(batches) > 5
    assert max(batch.journal_bytes for batch in batches) <= 10_000


def test_scale_one_bad_record_late_discards_nothing(store, journal, make, collecting):
    """scale: one bad record late discards all."""
    journal.write_bytes(make.lines(500) + b"bad\n")
    collecting(store, journal).drain()
    assert len(messages(store)) == 500


def test_scale_prune_takes_few_transactions_and_holds_writers_up_only_for_moments(store, make, now_ms, monkeypatch):
    """scale: prune holds one transaction with queries per body."""
    store.insert_records([make.log(now_ms - 8 * DAY_MS, str(n), turnId=f"t{n}", body=f"body {n}") for n in range(3000)])
    transactions, writing = [], store._database.writing
    with monkeypatch.context() as patch:
        patch.setattr(store._database, "writing", lambda: transactions.append(1) or writing())
        assert store.prune(WEEK, dry_run=True).records_deleted == 3000
        assert transactions == []
    waits, stop = [], threading.Event()

    def write():
        while not stop.is_set():
            began = time.monotonic()
            store.insert_records([make.log(now_ms, f"new {len(waits)}")])
            waits.append(time.monotonic() - began)

    def writing_of_prune():
        if threading.current_thread() is not thread:
            transactions.append(1)
        return writing()

    thread = threading.Thread(target=write)
    monkeypatch.setattr(store._database, "writing", writing_of_prune)
    thread.start()
    summary = store.prune(WEEK)
    stop.set()
    thread.join()
    assert 2 <= len(transactions) <= 12
    assert (summary.records_deleted, summary.bodies_deleted) == (3000, 3000)
    assert len(waits) >= 2
    assert max(waits) < 3


# --- collector


def test_collector_prunes_at_its_start(store, journal, make, collecting, clock):
    """collector: restarted more often than every 60 s it never prunes."""
    store.insert_records([make.log()])
    clock.forward(days=8)
    for _ in range(2):
        one = collecting(store, journal, policy=WEEK)
        one.run_until(lambda one=one: bool(one.of(Pruned)))
        assert len(one.of(Pruned)) == 1
    assert store.stats()["records"] == 0


def test_collector_a_second_one_is_told_who_holds_the_store(store, python):
    """collector: two collectors on one database: immediate "locked"."""
    code = "import sys; from tracestore import TraceStore; TraceStore(sys.argv[1])"
    done = python("-c", code, store.path, check=False)
    assert f"StoreLocked: {store.path}: the store is held by process {os.getpid()} (" in done.stderr
    assert "wait for it or stop it" in done.stderr


# --- cli


@pytest.mark.parametrize("command", [["list"], ["stats"], ["view", "t"], ["query", "SELECT 1"], ["verify"]])
def test_cli_a_mistyped_path_creates_nothing_and_fails(tmp_path, python, command):
    """cli: a mistyped path creates an empty database and exits 0."""
    done = python("-m", "tracestore", *command, "--store", tmp_path / "mistyped", check=False)
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert "mistyped" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
