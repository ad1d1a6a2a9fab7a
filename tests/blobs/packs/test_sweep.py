"""Dead bodies leave packs, their space comes back, and nothing that lives is touched."""

import errno
import os

import pytest

from blobs import BlobCorrupt, BlobNotFound, BlobsUnavailable, Digest, SweepRefused, codec, durable
from blobs.packs import check, frame


@pytest.fixture
def frames(kit, local):
    """Ten frames of four bodies each, in one pack; none of them compresses."""
    made = []
    with local._tier.writing(frame.LEVEL) as begun:
        for _ in range(10):
            some = [os.urandom(5000) for _ in range(4)]
            begun.add([(Digest.of(body), body) for body in some])
            made.append({Digest.of(body): body for body in some})
        staged = begun.finish()
    local.publish(staged)
    return made


def all_of(frames):
    return {digest: body for some in frames for digest, body in some.items()}


def swept(store, live, retired=(), **options):
    with store.packing:
        plan = store.plan(sorted(live), sorted(retired))
        return plan, store.apply(plan, **options)


@pytest.mark.parametrize("is_reopened", [False, True], ids=["here", "reopened"])
def test_the_dead_of_a_pack_are_found_no_more_and_noted_beside_it(is_reopened, local, kit, frames, reopened):
    dead = frames[0]
    live = {digest: body for digest, body in all_of(frames).items() if digest not in dead}
    plan, summary = swept(local, live, dead)
    assert (plan.dead_count, plan.stray_count, plan.missing_count, plan.total_count) == (4, 0, 0, 40)
    assert 15_000 < plan.dead_bytes < 25_000
    assert (summary.blobs_deleted, summary.blobs_spared) == (4, 0)
    assert [path.suffix for path in kit.files()] == [".dead", ".pack"]
    store = reopened() if is_reopened else local
    assert list(store) == sorted(live)
    kit.holds(store, live)
    assert not any(digest in store for digest in dead)
    assert store.tiers().packed_bodies == 36
    assert kit.harmful(store) == []
    again, _ = swept(store, live)
    assert again.dead_count == 0


def test_a_plan_changes_nothing(local, kit, frames):
    local.plan([], sorted(all_of(frames)))
    kit.holds(local, all_of(frames))


def test_a_pack_goes_with_its_last_live_body(local, kit, frames):
    before = kit.du()
    plan, summary = swept(local, [], all_of(frames))
    assert plan.refusals == ()
    assert summary.blobs_deleted == 40
    assert kit.files() == []
    assert summary.bytes_reclaimed == before - kit.du()


def test_a_pack_is_copied_once_a_third_of_it_is_dead(local, kit, frames):
    everything = all_of(frames)
    live = dict(everything)
    for number in range(2):
        live = {digest: body for digest, body in live.items() if digest not in frames[number]}
        swept(local, live, frames[number])
        assert len(kit.files(".pack")) == 1
    live = {digest: body for digest, body in live.items() if digest not in [*frames[2], *list(frames[3])[:1]]}
    swept(local, live, everything.keys() - live.keys())
    assert len(kit.files(".pack")) == 2
    assert local.waiting().files == 1
    kit.holds(local, live)
    assert list(local) == sorted(live)
    before = kit.du()
    gone = local.release(kit.LATER_S)
    assert gone.bytes_reclaimed == before - kit.du() > 200_000
    assert len(kit.files()) == 1
    assert list(local) == sorted(live)
    kit.holds(local, live)
    assert kit.harmful(local) == []
    assert local.tiers().packed_bodies == len(live) == 27


def test_at_once_returns_the_space_of_a_single_dead_frame(local, kit, frames):
    dead = frames[4]
    live = {digest: body for digest, body in all_of(frames).items() if digest not in dead}
    before = kit.du()
    swept(local, live, dead, at_once=True)
    assert before - kit.du() > 16_000
    assert len(kit.files()) == 1
    kit.holds(local, live)


def test_strays_are_named_by_reading_them(local, kit, frames):
    everything = all_of(frames)
    live = {digest: body for digest, body in everything.items() if digest not in frames[1]}
    plan, _ = swept(local, live)
    assert (plan.dead, plan.stray_count) == (tuple(sorted(frames[1])), 4)
    assert list(local) == sorted(live)


def test_an_empty_mark_set_refuses_the_sweep(local, kit, frames):
    with pytest.raises(SweepRefused, match="nothing is live and nothing was retired, yet 40 blobs are stored"):
        swept(local, [])
    kit.holds(local, all_of(frames))


def test_a_body_that_is_loose_and_packed_dies_in_both_places(local, kit):
    bodies = kit.turns(1, 8)
    local.put_many(list(bodies.values()))
    local.pack(kit.runs)
    dead = sorted(bodies)[:3]
    plan, summary = swept(local, sorted(bodies)[3:], dead)
    assert (plan.dead_count, plan.total_count, summary.blobs_deleted) == (3, 8, 3)
    assert list(local) == sorted(bodies)[3:]
    assert local.tiers().loose_blobs == 5


