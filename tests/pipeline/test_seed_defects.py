"""Every defect that was reproduced in the seed system, absent here: one named test each, at the public surface.

The seed is the SQLite trace store whose behaviour this project takes over. Its defects are grouped
by the name of the part they were found in: ids, bodies, insert, prune, migration, journal, scale,
collector, easy view, cli.
"""

import hashlib
import os
import sys
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest

from blobs import Digest
from tracestore import InputInvalid, RecordInvalid, RetentionPolicy
from tracestore.collector import Collected, Pruned
from tracestore.database import schema
from tracestore.database.schema import Migration
from tracestore.ingest import row_of
from tracestore.journal import read_rejected
from tracestore.record import line_of

DAY_MS = 86_400_000
WEEK = RetentionPolicy(max_age="7d")


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "app.ndjson"


def messages(store):
    return [msg for (msg,) in store.sql("SELECT msg FROM records ORDER BY timestamp, seq").rows]


def rejected(store):
    return [entry.line() for entry in read_rejected(str(store.path / "journal" / "rejected.ndjson"))]


def fnv1a_64(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


# --- ids


def test_ids_crafted_collision_keeps_both_records(memory_store, make):
    """ids: 64-bit FNV collides on crafted text and the second record is dropped.

    From a state of zero, FNV-1a stays at zero over any run of zeros: these three texts have one hash.
    """
    zero = bytes.fromhex("d56bb95342870836")
    assert fnv1a_64(zero) == fnv1a_64(zero + b"\0") == fnv1a_64(zero + b"\0\0") == 0
    texts = [(zero + b"\0" * n).decode("latin-1") for n in (0, 1, 2)]
    memory_store.insert_records([make.log(msg=text, turnId="t") for text in texts])
    assert [record.msg for record in memory_store.get_turn("t")] == texts


def test_ids_two_identical_events_in_one_millisecond_stay_two_when_their_producer_names_them(memory_store, make):
    """ids: two real identical events in one ms collapse."""
    assert memory_store.insert_records([make.log(id="a"), make.log(id="b")]).inserted == 2
    assert memory_store.insert_records([make.log(id="a"), make.log(id="b")]).duplicates == 2


def test_ids_two_identical_events_in_different_nanoseconds_stay_two(memory_store, make, now_ms):
    """ids: two real identical events in one ms collapse."""
    times = [now_ms + Decimal("0.000001"), now_ms + Decimal("0.000002"), now_ms + Decimal("0.5")]
    assert memory_store.insert_records([make.log(time) for time in times]).inserted == 3


def test_ids_an_absent_field_and_a_null_one_are_the_same(memory_store, make):
    """ids: the id differs for a field set to undefined."""
    assert memory_store.insert_records([make.log(), make.log(turnId=None, attributes=None)]).duplicates == 1


def test_ids_the_hash_is_the_hash_it_says_it_is():
    """ids: the "SHA-256" is not SHA-256. Ours is BLAKE3, with the published test vector of the empty input."""
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(Digest.of(b"")) == empty
    assert str(Digest.of(b"")) != hashlib.sha256(b"").hexdigest()


def test_ids_have_more_than_64_bits(make):
    """ids: 64 bits are too few for millions of records."""
    assert len(row_of(line_of(make.log())).record_id) == 16


# --- bodies


def test_bodies_with_lone_surrogates_stay_themselves_and_apart(memory_store, make):
    """bodies: lone surrogates become U+FFFD and two bodies share a hash."""
    bodies = ["\ud800", "\udfff", "\ufffd", "a\ud83d"]
    memory_store.insert_records([make.log(msg=str(n), turnId="t", body=body) for n, body in enumerate(bodies)])
    turn = memory_store.get_turn("t")
    assert [record.body for record in turn] == bodies
    assert len({record.body_digest for record in turn}) == 4


def test_bodies_keep_a_leading_byte_order_mark(memory_store, make):
    """bodies: a leading U+FEFF is lost."""
    memory_store.insert_records([make.log(turnId="t", body="\ufeffmark")])
    (record,) = memory_store.get_turn("t")
    assert record.body == "\ufeffmark"
    assert memory_store.get_body(record.record_id) == b"\xef\xbb\xbfmark"


@pytest.mark.parametrize("body", [{"a": 1}, ["a"], 5, True])
def test_bodies_that_are_no_text_are_refused_not_made_text(memory_store, make, body):
    """bodies: a non-string body becomes `[object Object]`."""
    with pytest.raises(RecordInvalid, match="body: wanted str"):
        memory_store.insert_records([make.log(body=body)])


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


# --- easy view


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [(59_960, "1m0s"), (119_960, "2m0s"), (3_599_960, "1h0m"), (0.30000000000000004, "0.3ms"), (59_949, "59.9s")],
)
def test_easy_view_durations_roll_over(memory_store, make, duration_ms, shown):
    """easy view: `60.0s`, `1m60s`, `60m0s`, raw floats, NaN."""
    memory_store.insert_records([make.opened("s", turnId="t"), make.closed("s", turnId="t", durationMs=duration_ms)])
    assert memory_store.easy_view("t").strip() == f"- step {shown}"


