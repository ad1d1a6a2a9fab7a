"""Schema, migrations, and the making of a database."""

import os
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest

from tracestore import StoreBroken, TraceStore
from tracestore.database import schema
from tracestore.database.connection import Database
from tracestore.database.schema import Migration

SECOND = Migration(2, "a note", "CREATE TABLE raw.notes (text VARCHAR); INSERT INTO raw.notes VALUES ('kept');")


@pytest.fixture
def second_version(monkeypatch):
    """A build whose newest schema is version 2."""

    def become():
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, SECOND))
        monkeypatch.setattr(schema, "TABLES_IN_ORDER", {**schema.TABLES_IN_ORDER, "notes": "text"})

    yield become
    monkeypatch.undo()


def test_a_database_of_the_previous_version_is_migrated_and_keeps_its_rows(open_store, make, second_version):
    """Seed defect `migration`: opening a database of the previous version throws."""
    with open_store() as store:
        store.insert_records(make.turn("t", request="text"))
    second_version()
    with open_store() as store:
        assert len(store.get_turn("t")) == 3
        assert store.sql("SELECT version, name FROM raw.migrations ORDER BY 1").rows == [
            (1, schema.MIGRATIONS[0].name), (2, "a note"),
        ]  # fmt: skip
        assert store.sql("SELECT text FROM raw.notes").rows == [("kept",)]
        store.compact()
        assert store.sql("SELECT text FROM raw.notes").rows == [("kept",)]
    with open_store() as store:
        assert store.sql("SELECT count(*) FROM raw.notes").fetchone() == (1,)
        assert store.verify(data=True).findings == ()


def test_a_failing_migration_leaves_the_previous_version_whole(open_store, make, monkeypatch):
    with open_store() as store:
        store.insert_records(make.turn("t"))
    broken = Migration(2, "broken", "CREATE TABLE raw.half (a INTEGER); SELECT * FROM nowhere;")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreBroken, match="nowhere"):
            open_store()
    with open_store() as store:
        assert len(store.get_turn("t")) == 3
        assert store.sql("SELECT max(version) FROM raw.migrations").fetchone() == (1,)
        tables = {name for (name,) in store.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name='raw'").rows}
        assert "half" not in tables


def test_a_newer_version_is_refused_and_stays_as_it_was(open_store, make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, SECOND))
        with open_store() as store:
            store.insert_records(make.turn("t"))
    before = (tmp_path / "store" / "records.duckdb").read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreBroken, match=r"wanted schema 1.*found 2"):
            open_store(read_only=read_only)
    assert (tmp_path / "store" / "records.duckdb").read_bytes() == before


def test_an_older_version_is_not_changed_by_reading(open_store, make, second_version):
    with open_store() as store:
        store.insert_records(make.turn("t"))
    second_version()
    with pytest.raises(StoreBroken, match="wanted schema 2, found 1; open it once for writing"):
        open_store(read_only=True)


def test_every_base_table_is_copied_by_compaction(memory_store):
    tables = memory_store.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'").rows
    assert {name for (name,) in tables} == set(schema.TABLES_IN_ORDER)


def test_there_is_no_index_and_no_constraint(memory_store):
    assert memory_store.sql("SELECT count(*) FROM duckdb_indexes()").fetchone() == (0,)
    assert memory_store.sql("SELECT count(*) FROM duckdb_constraints()").fetchone() == (0,)


def test_every_view_is_described(memory_store):
    assert {view for view, _, _ in memory_store.schema()} == set(schema.VIEWS)


def test_a_creation_that_fails_leaves_no_database(tmp_path, monkeypatch):
    def fail(*_):
        raise duckdb.IOException("disk full")

    monkeypatch.setattr(schema, "migrate", fail)
    with pytest.raises(Exception, match="disk full"):
        Database.create(tmp_path / "records.duckdb", tmp_path / "tmp")
    assert not (tmp_path / "records.duckdb").exists()


def test_a_creation_after_a_crashed_one_starts_afresh(tmp_path):
    """What a crash left under the temporary name, a write-ahead log of other rows too, is not replayed."""
    crashed = tmp_path / "records.duckdb.new"
    with duckdb.connect(str(tmp_path / "old.db")) as old:
        old.execute("SET checkpoint_threshold = '1GB'; CREATE TABLE stranger AS SELECT 1 AS a")
        shutil.copy(tmp_path / "old.db.wal", f"{crashed}.wal")
    crashed.write_bytes(b"half a database")
    Database.create(tmp_path / "records.duckdb", tmp_path / "tmp")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("records")) == ["records.duckdb"]
    database = Database(tmp_path / "records.duckdb", scratch=tmp_path / "tmp")
    with database.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name='stranger'").fetchone() == (0,)
    database.close()


def test_a_database_that_is_none_is_called_damaged(open_store, tmp_path):
    open_store().close()
    (tmp_path / "store" / "records.duckdb").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreBroken, match="the database is damaged"):
        open_store()


ROUND_TRIP = """
import sys
from tracestore import TraceStore
with TraceStore(sys.argv[1]) as store:
    if sys.argv[2] == "write":
        record = {"kind": "log", "timestamp": 1, "extensionId": "x", "turnId": "t", "level": "info", "msg": "here"}
        store.insert_records([record | {"msg": str(n), "body": "b" * n} for n in range(2000)])
        store.compact()
    assert len(store.get_turn("t")) == 2000
    assert store.verify(data=True).is_clean
"""


@pytest.mark.parametrize("first", ["this", "other"])
def test_both_versions_of_duckdb_read_what_either_wrote(first, python, tmp_path):
    other = os.environ.get("TRACESTORE_OTHER_PYTHON")
    if not other:
        pytest.skip("TRACESTORE_OTHER_PYTHON names no interpreter with another version of DuckDB")

    def run_other(step):
        root = Path(schema.__file__).parents[2]
        command = [other, "-c", ROUND_TRIP, str(tmp_path / "store"), step]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(root)}, timeout=60)

    def run_this(step):
        python("-c", ROUND_TRIP, tmp_path / "store", step)

    writer, reader = (run_this, run_other) if first == "this" else (run_other, run_this)
    writer("write")
    reader("read")
    writer("read")


def test_a_new_file_is_in_the_storage_version_that_both_read(store, tmp_path):
    """What 2.0 writes by default, 1.5 cannot read; compaction makes a new file too."""

    def storage_version():
        with duckdb.connect(str(tmp_path / "store" / "records.duckdb"), read_only=True) as connection:
            tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchone()
        return tags[0]["storage_version"]

    store.compact()
    store.close()
    assert storage_version().startswith("v1.5.0")


def test_a_store_opens_with_nothing_but_a_format_file(open_store, tmp_path):
    """A creation that was cut short is finished by the next opening."""
    open_store().close()
    shutil.rmtree(tmp_path / "store" / "blobs")
    (tmp_path / "store" / "records.duckdb").unlink()
    with TraceStore(tmp_path / "store") as store:
        assert store.stats()["records"] == 0
