"""Hostile SQL: it writes nothing, reads no file, tells nothing of the process, and the store goes on working."""

import hashlib
import os
import tempfile
import threading
from contextlib import suppress

import pytest

from tests.conftest import Make
from tests.database.costly_statements import BOMBS, DEEP
from tests.database.harmless_statements import HARMLESS
from tests.database.hostile_statements import HOSTILE
from tracestore import QueryInvalid, TraceStore
from tracestore.database.answers import QueryLimits

SECRET = "TOP-SECRET-7f3a"
LIMITS = QueryLimits(max_rows=1000, max_bytes=1_000_000, timeout_ms=1000)


class Sandbox:
    """A store in a directory with secrets around it and in it, and what the directory looked like."""

    def __init__(self, root, read_only):
        self.root = root
        self.store_path = root / "store"
        with TraceStore(self.store_path) as store:
            store.insert_records(Make().turn("t", request="text"))
        for path in ("outside/secret.csv", "outside/secret.json", "work/secret.csv", "work/secret.json"):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(f'{{"secret": "{SECRET}"}}\n' if path.endswith("json") else f"secret\n{SECRET}\n")
        (self.store_path / "rejected.ndjson").write_text(f'{{"secret": "{SECRET}"}}\n')
        self.store = TraceStore(self.store_path, read_only=read_only)
        (self.store_path / "journal" / "planted.ndjson").write_text(f'{{"secret": "{SECRET}"}}\n')

    def try_sql(self, sql):
        """Run SQL: its rows as text, or the text of QueryInvalid."""
        for name, path in (("store", self.store_path), ("outside", self.root / "outside")):
            sql = sql.replace(f"{{{name}}}", str(path))
        planted = {"secret": SECRET}  # which DuckDB would take for a table  # noqa: F841
        try:
            return None, str(self.store.sql(sql, limits=LIMITS).rows)
        except QueryInvalid as error:
            return error, str(error)

    def files(self):
        """Every file there is, with what is in it; but for those to which DuckDB moves what memory does not hold."""
        spilled = self.root / "temporary" / f"tracestore-{os.getpid()}"
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            for path in sorted(self.root.rglob("*"))
            if not path.name.startswith("duckdb_temp") and path != spilled
        }

    def works(self):
        """Tell whether the store still answers as it did."""
        found = self.store.sql("SELECT count(*), count(DISTINCT kind), (SELECT count(*) FROM bodies) FROM records")
        return found.rows == [(3, 3, 1)]


@pytest.fixture(scope="module", params=["for writing", "read-only"])
def sandbox(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("sandbox")
    (root / "work").mkdir()
    (root / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "work")
        patch.setenv("HOME", str(root / "work"))
        patch.setenv("TRACESTORE_SECRET", SECRET)
        patch.setattr(tempfile, "tempdir", str(root / "temporary"))
        sandbox = Sandbox(root, request.param == "read-only")
        yield sandbox
        sandbox.store.close()


def test_there_are_two_hundred_hostile_statements():
    statements = [sql for group in HOSTILE.values() for sql in group]
    assert len(set(statements)) == len(statements) >= 200


@pytest.mark.parametrize("trick", HOSTILE)
def test_hostile_statements_are_refused_and_leave_no_trace(sandbox, trick):
    before = sandbox.files()
    for sql in HOSTILE[trick]:
        error, text = sandbox.try_sql(sql)
        assert error is not None, sql
        assert SECRET not in text, sql
        assert sandbox.files() == before, sql
    assert sandbox.works()


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_only_looks_hostile_is_answered_and_tells_nothing(sandbox, kind):
    before = sandbox.files()
    for sql in HARMLESS[kind]:
        error, text = sandbox.try_sql(sql)
        assert error is None, sql
        assert SECRET not in text.replace(sql, ""), sql
        assert str(sandbox.root) not in text or "positions" in sql, sql
    assert sandbox.files() == before
    assert sandbox.works()


@pytest.mark.parametrize("what", DEEP)
def test_ten_thousand_parts_inside_one_another_end_no_process(sandbox, what):
    def run():
        for depth in (900, 10_000):
            ended.append(sandbox.try_sql(DEEP[what](depth)))

    ended = []
    thread = threading.Thread(target=run)  # as a server runs it: its stack is smaller than that of the main thread
    thread.start()
    thread.join()
    assert len(ended) == 2
    assert sandbox.works()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_statement_that_wants_everything_ends_and_the_store_goes_on(sandbox, bomb):
    before = sandbox.files()
    error, _ = sandbox.try_sql(BOMBS[bomb])
    assert error is not None or bomb in ("rows without end", "wide rows without end", "a row too large")
    assert sandbox.works()
    assert sandbox.files() == before


def test_no_transaction_stays_open_behind_any_end(tmp_path):
    with TraceStore(tmp_path / "store") as store:
        store.insert_records(Make().turn("t", request="text"))
        for sql in ("SELECT 1", "DROP TABLE x", BOMBS["rows without end"], BOMBS["a cross join"]):
            with suppress(QueryInvalid):
                store.sql(sql, limits=QueryLimits(max_rows=5, timeout_ms=200))
        store.insert_records(Make().turn("u", request="more"))
        assert store.compact() is not None
        assert store.sql("SELECT count(*) FROM records").rows == [(6,)]
