"""Prune over packs: whole packs and whole frames go, and the disk gets back what the summary says."""

import pytest

from tests.conftest import DAY_MS
from tracestore import PruneSummary, RetentionPolicy, StoreLocked
from tracestore.layout import StoreLayout
from tracestore.maintenance.pin import pinned

WEEK = RetentionPolicy(max_age="7d")
HOUR_MS = 3_600_000


@pytest.fixture
def aged(store, talk, clock):
    """Three conversations, of thirty, twenty and no days ago, each in a pack of its own."""
    for name, days in (("old", 30), ("middle", 20), ("new", 0)):
        store.insert_records(talk.records(name, 12, at_ms=clock.now_ms - days * DAY_MS, size=16))
    store.pack(grace_ms=0)
    return store


def given_back(report):
    return report.bytes_reclaimed - report.database_bytes_reclaimed


def of(talk, *names):
    return {name: body for name, body in talk.bodies.items() if name.split("-")[0] in names}


def test_what_expired_takes_whole_packs_along(aged, talk, disk):
    assert len(disk.packs) == 3
    kept = disk.packs
    before = disk.used_bytes
    report = aged.prune(RetentionPolicy(max_age="25d"))
    assert (report.records_deleted, report.bodies_deleted, report.files_deleted) == (12, 12, 1)
    assert given_back(report) == before - disk.used_bytes > 0
    assert set(disk.packs) < set(kept)
    assert report.bytes_pending == 0
    assert talk.held(aged) == of(talk, "middle", "new")
    assert aged.verify(data=True).findings == ()


def test_a_dry_run_says_what_would_go_and_changes_nothing(aged, talk, disk):
    before = disk.listing()
    plan = aged.prune(WEEK, dry_run=True)
    assert (plan.records_deleted, plan.bodies_deleted, plan.dry_run) == (24, 24, True)
    cap = aged.prune(RetentionPolicy(max_total_body_bytes=1), dry_run=True)
    assert cap.bodies_evicted == cap.bodies_deleted == 36
    assert disk.listing() == before
    assert talk.held(aged) == talk.bodies
    done = aged.prune(WEEK)
    assert (done.records_deleted, done.bodies_deleted) == (24, 24)
    assert given_back(done) >= plan.bytes_reclaimed


def test_a_pack_of_which_much_is_dead_is_written_anew_and_waits(store, talk, disk, clock):
    store.insert_records(talk.records("old", 12, at_ms=clock.now_ms - 30 * DAY_MS))
    store.insert_records(talk.records("new", 12, at_ms=clock.now_ms))
    store.pack(grace_ms=0)
    assert len(disk.packs) == 1
    before = disk.used_bytes
    report = store.prune(WEEK)
    assert report.bodies_deleted == 12
    assert report.bytes_pending == before
    assert before - disk.used_bytes == given_back(report)
    clock.forward(ms=2 * HOUR_MS)
    full = disk.used_bytes
    later = store.prune(WEEK)
    assert given_back(later) == full - disk.used_bytes > 0
    assert disk.used_bytes < before
    assert (later.bytes_pending, len(disk.packs)) == (0, 1)
    assert talk.held(store) == of(talk, "new")
    assert store.verify(data=True).findings == ()


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.3, 0.1])
def test_the_cap_is_kept_as_du_counts_by_evicting_the_oldest(store, talk, disk, clock, share):
    for number in range(8):
        at_ms = clock.now_ms - (20 - number) * DAY_MS
        store.insert_records(talk.records(f"c{number}", 12, at_ms=at_ms, size=7 + number))
    store.pack(grace_ms=0)
    store.insert_records(talk.records("last", 12, at_ms=clock.now_ms))
    before = disk.used_bytes
    cap_bytes = int(before * share)
    report = store.prune(RetentionPolicy(max_total_body_bytes=cap_bytes))
    assert given_back(report) == before - disk.used_bytes
    assert disk.used_bytes <= cap_bytes
    assert report.bytes_pending == 0
    assert report.records_deleted == 0
    states = store.sql("SELECT msg, state FROM records JOIN bodies ON body_digest = digest ORDER BY timestamp").rows
    assert len(states) == 8 * 12 + 12
    assert sum(state == "evicted" for _, state in states) == report.bodies_evicted > 0
    held = talk.held(store)
    assert set(held) == {msg for msg, state in states if state == "present"}
    assert store.verify(data=True).findings == ()


