"""Rebuild: with the database gone or torn nothing acknowledged is lost, and nothing that was removed rises again."""

import json
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from tracestore import RetentionPolicy, StoreBroken, StoreNotFound, StoreUnavailable, TraceStore
from tracestore.maintenance import recovery, snapshot
from tracestore.maintenance.removals import Removal, note_removal, read_removals

DAY_MS = 86_400_000
WEEK = RetentionPolicy(max_age="7d")
NOTHING = RetentionPolicy(max_total_body_bytes=0)
KEEP = RetentionPolicy(max_age="5000d")


def lose(store):
    """Close a store and delete its database."""
    store.close()
    for name in ("records.duckdb", "records.duckdb.wal"):
        (store.path / name).unlink(missing_ok=True)


def content(store):
    """Everything the database holds, but what a rebuild numbers and stamps anew."""
    rows = store.sql(
        "SELECT record_id, timestamp, kind, turn_id, span_id, name, msg, attributes, links, extra, body_digest"
        " FROM records ORDER BY ALL"
    ).fetchall()
    bodies = store.sql(
        "SELECT digest, size_bytes, state FROM bodies SEMI JOIN records ON body_digest = digest ORDER BY digest"
    )
    return rows, bodies.fetchall()


@pytest.fixture
def rebuilt(store, open_store):
    """`rebuilt()` loses the store's database and opens it again; the content has to be the same."""

    def lose_and_open(**options):
        before = content(store)
        lose(store)
        again = open_store(**options)
        assert content(again) == before
        # Replay writes the bodies of lines that are removed once more; the next prune takes them.
        assert again.verify(data=True).is_clean
        return again

    return lose_and_open


def test_without_a_snapshot_everything_comes_from_the_journal(store, make, rebuilt):
    store.insert_records([*make.turn("t", request="text", response=b"\xff"), make.log(attributes={"a": 1}, links=[])])
    assert rebuilt().rebuilt.replayed_records == 4


def test_a_snapshot_and_the_journal_behind_it_make_it_whole(store, make, rebuilt):
    store.insert_records(make.turn("before", request="text", response="same"))
    store.snapshot()
    store.insert_records(make.turn("after", request="later", response="same"))
    made = rebuilt().rebuilt
    assert (made.snapshot_records, made.replayed_records, made.lost_bodies) == (3, 3, 0)


def test_every_kind_of_value_comes_back_from_a_snapshot(store, make, rebuilt):
    odd = [
        make.log(1, "min"),
        make.log(253_402_300_799_000 / 100, "late", attributes={"f": 1e308, "b": True, "n": None, "s": "\x00\u2028"}),
        make.log(msg="\ud83d lone", body="\udc00"),
        make.closed("s", durationMs=2**70, attributes={"model": "m", "inputTokens": 7}),
        make.log(timestamp=1772413967075.000001, msg="fractions of a microsecond", unknown={"kept": [1]}),
        make.log(msg="own id", id="mine"),
    ]
    store.insert_records(odd)
    store.snapshot()
    assert rebuilt().rebuilt.snapshot_records == len(odd)


def test_a_torn_database_says_so_and_rebuild_mends_it(open_store, make):
    store = open_store()
    store.insert_records(make.turn("t", request="text"))
    store.close()
    with (store.path / "records.duckdb").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(40_000))
    with pytest.raises(StoreBroken, match="run tracestore rebuild"):
        open_store()
    with TraceStore.rebuild(store.path) as again:
        assert len(again.get_turn("t")) == 3
        assert any("kept the earlier database" in notice for notice in again.notices)
        assert len(list(store.path.glob("records.duckdb.damaged-*"))) >= 1


def test_an_empty_database_in_the_place_of_the_store_s_is_damage(open_store, make):
    """DuckDB makes one where the disk fails to show it the file (EIO): it must not become the store."""
    store = open_store()
    store.insert_records(make.turn("t", request="text"))
    store.insert_lines([b"no record"])
    store.snapshot()
    store.close()
    (store.path / "records.duckdb").unlink()
    duckdb.connect(str(store.path / "records.duckdb")).close()
    with pytest.raises(StoreBroken, match="found one without; run tracestore rebuild"):
        open_store()
    with TraceStore.rebuild(store.path) as again:
        assert len(again.get_turn("t")) == 3
        assert again.stats()["rejected"] == 1


