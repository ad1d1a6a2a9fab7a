"""Packing a store: what moves, what waits, what a reader sees of it."""

import os
import shutil
import subprocess

import pytest

from blobs import BlobStore, Digest
from blobs.packs.tier import PackTier
from tracestore import InputInvalid, PackReport

HOUR_MS = 3_600_000


def digest(body):
    return str(Digest.of(body.encode()))


def test_what_was_replaced_waits_an_hour_and_then_goes(store, talk, disk, clock):
    store.insert_records(talk.records("a", 12))
    before = disk.used_bytes
    report = store.pack()
    assert (report.bodies, report.packs, report.is_complete) == (12, 1, True)
    assert report.raw_bytes == sum(map(len, talk.bodies.values()))
    assert report.stored_bytes == sum(path.stat().st_blocks * 512 for path in disk.packs)
    assert (report.files_pending, report.bytes_pending, report.bytes_reclaimed) == (12, before, 0)
    assert len(disk.loose) == 12
    clock.forward(ms=HOUR_MS - 120_000)
    assert store.pack().files_pending == 12
    clock.forward(ms=120_001)
    again = store.pack()
    assert (again.bodies, again.files_pending, again.bytes_reclaimed) == (0, 0, before)
    assert disk.loose == []
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_without_grace_it_goes_at_once(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    before = disk.used_bytes
    report = store.pack(grace_ms=0)
    assert (report.bytes_reclaimed, report.files_pending) == (before, 0)
    assert disk.used_bytes == report.stored_bytes < before / 3
    assert disk.loose == []


def test_a_loose_file_younger_than_an_hour_waits_no_longer_than_its_pack(store, talk, disk, clock, reopen):
    """The hour counts from when a copy could have listed the file alone: from when the pack was made."""
    store.insert_records(talk.records("a", 12))
    store.pack()
    for path in disk.packs:
        os.utime(path, (1, 1))
    assert reopen(store).pack().files_pending == 0


def test_a_second_time_there_is_nothing_to_do(packed, disk):
    before = disk.listing()
    assert packed.pack(grace_ms=0) == PackReport()
    assert disk.listing() == before


def test_bodies_of_records_that_just_came_in_stay_where_they_are(store, talk, disk, clock):
    store.insert_records(talk.records("a", 12))
    clock.forward(ms=60_000)
    store.insert_records(talk.records("b", 12))
    assert store.pack(settled_ms=60_000 - 1, grace_ms=0).bodies == 12
    assert len(disk.loose) == 12
    clock.forward(ms=60_000)
    report = store.pack(settled_ms=60_000 - 1, grace_ms=0)
    assert (report.bodies, report.packs, report.merged_packs) == (24, 1, 1)
    assert (disk.loose, len(disk.packs)) == ([], 1)
    assert talk.held(store) == talk.bodies


def test_small_packs_of_a_backlog_that_just_came_in_are_merged(store, talk, disk, clock):
    for name in ("a", "b"):
        store.insert_records(talk.records(name, 30, size=1))
    store.insert_records(talk.records("c", 5))
    assert (len(disk.packs), len(disk.loose)) == (2, 5)
    assert store.pack(settled_ms=60_000, grace_ms=0).merged_packs == 2
    assert len(disk.loose) == 5


def test_a_damaged_body_is_left_and_told_of(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    hurt = disk.loose[5]
    disk.flip(hurt, hurt.stat().st_size // 2)
    report = store.pack(grace_ms=0)
    assert (report.bodies, report.skipped) == (11, 1)
    assert disk.loose == [hurt]
    assert [finding.kind for finding in store.verify(data=True).findings] == ["corrupt"]


def test_a_body_that_no_record_names_stays_for_the_sweep(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    store._blobs.put(b"nobody's")
    assert store.pack(grace_ms=0).bodies == 12
    assert len(disk.loose) == 1


@pytest.mark.parametrize("bodies", [0, 1, 7, 20, 35])
def test_one_that_is_stopped_is_taken_up_by_the_next(store, talk, disk, bodies):
    for name in ("a", "b", "c"):
        store.insert_records(talk.records(name, 12))
    asked = iter(range(1000))
    first = store.pack(grace_ms=0, is_stopped=lambda: next(asked) >= bodies)
    assert not first.is_complete
    assert first.bodies == bodies
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()
    second = store.pack(grace_ms=0)
    assert second.is_complete
    assert (disk.loose, second.files_pending) == ([], 0)
    assert [path.suffix for path in disk.files("packs")] == [".pack"] * len(disk.packs)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_one_that_is_stopped_removes_nothing_more(store, talk, disk, clock):
    store.insert_records(talk.records("a", 29))
    store.pack()
    assert len(disk.loose) == 29
    asked = iter(range(1000))
    store.pack(grace_ms=0, is_stopped=lambda: next(asked) >= 2)
    assert 0 < len(disk.loose) < 29
    store.pack(grace_ms=0)
    assert disk.loose == []
    assert talk.held(store) == talk.bodies


def test_progress_ends_with_everything_done(store, talk):
    store.insert_records(talk.records("a", 12))
    told = []
    store.pack(on_progress=lambda done, planned: told.append((done, planned)))
    assert told[-1] == (12, 12)
    assert told == sorted(told)
    told.clear()
    store.unpack(on_progress=lambda done, planned: told.append((done, planned)))
    assert told[-1] == (12, 12)


def test_readers_see_no_difference(store, talk, now_ms):
    store.insert_records(talk.records("a", 12))
    store.insert_records([{**talk.records("x", 1)[0], "body": b"\x89\xff\x00" * 50}])
    turn, body = "t-a-11", talk.bodies["a-11"]
    record_id = str(store.sql("SELECT record_id FROM records WHERE msg = 'a-11'").rows[0][0])
    views = [store.easy_view(turn), store.get_turn(turn), store.get_record(record_id)]
    rows = store.sql("SELECT * FROM bodies ORDER BY ALL").rows
    assert store.pack(grace_ms=0).bodies == 13
    assert [store.easy_view(turn), store.get_turn(turn), store.get_record(record_id)] == views
    assert store.get_body(record_id) == store.get_body(digest(body)) == body.encode()
    assert store.get_turn("t-x-0")[0].body == b"\x89\xff\x00" * 50
    assert store.sql("SELECT * FROM bodies ORDER BY ALL").rows == rows


def test_unpack_gives_the_same_files_back(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    loose = {path: path.read_bytes() for path in disk.loose}
    store.pack(grace_ms=0)
    report = store.unpack(grace_ms=0)
    assert (report.bodies, report.files_pending) == (12, 0)
    assert {path: path.read_bytes() for path in disk.loose} == loose
    assert disk.files("packs") == []
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


def test_packs_that_were_unpacked_wait_an_hour(packed, talk, disk, clock, reopen):
    report = packed.unpack()
    assert (report.files_pending, len(disk.packs)) == (1, 1)
    assert report.bytes_pending == sum(path.stat().st_blocks * 512 for path in disk.packs)
    store = reopen(packed)
    clock.forward(ms=HOUR_MS)
    assert store.unpack().files_pending == 0
    assert disk.files("packs") == []
    assert talk.held(store) == talk.bodies


def test_packing_and_unpacking_again_and_again_ends_where_it_began(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    first = disk.used_bytes
    for _ in range(3):
        store.pack()
        store.unpack()
    assert talk.held(store) == talk.bodies
    store.unpack(grace_ms=0)
    assert disk.used_bytes == first


def test_statistics_tell_the_tiers_apart(store, talk, disk):
    store.insert_records(talk.records("a", 12))
    store.pack(grace_ms=0)
    store.insert_records(talk.records("b", 5))
    stats = store.stats()
    raw_bytes = sum(len(body) for name, body in talk.bodies.items() if name.startswith("a"))
    assert (stats["loose_blobs"], stats["packs"], stats["packed_bodies"]) == (5, 1, 12)
    assert stats["packed_raw_bytes"] == raw_bytes
    assert stats["pack_bytes"] + stats["loose_bytes"] == disk.used_bytes


def test_a_store_in_memory_has_nothing_to_pack(memory_store, talk):
    memory_store.insert_records(talk.records("a", 40))
    assert memory_store.pack(grace_ms=0) == PackReport()
    assert memory_store.unpack(grace_ms=0) == PackReport()
    assert not memory_store.pack_is_due()
    assert talk.held(memory_store) == talk.bodies


def test_a_store_that_is_only_read_is_not_packed(store, open_store):
    store.close()
    reading = open_store(read_only=True, create=False)
    for call in (reading.pack, reading.unpack):
        with pytest.raises(InputInvalid, match="read_only"):
            call()


def test_a_store_marked_no_pack_stays_as_it_is_for_good(open_store, talk, disk, reopen):
    store = open_store(no_pack=True)
    store.insert_records(talk.records("a", 40, size=2))
    store = reopen(store)
    store.insert_records(talk.records("b", 40, size=2))
    assert len(disk.loose) == 80
    assert disk.files("packs") == []
    assert not store.pack_is_due()
    with pytest.raises(InputInvalid, match=r"may pack its bodies, found .*/no-pack\); remove that file to pack it"):
        store.pack()
    (store.path / "no-pack").unlink()
    store = reopen(store)
    assert store.pack(grace_ms=0).bodies == 80
    assert talk.held(store) == talk.bodies


def test_marking_a_packed_store_leaves_its_packs_to_unpack(packed, talk, disk, reopen):
    store = reopen(packed, no_pack=True)
    assert talk.held(store) == talk.bodies
    store.unpack(grace_ms=0)
    assert (len(disk.loose), disk.packs) == (36, [])
    assert talk.held(store) == talk.bodies


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_a_plain_copy_at_any_phase_holds_everything(store, talk, tmp_path, clock, reopen, monkeypatch):
    """rsync lists the files first; what it listed is there when it reads it, up to an hour later."""
    for name in ("a", "b"):
        store.insert_records(talk.records(name, 30, size=1))
    store.insert_records(talk.records("c", 12))
    copies = []

    def copy():
        copies.append(tmp_path / f"copy-{len(copies)}")
        subprocess.run(["rsync", "-a", f"{store.path}/blobs/", copies[-1]], check=True)

    for name in ("publish", "give_up", "save", "remove"):
        monkeypatch.setattr(PackTier, name, _copying(getattr(PackTier, name), copy))
    store.pack()
    store = reopen(store)
    clock.forward(ms=2 * HOUR_MS)
    store.pack()
    monkeypatch.undo()
    assert len(copies) > 12
    wanted = {Digest.of(body.encode()): body.encode() for body in talk.bodies.values()}
    for path in copies:
        with BlobStore(path, create=False) as found:
            assert dict(found.get_many(wanted)) == wanted, path
            assert [one for one in found.verify(data=True) if not one.harmless] == []


def _copying(step, copy):
    def run(*arguments):
        copy()
        done = step(*arguments)
        copy()
        return done

    return run
