"""Bodies move into packs and out of them, and at every moment each of them is somewhere."""

import base64
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blobs import BlobCorrupt, BlobStore, BlobsUnavailable, Digest, Run, Waiting
from blobs.packs import frame, packing, window

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def talks(kit):
    """Six conversations of twelve turns."""
    return {digest: body for n in range(6) for digest, body in kit.turns(n, 12).items()}


@pytest.fixture
def loose(local, talks):
    local.put_many(list(talks.values()))
    return local


def test_loose_blobs_are_packed_then_released(loose, kit, talks):
    before = kit.du()
    done = loose.pack(kit.runs)
    assert (done.bodies, done.packs, done.merged_packs, done.skipped, done.is_complete) == (72, 1, 0, 0, True)
    assert done.raw_bytes == sum(map(len, talks.values()))
    assert done.stored_bytes == sum(path.stat().st_blocks * 512 for path in kit.files(".pack"))
    assert (loose.tiers().loose_blobs, loose.tiers().packed_bodies) == (72, 72)
    assert loose.waiting().files == 72
    kit.holds(loose, talks)
    gone = loose.release(kit.LATER_S)
    assert (gone.blobs, loose.tiers().loose_blobs, loose.waiting()) == (72, 0, Waiting())
    assert gone.bytes_reclaimed == before + done.stored_bytes - kit.du()
    kit.holds(loose, talks)
    assert list(loose) == sorted(talks)
    assert kit.harmful(loose) == []


def test_what_is_packed_already_is_not_packed_again(loose, kit):
    loose.pack(kit.runs)
    assert loose.pack(kit.runs) == packing.PackSummary()
    loose.release(kit.LATER_S)
    assert loose.pack(kit.runs) == packing.PackSummary()
    assert len(kit.files(".pack")) == 1


def test_similar_bodies_take_a_small_part_of_what_they_took_loose(loose, kit):
    loose_bytes = loose.tiers().loose_bytes
    loose.pack(kit.runs)
    assert loose.tiers().pack_bytes * 8 < loose_bytes


@pytest.mark.parametrize("make", [lambda: os.urandom(3000), lambda: base64.b64encode(os.urandom(30_000))])
def test_bodies_that_do_not_compress_cost_no_more_than_loose(local, kit, make):
    bodies = {Digest.of(body): body for body in (make() for _ in range(60))}
    local.put_many(list(bodies.values()))
    loose_bytes = kit.du()
    local.pack(kit.runs)
    local.release(kit.LATER_S)
    assert kit.du() <= loose_bytes
    kit.holds(local, bodies)


def test_small_packs_are_merged_and_wait(local, kit, talks):
    for number in range(6):
        kit.staged(local, kit.turns(number, 12))
    assert len(kit.files(".pack")) == 6
    done = local.pack(kit.runs)
    assert (done.bodies, done.packs, done.merged_packs) == (72, 1, 6)
    assert local.waiting().files == 6
    kit.holds(local, talks)
    local.release(kit.LATER_S)
    assert len(kit.files(".pack")) == 1
    assert kit.files(".dead") == []
    kit.holds(local, talks)
    assert local.pack(kit.runs) == packing.PackSummary(), "what was merged with care is left alone"


def test_a_body_in_two_small_packs_leaves_both(local, kit, talks):
    kit.staged(local, kit.turns(0, 12))
    kit.staged(local, kit.turns(0, 8))
    assert local.pack(kit.runs).merged_packs == 2
    local.release(kit.LATER_S)
    assert len(kit.files(".pack")) == 1
    assert local.tiers().packed_bodies == 12


def test_a_large_pack_is_left_alone(local, kit, talks, monkeypatch):
    kit.staged(local, kit.turns(0, 12))
    monkeypatch.setattr(packing, "SMALL_RAW_BYTES", 1000)
    kit.staged(local, kit.turns(1, 3))
    kit.staged(local, kit.turns(2, 1))
    assert local.pack(kit.runs).merged_packs == 1
    assert len([pack for pack in local._tier if pack.live_bodies]) == 3


def test_dead_bodies_of_small_packs_are_not_moved(local, kit, talks):
    kit.staged(local, kit.turns(0, 12))
    kit.staged(local, kit.turns(1, 12))
    dead = sorted(kit.turns(0, 3))
    local.delete(dead)
    assert local.pack(kit.runs).bodies == 21
    assert not any(digest in local for digest in dead)