def test_rebuilding_a_database_that_still_opens_loses_nothing(store, make, tmp_path, collecting):
    """Not even what came from a journal that is gone: it gives a snapshot first."""
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(30))
    collecting(store, journal).drain()
    journal.unlink()
    store.close()
    with TraceStore.rebuild(store.path) as again:
        assert again.stats()["records"] == 30


def test_a_journal_elsewhere_is_read_again(store, make, tmp_path, collecting, rebuilt):
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(30, body="text") + b"no record\n")
    collecting(store, journal).drain()
    again = rebuilt()
    assert again.stats()["rejected"] == 1
    assert collecting(again, journal).drain().collector._inserted == 0


@pytest.mark.parametrize("name", ["stat", "read_bytes"])
def test_a_journal_that_the_disk_does_not_show_is_not_passed_over(
    store, make, tmp_path, collecting, open_store, monkeypatch, name
):
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(30))
    collecting(store, journal).drain()
    lose(store)
    owner = Path if name == "read_bytes" else os
    real = getattr(owner, name)
    with monkeypatch.context() as patch:
        hidden = "journals.json" if name == "read_bytes" else "app.ndjson"
        patch.setattr(owner, name, lambda path, *a, **o: fail() if hidden in str(path) else real(path, *a, **o))
        with pytest.raises(StoreUnavailable):
            open_store()
    assert open_store().stats()["records"] == 30


def test_nothing_to_rebuild_from_is_no_store(tmp_path):
    with pytest.raises(StoreNotFound):
        TraceStore.rebuild(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["records-00000000.parquet", "positions.parquet", "MANIFEST.json"])
def test_a_damaged_snapshot_is_never_taken_for_none(store, make, open_store, name):
    """What it holds is nowhere else: a store without it would have lost everything, in silence."""
    store.insert_records(make.turn("t", request="text"))
    file = store.snapshot() / name
    lose(store)
    file.write_bytes(file.read_bytes()[:-5])
    for _ in range(2):
        with pytest.raises(StoreBroken, match=r"wanted a whole snapshot, found none: .*restore a backup"):
            open_store()
    (store.path / "snapshots").rename(store.path.parent / "away")
    assert open_store().rebuilt.snapshot is None


@pytest.mark.parametrize("step", [(os, "listdir"), (Path, "read_bytes")])
def test_a_snapshot_that_the_disk_does_not_let_be_read_is_not_none(store, make, open_store, monkeypatch, step):
    store.insert_records(make.turn("t", request="text"))
    store.snapshot()
    lose(store)
    with monkeypatch.context() as patch:
        real = getattr(*step)
        patch.setattr(*step, lambda path, *a: fail() if "snapshots" in str(path) else real(path, *a))
        with pytest.raises(StoreUnavailable):
            open_store()
    assert open_store().rebuilt.snapshot_records == 3