def test_confirm_spares_a_packed_body(local, kit, frames):
    dead = frames[0]
    spared = next(iter(dead))
    live = all_of(frames).keys() - dead
    _, summary = swept(local, live, dead, confirm=lambda chunk: [digest for digest in chunk if digest != spared])
    assert (summary.blobs_deleted, summary.blobs_spared) == (3, 1)
    assert list(local) == sorted([*live, spared])


def test_a_plan_applied_twice_gives_up_once(local, kit, frames):
    live = all_of(frames).keys() - frames[0]
    plan = local.plan(sorted(live), sorted(frames[0]))
    assert local.apply(plan).blobs_deleted == 4
    assert local.apply(plan).blobs_deleted == 0
    assert list(local) == sorted(live)


def test_a_body_in_two_packs_leaves_the_older_which_waits(local, kit):
    """A copy of the directory that is running may have listed only the older."""
    bodies = kit.turns(1, 8)
    kit.staged(local, bodies)
    (older,) = kit.files(".pack")
    kit.staged(local, bodies)
    before = kit.du()
    plan, summary = swept(local, bodies)
    assert (plan.dead_count, plan.total_count, len(plan.doubled)) == (0, 8, 8)
    assert summary.bytes_reclaimed == before - kit.du() < 0  # it takes a note
    assert older.exists()
    assert local.waiting().files == 1
    local.release(kit.LATER_S)
    assert not older.exists()
    assert len(kit.files(".pack")) == 1
    kit.holds(local, bodies)


def test_a_damaged_second_copy_is_not_kept_for_the_first(local, kit, reopened):
    bodies = kit.turns(1, 8)
    kit.staged(local, bodies)
    (older,) = kit.files(".pack")
    kit.staged(local, bodies)
    (newer,) = [path for path in kit.files(".pack") if path != older]
    kit.flip(newer, 60, 0xFF)
    store = reopened()
    swept(store, bodies, at_once=True)
    store.release(kit.LATER_S)
    kit.holds(store, bodies)


@pytest.mark.parametrize("at", ["key", "ordinal"])
def test_nothing_is_given_up_by_a_damaged_index(local, kit, frames, reopened, at):
    """What it says of a dead body may be true of a live one."""
    local.close()
    (path,) = kit.files(".pack")
    end = path.stat().st_size - 68
    everything = all_of(frames)
    for number in range(40):
        where = end - 40 * 4 + number * 4 if at == "ordinal" else end - 40 * 12 + number * 8
        kit.flip(path, where, 1)
    store = reopened()
    before = path.read_bytes()
    for retired in ([], sorted(everything)[:20]):
        live = sorted(everything.keys() - set(retired))
        plan = store.plan(live, retired)
        store.apply(plan, force=True, at_once=True)
        store.release(kit.LATER_S)
    assert path.read_bytes() == before
    assert all(pack.live_bodies == 40 for pack in store._tier)
    assert kit.harmful(store)


def test_a_damaged_pack_is_not_copied(local, kit, frames, reopened):
    live = {digest: body for some in frames[5:] for digest, body in some.items()}
    (path,) = kit.files(".pack")
    local.close()
    kit.flip(path, path.stat().st_size - 68 - 40 * 12 - 10 * 16 - 3000, 0xFF)  # in the last frame
    store = reopened()
    swept(store, live, all_of(frames[:5]))
    store.release(kit.LATER_S)
    assert [path.suffix for path in kit.files()] == [".dead", ".pack"]
    kit.holds(store, {digest: body for some in frames[5:9] for digest, body in some.items()})
    assert [kind for kind, _, _ in kit.harmful(store)] == ["corrupt"]


def test_packs_that_are_wholly_dead_go_before_anything_is_copied(local, kit, frames, monkeypatch):
    """A full disk has no space for a copy until they are gone."""
    kit.staged(local, kit.turns(1, 8))
    dead = kit.turns(1, 8).keys() | all_of(frames[:5]).keys()
    live = all_of(frames[5:])

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write_all", fail)
        with pytest.raises(BlobsUnavailable):
            swept(local, live, dead)
    assert len(kit.files(".pack")) == 1
    assert kit.leftovers() == []
    kit.holds(local, live)


def test_delete_gives_up_and_keeps_what_it_was_not_asked_about(local, kit, frames, reopened):
    dead = sorted(frames[0])
    local.delete(dead)
    assert list(local) == sorted(all_of(frames).keys() - set(dead))
    assert list(reopened()) == sorted(all_of(frames).keys() - set(dead))