def test_what_the_caller_leaves_out_stays_where_it_is(loose, kit, talks):
    left = set(kit.turns(3, 12)) | set(kit.turns(7, 5))
    kit.staged(loose, kit.turns(7, 5))
    kit.staged(loose, kit.turns(8, 5))

    def arrange(digests):
        return [*kit.runs(set(digests) - left), Run(5, [])]

    done = loose.pack(arrange)
    assert (done.bodies, done.merged_packs) == (60 + 5, 1)
    loose.release(kit.LATER_S)
    assert {blob.digest for blob in loose.list()} == set(kit.turns(3, 12))
    kit.holds(loose, talks | kit.turns(7, 5) | kit.turns(8, 5))


def test_a_pack_that_cannot_be_emptied_does_not_make_the_others_be_written_again_and_again(local, kit, reopened):
    kit.staged(local, kit.turns(0, 12))
    (path,) = kit.files(".pack")
    kit.flip(path, 60, 0xFF)
    store = reopened()
    kit.staged(store, kit.turns(1, 12))
    assert store.pack(kit.runs).packs == 1
    assert store.pack(kit.runs).packs == 0
    kit.holds(store, kit.turns(1, 12))


def test_a_damaged_loose_blob_is_skipped_and_told(loose, kit, talks, root):
    digest = sorted(talks)[5]
    kit.flip(root / f"objects/{digest.hex()[:2]}/{digest}.gz", 20, 0xFF)
    done = loose.pack(kit.runs)
    assert (done.bodies, done.skipped) == (71, 1)
    loose.release(kit.LATER_S)
    assert [blob.digest for blob in loose.list()] == [digest]
    assert [path for _, path, _ in kit.harmful(loose)] == [f"objects/{digest.hex()[:2]}/{digest}.gz"]
    with pytest.raises(BlobCorrupt):
        loose.get(digest)


def test_a_loose_blob_that_its_disk_cannot_give_is_skipped(loose, kit, talks, monkeypatch):
    bad = sorted(talks)[5]
    real = loose._backend.read

    def read(digest, limit_bytes, fresh=False):
        if digest == bad:
            raise BlobsUnavailable(errno.EIO, "Input/output error")
        return real(digest, limit_bytes, fresh)

    monkeypatch.setattr(loose._backend, "read", read)
    done = loose.pack(kit.runs)
    assert (done.bodies, done.skipped) == (71, 1)


def test_a_blob_that_was_swept_meanwhile_is_passed_over(loose, kit, talks):
    gone = sorted(talks)[3]

    def arrange(digests):
        loose.delete([gone])
        return kit.runs(digests)

    done = loose.pack(arrange)
    assert (done.bodies, done.skipped) == (71, 0)


def test_only_the_digests_that_were_asked_for_are_packed(loose, kit, talks):
    chosen = sorted(talks)[:10]
    assert loose.pack(kit.runs, chosen).bodies == 10
    loose.release(kit.LATER_S)
    assert {blob.digest for blob in loose.list()} == set(talks) - set(chosen)


@pytest.fixture
def small_frames(monkeypatch):
    monkeypatch.setattr(frame, "RAW_BYTES", 4000)
    monkeypatch.setattr(frame, "FEWEST_BODIES", 3)
    monkeypatch.setattr(frame, "MOST_RAW_BYTES", 16_000)
    monkeypatch.setattr(packing, "SMALL_RAW_BYTES", 9_000)
    monkeypatch.setattr(packing, "PACK_RAW_BYTES", 24_000)
    monkeypatch.setattr(window, "WINDOW_RAW_BYTES", 12_000)


@pytest.mark.usefixtures("small_frames")
def test_packs_are_closed_when_they_are_full_and_frames_before(loose, kit, talks):
    done = loose.pack(kit.runs)
    packs = list(loose._tier)
    assert done.packs == len(packs) > 3
    assert all(pack.footer.raw_bytes < 24_000 + 16_000 for pack in packs)
    assert max(len(pack.seats) for pack in packs) > 2
    loose.release(kit.LATER_S)
    kit.holds(loose, talks)
    assert kit.harmful(loose) == []


@pytest.mark.usefixtures("small_frames")
def test_shelves_lie_in_packs_of_their_own_unless_they_are_small(loose, kit, talks):
    shelf_of = {digest: n for n in range(6) for digest in kit.turns(n, 12)}

    def arrange(digests):
        return [Run(n, [d for d in kit.turns(n, 12) if d in set(digests)]) for n in range(6)]

    loose.pack(arrange)
    loose.release(kit.LATER_S)
    shelves = []
    for pack in loose._tier:
        bodies = [body for n in range(len(pack.seats)) for body in loose._tier.frame_bodies(pack, n)]
        shelves.append({shelf_of[Digest.of(body)] for body in bodies})
    assert all(len(shelf) == 1 for shelf in shelves)
    assert len(shelves) >= 6


