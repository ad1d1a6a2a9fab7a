"""The database's memory is shared: what a query takes, the writer may lack for a moment."""

import duckdb
import pytest

from tracestore.database.connection import Database
from tracestore.errors import StoreBroken, StoreUnavailable


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
