"""Rebuild, forget, backup and restore of a store whose bodies are in packs."""

import gzip
import os
import shutil

import pytest

from blobs import Digest
from blobs.packs import check
from blobs.packs.tier import PackTier
from tracestore import RetentionPolicy, TraceStore
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place

HOUR_MS = 3_600_000
HAS_RSYNC = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")


def files_with(store, text):
    """The files under a store that hold a text, whatever they are compressed by."""
    found = []
    for path in store.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            elif content.startswith(b"tspack"):
                content += b"".join(check.bodies(content))
            if text.encode() in content:
                found.append(str(path.relative_to(store.path)))
    return sorted(found)


def remove_database(store):
    store.close()
    for path in store.path.glob("records.duckdb*"):
        path.unlink()


@pytest.fixture
def secret():
    """A text that no compression changes."""
    return os.urandom(60).hex()


@pytest.fixture
def leaked(open_store, talk, make, secret, clock):
    """A packed store with a secret in a body of the turn "leak", among bodies of others in one pack."""
    store = open_store(keep_journal=True)
    store.insert_records(talk.records("a", 12))
    store.insert_records(make.turn("leak", clock.now_ms - 1000, request=f"key={secret}", response="said by both"))
    store.insert_records(make.turn("other", clock.now_ms - 1000, request="harmless", response="said by both"))
    store.pack(grace_ms=0)
    assert [name for name in files_with(store, secret) if name.startswith("blobs/packs/")]
    return store


@pytest.mark.parametrize("target", ["turn", "conversation", "digest"])
def test_what_is_forgotten_leaves_no_byte_in_any_pack(leaked, talk, disk, secret, target):
    body = f"key={secret}"
    wanted = {
        "turn": {"turn_id": "leak"}, "conversation": {"conversation_id": "c-leak"},
        "digest": {"digest": str(Digest.of(body.encode()))},
    }[target]  # fmt: skip
    report = leaked.forget(**wanted)
    assert report.bodies == 1
    assert [name for name in files_with(leaked, secret) if name.startswith("blobs/")] == []
    if target != "digest":
        assert files_with(leaked, secret) == []
    assert [record.body for record in leaked.get_turn("other")] == ["harmless", None, "said by both"]
    assert talk.held(leaked).items() >= talk.bodies.items()
    assert leaked.verify(data=True).findings == ()


def test_what_is_forgotten_leaves_what_waits_and_what_is_dead_too(leaked, talk, disk, secret, reopen):
    """Copies: a pack that was unpacked and waits, the file that came of it, the pack that was made again."""
    leaked.unpack()
    leaked.pack()
    assert len([name for name in files_with(leaked, secret) if name.startswith("blobs/")]) >= 2
    leaked.forget(turn_id="leak")
    assert files_with(leaked, secret) == []
    assert talk.held(leaked).items() >= talk.bodies.items()
    assert leaked.verify(data=True).findings == ()


def test_forget_says_of_a_damaged_pack_that_it_may_hold_the_body_still(leaked, talk, disk, secret, reopen):
    disk.flip(disk.packs[0], disk.packs[0].stat().st_size - 1)
    name = disk.packs[0].name
    store = reopen(leaked)
    report = store.forget(turn_id="leak")
    assert report.records == 3
    assert [where for where in report.left if name in where] == [
        f"blobs/packs/{name} (damaged: it may hold it still; run tracestore repair, then remove it from quarantine/)"
    ]
    assert store.get_turn("leak") == []


def test_a_database_is_made_again_over_packs_alone(packed, talk, disk):
    packed.snapshot()
    rows = packed.sql("SELECT * FROM bodies ORDER BY ALL").rows
    remove_database(packed)
    before = disk.listing()
    with TraceStore(packed.path) as again:
        assert talk.held(again) == talk.bodies
        assert [row[:1] + row[-1:] for row in again.sql("SELECT * FROM bodies ORDER BY ALL").rows] == [
            row[:1] + row[-1:] for row in rows
        ]
        assert again.verify(data=True).findings == ()
    assert disk.listing() == before