@pytest.mark.usefixtures("small_frames")
@pytest.mark.parametrize("after", range(0, 144, 9))
def test_packing_that_is_stopped_loses_nothing_and_goes_on_later(loose, kit, talks, after):
    for number in range(4):  # some of them come from small packs
        kit.staged(loose, kit.turns(number, 8))
        loose._backend.delete(list(kit.turns(number, 8)))
    asked = iter(range(1000))
    done = loose.pack(kit.runs, is_stopped=lambda: next(asked) >= after)
    assert not done.is_complete or after >= 72
    assert kit.leftovers() == []
    kit.holds(loose, talks)
    assert loose.pack(kit.runs).is_complete
    loose.release(kit.LATER_S)
    kit.holds(loose, talks)
    assert (loose.tiers().loose_blobs, kit.harmful(loose)) == (0, [])
    assert loose.tiers().packed_bodies == 72


def test_packing_that_is_broken_off_leaves_no_file_behind(loose, kit, talks):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loose.pack(kit.runs, is_stopped=interrupt)
    assert kit.files() == []
    assert list(loose.verify()) == []


def test_progress_is_told_up_to_the_end(loose, kit, talks, monkeypatch):
    monkeypatch.setattr(frame, "FEWEST_BODIES", 10)
    monkeypatch.setattr(frame, "RAW_BYTES", 1)
    told = []
    loose.pack(kit.runs, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (10, 72)
    assert told[-1] == (72, 72)


def test_empty_and_large_bodies_are_packed_like_any_other(local, kit, monkeypatch):
    monkeypatch.setattr(frame, "RAW_BYTES", 1000)
    monkeypatch.setattr(frame, "MOST_RAW_BYTES", 4000)
    bodies = {Digest.of(body): body for body in (b"", b"x", os.urandom(20_000), b"y" * 70_000)}
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    local.release(kit.LATER_S)
    assert local.tiers().loose_blobs == 0
    kit.holds(local, bodies)
    assert kit.harmful(local) == []


def test_unpacking_writes_the_files_back_under_the_same_names(loose, kit, talks, root):
    before = {path.name: path.read_bytes() for path in root.glob("objects/*/*")}
    loose.pack(kit.runs)
    loose.release(kit.LATER_S)
    assert loose.unpack() == 72
    loose.release(kit.LATER_S)
    assert kit.files() == []
    assert {path.name: path.read_bytes() for path in root.glob("objects/*/*")} == before
    kit.holds(loose, talks)
    assert loose.pack(kit.runs).bodies == 72, "and it may be packed again"


def test_unpacking_leaves_the_dead_behind(local, kit):
    kit.staged(local, kit.turns(0, 12))
    dead = sorted(kit.turns(0, 3))
    local.delete(dead)
    assert local.unpack() == 9
    assert {blob.digest for blob in local.list()} == set(kit.turns(0, 12)) - set(dead)


@pytest.mark.parametrize("at", [60, "key", "ordinal"])
def test_a_damaged_pack_is_not_unpacked_by_halves(local, kit, reopened, at):
    """What its index says of the dead may be true of the living."""
    kit.staged(local, kit.turns(0, 12))
    local.delete(sorted(kit.turns(0, 3)))
    (path,) = kit.files(".pack")
    end = path.stat().st_size - 68
    kit.flip(path, {"key": end - 12 * 12, "ordinal": end - 4}.get(at, at), 1 if at != 60 else 0xFF)
    store = reopened()
    with pytest.raises(BlobCorrupt):
        store.unpack()
    assert [pack.live_bodies for pack in store._tier] == [9]
    assert store.release(kit.LATER_S).bytes_reclaimed == 0
    assert path.exists()


def test_packing_takes_bounded_memory(tmp_path):
    """400 MB of bodies, most of them loose, the others in packs that are merged."""
    script = f"""
import os
from tests.peak_memory import peak_kib
from blobs import BlobStore, Digest, Run
store = BlobStore({str(tmp_path / "blobs")!r})
seed = os.urandom(200_000)
names = []
for part in range(20):
    bodies = [seed[n * 99 :] + b"%d %d" % (part, n) + seed[: n * 99] for n in range(100)]
    if part % 4:
        names += store.put_many(bodies)
    else:
        batch = {{Digest.of(body): body for body in bodies}}
        from blobs.packs import packing
        store.publish(packing.stage(store._tier, batch))
del bodies, batch
done = store.pack(lambda digests: [Run(0, list(digests))])
assert done.bodies == 2000 or done.bodies == 2500, done
print(peak_kib() // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 300


def test_nothing_is_packed_in_a_store_without_a_directory():
    with BlobStore.memory() as store:
        digest = store.put(b"a body")
        assert store.pack(lambda digests: [Run(0, digests)]) == packing.PackSummary()
        assert store.get(digest) == b"a body"
