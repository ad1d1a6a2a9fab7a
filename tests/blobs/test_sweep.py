"""Plan, refuse, apply; and invariant I4: no sweep removes a blob that a committed row names."""

import random
import threading

import pytest

from blobs import BlobStore, Digest, SweepPlan, SweepRefused, sweep

MIB = 1 << 20


def digests_of(count: int) -> list[Digest]:
    return sorted(Digest.of(b"%d" % n) for n in range(count))


def fill(store: BlobStore, count: int) -> list[Digest]:
    return sorted(store.put_many([b"%d" % n for n in range(count)]))


def test_a_sweep_removes_what_nothing_names(store):
    digests = fill(store, 10)
    plan = store.plan(live=digests[:6], retired=digests[6:])
    assert plan.dead == tuple(digests[6:])
    assert (plan.total_count, plan.live_count, plan.retired_count, plan.stray_count) == (10, 6, 4, 0)
    assert plan.dead_bytes == sum(store.stat(digest).allocated_bytes for digest in digests[6:])
    assert plan.total_bytes == sum(blob.allocated_bytes for blob in store.list())
    assert plan.refusals == ()
    summary = store.apply(plan)
    assert (summary.blobs_deleted, summary.bytes_reclaimed, summary.blobs_spared) == (4, plan.dead_bytes, 0)
    assert list(store) == digests[:6]


def test_a_plan_changes_nothing(store):
    digests = fill(store, 3)
    store.plan(live=[], retired=digests)
    assert list(store) == digests


def test_strays_are_told_from_retired_blobs(store):
    digests = fill(store, 6)
    plan = store.plan(live=digests[:2], retired=digests[2:5])
    assert plan.dead_count == 4
    assert plan.stray_count == 1
    assert plan.stray_bytes == store.stat(digests[5]).allocated_bytes


def test_a_live_blob_stays_even_if_it_was_retired(store):
    """A body may lose its last reference and be sent again in the same breath."""
    digests = fill(store, 3)
    assert store.plan(live=digests[:1], retired=digests).dead == tuple(digests[1:])


def test_an_empty_store_has_nothing_to_sweep(store):
    plan = store.plan([])
    assert plan == SweepPlan()
    assert store.apply(plan) == sweep.SweepSummary()


def test_database_rows_need_no_wrapping(store):
    digests = fill(store, 4)
    plan = store.plan(live=(bytes(digest) for digest in digests[:3]), retired=[])
    assert plan.dead == (digests[3],)


