"""The collector on a real store: what the journal does, and what becomes of every line."""

import json
import os
import threading
import time

import pytest

from tracestore import PruneSummary, RetentionPolicy, StoreUnavailable
from tracestore.collector import Collected, Collector, Pruned, PruneFailed, Torn
from tracestore.journal.notices import Notice, NoticeKind
from tracestore.journal.rejects import read_rejected


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "app.ndjson"


@pytest.fixture
def append(journal):
    def append_bytes(data, path=journal):
        with path.open("ab") as file:
            file.write(data)

    return append_bytes


def messages(store):
    return [msg for (msg,) in store.sql("SELECT msg FROM records ORDER BY timestamp, seq").rows]


def lines_of(first, end):
    return [f"line {n}" for n in range(first, end)]


def kinds(collecting):
    return [notice.kind for notice in collecting.of(Notice)]


def rejected(store):
    return [entry.line() for entry in read_rejected(str(store.path / "journal" / "rejected.ndjson"))]


def test_every_line_becomes_a_row_and_twice_changes_nothing(store, journal, append, make, collecting):
    append(make.lines(100) + make.lines(10))
    one = collecting(store, journal).drain()
    assert messages(store) == lines_of(0, 100)
    last = one.of(Collected)[-1]
    assert (last.total_inserted, last.total_duplicates, last.total_rejected) == (100, 10, 0)
    assert sum(event.journal_bytes for event in one.of(Collected)) == journal.stat().st_size
    one.drain()
    assert one.of(Collected)[-1] is last
    again = collecting(store, journal).drain()
    assert again.of(Collected) == []


def test_a_torn_line_waits_for_its_newline_and_is_said(store, journal, append, make, collecting):
    line = make.lines(1)
    append(line[:30])
    one = collecting(store, journal).drain()
    assert messages(store) == []
    assert [event.torn_bytes for event in one.of(Torn)] == [30]
    append(line[30:-1])
    one.drain()
    assert messages(store) == []
    append(line[-1:])
    one.drain()
    assert messages(store) == ["line 0"]


def test_a_torn_line_is_read_after_a_restart(open_store, journal, append, make, collecting):
    line = make.lines(2)
    append(line[:-20])
    with open_store() as store:
        collecting(store, journal).drain()
        assert messages(store) == ["line 0"]
    append(line[-20:])
    with open_store() as store:
        collecting(store, journal).drain()
        assert messages(store) == ["line 0", "line 1"]


def test_a_restart_goes_on_at_the_offset(open_store, journal, append, make, collecting):
    append(make.lines(50))
    with open_store() as store:
        collecting(store, journal).drain()
    append(make.lines(50, start=50))
    with open_store() as store:
        one = collecting(store, journal).drain()
        assert [(event.inserted, event.duplicates) for event in one.of(Collected)] == [(50, 0)]
        assert messages(store) == lines_of(0, 100)


def test_rotation_while_collecting_loses_nothing(store, journal, append, make, collecting):
    """Seed defect `journal`: of 3,000 lines of its own writer 1,294 were stored."""
    one = collecting(store, journal)
    for n in range(300):
        append(make.lines(1, start=n))
        if n % 40 == 39:
            os.replace(journal, f"{journal}.1")
        if n % 13 == 0:
            one.drain()
    one.drain()
    assert messages(store) == lines_of(0, 300)
    assert kinds(one).count(NoticeKind.ROTATED) >= 5


def test_a_rotation_below_the_offset_is_read_from_the_start(store, journal, append, make, collecting):
    append(make.lines(50))
    one = collecting(store, journal).drain()
    os.replace(journal, f"{journal}.1")
    append(make.lines(10, start=50))
    one.drain()
    assert messages(store) == lines_of(0, 60)


def test_rotation_during_a_downtime_is_noticed(open_store, journal, append, make, collecting):
    append(make.lines(20))
    with open_store() as store:
        collecting(store, journal).drain()
    append(make.lines(20, start=20))
    os.replace(journal, f"{journal}.1")
    append(make.lines(20, start=40))
    with open_store() as store:
        one = collecting(store, journal).drain()
        assert messages(store) == lines_of(0, 60)
        assert NoticeKind.ROTATED in kinds(one)


def test_truncation_is_noticed_and_read_from_the_start(store, journal, append, make, collecting):
    append(make.lines(20))
    one = collecting(store, journal).drain()
    journal.write_bytes(make.lines(5, start=20))
    one.drain()
    assert messages(store) == lines_of(0, 25)
    assert NoticeKind.TRUNCATED in kinds(one) or NoticeKind.REWRITTEN in kinds(one)


def test_a_replaced_file_is_read_from_the_start(store, journal, append, make, collecting, tmp_path):
    append(make.lines(20))
    one = collecting(store, journal).drain()
    append(make.lines(30, start=20), tmp_path / "new")
    os.replace(tmp_path / "new", journal)
    one.drain()
    assert messages(store) == lines_of(0, 50)
    assert NoticeKind.REPLACED in kinds(one)