def holders(root, body):
    """Files in which a body can be found, by its bytes or by what they decode to."""
    found = []
    for path in root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            bodies = list(check.bodies(content))
            if content.startswith(codec.HEADER[:2]):
                bodies.append(codec.decode(content))
            if body in content or body in bodies:
                found.append(path)
    return found


def test_no_file_holds_an_erased_body(local, kit, root, frames):
    victim, body = next(iter(frames[3].items()))
    local.put_many(list(all_of(frames[3:5]).values()))  # known: they stay packed
    local._backend.publish(local._backend.stage([(victim, b"\x1f\x8b")]))
    local.delete([victim])  # dead in its pack, and gone from its file
    kit.staged(local, {victim: body} | kit.turns(1, 5))
    assert len(holders(root, body)) == 2
    local.erase([victim])
    assert holders(root, body) == []
    live = {digest: b for digest, b in all_of(frames).items() if digest != victim} | kit.turns(1, 5)
    kit.holds(local, live)
    assert list(local) == sorted(live)
    with pytest.raises(BlobNotFound):
        local.get(victim)
    assert kit.harmful(local) == []
    assert len(kit.files()) == 2


def test_erasing_the_only_body_of_a_pack_removes_the_pack(local, kit):
    digest, body = next(iter(kit.turns(1, 1).items()))
    kit.staged(local, {digest: body})
    before = kit.du()
    gone = local.erase([digest])
    assert kit.files() == []
    assert gone.bytes_reclaimed == before - kit.du()


@pytest.mark.parametrize("damage", ["frame", "index", "footer"])
def test_a_body_that_may_be_left_in_a_damaged_pack_is_told(local, kit, frames, reopened, damage):
    kit.staged(local, kit.turns(1, 5))
    path = max(kit.files(".pack"), key=lambda path: path.stat().st_size)
    local.close()
    end = path.stat().st_size - 68
    kit.flip(path, {"frame": end - 40 * 12 - 160 - 3000, "index": end - 2, "footer": -1}[damage], 0xFF)
    store = reopened()
    victims = [next(iter(frames[0])), next(iter(kit.turns(1, 5)))]
    with pytest.raises(BlobCorrupt, match="damaged"):
        store.erase(victims)
    assert victims[1] not in store, "what can be erased was erased"


@pytest.fixture
def crowded(local, kit, colliding):
    """Every body shares its key with others: two bits are all that keys are told apart by."""
    colliding(2)
    bodies = kit.turns(1, 12) | kit.turns(2, 12)
    kit.staged(local, kit.turns(1, 12))
    kit.staged(local, kit.turns(2, 12))
    return local, bodies


def test_bodies_that_share_a_key_are_told_apart_when_they_are_read(crowded, kit):
    store, bodies = crowded
    kit.holds(store, bodies)
    assert list(store) == sorted(bodies)
    with pytest.raises(BlobNotFound):
        store.get(Digest.of(b"never put, yet of the same key"))


def test_a_loose_blob_is_not_released_for_another_body_of_its_key(crowded, kit):
    store, _ = crowded
    store.put(b"another body")
    assert store.tiers().loose_blobs == 1
    store.release(kit.LATER_S)
    assert store.get(Digest.of(b"another body")) == b"another body"


def test_merging_moves_every_body_of_a_key(crowded, kit):
    store, bodies = crowded
    store.pack(kit.runs)
    store.release(kit.LATER_S)
    assert len(kit.files(".pack")) == 1
    kit.holds(store, bodies)


def test_erasing_one_body_leaves_the_others_of_its_key(crowded, kit, root):
    store, bodies = crowded
    victim = sorted(bodies)[7]
    store.erase([victim])
    assert holders(root, bodies.pop(victim)) == []
    kit.holds(store, bodies)


def test_deleting_one_body_leaves_the_others_of_its_key(crowded, kit):
    store, bodies = crowded
    store.delete([sorted(bodies)[7]])
    kit.holds(store, {digest: body for digest, body in bodies.items() if digest != sorted(bodies)[7]})
    assert list(store) == [digest for digest in sorted(bodies) if digest != sorted(bodies)[7]]


@pytest.mark.parametrize("number", range(0, 24, 3))
def test_a_sweep_spares_the_live_bodies_of_a_dead_ones_key(crowded, kit, number):
    store, bodies = crowded
    dead = sorted(bodies)[number : number + 5]
    live = {digest: body for digest, body in bodies.items() if digest not in dead}
    swept(store, live, dead)
    store.release(kit.LATER_S)
    kit.holds(store, live)


def test_comparing_tells_all_bodies_of_a_key(crowded, kit):
    store, bodies = crowded
    found = list(store.compare(sorted(bodies)))
    assert [digest for digest, asked, stat in found if asked and stat] == sorted(bodies)
    assert {digest for digest, asked, _ in store.compare(()) if not asked} == set(bodies)
