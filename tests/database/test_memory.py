"""The database's memory is shared: what a query takes, the writer may lack for a moment."""

import threading
from types import SimpleNamespace

import duckdb
import pytest

from tracestore.database.answers import QueryLimits
from tracestore.database.connection import Database
from tracestore.database.query import running
from tracestore.errors import QueryInvalid, StoreBroken, StoreUnavailable


class WithoutMemory:
    """A writer's cursor whose ROLLBACK finds no memory, once."""

    def __init__(self, cursor):
        self._cursor = cursor
        self._is_full = True

    def execute(self, sql, *parameters):
        if sql == "ROLLBACK" and self._is_full:
            self._is_full = False
            raise duckdb.OutOfMemoryException("Out of Memory Error: full")
        return self._cursor.execute(sql, *parameters)

    def __getattr__(self, name):
        return getattr(self._cursor, name)


def test_memory_that_queries_have_is_no_damage_and_writing_goes_on(tmp_path):
    Database.create(tmp_path / "records.duckdb", tmp_path / "scratch")
    database = Database(tmp_path / "records.duckdb", scratch=tmp_path / "scratch")
    with pytest.raises(StoreUnavailable, match=r"Out of Memory.*try again"), database.writing() as cursor:
        cursor.execute("SELECT len(list(i)) FROM range(10000000000) t(i)").fetchall()
    with database.writing() as cursor:
        cursor.execute("INSERT INTO raw.rejected VALUES (7, 7)")
    assert database.checkpoint()
    database.close()


def test_a_rollback_that_found_no_memory_is_made_up_for(tmp_path):
    Database.create(tmp_path / "records.duckdb", tmp_path / "scratch")
    database = Database(tmp_path / "records.duckdb", scratch=tmp_path / "scratch")
    database._writer = WithoutMemory(database._writer)
    with pytest.raises(StoreBroken, match="found"), database.writing() as cursor:
        cursor.execute("INSERT INTO raw.rejected SELECT 7, error('found')::BIGINT")
    with pytest.raises(StoreUnavailable, match="transaction"), database.writing():
        pytest.fail("the transaction that failed goes on")
    with database.writing() as cursor:
        assert cursor.execute("SELECT count(*) FROM raw.rejected WHERE lines = 7").fetchall() == [(0,)]
        cursor.execute("INSERT INTO raw.rejected VALUES (7, 7)")
    with database.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM raw.rejected WHERE lines = 7").fetchall() == [(1,)]
    database.close()


def test_queries_that_take_too_much_end_and_the_writer_does_not_notice(open_store, make):
    """Three at once would take what a commit needs, and a commit without memory closes the database for good."""
    store = open_store()
    is_over = threading.Event()
    ended = []

    def ask():
        while not is_over.is_set():
            with pytest.raises(QueryInvalid) as found:
                store.sql("SELECT len(list(i)) FROM range(10000000000) t(i)", limits=QueryLimits(timeout_ms=20_000))
            ended.append(str(found.value))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    count = 0
    while len(ended) < 6:
        store.insert_records([make.log(msg=f"line {count + n}") for n in range(200)])
        count += 200
    is_over.set()
    for thread in asking:
        thread.join()
    assert all("MB of memory beside a collector" in message for message in ended)
    assert store.sql("SELECT count(*) FROM records").fetchone() == (count,)


def test_a_query_of_a_store_at_rest_has_all_its_memory(open_store, make, monkeypatch):
    monkeypatch.setattr("tracestore.database.connection.QUERIES_MEMORY_BYTES", 0)
    open_store().close()
    with open_store(read_only=True) as store:
        assert store.sql("SELECT len(list(i)) FROM range(3000000) t(i)").fetchone() == (3_000_000,)


def test_queries_that_are_too_much_together_are_answered_one_after_the_other(open_store, make, monkeypatch):
    monkeypatch.setattr("tracestore.database.query.running.QUERIES_MEMORY_BYTES", 20_000_000)
    store = open_store()
    store.insert_records([make.log()])
    found = []

    def ask():
        found.append(store.sql("SELECT len(list(i)) FROM range(6000000) t(i)").fetchone())

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert found == [(6_000_000,)] * 3


def test_who_waits_to_be_the_large_one_waits_no_longer_than_asked(open_store, make, monkeypatch):
    monkeypatch.setattr("tracestore.database.query.running.QUERIES_MEMORY_BYTES", 20_000_000)
    store = open_store()
    with store._database.large_query, pytest.raises(QueryInvalid, match="beside a collector"):
        store.sql("SELECT len(list(i)) FROM range(10000000) t(i)", limits=QueryLimits(timeout_ms=2000))


def test_who_waits_to_be_the_large_one_may_leave(open_store, make, monkeypatch):
    monkeypatch.setattr("tracestore.database.query.running.QUERIES_MEMORY_BYTES", 20_000_000)
    store = open_store()
    interrupt = threading.Event()
    ended = []

    def ask():
        with pytest.raises(QueryInvalid) as found:
            store.sql("SELECT len(list(i)) FROM range(10000000) t(i)", interrupt=interrupt)
        ended.append(found.value)

    with store._database.large_query:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(1)  # it has taken too much by then, or ends as soon as it is told to
        interrupt.set()
        thread.join(20)
        assert ended


def test_the_second_try_has_the_time_that_is_left(store, monkeypatch):
    clock = iter([100.0, 100.7])
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    asked = []

    def run(limits, is_large):
        asked.append((limits.timeout_ms, is_large))
        if not is_large:
            raise running.TakesTooMuch("query: too much")

    running.in_enough_memory(store._database, QueryLimits(timeout_ms=2000), None, run)
    assert asked == [(2000, False), (1299, True)]
    assert store._database.large_query.acquire(blocking=False)
