"""Compaction and the swap, while others read."""

import threading
import time

import pytest

from tracestore.database import compaction
from tracestore.database import connection as connection_module
from tracestore.errors import StoreUnavailable


@pytest.fixture
def fat_store(open_store, make, now_ms):
    """A store with many rows of which most are deleted."""
    store = open_store()
    about = {"attributes": {"text": "x" * 200}}
    records = [make.log(now_ms + n, make.body(n, 400), turnId=f"t{n // 10}", **about) for n in range(12_000)]
    store.insert_records(records)
    with store._database.writing() as cursor:
        cursor.execute("DELETE FROM raw.records WHERE seq % 10 <> 0")
    store._database.checkpoint()
    return store


def test_the_file_becomes_smaller_and_no_row_is_lost(fat_store, tmp_path):
    file = tmp_path / "store" / "records.duckdb"
    rows = fat_store.sql("SELECT * FROM raw.records ORDER BY seq").rows
    before_bytes = file.stat().st_size
    assert compaction.measure(fat_store._database).dead_bytes > 0
    reclaimed_bytes = fat_store.compact()
    assert reclaimed_bytes == before_bytes - file.stat().st_size > before_bytes / 2
    assert fat_store.sql("SELECT * FROM raw.records ORDER BY seq").rows == rows
    assert {path.name for path in file.parent.glob("records*")} <= {"records.duckdb", "records.duckdb.wal"}
    assert compaction.measure(fat_store._database).dead_bytes < before_bytes / 4


def test_no_write_ahead_log_is_left_beside_a_swapped_file(fat_store, tmp_path):
    """A crash with an old log beside a new file would make a store that never opens."""
    swap, seen = fat_store._database.swap, []

    def looking(fresh):
        swap(fresh)
        seen.append((tmp_path / "store" / "records.duckdb.wal").exists())

    fat_store._database.swap = looking
    fat_store.compact()
    assert seen == [False]


def test_the_copy_is_in_the_order_of_time(open_store, make, now_ms):
    store = open_store()
    store.insert_records([make.log(now_ms - n, f"m{n}") for n in range(100)])
    store.compact()
    times = store.sql("SELECT timestamp FROM raw.records").rows
    assert times == sorted(times)


def test_rows_inserted_after_a_compaction_survive_a_restart(open_store, make):
    with open_store() as store:
        store.insert_records([make.log(msg="before")])
        store.compact()
        store.insert_records([make.log(msg="after")])
    with open_store() as store:
        assert store.sql("SELECT msg, seq FROM records ORDER BY seq").rows == [("before", 1), ("after", 2)]
        assert store.insert_records([make.log(msg="after"), make.log(msg="before")]).duplicates == 2


def test_readers_go_on_during_compactions_and_lose_no_row(fat_store):
    wanted = fat_store.sql("SELECT count(*), sum(seq) FROM records").fetchone()
    stop, errors, reads = threading.Event(), [], [0, 0, 0]

    def read(number):
        while not stop.is_set():
            try:
                assert fat_store.sql("SELECT count(*), sum(seq) FROM records").fetchone() == wanted
                assert fat_store.get_turn("t5")
                reads[number] += 1
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        fat_store.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(reads) > 0


def test_a_writer_during_compactions_loses_no_row(fat_store, make, now_ms):
    before, inserted, stop, errors = fat_store.stats()["records"], [0], threading.Event(), []

    def write():
        try:
            while not stop.is_set():
                inserted[0] += fat_store.insert_records([make.log(now_ms, f"new {inserted[0]}")]).inserted
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(4):
        fat_store.compact()
    stop.set()
    thread.join()
    assert errors == []
    assert inserted[0] > 0
    assert fat_store.stats()["records"] == before + inserted[0]
    assert fat_store.sql("SELECT count(*) - count(DISTINCT seq) FROM records").fetchone() == (0,)


