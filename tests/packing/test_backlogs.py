"""A batch of many new bodies becomes a pack at once; what a crash or damage leaves, and what is sent again."""

import os

import pytest

from blobs import Digest
from tracestore import RetentionPolicy, StoreUnavailable
from tracestore.database.writer import Writer


@pytest.fixture
def backlog(store, talk):
    """A store that was sent forty bodies at once."""
    store.insert_records(talk.records("a", 40, size=2))
    return store


def test_many_new_bodies_become_a_pack_and_few_become_files(backlog, talk, disk):
    backlog.insert_records(talk.records("b", 29))
    assert (len(disk.packs), len(disk.loose)) == (1, 29)
    assert talk.held(backlog) == talk.bodies
    assert backlog.verify(data=True).findings == ()


def test_what_came_in_a_pack_has_no_size_of_its_own_in_the_ledger(backlog, talk, disk):
    backlog.insert_records(talk.records("b", 3))
    rows = backlog.sql("SELECT stored_bytes FROM bodies ORDER BY ALL").rows
    assert rows == [(0,)] * 40 + sorted((path.stat().st_size,) for path in disk.loose)
    backlog.unpack(grace_ms=0)
    assert backlog.verify(data=True).findings == ()


def test_what_is_sent_again_is_neither_written_nor_doubled(store, talk, disk, reopen):
    store.insert_records(talk.records("a", 40, size=1))
    before = disk.listing()
    again = [record | {"timestamp": record["timestamp"] + 1} for record in talk.records("a", 40, size=1)]
    store = reopen(store)
    assert store.insert_records(again).inserted == 40
    assert disk.listing() == before
    assert store.pack(grace_ms=0).bodies == 40  # it was packed in haste
    assert store.stats()["packed_bodies"] == 40


def test_few_bodies_of_which_most_are_there_do_not_make_a_pack(backlog, talk, disk):
    backlog.insert_records([*talk.records("a", 40, size=2, at_ms=talk.first_ms + 5), *talk.records("b", 5)])
    assert (len(disk.packs), len(disk.loose)) == (1, 5)


def test_a_crash_before_the_commit_leaves_a_pack_of_strays_that_prune_removes(store, talk, disk, reopen, monkeypatch):
    def refuse(writer, batch):
        raise StoreUnavailable(5, "the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(Writer, "commit", refuse)
        with pytest.raises(StoreUnavailable):
            store.insert_records(talk.records("a", 40, size=2))
    assert len(disk.packs) == 1
    store = reopen(store)
    assert talk.held(store) == talk.bodies
    store.prune(RetentionPolicy(max_age="7d"))
    assert store.stats()["packed_bodies"] == 40
    assert sum(path.suffix == ".pack" for path in disk.files("packs")) in (1, 2)
    assert talk.held(store) == talk.bodies
    store.pack(grace_ms=0)
    assert len(disk.packs) == 1
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_a_pack_whose_rows_never_came_is_swept(store, talk, disk):
    bodies = {Digest.of(text): text for text in (os.urandom(200) for _ in range(40))}
    store._blobs.publish(store._blobs.stage(bodies))
    store.insert_records(talk.records("a", 12))
    assert len(disk.packs) == 1
    before = disk.used_bytes
    report = store.prune(RetentionPolicy(max_age="7d"))
    assert (report.bodies_deleted, disk.packs) == (40, [])
    assert report.bytes_reclaimed - report.database_bytes_reclaimed == before - disk.used_bytes
    assert talk.held(store) == talk.bodies


def test_a_pack_that_cannot_be_opened_is_no_reason_to_believe_that_a_body_is_there(backlog, talk, disk, reopen):
    """What is sent again is written again, and heals."""
    disk.flip(disk.packs[0], -1)
    store = reopen(backlog)
    assert talk.held(store) == {}
    store.insert_records(talk.records("a", 40, size=2, at_ms=talk.first_ms + 5))
    assert talk.held(store) == talk.bodies


def test_a_damaged_frame_is_found_and_mended_by_verify_and_repair(backlog, talk, disk, reopen):
    """What is sent again is taken for known, as of a damaged file of the right size: nobody reads it to see."""
    disk.flip(disk.packs[0], 200)
    store = reopen(backlog)
    store.insert_records(talk.records("a", 40, size=2, at_ms=talk.first_ms + 5))
    assert talk.held(store) != talk.bodies
    assert "corrupt" in [finding.kind for finding in store.verify(data=True).findings]
    report = store.repair(apply=True)  # the journal still has them
    assert report.is_whole
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_the_newest_of_two_rows_decides_when_a_shared_body_expires(backlog, talk, disk, clock):
    clock.forward(days=8)
    again = talk.records("a", 40, size=2, at_ms=clock.now_ms)
    backlog.insert_records([record | {"turnId": "again"} for record in again])
    report = backlog.prune(RetentionPolicy(max_age="7d"))
    assert (report.records_deleted, report.bodies_deleted) == (40, 0)
    assert talk.held(backlog) == talk.bodies


