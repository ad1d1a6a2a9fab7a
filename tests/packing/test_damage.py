"""Verify and repair over packs: what is damaged is named, mended where a copy is anywhere, and else lost."""

import os
import shutil

import pytest

from blobs import Digest
from blobs.packs.format import FOOTER_BYTES, MAGIC, SALT_BYTES
from tracestore import RetentionPolicy

FRAMES = len(MAGIC) + SALT_BYTES


@pytest.fixture
def alone(packed, reopen):
    """A packed store whose journal, which holds every body too, is gone."""
    packed.close()
    shutil.rmtree(packed.path / "journal")
    return reopen(packed)


def kinds(store, data=True):
    return sorted(finding.kind for finding in store.verify(data=data).findings)


def flip_frame(disk, path):
    disk.flip(path, FRAMES + 100)


def flip_index(disk, path):
    disk.flip(path, path.stat().st_size - FOOTER_BYTES - 10)


def cut(disk, path):
    disk.change(path, path.read_bytes()[: path.stat().st_size // 2])


def empty(disk, path):
    disk.change(path, b"")


def swap(disk, path):
    disk.change(path, os.urandom(path.stat().st_size))


def lose(disk, path):
    path.unlink()


def link(disk, path):
    away = disk.blobs.parent.parent / "away"
    path.rename(away)
    path.symlink_to(away)


HURTS = [flip_frame, flip_index, cut, empty, swap, lose, link]


def named(value):
    return getattr(value, "__name__", str(value))


def test_a_clean_store_has_no_findings_and_every_body_is_counted(packed):
    report = packed.verify(data=True)
    assert report.findings == ()
    assert (report.records, report.bodies, report.blobs) == (36, 36, 36)


def test_any_damage_to_a_pack_is_found(alone, disk, reopen):
    pack = disk.packs[0]
    whole = pack.read_bytes()
    for hurt in HURTS:
        hurt(disk, pack)
        alone = reopen(alone)
        assert not alone.verify(data=True).is_clean, hurt
        assert alone.verify().is_clean is (hurt is flip_frame), hurt
        pack.unlink(missing_ok=True)
        pack.write_bytes(whole)
        pack.chmod(0o400)
    assert reopen(alone).verify(data=True).findings == ()


@pytest.mark.parametrize(
    ("hurt", "donor"),
    [(flip_frame, "packed"), (lose, "loose"), (swap, "packed"), (link, "loose"), (flip_index, "loose")],
    ids=named,
)
def test_a_donor_gives_every_body_back(alone, talk, disk, reopen, tmp_path, open_store, hurt, donor):
    alone.close()
    shutil.copytree(alone.path, tmp_path / "donor", symlinks=True)
    if donor == "loose":
        with open_store("donor") as other:
            other.unpack(grace_ms=0)
    hurt(disk, disk.packs[0])
    store = reopen(alone)
    before = disk.listing()
    plan = store.repair(donor=tmp_path / "donor")
    assert disk.listing() == before
    report = store.repair(apply=True, donor=tmp_path / "donor")
    assert [(mend.action, mend.subject) for mend in plan.mends] == [(one.action, one.subject) for one in report.mends]
    assert report.is_whole
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).is_clean
    again = store.repair(apply=True, donor=tmp_path / "donor")
    assert (again.mends, again.is_whole) == ((), True)
    store = reopen(store)
    assert talk.held(store) == talk.bodies
    assert store.pack(grace_ms=0).skipped == 0
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


@pytest.mark.parametrize("hurt", [flip_frame, flip_index, cut, empty, lose], ids=named)
def test_without_a_donor_rows_stay_and_what_nobody_has_is_lost(alone, talk, disk, reopen, hurt):
    hurt(disk, disk.packs[0])
    store = reopen(alone)
    first = talk.held(store)
    report = store.repair(apply=True)
    held = talk.held(store)
    assert set(first) <= set(held)
    assert held.items() <= talk.bodies.items()
    assert report.lost == len(talk.bodies) - len(held)
    assert report.remaining == ()
    rows = store.sql("SELECT state, count(*) FROM records JOIN bodies ON body_digest = digest GROUP BY state").rows
    assert dict(rows) == {name: n for name, n in (("present", len(held)), ("lost", report.lost)) if n}
    assert store.verify(data=True).is_clean
    again = store.repair(apply=True)
    assert (again.mends, again.lost) == ((), report.lost)
    store.insert_records(talk.records("more", 3))
    assert store.prune(RetentionPolicy(max_age="7d")).bodies_deleted == 0
    assert talk.held(store).keys() == held.keys() | {"more-0", "more-1", "more-2"}


def test_a_torn_end_costs_no_body(alone, talk, disk, reopen):
    """Frames tell where they end and what is in them: footer and index are not needed to repair."""
    disk.change(disk.packs[0], disk.packs[0].read_bytes()[: -FOOTER_BYTES - 50])
    store = reopen(alone)
    assert store.repair(apply=True).lost == 0
    assert talk.held(store) == talk.bodies


def test_a_lost_body_that_turns_up_again_is_taken_back(alone, talk, disk, reopen, tmp_path):
    away = tmp_path / "away.pack"
    pack = disk.packs[0]
    shutil.move(pack, away)
    store = reopen(alone)
    assert store.repair(apply=True).lost == 36
    shutil.move(away, pack)
    store = reopen(store)
    assert set(kinds(store)) == {"returned"}
    assert store.repair(apply=True).is_whole
    assert talk.held(store) == talk.bodies
    assert kinds(store) == []


def test_an_open_mode_is_told_and_protected(packed, disk, reopen):
    disk.packs[0].chmod(0o644)
    store = reopen(packed)
    assert [(one.kind, one.harmless) for one in store.verify().findings] == [("mode", True)]
    store.repair(apply=True)
    assert kinds(store) == []


def test_what_is_no_pack_is_told_and_set_aside(packed, talk, disk, reopen):
    (disk.blobs / "packs" / "notes.txt").write_text("mine")
    store = reopen(packed)
    assert kinds(store) == ["stranger"]
    store.repair(apply=True)
    assert kinds(store) == []
    assert [path.read_text() for path in disk.files("quarantine")] == ["mine"]
    assert talk.held(store) == talk.bodies


def test_what_a_crash_left_half_written_is_harmless_and_swept(packed, disk, reopen):
    left = disk.blobs / "packs" / f"{'ab' * 8}.new"
    left.write_bytes(b"half a pack")
    store = reopen(packed)
    assert [(one.kind, one.harmless) for one in store.verify().findings] == [("leftover", True)]
    store.prune(RetentionPolicy(max_age="7d"))
    assert not left.exists()


def test_the_parts_of_a_subset_cover_every_pack(store, talk, disk, reopen, clock):
    for number in range(4):
        store.insert_records(talk.records(f"c{number}", 12, at_ms=clock.now_ms - number * 86_400_000, size=16))
    store.pack(grace_ms=0)
    for path in disk.packs:
        flip_frame(disk, path)
    store = reopen(store)
    hurt = {one.path for one in store.verify(data=True).findings}
    assert hurt == {f"packs/{path.name}" for path in disk.packs}
    parts = 3
    found = [one.path for n in range(parts) for one in store.verify(subset=f"{n + 1}/{parts}").findings]
    assert sorted(found) == sorted(hurt)


@pytest.mark.parametrize("note", ["none", "torn", "foreign", "everything"])
def test_a_wrong_note_of_what_is_dead_loses_nothing(packed, talk, disk, reopen, note):
    """A copy that was taken while bodies moved may lack the note, or have one that is newer than its packs."""
    store, pack = packed, next(iter(packed._blobs._tier))
    whole = pack.dead.__class__(pack.footer.bodies)
    whole.add(range(pack.footer.bodies))
    content = {
        "none": b"", "torn": whole.encode(pack.name)[:-3], "foreign": whole.encode(Digest.of(b"another")),
        "everything": whole.encode(pack.name),
    }[note]  # fmt: skip
    path = disk.packs[0].with_suffix(".dead")
    path.write_bytes(content)
    path.chmod(0o400)
    store = reopen(store)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).is_clean
    assert store.pack(grace_ms=0).is_complete
    assert store.prune(RetentionPolicy(max_age="7d")).bodies_deleted == 0
    assert talk.held(store) == talk.bodies
    assert store.stats()["packed_bodies"] == 36
    assert store.verify(data=True).findings == ()


def test_a_dry_run_leaves_the_open_store_readable(alone, talk, disk, reopen):
    flip_frame(disk, disk.packs[0])
    store = reopen(alone)
    before = talk.held(store)
    store.repair()
    assert talk.held(store) == before
    assert store.stats()["packed_bodies"] == 36


def test_a_damaged_pack_that_prune_meets_loses_no_body_that_is_whole(store, talk, disk, clock, reopen):
    store.insert_records(talk.records("old", 12, at_ms=clock.now_ms - 30 * 86_400_000))
    store.insert_records(talk.records("new", 12, at_ms=clock.now_ms))
    store.pack(grace_ms=0)
    flip_frame(disk, disk.packs[0])
    store = reopen(store)
    whole = talk.held(store)
    store.prune(RetentionPolicy(max_age="7d"))
    assert talk.held(store) == {name: body for name, body in whole.items() if name.startswith("new")}
    assert store.repair(apply=True).is_whole
    assert talk.held(store) == {name: body for name, body in talk.bodies.items() if name.startswith("new")}