def test_what_waits_for_removal_goes_before_any_body_does(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    before = disk.used_bytes
    store.pack()
    report = store.prune(RetentionPolicy(max_total_body_bytes=before))
    assert (report.bodies_evicted, disk.loose) == (0, [])
    assert given_back(report) == before
    assert talk.held(store) == talk.bodies


def test_a_cap_of_nothing_leaves_no_file(aged, talk, disk):
    aged.insert_records(talk.records("loose", 3))
    before = disk.used_bytes
    report = aged.prune(RetentionPolicy(max_total_body_bytes=0))
    assert report.bodies_evicted == 39
    assert given_back(report) == before
    assert disk.files("objects", "packs") == []
    assert aged.sql("SELECT count(*) FROM records").rows == [(39,)]
    assert {one.body_state for turn in range(12) for one in aged.get_turn(f"t-new-{turn}")} == {"evicted"}
    assert aged.verify(data=True).findings == ()


def test_what_was_evicted_and_is_sent_again_is_back(aged, talk, disk):
    aged.prune(RetentionPolicy(max_total_body_bytes=0))
    aged.insert_records(talk.records("new", 12, at_ms=talk.first_ms + 1, size=16))
    assert talk.held(aged) == of(talk, "new")
    aged.pack(grace_ms=0)
    assert talk.held(aged) == of(talk, "new")
    assert aged.verify(data=True).findings == ()


def test_a_body_that_died_in_a_pack_and_is_sent_again_is_written_again(store, talk, disk, clock):
    store.insert_records(talk.records("gone", 2, at_ms=clock.now_ms - 30 * DAY_MS, size=1))
    store.insert_records(talk.records("kept", 14, at_ms=clock.now_ms))
    store.pack(grace_ms=0)
    store.prune(WEEK)
    assert [path.suffix for path in disk.files("packs")] == [".dead", ".pack"]
    store.insert_records(talk.records("gone", 2, at_ms=clock.now_ms, size=1))
    assert len(disk.loose) == 2
    assert talk.held(store) == talk.bodies
    assert store.prune(WEEK).bodies_deleted == 0
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_nothing_goes_while_a_backup_copies_the_store(aged, talk, disk, clock):
    aged.insert_records(talk.records("late", 12))
    before = disk.listing()
    with pinned(StoreLayout(aged.path), lambda text: None):
        report = aged.prune(RetentionPolicy(max_age="7d", max_total_body_bytes=0))
        assert report.sweep_postponed
        assert report.bodies_deleted == 0
        aged.pack(grace_ms=0)
        assert set(before) <= set(disk.listing())
        with pytest.raises(StoreLocked):
            aged.forget(turn_id="t-new-0")
    assert talk.held(aged) == of(talk, "new", "late")
    aged.pack(grace_ms=0)
    assert disk.loose == []
    assert aged.prune(RetentionPolicy(max_total_body_bytes=0)).bodies_evicted == 24
    assert disk.files("objects", "packs") == []


def test_a_prune_in_two_parts_counts_what_waits_once(store, talk):
    one, two = PruneSummary(bytes_reclaimed=1, bytes_pending=5), PruneSummary(bytes_reclaimed=2, bytes_pending=3)
    assert (one + two).bytes_reclaimed == 3
    assert (one + two).bytes_pending == 3


def test_the_cap_is_kept_to_the_byte_although_files_take_whole_blocks(store, talk, disk, clock):
    for number in range(5):
        store.insert_records(talk.records(f"c{number}", 13 + number, at_ms=clock.now_ms - number * DAY_MS, size=3))
        store.pack(grace_ms=0)
    used = [disk.used_bytes]
    while used[-1]:
        store.prune(RetentionPolicy(max_total_body_bytes=used[-1] - 1))
        used.append(disk.used_bytes)
        assert used[-1] < used[-2]
    assert len(used) > 2