def test_a_journal_that_is_replayed_over_packs_doubles_what_the_next_prune_makes_single(packed, talk, disk):
    """As of loose files: an index without a row that knows the body is no proof that it is there."""
    remove_database(packed)
    before = disk.packs
    with TraceStore(packed.path) as again:
        assert talk.held(again) == talk.bodies
        assert again.verify(data=True).findings == ()
        again.prune(RetentionPolicy(max_age="7d"))
        again.pack(grace_ms=-HOUR_MS)
        assert again.stats()["packed_bodies"] == 36
        assert len(disk.packs) <= len(before)
        assert talk.held(again) == talk.bodies


def test_what_was_evicted_stays_evicted_in_a_rebuild_over_packs(packed, talk, disk):
    packed.insert_records(talk.records("last", 5))
    packed.prune(RetentionPolicy(max_total_body_bytes=disk.used_bytes * 3 // 4))
    states = dict(packed.sql("SELECT digest, state FROM bodies").rows)
    assert set(states.values()) == {"present", "evicted"}
    remove_database(packed)
    with TraceStore(packed.path) as again:  # the journal brought back what no row names
        assert {one.kind for one in again.verify(data=True).findings} <= {"orphan"}
        again.prune(RetentionPolicy(max_age="7d"))
        assert dict(again.sql("SELECT digest, state FROM bodies").rows) == states
        assert again.verify(data=True).findings == ()


@pytest.fixture
def back_up_to(tmp_path):
    """`back_up_to(store)` backs an open store up; returns what rsync copied."""

    def run(store):
        return back_up(
            StoreLayout(store.path), Place.local(tmp_path / "backup"), store.snapshot, tell=lambda text: None, wait_s=0
        )

    return run


@pytest.fixture
def restored(tmp_path, open_store):
    """`restored(store)` closes a store, takes it away and opens what its backup gives."""

    def run(store):
        store.close()
        store.path.rename(tmp_path / "away")
        restore(Place.local(tmp_path / "backup"), StoreLayout(tmp_path / "restored"))
        return open_store("restored")

    return run


@HAS_RSYNC
def test_a_backup_of_packs_gives_every_body_back(packed, talk, back_up_to, restored):
    packed.insert_records(talk.records("late", 5))
    back_up_to(packed)
    store = restored(packed)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()
    assert store.stats()["packed_bodies"] == 36


@HAS_RSYNC
def test_a_second_backup_copies_no_pack_again(packed, talk, back_up_to, tmp_path):
    back_up_to(packed)
    packs = {path: path.stat().st_ino for path in (tmp_path / "backup" / "blobs" / "packs").iterdir()}
    packed.insert_records(talk.records("late", 5, size=1))
    back_up_to(packed)
    assert {path: path.stat().st_ino for path in packs} == packs
    assert len(packs) == 1


@HAS_RSYNC
def test_backups_before_and_after_packing_add_up(store, talk, back_up_to, restored, disk):
    store.insert_records(talk.records("a", 12))
    back_up_to(store)
    store.pack(grace_ms=0)
    store.insert_records(talk.records("b", 12))
    back_up_to(store)
    store.pack(grace_ms=0)
    back_up_to(store)
    store = restored(store)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).is_clean
    store.prune(RetentionPolicy(max_age="7d"))
    store.pack(grace_ms=0)
    assert talk.held(store) == talk.bodies
    assert store.stats()["packed_bodies"] + store.stats()["loose_blobs"] == 24
    assert store.verify(data=True).findings == ()


@HAS_RSYNC
def test_a_pack_that_is_being_written_is_not_backed_up(packed, back_up_to, tmp_path):
    (packed.path / "blobs" / "packs" / f"{'ab' * 8}.new").write_bytes(b"half of a pack")
    back_up_to(packed)
    assert [path.suffix for path in (tmp_path / "backup" / "blobs" / "packs").iterdir()] == [".pack"]


@HAS_RSYNC
def test_a_backup_while_bodies_move_is_complete(store, talk, back_up_to, restored, monkeypatch):
    """Its list of files is made between two steps: what bodies left is in it, what they moved to is not."""
    for name in ("a", "b"):
        store.insert_records(talk.records(name, 30, size=1))
    save, done = PackTier.save, []

    def save_then_copy(tier, pack):
        save(tier, pack)
        if not done:
            done.append(back_up_to(store))

    monkeypatch.setattr(PackTier, "save", save_then_copy)
    store.pack(grace_ms=0)
    monkeypatch.undo()
    assert done
    store = restored(store)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).is_clean