def test_a_journal_that_is_not_there_yet_is_waited_for(store, journal, append, make, collecting):
    one = collecting(store, journal).drain()
    assert kinds(one) == [NoticeKind.WAITING]
    append(make.lines(3))
    one.drain()
    assert messages(store) == lines_of(0, 3)


def test_a_vanished_journal_is_said_and_its_successor_is_read(store, journal, append, make, collecting):
    append(make.lines(3))
    one = collecting(store, journal).drain()
    journal.unlink()
    for _ in range(4):
        one.drain()
    assert NoticeKind.VANISHED in kinds(one)
    append(make.lines(3, start=3))
    one.drain()
    assert messages(store) == lines_of(0, 6)


def test_an_unreadable_journal_is_an_error(store, journal, collecting, tmp_path):
    """Seed defect `journal`: an unreadable journal was swallowed."""
    journal.symlink_to(journal)
    with pytest.raises(StoreUnavailable):
        collecting(store, journal).drain()


def test_a_deleted_database_is_recognised_and_the_journal_read_again(open_store, journal, append, make, collecting):
    append(make.lines(20) + b"no record\n" + make.line(make.log(1, "body", body="text")))
    with open_store() as store:
        collecting(store, journal).drain()
    (store.path / "records.duckdb").unlink()
    (store.path / "records.duckdb.wal").unlink(missing_ok=True)
    append(make.lines(5, start=20))
    with open_store() as store:
        assert "records.duckdb was missing: rebuilt 26 records from the journal" in store.notices[0]
        collecting(store, journal).drain()
        assert messages(store) == ["body", *lines_of(0, 25)]
        assert rejected(store) == [b"no record"]
        assert store.stats()["rejected"] == 1
        assert store.verify(data=True).findings == ()


def test_a_directory_of_segments_is_read_as_a_whole(store, make, collecting, tmp_path, append):
    segments = tmp_path / "segments"
    segments.mkdir()
    for n in range(5):
        append(make.lines(10, start=n * 10), segments / f"{n}.ndjson")
    one = collecting(store, segments).drain()
    append(make.lines(10, start=50), segments / "5.ndjson")
    append(make.lines(5, start=60), segments / "0.ndjson")
    one.drain()
    assert sorted(messages(store)) == sorted(lines_of(0, 65))


def test_two_journals_of_one_store_do_not_disturb_one_another(open_store, make, collecting, tmp_path, append):
    with open_store() as store:
        one, other = (collecting(store, tmp_path / name) for name in ("a.ndjson", "b.ndjson"))
        for n in range(0, 40, 10):
            append(make.lines(5, start=n), tmp_path / "a.ndjson")
            append(make.lines(5, start=n + 5), tmp_path / "b.ndjson")
            one.drain(), other.drain()
            store.insert_records([make.log(1, f"own {n}")])
        assert store.stats()["records"] == 44
    with open_store() as store:
        assert collecting(store, tmp_path / "a.ndjson").drain().of(Collected) == []


INVALID = [
    b"null", b"[]", b"{}", b"not json", b'{"kind":"metric"}', b"\xff\xfe broken utf-8", b"[" * 100_000,
    b'{"kind":"log","timestamp":"yesterday","extensionId":"x","level":"info","msg":"m"}',
    b'{"kind":"log","timestamp":1,"level":"info","msg":"no extension"}',
    b'{"kind":"log","timestamp":1e99999999999999999999,"extensionId":"x","level":"info","msg":"m"}',
    b'{"kind":"log","timestamp":1,"extensionId":"x","level":"info","msg":"m","body":{"a":1}}',
]  # fmt: skip


def test_invalid_lines_are_kept_verbatim_with_a_reason_and_never_stop_their_neighbours(
    store, journal, append, make, collecting
):
    for n, line in enumerate(INVALID):
        append(make.lines(1, start=n) + line + b"\n")
    append(make.lines(1, start=len(INVALID)))
    one = collecting(store, journal).drain()
    assert messages(store) == lines_of(0, len(INVALID) + 1)
    assert rejected(store) == INVALID
    entries = list(read_rejected(str(store.path / "journal" / "rejected.ndjson")))
    assert all(": wanted " in entry.reason for entry in entries)
    data = journal.read_bytes()
    assert all(data[entry.offset :].startswith(entry.line() + b"\n") for entry in entries)
    assert store.stats()["rejected"] == one.of(Collected)[-1].total_rejected == len(INVALID)


def test_rejected_lines_are_counted_once_over_restarts(open_store, journal, append, make, collecting):
    append(b"bad 1\n" + make.lines(2))
    for number in range(3):
        with open_store() as store:
            collecting(store, journal).drain()
            assert store.stats()["rejected"] == number + 1
            assert rejected(store) == [f"bad {n + 1}".encode() for n in range(number + 1)]
        append(f"bad {number + 2}\n".encode())