def test_easy_view_children_are_sorted_at_every_level(memory_store, make, now_ms):
    """easy view: children below the root unsorted."""
    about = {"turnId": "t"}
    memory_store.insert_records([
        make.opened("a", now_ms, **about), make.opened("b", now_ms + 1, "mid", parentSpanId="a", **about),
        make.log(now_ms + 9, "second", parentSpanId="b", **about),
        make.log(now_ms + 5, "first", parentSpanId="b", **about),
    ])  # fmt: skip
    lines = [line.strip() for line in memory_store.easy_view("t").splitlines()]
    assert lines == ["- step (open)", "- mid (open)", "- first", "- second"]


def test_easy_view_cycles_are_shown(memory_store, make):
    """easy view: cycles vanish."""
    memory_store.insert_records([make.opened("a", name="one", parentSpanId="b", turnId="t"),
                                 make.opened("b", name="two", parentSpanId="a", turnId="t")])  # fmt: skip
    view = memory_store.easy_view("t")
    assert "one" in view
    assert "two" in view


def test_easy_view_a_close_before_its_open_closes_it(memory_store, make, now_ms):
    """easy view: a close sorted before its open shows `(open)`."""
    memory_store.insert_records([make.closed("s", now_ms, turnId="t"), make.opened("s", now_ms, turnId="t")])
    assert memory_store.easy_view("t").strip() == "- step 100ms"


def test_easy_view_one_event_is_one_line(memory_store, make):
    """easy view: newlines and escape codes in `msg` break one line per event."""
    memory_store.insert_records([make.log(turnId="t", msg="a\nb\r\x1b[31mred\u2028c\x85d")])
    view = memory_store.easy_view("t").rstrip("\n")
    assert len(view.splitlines()) == 1
    assert view.isprintable()


def test_easy_view_is_linear_in_spans(memory_store, make, now_ms):
    """easy view: quadratic in spans."""
    calls = {}
    for count in (500, 4000):
        turn = f"t{count}"
        memory_store.insert_records(
            [make.opened(f"{turn}-{n}", now_ms + n, turnId=turn, parentSpanId=f"{turn}-{n - 1}") for n in range(count)]
        )
        assert memory_store.stats()["records"] >= count  # what was inserted becomes rows here
        seen = Counter()
        sys.setprofile(lambda frame, event, argument, seen=seen: seen.update([event]))
        try:
            view = memory_store.easy_view(turn)
        finally:
            sys.setprofile(None)
        assert len(view.splitlines()) == count
        calls[count] = seen.total()
    assert calls[4000] < calls[500] * 8 * 1.1


def test_easy_view_reads_no_body(store, make, monkeypatch):
    """easy view: decompresses every body only to print its size."""
    store.insert_records(make.turn("t", request="x" * 2150))
    monkeypatch.setattr(store._blobs, "get", lambda digest: 1 / 0)
    assert "[body 2.1k]" in store.easy_view("t")


def test_easy_view_a_log_with_a_span_hangs_below_it(memory_store, make, now_ms):
    """easy view: a log with `spanId` but no parent hangs at the root."""
    memory_store.insert_records([make.opened("s", turnId="t"), make.log(now_ms + 1, "inside", turnId="t", spanId="s")])
    assert memory_store.easy_view("t").splitlines()[1].startswith("  - inside")


def test_easy_view_links_are_shown(memory_store, make):
    """easy view: links never shown."""
    links = [{"spanId": "other-span", "turnId": "other-turn", "reason": "caused"}]
    memory_store.insert_records([make.opened("s", turnId="t", links=links)])
    assert "other-span" in memory_store.easy_view("t")


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
