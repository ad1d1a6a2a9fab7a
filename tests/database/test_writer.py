"""Idempotent batches: the anti join, its time ranges, the ledger and positions."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracestore.database.connection import Database
from tracestore.database.reader import Reader
from tracestore.database.writer import GAP_NS, RANGES_LIMIT, Batch, Body, Writer, time_ranges
from tracestore.ingest import row_of
from tracestore.record import decode_line


@pytest.fixture
def database():
    database = Database(None)
    yield database
    database.close()


@pytest.fixture
def writer(database):
    return Writer(database)


@pytest.fixture
def row(make):
    return lambda *args, **members: row_of(decode_line(json.dumps(make.log(*args, **members)).encode()))


def position(segment_id, offset):
    names = ("segment_id", "path", "device", "inode", "offset", "head_bytes", "head_digest", "tail_bytes",
             "tail_digest")  # fmt: skip
    return dict(zip(names, (segment_id, "app.ndjson", 1, 2**63 + 1, offset, 3, b"head", 2, b"\0tail"), strict=True))


def test_one_time_is_one_range():
    assert time_ranges([5, 5, 5]) == [(5, 5)]


def test_times_without_a_wide_gap_stay_one_range():
    assert time_ranges([GAP_NS * n for n in range(100)]) == [(0, GAP_NS * 99)]


def test_a_late_time_gets_a_range_of_its_own():
    now = 10**18
    assert time_ranges([now, now + 5, 7, now + 2]) == [(7, 7), (now, now + 5)]


def test_no_more_ranges_than_the_limit_and_cut_at_the_widest_gaps():
    times = [n * n * GAP_NS for n in range(1, 40)]
    ranges = time_ranges(times)
    assert len(ranges) == RANGES_LIMIT
    assert ranges[0][1] < ranges[1][0]
    assert ranges[-1] == (times[-1], times[-1])  # the gaps grow, so the last times stand alone


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=60))
def test_ranges_ascend_and_cover_exactly_the_times(times):
    ranges = time_ranges(times)
    assert 1 <= len(ranges) <= RANGES_LIMIT
    assert ranges == sorted(ranges)
    assert all(first <= last for first, last in ranges)
    assert all(any(first <= time <= last for first, last in ranges) for time in times)
    assert {first for first, _ in ranges} | {last for _, last in ranges} <= set(times)


def test_known_records_are_found_among_narrow_and_late_ones(writer, row):
    rng = random.Random(7)
    stored = [row(rng.randrange(10**12), f"m{n}") for n in range(3000)]
    writer.commit(Batch(stored, [], 1))
    asked = [*rng.sample(stored, 100), *(row(rng.randrange(10**12), f"new{n}") for n in range(100))]
    assert set(writer.known_records(asked)) == {one.identity for one in asked[:100]}


def test_another_record_of_the_same_time_is_not_known(writer, row):
    writer.commit(Batch([row(5, "stored"), row(5, "stored too")], [], 1))
    assert set(writer.known_records([row(5, "stored"), row(5, "new")])) == {row(5, "stored").identity}


def test_the_same_id_at_another_time_is_another_record(writer, row):
    writer.commit(Batch([row(5, id="own")], [], 1))
    assert writer.known_records([row(6, id="own"), row(5.5, id="own")]) == {}
    assert len(writer.known_records([row(5, id="own", msg="other")])) == 1


@pytest.mark.parametrize("few", [0, 10])
def test_few_rows_and_many_are_compared_alike(writer, row, monkeypatch, few):
    """Beyond so many rows near in time a join finds what is known; it has to tell clashes, too."""
    monkeypatch.setattr("tracestore.database.writer.FEW_ROWS", few)
    stored = [row(5, id="own"), row(6, id="own too"), row(7, "without")]
    writer.commit(Batch(stored, [], 1))
    wanted = {one.identity: one.content_hash for one in stored}
    asked = [row(4, "new"), *stored]
    assert wanted[stored[0].identity] is not None
    assert wanted[stored[2].identity] is None
    assert [writer.known_records(asked) for _ in range(2)] == [wanted, wanted]  # the second time as in a replay
    assert writer.known_records([row(6, "new", id="new")]) == {}
    assert writer.known_records(asked) == wanted


def test_a_batch_of_new_rows_ends_the_joins_of_a_replay(writer, row, monkeypatch):
    monkeypatch.setattr("tracestore.database.writer.FEW_ROWS", 2)
    stored = [row(n, f"m{n}") for n in range(5)]
    writer.commit(Batch(stored, [], 1))
    joins = []
    among = writer._stored_among
    monkeypatch.setattr(writer, "_stored_among", lambda *asked: joins.append(1) or among(*asked))
    for batch, joined in ((stored, 1), (stored, 2), ([row(10**6)], 3), ([row(10**6)], 3)):
        writer.known_records(batch)
        assert len(joins) == joined


def test_only_the_ranges_of_the_batch_are_scanned(writer, database, row):
    """A late record must not widen the scan to everything between."""
    writer.commit(Batch([row(n * 86_400_000, f"m{n}") for n in range(1000)], [], 1))
    assert time_ranges([row(86_400_000).line.timestamp_ns, row(900 * 86_400_000).line.timestamp_ns]) == [
        (86_400_000 * 10**6, 86_400_000 * 10**6), (900 * 86_400_000 * 10**6, 900 * 86_400_000 * 10**6),
    ]  # fmt: skip


def test_rows_keep_the_order_of_insertion_in_seq(writer, database, row):
    writer.commit(Batch([row(5, "b"), row(3, "a")], [], 1))
    writer.commit(Batch([row(4, "c")], [], 1))
    assert Writer(database).next_seq == 4
    with database.reading() as cursor:
        assert cursor.execute("SELECT msg, seq FROM records ORDER BY seq").fetchall() == [("b", 1), ("a", 2), ("c", 3)]


def test_a_position_is_committed_with_its_rows_and_replaced_by_the_next(writer, database, row):
    writer.commit(Batch([row()], [], 1, position=position(1, 10)))
    writer.commit(Batch([], [], 1, position=position(2, 5)))
    writer.commit(Batch([], [], 1, position=position(1, 20)))
    assert Reader(database).positions() == [position(1, 20), position(2, 5)]
    writer.forget_positions([1])
    assert Reader(database).positions() == [position(2, 5)]


def test_nothing_of_a_batch_is_there_when_it_fails(writer, database, row):
    with pytest.raises(KeyError):
        writer.commit(Batch([row()], [Body(b"d" * 32, 1, 1)], 1, position={"segment_id": 1}, rejected_lines=3))
    with database.reading() as cursor:
        for table, rows in {"records": 0, "bodies": 0, "positions": 0}.items():
            assert cursor.execute(f"SELECT count(*) FROM raw.{table}").fetchone() == (rows,)
        assert cursor.execute("SELECT lines FROM raw.rejected").fetchone() == (0,)
    assert writer.next_seq == 1
    writer.commit(Batch([row()], [], 1))


def test_the_ledger_replaces_the_row_of_a_body_that_was_gone(writer):
    digest, other = b"d" * 32, b"e" * 32
    writer.commit(Batch([], [Body(digest, 10, 5, "evicted"), Body(other, 1, 1)], 1))
    writer.note_gone(1)
    assert writer.gone_bodies([digest, other]) == {digest}
    writer.commit(Batch([], [Body(digest, 10, 6)], 1, replaced_bodies=[digest]))
    assert writer.known_bodies([digest, other]) == {digest: Body(digest, 10, 6), other: Body(other, 1, 1)}
    assert writer.gone_bodies([digest, other]) == set()


def test_a_new_writer_knows_of_gone_bodies(writer, database):
    writer.commit(Batch([], [Body(b"d" * 32, 10, 5, "evicted")], 1))
    assert Writer(database).gone_bodies([b"d" * 32]) == {b"d" * 32}


def test_a_late_record_is_stored_once_and_found_again(memory_store, make, now_ms):
    recent = [make.log(now_ms + n, f"m{n}") for n in range(50)]
    late = make.log(now_ms - 400 * 86_400_000, "late")
    assert memory_store.insert_records([*recent, late]).inserted == 51
    summary = memory_store.insert_records([late, make.log(msg="another")])
    assert (summary.inserted, summary.duplicates) == (1, 1)


def test_duplicates_within_a_batch_and_across_batches_are_stored_once(memory_store, make):
    first = memory_store.insert_records([make.log(msg="a"), make.log(msg="b"), make.log(msg="a")])
    second = memory_store.insert_records([make.log(msg="b"), make.log(msg="c"), make.log(msg="c")])
    assert (first.inserted, first.duplicates) == (2, 1)
    assert (second.inserted, second.duplicates) == (1, 2)
    assert memory_store.stats()["records"] == 3


def test_an_own_id_on_another_record_is_rejected_in_the_batch_and_across(memory_store, make):
    first = memory_store.insert_records([make.log(id="x", msg=msg) for msg in "aba"])
    assert (first.inserted, first.duplicates, first.rejected) == (1, 1, 1)
    second = memory_store.insert_records([make.log(id="x", msg=msg) for msg in "ba"])
    assert (second.inserted, second.duplicates, second.rejected) == (0, 1, 1)
    assert memory_store.sql("SELECT msg FROM records").rows == [("a",)]
    assert memory_store.stats()["rejected"] == 2