class TestRemovals:
    """What retention removed stays removed; what came later stays."""

    def test_what_expired_before_the_snapshot_is_gone(self, store, make, now_ms, rebuilt):
        store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="dies"))
        store.insert_records(make.turn("new", request="lives"))
        store.prune(WEEK)
        store.snapshot()
        assert len(rebuilt().get_turn("new")) == 3

    def test_what_expired_since_the_snapshot_stays_gone(self, store, make, now_ms, rebuilt):
        store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="dies"))
        store.snapshot()
        store.insert_records(make.turn("old too", now_ms - 9 * DAY_MS, response="dies as well"))
        assert store.prune(WEEK).records_deleted == 6
        store.insert_records(make.turn("new", request="lives"))
        assert rebuilt().rebuilt.removals == 1

    def test_an_old_record_that_came_after_the_prune_stays(self, store, make, now_ms, rebuilt):
        """A journal of last year, collected after a prune: the prune had nothing to do with it."""
        store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="dies"))
        store.prune(WEEK)
        store.insert_records(make.turn("late", now_ms - 300 * DAY_MS, request="lives"))
        assert len(rebuilt().get_turn("late")) == 3

    def test_an_evicted_body_stays_evicted_and_one_that_came_back_stays(self, store, make, rebuilt):
        store.insert_records(make.turn("t", request="goes", response="comes back"))
        store.prune(NOTHING)
        store.insert_records(make.turn("u", request="comes back", response="new"))
        again = rebuilt()
        again.prune(KEEP)
        records = again.get_turn("t")
        assert [record.body_state for record in records] == ["evicted", None, "present"]
        assert again.verify(data=True).findings == ()

    def test_an_evicted_body_whose_blob_an_older_backup_brought_stays_evicted(self, store, make, open_store):
        store.insert_records(make.turn("t", request="goes"))
        blob = next((store.path / "blobs" / "objects").rglob("*.gz"))
        content = blob.read_bytes()
        store.prune(NOTHING)
        store.snapshot()
        lose(store)
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        again = open_store()
        assert again.sql("SELECT state FROM bodies").fetchall() == [("evicted",)]
        again.prune(KEEP)
        assert not blob.exists()

    def test_a_prune_by_a_clock_that_ran_ahead_takes_nothing_later_with_it(self, store, make, clock, rebuilt):
        clock.forward(days=10_000)
        store.prune(WEEK)
        clock.forward(days=-10_000)
        store.insert_records(make.turn("t", request="text"))
        assert len(rebuilt().get_turn("t")) == 3

    def test_a_snapshot_takes_the_place_of_the_notes(self, store, make, now_ms):
        store.insert_records(make.turn("old", now_ms - 8 * DAY_MS))
        store.prune(WEEK)
        assert len(read_removals(store.path / "removals.ndjson")) == 1
        store.snapshot()
        assert read_removals(store.path / "removals.ndjson") == []

    def test_notes_that_a_crash_left_behind_a_newer_snapshot_count_for_nothing(self, store, make, now_ms, rebuilt):
        store.insert_records(make.turn("old", now_ms - 8 * DAY_MS))
        store.prune(WEEK)
        notes = (store.path / "removals.ndjson").read_bytes()
        store.insert_records(make.turn("late", now_ms - 9 * DAY_MS))
        store.snapshot()
        (store.path / "removals.ndjson").write_bytes(notes)
        assert len(rebuilt().get_turn("late")) == 3

    def test_a_note_that_was_cut_short_is_passed_over_and_another_damage_is_not(self, tmp_path):
        path = tmp_path / "removals.ndjson"
        for cutoff_ns in (1, 2):
            note_removal(path, Removal("s", cutoff_ns, [b"d" * 32], []))
            with path.open("ab") as file:
                file.write(b'{"since": "s", "expired')
        assert [removal.expired_before_ns for removal in read_removals(path)] == [1, 2]
        path.write_bytes(b"something else\n")
        with pytest.raises(StoreBroken, match="wanted a note of a removal"):
            read_removals(path)