@pytest.mark.parametrize("seed", range(20))
def test_any_three_sets_are_told_apart(store, seed):
    rng = random.Random(seed)
    everything = digests_of(40)
    stored, live, retired = ({d for d in everything if rng.random() < share} for share in (0.6, 0.4, 0.3))
    store.put_many([b"%d" % n for n in range(40) if Digest.of(b"%d" % n) in stored])
    repeated = sorted([*live, *rng.sample(sorted(live), len(live) // 2)])
    plan = store.plan(repeated, sorted(retired))
    assert set(plan.dead) == stored - live
    assert plan.stray_count == len(stored - live - retired)
    assert set(plan.missing) == live - stored
    assert plan.missing_count == len(live - stored)
    assert (plan.live_count, plan.retired_count, plan.total_count) == (len(live), len(retired), len(stored))


@pytest.mark.parametrize("name", ["live", "retired"])
def test_digests_out_of_order_are_an_error(store, name):
    digests = fill(store, 3)
    arguments = {"live": digests, "retired": digests} | {name: digests[::-1]}
    with pytest.raises(ValueError, match=f"{name} digests must ascend"):
        store.plan(**arguments)


def test_a_missing_live_blob_refuses_the_sweep(store):
    digests = fill(store, 5)
    store.delete(digests[:1])
    plan = store.plan(live=digests[:3], retired=digests[3:])
    assert plan.missing == (digests[0],)
    with pytest.raises(SweepRefused, match=f"1 live blobs are missing, the first is {digests[0]}"):
        store.apply(plan)
    assert list(store) == digests[1:]
    assert store.apply(plan, force=True).blobs_deleted == 2


@pytest.mark.parametrize("gone", ["first", "last"])
def test_missing_blobs_are_seen_at_both_ends(store, gone):
    digests = fill(store, 5)
    victim = digests[0 if gone == "first" else -1]
    store.delete([victim])
    assert store.plan(live=digests).missing == (victim,)


def test_many_missing_blobs_are_counted_and_some_are_shown(store, monkeypatch):
    monkeypatch.setattr(sweep, "MISSING_SHOWN", 3)
    plan = store.plan(live=digests_of(10))
    assert plan.missing == tuple(digests_of(10)[:3])
    assert plan.missing_count == 10


def test_an_empty_mark_set_refuses_the_sweep(store):
    """An empty or failed listing of references is the classic way to lose everything."""
    digests = fill(store, 1)
    with pytest.raises(SweepRefused, match="nothing is live and nothing was retired"):
        store.apply(store.plan([]))
    assert list(store) == digests
    assert store.apply(store.plan([], retired=digests)).blobs_deleted == 1


def big_store(strays: int, live: int) -> tuple[BlobStore, list[Digest], list[Digest]]:
    store = BlobStore.memory()
    backend = store._backend
    digests = digests_of(strays + live)
    backend.publish(backend.stage((digest, bytes(MIB)) for digest in digests))
    return store, digests[:strays], digests[strays:]


def test_strays_of_more_than_half_of_all_bytes_refuse_the_sweep():
    store, strays, live = big_store(3, 2)
    plan = store.plan(live)
    with pytest.raises(SweepRefused, match="lost their references unexplained"):
        store.apply(plan)
    assert len(list(store)) == 5
    assert store.apply(plan, force=True).blobs_deleted == 3
    assert list(store) == live
    assert strays


def test_strays_of_half_of_all_bytes_are_swept():
    store, _, live = big_store(2, 2)
    assert store.apply(store.plan(live)).blobs_deleted == 2


def test_retired_blobs_may_be_any_share_of_all_bytes():
    store, retired, live = big_store(9, 1)
    assert store.apply(store.plan(live, retired)).blobs_deleted == 9


def test_a_tiny_store_sweeps_what_a_crash_left(store):
    digests = fill(store, 10)
    assert store.apply(store.plan(live=digests[:1])).blobs_deleted == 9


def test_confirm_is_asked_in_chunks_under_the_lock_and_progress_is_told(store, monkeypatch):
    monkeypatch.setattr(sweep, "CHUNK_BLOBS", 4)
    digests = fill(store, 11)
    asked, told = [], []

    def try_lock():
        free = store.lock.acquire(blocking=False)
        if free:
            store.lock.release()
        asked.append(free)

    def confirm(chunk):
        other = threading.Thread(target=try_lock)
        other.start()
        other.join()
        asked.append(tuple(chunk))
        return chunk

    store.apply(store.plan([], digests), confirm, on_progress=lambda done, total: told.append((done, total)))
    assert asked == [False, tuple(digests[:4]), False, tuple(digests[4:8]), False, tuple(digests[8:])]
    assert told == [(4, 11), (8, 11), (11, 11)]
    assert list(store) == []


def test_what_confirm_holds_back_is_spared(store):
    digests = fill(store, 6)
    summary = store.apply(store.plan([], digests), confirm=lambda chunk: {d for d in chunk if d != digests[2]})
    assert (summary.blobs_deleted, summary.blobs_spared) == (5, 1)
    assert list(store) == [digests[2]]


def test_confirm_cannot_add_to_the_plan(store):
    digests = fill(store, 6)
    with pytest.raises(ValueError, match="not asked about"):
        store.apply(store.plan(digests[:3], digests[3:]), confirm=lambda chunk: digests)
    assert list(store) == digests


def test_a_plan_applied_twice_deletes_once(store):
    digests = fill(store, 5)
    plan = store.plan([], digests)
    assert store.apply(plan).blobs_deleted == 5
    again = store.apply(plan)
    assert (again.blobs_deleted, again.bytes_reclaimed, again.blobs_spared) == (0, 0, 5)


class Rows:
    """The caller's database: references that are committed under the lock of the store."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self.names: set[Digest] = set()

    def write(self, body: bytes) -> Digest:
        digest = Digest.of(body)
        with self.store.lock:
            if digest not in self.store:
                self.store.publish(self.store.stage({digest: body}))
            self.names.add(digest)
        return digest

    def confirm(self, chunk):
        return [digest for digest in chunk if digest not in self.names]

    def check(self) -> None:
        assert all(self.store.get(digest) for digest in self.names)


@pytest.mark.parametrize("moment", ["before the plan", "in the listing", "after the plan", "in another chunk", "after"])
def test_a_writer_between_any_two_steps_loses_nothing(store, monkeypatch, moment):
    """The writer finds a blob that the sweep has condemned, and relies on it."""
    monkeypatch.setattr(sweep, "CHUNK_BLOBS", 1)
    rows = Rows(store)
    digests = fill(store, 4)
    bodies = {Digest.of(b"%d" % n): b"%d" % n for n in range(4)}
    victim = bodies[digests[-1]]

    def at(this: str) -> None:
        if moment == this:
            rows.write(victim)

    at("before the plan")
    live = iter(sorted(rows.names))

    def live_rows():
        yield from live
        at("in the listing")

    plan = store.plan(live_rows(), digests)
    at("after the plan")

    def confirm(chunk):
        if chunk[0] == digests[1]:
            at("in another chunk")
        return rows.confirm(chunk)

    store.apply(plan, confirm)
    at("after")
    assert rows.names == {digests[-1]}
    rows.check()
    assert list(store) == [digests[-1]]


def test_a_blob_published_behind_the_listing_is_not_called_missing(store):
    """Listing and live set are read at different times: what seems missing is looked up again."""
    digests = fill(store, 4)
    late = Digest.of(b"late")

    def live():
        yield from sorted([*digests, store.put(b"late")])

    listing = store.list()
    seen = [next(listing)]
    store._backend.list = lambda: (blob for blob in [*seen, *listing] if blob.digest != late)
    assert store.plan(live()).missing == ()


def test_writers_wait_while_confirmed_blobs_are_deleted(store):
    """Forced interleaving: the writer starts between confirm and the deletion."""
    rows = Rows(store)
    (digest,) = fill(store, 1)
    writer = threading.Thread(target=rows.write, args=[b"0"])

    def confirm(chunk):
        confirmed = rows.confirm(chunk)
        writer.start()
        writer.join(0.05)
        assert writer.is_alive(), "the writer must not get in here"
        return confirmed

    store.apply(store.plan([], [digest]), confirm)
    writer.join()
    assert rows.names == {digest}
    rows.check()


def test_writers_and_sweeps_at_full_speed_lose_nothing(store, monkeypatch):
    monkeypatch.setattr(sweep, "CHUNK_BLOBS", 3)
    rows = Rows(store)
    bodies = [b"%d" % n for n in range(12)]
    stop = threading.Event()
    errors: list[BaseException] = []

    def write(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not stop.is_set():
                digest = rows.write(rng.choice(bodies))
                with store.lock:
                    if digest in rows.names:
                        store.get(digest)
                    if rng.random() < 0.7:
                        rows.names.discard(digest)
        except Exception as error:  # whatever it is, the test must tell
            errors.append(error)

    threads = [threading.Thread(target=write, args=[seed]) for seed in range(3)]
    for thread in threads:
        thread.start()
    deleted = sweeps = 0
    while sweeps < 150 or (deleted <= 50 and sweeps < 20_000):  # a busy machine gives writers less of a turn
        with store.lock:
            live = sorted(rows.names)
        deleted += store.apply(store.plan(live), rows.confirm, force=True).blobs_deleted
        sweeps += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert deleted > 50
    rows.check()
