"""Prune at the level of the store: what goes, what stays, what is counted."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from blobs import Digest
from tracestore import InputInvalid, PruneRefused, RetentionPolicy, StoreUnavailable, TraceStore

DAY_MS = 86_400_000
WEEK = RetentionPolicy(max_age="7d")


@pytest.fixture
def du(tmp_path):
    """Allocated bytes of everything under the store, as `du` counts them."""

    def measure(name="store"):
        files = (Path(directory) / file for directory, _, names in os.walk(tmp_path / name) for file in names)
        return sum(file.stat().st_blocks * 512 for file in files)

    return measure


def turns(store):
    return {turn for (turn,) in store.sql("SELECT turn_id FROM turns").rows}


def test_a_turn_leaves_as_a_whole_once_its_newest_record_is_old(store, make, now_ms, clock):
    store.insert_records([
        *make.turn("old", now_ms - 8 * DAY_MS),
        make.opened("s", now_ms - 8 * DAY_MS, turnId="half", body="early"),
        make.closed("s", now_ms - 6 * DAY_MS, turnId="half"),
        *make.turn("new"),
    ])  # fmt: skip
    clock.forward(ms=1)
    summary = store.prune(WEEK)
    assert summary.records_deleted == 3
    assert turns(store) == {"half", "new"}
    assert [record.kind for record in store.get_turn("half")] == ["span-open", "span-close"]
    assert store.get_turn("half")[0].body == "early"


def test_a_record_without_a_turn_leaves_by_its_own_time(store, make, now_ms):
    store.insert_records([make.log(now_ms - 8 * DAY_MS, "old"), make.log(now_ms - 6 * DAY_MS, "new")])
    assert store.prune(WEEK).records_deleted == 1
    assert store.sql("SELECT msg FROM records").rows == [("new",)]


def test_the_limit_itself_is_not_past_the_limit(store, make, now_ms):
    store.insert_records([make.log(now_ms - 7 * DAY_MS, "at"), make.log(now_ms - 7 * DAY_MS - 1, "past")])
    assert store.prune(WEEK).records_deleted == 1
    assert store.sql("SELECT msg FROM records").rows == [("at",)]


def test_a_record_of_a_clock_that_runs_ahead_expires_by_the_time_it_was_stored(store, make, now_ms, clock):
    store.insert_records([make.log(now_ms + 400 * DAY_MS, "ahead"), *make.turn("ahead", now_ms + 400 * DAY_MS)])
    assert store.prune(WEEK).records_deleted == 0
    clock.forward(days=8)
    assert store.prune(WEEK).records_deleted == 4


def test_age_zero_keeps_nothing_and_an_endless_age_keeps_all(store, make, clock):
    store.insert_records(make.turn("t", request="text"))
    clock.forward(ms=500)
    assert store.prune(RetentionPolicy(max_age="99999999d")).records_deleted == 0
    summary = store.prune(RetentionPolicy(max_age=0))
    assert (summary.records_deleted, summary.bodies_deleted) == (3, 1)
    assert store.verify().blobs == 0


def test_without_a_rule_nothing_goes(store, make, clock):
    store.insert_records(make.turn("t", request="text"))
    clock.forward(days=4000)
    assert store.prune(RetentionPolicy()).records_deleted == 0
    assert len(store.get_turn("t")) == 3


def test_a_body_that_an_old_and_a_new_record_share_survives_the_old_one(store, make, now_ms):
    store.insert_records([*make.turn("old", now_ms - 8 * DAY_MS, request="shared", response="own"),
                          *make.turn("new", request="shared")])  # fmt: skip
    summary = store.prune(WEEK)
    assert (summary.records_deleted, summary.bodies_deleted) == (3, 1)
    assert store.get_turn("new")[0].body == "shared"
    assert store.get_body(Digest.of(b"own")) is None
    assert store.verify(data=True).findings == ()


def test_eviction_takes_the_body_whose_newest_use_is_oldest(store, make, now_ms):
    bodies = {name: make.body(n) for n, name in enumerate("abc")}
    store.insert_records([make.log(now_ms - 3000 + n, name, turnId=name, body=bodies[name])
                          for n, name in enumerate("abc")])  # fmt: skip
    store.insert_records([make.log(now_ms, "a again", turnId="a", body=bodies["a"])])
    kept = store.sql("SELECT stored_bytes FROM bodies").rows
    cap = 2 * -(-kept[0][0] // 4096) * 4096
    summary = store.prune(RetentionPolicy(max_total_body_bytes=cap))
    assert (summary.records_deleted, summary.bodies_evicted, summary.bodies_deleted) == (0, 1, 1)
    assert [store.get_turn(name)[0].body_state for name in "abc"] == ["present", "evicted", "present"]


def test_eviction_keeps_every_row_with_the_size_and_digest_of_its_body(store, make):
    body = make.body(1)
    store.insert_records(make.turn("t", request=body, response=make.body(2)))
    summary = store.prune(RetentionPolicy(max_total_body_bytes=0))
    assert (summary.records_deleted, summary.bodies_deleted, summary.bodies_evicted) == (0, 2, 2)
    opened, _, closed = store.get_turn("t")
    assert (opened.kind, closed.kind) == ("span-open", "span-close")
    assert (opened.body, opened.body_state, opened.body_size_bytes) == (None, "evicted", len(body))
    assert store.get_body(opened.record_id) is None
    assert store.sql("SELECT state, count(*) FROM bodies GROUP BY state").rows == [("evicted", 2)]
    assert store.verify(data=True).findings == ()
    assert "[body" in store.easy_view("t")


def test_an_evicted_body_that_is_sent_again_is_present_again(open_store, make, now_ms):
    body = make.body(1)
    with open_store() as store:
        store.insert_records(make.turn("t", request=body))
        store.prune(RetentionPolicy(max_total_body_bytes=0))
        assert store.insert_records([make.log(now_ms + 1, turnId="u", body=body)]).inserted == 1
        assert store.get_turn("t")[0].body == body
        assert store.sql("SELECT state FROM bodies").rows == [("present",)]
        store.prune(RetentionPolicy(max_total_body_bytes=0))
    with open_store() as store:
        store.insert_records([make.log(now_ms + 2, turnId="v", body=body)])
        assert [store.get_turn(turn)[0].body_state for turn in "tuv"] == ["present"] * 3
        assert store.verify(data=True).findings == ()


def test_rows_of_an_evicted_body_expire_with_their_ledger_row(store, make, now_ms, clock):
    store.insert_records(make.turn("t", request=make.body(1)))
    store.prune(RetentionPolicy(max_total_body_bytes=0))
    clock.forward(days=8)
    assert store.prune(WEEK).records_deleted == 3
    assert store.sql("SELECT count(*) FROM bodies").fetchone() == (0,)


@pytest.mark.parametrize(
    "policy", [WEEK, RetentionPolicy(max_total_body_bytes="40KiB"), RetentionPolicy("7d", "24KiB"), RetentionPolicy()]
)
def test_a_dry_run_changes_nothing_and_tells_what_then_happens(store, make, now_ms, du, tmp_path, policy):
    for n in range(20):
        store.insert_records(make.turn(f"t{n}", now_ms - n * DAY_MS, request=make.body(n), response="shared"))

    def rows():
        return [store.sql(f"SELECT * FROM raw.{table} ORDER BY ALL").rows for table in ("records", "bodies", "prunes")]

    before = rows()
    files = sorted((tmp_path / "store" / "blobs").rglob("*"))
    planned = store.prune(policy, dry_run=True)
    assert planned.dry_run
    assert rows() == before
    assert sorted((tmp_path / "store" / "blobs").rglob("*")) == files
    done = store.prune(policy)
    assert (done.records_deleted, done.bodies_deleted, done.bodies_evicted, done.bytes_reclaimed) == (
        planned.records_deleted, planned.bodies_deleted, planned.bodies_evicted, planned.bytes_reclaimed,
    )  # fmt: skip
    assert not done.dry_run
    again = store.prune(policy)
    assert again == replace(again, records_deleted=0, bodies_deleted=0, bodies_evicted=0, bytes_reclaimed=0)


def test_the_counts_are_exact_and_the_bytes_are_those_that_du_misses(store, make, now_ms, du, tmp_path):
    for n in range(40):
        store.insert_records(make.turn(f"t{n}", now_ms - (n % 2) * 8 * DAY_MS, request=make.body(n)))
    store._database.checkpoint()
    files = store.stats()["blob_files"]
    blobs_before, all_before = du("store/blobs/objects"), du()
    summary = store.prune(WEEK)
    assert (summary.records_deleted, summary.bodies_deleted, summary.files_deleted) == (60, 20, 20)
    assert store.stats()["blob_files"] == files - 20
    assert blobs_before - du("store/blobs/objects") == summary.bytes_reclaimed - summary.database_bytes_reclaimed
    assert all_before - du() >= summary.bytes_reclaimed * 0.8


def test_the_database_file_really_shrinks_and_its_bytes_are_counted(store, make, now_ms, tmp_path, clock):
    """Seed defect `prune`: the file never shrinks while `bytesReclaimed` says so."""
    noise = [make.log(now_ms + n, make.body(n, 1000), turnId="old") for n in range(12_000)]
    store.insert_records(noise)
    store._database.checkpoint()
    clock.forward(days=8)
    store.insert_records(make.turn("new", clock.now_ms))
    file = tmp_path / "store" / "records.duckdb"
    before_bytes = file.stat().st_size
    summary = store.prune(WEEK)
    assert summary.records_deleted == 12_000
    assert summary.database_bytes_reclaimed == before_bytes - file.stat().st_size > before_bytes / 2
    assert summary.bytes_reclaimed == summary.database_bytes_reclaimed
    assert len(store.get_turn("new")) == 3


def test_a_prune_leaves_a_trace_of_itself(store, make, clock):
    store.insert_records(make.turn("t"))
    clock.forward(days=8)
    store.prune(RetentionPolicy("7d", "1GiB"))
    wanted = [(7 * DAY_MS, 2**30, 3, 0)]
    assert store.sql("SELECT * EXCLUDE pruned_at FROM raw.prunes").rows == wanted
    store.prune(WEEK)
    assert store.sql("SELECT * EXCLUDE pruned_at FROM raw.prunes").rows == wanted


def test_progress_is_told_in_blobs_done_and_planned(store, make, clock):
    store.insert_records([make.log(msg=str(n), body=make.body(n)) for n in range(5)])
    clock.forward(days=8)
    told = []
    store.prune(WEEK, on_progress=lambda done, planned: told.append((done, planned)))
    assert told[-1] == (5, 5)


def test_reading_and_opening_never_prune(open_store, make, clock):
    with open_store() as store:
        store.insert_records(make.turn("t", request="text"))
    clock.forward(days=4000)
    with open_store() as store:
        assert store.get_turn("t")[0].body == "text"


def test_a_reader_may_not_prune(open_store):
    open_store().close()
    match = "prune: wanted a store open for writing"
    with open_store(read_only=True) as reader, pytest.raises(InputInvalid, match=match):
        reader.prune(WEEK)


@pytest.mark.parametrize("size_bytes", [100, 3 * 2**20])
def test_an_eviction_that_a_crash_cut_short_is_finished_by_the_next_prune(
    store, make, now_ms, monkeypatch, size_bytes
):
    """The ledger says evicted, the blob is still there: its row stays named, and its bytes are no riddle."""
    store.insert_records([make.log(now_ms - 10, turnId="t", body=os.urandom(size_bytes))])
    store.insert_records([make.log(now_ms, turnId="new", body="new")])
    cap = RetentionPolicy(max_total_body_bytes=4096)
    with monkeypatch.context() as patch:
        patch.setattr(store._blobs._backend, "delete", lambda digests: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.prune(cap)
    assert store.verify().blobs == 2
    store.prune(cap)
    assert store.verify(data=True).findings == ()
    assert store.verify().blobs == 1
    assert store.get_turn("t")[0].body_state == "evicted"


class TestRefusals:
    """Prune fails closed before its first deletion."""

    @pytest.fixture
    def full(self, open_store, make, now_ms):
        store = open_store()
        store.insert_records([make.log(now_ms - n, str(n), turnId=f"t{n}", body=make.body(n)) for n in range(10)])
        return store

    def refused(self, store, match, policy=WEEK):
        files = store.stats()["blob_files"]
        rows = store.stats()["records"]
        with pytest.raises(PruneRefused, match=match):
            store.prune(policy)
        assert store.stats()["blob_files"] == files
        assert store.stats()["records"] == rows

    def test_a_deleted_database_does_not_take_the_blobs_with_it(self, full, open_store, tmp_path):
        full.close()
        (tmp_path / "store" / "records.duckdb").unlink()
        shutil.rmtree(tmp_path / "store" / "journal")
        with open_store() as store:
            self.refused(store, "nothing is live and nothing was retired, yet 10 blobs are stored")
            assert store.prune(WEEK, force=True).bodies_deleted == 10

    def test_a_missing_live_blob_stops_the_prune(self, full, tmp_path, clock, make):
        next((tmp_path / "store" / "blobs" / "objects").rglob("*.gz")).unlink()
        full.insert_records(make.turn("old", 1000))
        self.refused(full, "1 live blobs are missing")
        assert full.prune(WEEK, force=True).records_deleted == 3

    def test_rows_that_vanished_are_no_reason_to_delete_their_bodies(self, full):
        with full._database.writing() as cursor:
            cursor.execute("DELETE FROM raw.records")
        self.refused(full, "no record names any of 10 stored bodies, and no prune removed one")
        self.refused(full, "no record names any", RetentionPolicy(max_total_body_bytes=0))
        assert full.prune(WEEK, force=True).bodies_deleted == 10

    def test_most_bytes_without_rows_and_ledger_stop_the_prune(self, full, make, now_ms):
        full.insert_records([make.log(now_ms, "fat", body=os.urandom(2 * 2**20))])
        with full._database.writing() as cursor:
            cursor.execute("DELETE FROM raw.records WHERE msg = 'fat'")
            cursor.execute("DELETE FROM raw.bodies WHERE size_bytes > 1000000")
        self.refused(full, "bytes have lost their references unexplained")

    def test_a_few_orphans_of_a_crash_are_swept(self, full):
        full._blobs.put_many([b"orphan of a crash"])
        assert full.prune(WEEK).bodies_deleted == 1
        assert full.verify(data=True).findings == ()

    def test_an_emptied_store_prunes_on_without_complaint(self, full, clock, make):
        clock.forward(days=8)
        assert full.prune(WEEK).records_deleted == 10
        assert full.prune(WEEK).records_deleted == 0
        full.insert_records([make.log(clock.now_ms, body="new")])
        clock.forward(days=8)
        assert full.prune(WEEK).bodies_deleted == 1


def test_a_store_whose_bodies_are_all_evicted_can_be_pruned_again(store, make):
    """Rows whose bodies went by the cap are no sign of a database that lost rows."""
    store.insert_records([make.log(turnId="t", body="text")])
    policy = RetentionPolicy(max_total_body_bytes=0)
    assert store.prune(policy).bodies_evicted == 1
    assert store.prune(policy).bodies_evicted == 0
    assert store.get_turn("t")[0].body_state == "evicted"


def test_a_prune_does_not_part_a_turn_whose_other_half_cannot_be_read_yet(open_store, make, now_ms, monkeypatch):
    store = open_store()
    records = make.turn("parted", now_ms - 8 * DAY_MS, request="waits")
    store.insert_records(records[:1])
    TraceStore.insert_records(store, records[1:])

    def fail():
        raise StoreUnavailable(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(store._local_upkeep, "_settle", fail)
        with pytest.raises(StoreUnavailable):
            store.prune(WEEK)
    assert len(store.get_turn("parted")) == len(records)


def test_on_a_full_disk_a_prune_goes_first_and_then_takes_what_waited(open_store, make, now_ms, monkeypatch):
    """What was inserted becomes rows only once there is room; it was there before the prune, so it expires."""
    store = open_store()
    store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="dies"))
    TraceStore.insert_records(store, make.turn("waits", now_ms - 9 * DAY_MS, request="dies too"))
    settle, failures = store._local_upkeep._settle, iter([StoreUnavailable(28, "No space left on device")])

    def settle_when_there_is_room():
        for failure in failures:
            raise failure
        settle()

    monkeypatch.setattr(store._local_upkeep, "_settle", settle_when_there_is_room)
    summary = store.prune(WEEK)
    assert (summary.records_deleted, summary.bodies_deleted) == (6, 2)
    assert store.get_turn("waits") == []