class TestSnapshots:
    """Their cadence, their parts, and the segments they make needless."""

    def parts(self, store):
        path = store.snapshot()
        return {file.name: file.stat().st_ino for file in path.glob("records-*.parquet")}

    def test_an_unchanged_part_is_shared_and_a_changed_one_is_written_anew(self, store, make, now_ms, monkeypatch):
        monkeypatch.setattr("tracestore.database.snapshot.SLOT_ROWS", 10)
        store.insert_records([make.log(now_ms - 8 * DAY_MS + n, str(n)) for n in range(5)])
        store.insert_records([make.log(now_ms + n, str(n)) for n in range(20)])
        first = self.parts(store)
        store.insert_records([make.log(msg="one more")])
        second = self.parts(store)
        same = [name for name in first if second[name] == first[name]]
        assert same == ["records-00000000.parquet", "records-00000001.parquet"]
        store.prune(WEEK)
        third = self.parts(store)
        assert third["records-00000000.parquet"] != second["records-00000000.parquet"]
        assert third["records-00000001.parquet"] == second["records-00000001.parquet"]
        assert snapshot.newest(store.path / "snapshots").rows == 21

    def test_a_damaged_one_stays_until_the_next_is_whole(self, store, make, monkeypatch):
        store.insert_records(make.turn("t"))
        first = store.snapshot()
        (first / "MANIFEST.json").write_bytes(b"{}")
        with monkeypatch.context() as patch:
            patch.setattr(snapshot.durable, "sync_file", fail)
            with pytest.raises(StoreUnavailable):
                store.snapshot()
        assert first.exists()
        second = store.snapshot()
        assert [second] == list((store.path / "snapshots").iterdir())

    def test_a_name_is_exact_whatever_the_year(self):
        names = [snapshot._name(2**62 + n * 1000) for n in range(3)]
        assert sorted(set(names)) == names

    def test_only_the_latest_stays_and_any_engine_reads_it(self, store, make):
        store.insert_records(make.turn("t"))
        store.snapshot()
        path = store.snapshot()
        assert [entry.name for entry in (store.path / "snapshots").iterdir()] == [path.name]
        files = json.loads((path / "MANIFEST.json").read_bytes())["files"]
        assert set(files) == {entry.name for entry in path.iterdir()} - {"MANIFEST.json"}
        import duckdb

        found = duckdb.execute(f"SELECT count(DISTINCT turn_id), count(*) FROM '{path}/records-*.parquet'").fetchone()
        assert found == (1, 3)

    def test_a_segment_goes_when_a_snapshot_covers_it_and_not_before(self, tmp_path, make):
        inserted = tmp_path / "store" / "journal" / "inserted"
        for _ in range(3):
            with TraceStore(tmp_path / "store") as store:
                store.insert_records([make.log(msg=os.urandom(4).hex())])
        assert len(list(inserted.iterdir())) == 3
        with TraceStore(tmp_path / "store") as store:
            store.insert_records([make.log(msg="in a segment that is still written to")])
            store.snapshot()
            assert len(list(inserted.iterdir())) == 1
            assert len(store.reader.positions()) == 1

    def test_kept_segments_stay(self, tmp_path, make):
        with TraceStore(tmp_path / "store") as store:
            store.insert_records([make.log()])
        with TraceStore(tmp_path / "store", keep_journal=True) as store:
            store.snapshot()
            assert len(list((tmp_path / "store" / "journal" / "inserted").iterdir())) == 1

    def test_segments_of_other_programs_are_never_removed(self, store, make, collecting):
        segment = store.path / "journal" / "app.ndjson"
        segment.write_bytes(make.lines(3))
        collecting(store, store.path / "journal").drain()
        store.snapshot()
        assert segment.exists()

    def test_one_is_due_by_bytes_and_by_the_day(self, store, make, clock, monkeypatch):
        def taken():
            return snapshot.latest(store.path / "snapshots")

        store.insert_records([make.log()])
        assert taken() is None
        clock.forward(days=1)
        store.insert_records([make.log(msg="the next day")])
        first = taken()
        assert first.rows == 2
        monkeypatch.setattr(recovery, "SNAPSHOT_BYTES", 1000)
        store.insert_records([make.log(msg="x" * 1000)])
        assert taken().rows == 3

    def test_a_snapshot_that_fails_leaves_the_earlier_one(self, store, make, monkeypatch):
        store.insert_records([make.log()])
        first = store.snapshot()
        store.insert_records([make.log(msg="more")])
        monkeypatch.setattr(snapshot.durable, "sync_file", fail)
        with pytest.raises(OSError, match="taking a snapshot"):
            store.snapshot()
        assert snapshot.newest(store.path / "snapshots").path == first
        monkeypatch.undo()
        assert store.snapshot() != first
        assert len(list((store.path / "snapshots").iterdir())) == 1

    def test_where_files_cannot_be_shared_they_are_written(self, store, make, monkeypatch):
        monkeypatch.setattr(os, "link", fail)
        store.insert_records([make.log()])
        store.snapshot()
        store.snapshot()
        assert snapshot.newest(store.path / "snapshots").rows == 1

    def test_a_store_in_memory_has_none(self, memory_store):
        assert memory_store.snapshot() is None

    def test_a_copy_does_not_read_what_its_original_wrote_later(self, store, make, open_store, tmp_path):
        store.insert_records(make.turn("a"))
        store.snapshot()
        shutil.copytree(store.path, tmp_path / "copy", ignore=shutil.ignore_patterns("records.duckdb*", "lock"))
        store.insert_records(make.turn("b"))
        assert open_store("copy").get_turn("b") == []

    def test_a_copied_snapshot_with_its_segments_is_a_store(self, store, make, open_store, tmp_path):
        """What a backup does."""
        store.insert_records(make.turn("a", request="text"))
        store.snapshot()
        store.insert_records(make.turn("b", request="text"))
        shutil.copytree(store.path, tmp_path / "copy", ignore=shutil.ignore_patterns("records.duckdb*", "lock"))
        copy = open_store("copy")
        assert content(copy) == content(store)


def fail(*arguments, **options):
    raise OSError(5, "Input/output error")