def test_a_reader_that_does_not_end_is_interrupted_and_the_swap_succeeds(fat_store, monkeypatch):
    monkeypatch.setattr(connection_module, "SWAP_WAIT_S", 0.05)
    ended = []

    def read_long():
        try:
            ended.append(fat_store.sql("SELECT sum(a.seq * b.seq * c.seq) FROM records a, records b, records c"))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=read_long)
    thread.start()
    while not fat_store._database._readers:
        time.sleep(0.001)
    fat_store.compact()
    thread.join(20)
    assert not thread.is_alive()
    assert "interrupted; ask for less, or again" in str(ended[0])
    assert fat_store.sql("SELECT count(*) FROM records").fetchone() == (1200,)


def test_an_interrupt_that_a_reader_did_not_notice_is_repeated(fat_store, monkeypatch):
    """One that comes between two statements is forgotten; the swap would keep everybody out until the next ends."""
    monkeypatch.setattr(connection_module, "SWAP_WAIT_S", 0.05)
    database = fat_store._database
    ended = []

    class Once:
        """A reader's cursor that begins its statement only after the first interrupt."""

        def __init__(self, cursor):
            self._cursor = cursor
            self.came = threading.Event()

        def interrupt(self):
            self.came.set()
            if self.goes_on:
                self._cursor.interrupt()

        goes_on = False

    def read_long():
        with database.reading() as cursor:
            heard = Once(cursor)
            database._readers.discard(cursor)
            database._readers.add(heard)
            heard.came.wait(20)
            heard.goes_on = True
            try:
                cursor.execute("SELECT count(*) FROM range(30000000000) a").fetchall()
            except Exception as error:
                ended.append(error)
            database._readers.discard(heard)

    thread = threading.Thread(target=read_long)
    thread.start()
    while not database._readers:
        time.sleep(0.001)
    fat_store.compact()
    thread.join(20)
    assert "Interrupted" in str(ended[0])


def test_a_failing_swap_leaves_the_old_file_in_use(fat_store, monkeypatch):
    rows = fat_store.sql("SELECT count(*) FROM records").fetchone()

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(connection_module, "publish", fail)
        with pytest.raises(OSError, match="No space left"):
            fat_store.compact()
    assert fat_store.sql("SELECT count(*) FROM records").fetchone() == rows
    fat_store.compact()
    assert fat_store.sql("SELECT count(*) FROM records").fetchone() == rows


def test_a_memory_store_has_nothing_to_compact(memory_store):
    assert memory_store.compact() == 0


@pytest.mark.parametrize(
    ("file_bytes", "dead_bytes", "worth"),
    [(100 * 2**20, 30 * 2**20, True), (100 * 2**20, 29 * 2**20, False), (5 * 2**20, 3 * 2**20, False), (0, 0, False)],
)
def test_compaction_has_to_be_worth_its_cost(file_bytes, dead_bytes, worth):
    assert compaction.Space(file_bytes, dead_bytes).is_worth_compacting is worth


def test_a_checkpoint_waits_for_a_reader_and_gives_up_on_one_that_stays(store, make, monkeypatch):
    monkeypatch.setattr(connection_module, "CHECKPOINT_WAIT_S", 0.05)
    store.insert_records([make.log()])
    database = store._database
    with database.reading() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM raw.records").fetchone()
        with database.writing() as writer:
            writer.execute("DELETE FROM raw.prunes")
        database.checkpoint()  # whether a reader is in its way differs between releases of DuckDB
        with database.reading() as other:
            assert other.execute("SELECT count(*) FROM raw.records").fetchone() == (1,)
    assert database.checkpoint()


def test_a_file_that_cannot_be_attached_after_a_swap_keeps_nobody_waiting(fat_store, monkeypatch):
    database = fat_store._database
    with monkeypatch.context() as patch:
        patch.setattr(database, "_attach", lambda: (_ for _ in ()).throw(StoreUnavailable(5, "Input/output error")))
        with pytest.raises(StoreUnavailable):
            fat_store.compact()
        with pytest.raises(StoreUnavailable):
            fat_store.stats()
    assert fat_store.stats()["records"] == 1200
    fat_store.insert_records([])
    assert fat_store.compact() is not None
