"""What was replaced waits an hour for a copy that is running, and goes only when its other copy is good."""

import os
import shutil
import subprocess

import pytest

from blobs import BlobStore, Waiting

HOUR_S = 3600.0
VANISHED = 24


@pytest.fixture
def bodies(kit):
    return kit.turns(1, 12)


def age(path, seconds):
    """Let a file have been made so long ago."""
    made = path.stat().st_mtime - seconds
    os.utime(path, (made, made))


def now_s(kit):
    """The time by the youngest file, so that no clock is asked."""
    return max(path.stat().st_mtime for path in kit.root.rglob("*") if path.is_file())


def test_loose_blobs_wait_an_hour_from_when_their_pack_was_made(local, kit, bodies, reopened):
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    waiting = local.waiting()
    assert (waiting.files, waiting.allocated_bytes) == (12, local.tiers().loose_bytes)
    now = now_s(kit)
    assert local.release(now - HOUR_S).blobs == 0
    (path,) = kit.files(".pack")
    age(path, HOUR_S - 60)
    store = reopened()
    assert store.release(now - HOUR_S).blobs == 0
    store.close()
    age(path, 61)
    with BlobStore(kit.root) as store:
        assert store.release(now - HOUR_S).blobs == 12
        assert store.waiting() == Waiting()
        kit.holds(store, bodies)


def test_a_pack_waits_an_hour_from_when_its_last_body_moved(local, kit, bodies, reopened):
    kit.staged(local, kit.turns(1, 6))
    kit.staged(local, kit.turns(2, 6))
    old = kit.files(".pack")
    for path in old:
        age(path, 10 * HOUR_S)
    store = reopened()
    store.pack(kit.runs)
    now = now_s(kit)
    assert store.waiting().files == 2
    assert store.release(now - HOUR_S).blobs == 0
    assert all(path.exists() for path in old)
    store.close()
    for path in kit.files(".dead"):
        age(path, HOUR_S + 1)
    with BlobStore(kit.root) as store:
        assert store.waiting().files == 2
        gone = store.release(now - HOUR_S)
        assert gone.blobs == 4, "each with its note"
        assert not any(path.exists() for path in old)
        kit.holds(store, kit.turns(1, 6) | kit.turns(2, 6))


def test_bytes_that_wait_and_are_released_are_those_of_the_disk(local, kit, bodies):
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    waiting, before = local.waiting(), kit.du()
    gone = local.release(kit.LATER_S)
    assert gone.bytes_reclaimed == waiting.allocated_bytes == before - kit.du()


def test_a_loose_blob_stays_when_its_packed_copy_is_damaged(local, kit, bodies, reopened):
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    (path,) = kit.files(".pack")
    kit.flip(path, 60, 0xFF)
    store = reopened()
    assert store.release(kit.LATER_S).blobs == 0
    kit.holds(store, bodies)


@pytest.mark.parametrize("at", ["table", "key", "ordinal"])
def test_a_loose_blob_stays_when_the_index_of_its_pack_is_damaged(local, kit, bodies, reopened, at):
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    (path,) = kit.files(".pack")
    end = path.stat().st_size - 68
    kit.flip(path, {"table": end - 144 - 8, "key": end - 140, "ordinal": end - 4}[at])
    store = reopened()
    assert store.release(kit.LATER_S).blobs == 0
    kit.holds(store, bodies)


def test_an_emptied_pack_stays_when_what_it_was_moved_to_is_damaged(local, kit, bodies, reopened):
    kit.staged(local, kit.turns(1, 6))
    kit.staged(local, kit.turns(2, 6))
    old = kit.files(".pack")
    local.pack(kit.runs)
    (new,) = [path for path in kit.files(".pack") if path not in old]
    kit.flip(new, 60, 0xFF)
    store = reopened()
    store.release(kit.LATER_S)
    assert all(path.exists() for path in old)
    kit.holds(store, kit.turns(1, 6) | kit.turns(2, 6))


def test_a_copy_that_has_only_the_old_place_of_a_body_and_the_note_reads_it_and_heals(local, kit, bodies, tmp_path):
    """A pack listed before the merge, and its note read behind it: the new pack is not in the copy."""
    kit.staged(local, kit.turns(1, 6))
    kit.staged(local, kit.turns(2, 6))
    old = kit.files(".pack")
    local.pack(kit.runs)
    shutil.copytree(kit.root, tmp_path / "copy")
    (new,) = [path for path in kit.files(".pack") if path not in old]
    (tmp_path / "copy/packs" / new.name).unlink()
    live = kit.turns(1, 6) | kit.turns(2, 6)
    with BlobStore(tmp_path / "copy") as copy:
        kit.holds(copy, live)
        assert copy.release(kit.LATER_S).blobs == 0
        plan = copy.plan(sorted(live))
        assert (plan.missing_count, plan.dead_count, len(plan.revived)) == (0, 0, 12)
        copy.apply(plan)
        copy.release(kit.LATER_S)
    with BlobStore(tmp_path / "copy") as copy:
        assert list(copy) == sorted(live)
        kit.holds(copy, live)


STEPS = ["nothing yet", "packed", "merged", "swept", "released"]


def steps_of(store, kit, live):
    """What happens to a store while it is copied, step by step."""
    yield
    store.pack(kit.runs)
    yield
    kit.staged(store, kit.turns(5, 4))
    store.pack(kit.runs)
    yield
    store.apply(store.plan(sorted([*live, *kit.turns(5, 4)])))
    yield
    store.release(now_s(kit) - HOUR_S)
    yield


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("listed", range(4))
def test_an_rsync_between_any_two_steps_has_every_body(local, kit, bodies, tmp_path, listed):
    """It lists files at one step and reads them at any later one, or meets what has come since."""
    live = kit.turns(1, 6) | kit.turns(2, 6)
    local.put_many(list(kit.turns(1, 6).values()))
    kit.staged(local, kit.turns(2, 6))
    walk = steps_of(local, kit, live)
    for _ in range(listed + 1):
        next(walk)
    names = sorted(str(path.relative_to(kit.root)) for path in kit.root.rglob("*"))
    (tmp_path / "names").write_text("".join(f"{name}\n" for name in names))
    for number in range(listed, len(STEPS)):
        copy = tmp_path / f"copy-{number}"
        command = ["rsync", "-a", f"--files-from={tmp_path / 'names'}", f"{kit.root}/", copy]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode in (0, 23, VANISHED), done.stderr
        with BlobStore(copy, create=False) as copied:
            kit.holds(copied, live)
            assert kit.harmful(copied) == []
            plan = copied.plan(sorted(live))
            assert plan.missing_count == 0
            copied.apply(plan)
            kit.holds(copied, live)
        next(walk, None)
    whole = tmp_path / "whole"
    subprocess.run(["rsync", "-a", f"{kit.root}/", whole], check=True)
    done = subprocess.run(["rsync", "-ai", f"{kit.root}/", whole], capture_output=True, check=True)
    assert done.stdout == b"", "nothing is sent twice"
    with BlobStore(whole, create=False) as copied:
        kit.holds(copied, live)