def test_a_failing_commit_is_repeated_whole(store, journal, append, make, collecting, monkeypatch):
    append(make.lines(5) + b"bad\n")
    one = collecting(store, journal)
    with monkeypatch.context() as patch:
        patch.setattr(store._write_side.rows, "commit", lambda batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one.drain()
        assert rejected(store) == []
    one.drain()
    assert messages(store) == lines_of(0, 5)
    assert rejected(store) == [b"bad"]
    assert store.stats()["rejected"] == 1


class Seconds:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_it_prunes_at_the_start_and_then_on_its_cadence(store, journal, append, make, collecting, clock):
    """Seed defect `collector`: restarted more often than every 60 s it never prunes."""
    store.insert_records([make.log(msg="old")])
    clock.forward(days=8)
    seconds = Seconds()
    one = collecting(store, journal, policy=RetentionPolicy("7d"), prune_every_s=60, clock=seconds)
    one.collector.prune_when_due()
    assert [event.summary.records_deleted for event in one.of(Pruned)] == [1]
    for seconds.now, prunes in ((59.9, 1), (60.0, 2), (60.1, 2), (119.9, 2), (120.0, 3), (1000.0, 4), (1001.0, 4)):
        one.collector.prune_when_due()
        assert len(one.of(Pruned)) == prunes


def test_without_a_policy_it_never_prunes(store, journal, collecting):
    for policy in (None, RetentionPolicy()):
        one = collecting(store, journal, policy=policy)
        one.collector.prune_when_due()
        assert one.events == []


def test_a_failing_prune_is_reported_and_collecting_goes_on(
    store, journal, append, make, collecting, monkeypatch
):
    seconds, failures = Seconds(), [StoreUnavailable(5, "I/O error", "blobs")]

    def prune(policy):
        if failures:
            raise failures.pop()
        return PruneSummary()

    monkeypatch.setattr(store, "prune", prune)
    one = collecting(store, journal, policy=RetentionPolicy("7d"), prune_every_s=60, clock=seconds)
    append(make.lines(3))
    one.collector.prune_when_due()
    one.drain()
    seconds.now = 60
    one.collector.prune_when_due()
    assert [str(event.error) for event in one.of(PruneFailed)] == ["[Errno 5] I/O error: 'blobs'"]
    assert len(one.of(Pruned)) == 1
    assert messages(store) == lines_of(0, 3)


def test_it_prunes_in_the_midst_of_a_backlog(store, journal, append, make, collecting, monkeypatch):
    """A backlog that takes hours must not keep the disk from being pruned."""
    monkeypatch.setattr("tracestore.ingest.BATCH_LINES", 10)
    append(make.lines(100))
    seconds = Seconds()
    one = collecting(store, journal, policy=RetentionPolicy("7d"), prune_every_s=60, clock=seconds)

    def every_batch(event):
        one.events.append(event)
        seconds.now += 30 * isinstance(event, Collected)

    one.collector._report = every_batch
    one.run_until(lambda: store.stats()["records"] == 100)
    assert len(one.of(Collected)) == 10
    assert len(one.of(Pruned)) >= 5


def test_it_runs_until_told_and_drains_what_is_there_then(store, journal, append, make, collecting):
    append(make.lines(10))
    one = collecting(store, journal)
    one.run_until(lambda: store.stats()["records"] >= 10)
    stop = threading.Event()
    stop.set()
    append(make.lines(10, start=10))
    one.collector.run(stop)
    assert messages(store) == lines_of(0, 20)


def test_new_lines_are_there_within_a_second(store, journal, append, make, collecting):
    one, began, took = collecting(store, journal), [], []

    def is_there():
        if not began:
            append(make.lines(1))
            began.append(time.monotonic())
        if store.stats()["records"]:
            took.append(time.monotonic() - began[0])
        return bool(took)

    one.run_until(is_there)
    assert took[0] < 1


def test_a_reader_sees_what_the_collector_collects(store, journal, append, make, collecting):
    append(b"".join(make.line(record) for n in range(20) for record in make.turn(f"t{n}", request=f"body {n}")))
    errors = []

    def look():
        try:
            return len(store.get_turn("t19")) == 3 and store.get_turn("t19")[0].body == "body 19"
        except BaseException as error:
            errors.append(error)
            return True

    collecting(store, journal).run_until(look)
    assert errors == []
    assert store.get_turn("t19")[0].body == "body 19"


def test_a_producer_that_never_pauses_does_not_keep_a_drain_from_ending(store, journal, append, make, monkeypatch):
    append(make.lines(50))
    monkeypatch.setattr("tracestore.ingest.BATCH_LINES", 10)
    written = [50]

    def produce(event):
        if isinstance(event, Collected) and written[0] < 2000:
            append(make.lines(20, start=written[0]))
            written[0] += 20

    collector = Collector(store, str(journal), produce)
    collector.drain()
    collector.close()
    assert 50 <= store.stats()["records"] < 2000


def test_own_ids_that_clash_are_rejected_and_said(store, journal, append, make, collecting):
    append(make.line(make.log(id="x")) + make.line(make.log(id="x", msg="other")) + make.line(make.log(id="x")))
    one = collecting(store, journal).drain()
    last = one.of(Collected)[-1]
    assert (last.inserted, last.duplicates, last.rejected) == (1, 1, 1)
    assert json.loads(rejected(store)[0])["msg"] == "other"
