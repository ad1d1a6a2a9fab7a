"""An error, or the end of the process, at any step of what changes packs loses nothing, and the next run finishes."""

import errno
import os
import shutil
from collections.abc import Mapping

import pytest

from blobs import BlobError, BlobStore, Digest, codec, durable
from blobs.packs import frame, packing

CALLS = ["fsync", "mkdir", "open", "pread", "rename", "rmdir", "unlink", "write"]


class Killed(BaseException):
    """The process is gone: no step after this one is done, not even one that cleans up."""


FAILURES = {
    "kill": Killed,
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
}


class Steps:
    """Counts every step towards the disk, and lets one fail."""

    def __init__(self, patched: pytest.MonkeyPatch, failing: int = 0, failure: str = "EIO") -> None:
        self.done = 0
        self._failing = failing
        self._failure = failure
        for name in CALLS:
            patched.setattr(os, name, self._watched(getattr(os, name)))
        patched.setattr(durable, "sync_filesystem", self._watched(durable.sync_filesystem))

    def _watched(self, real):
        def call(*arguments, **named):
            self.done += 1
            if self.done == self._failing or (self._failure == "kill" and 0 < self._failing < self.done):
                if real.__name__ == "write" and self.done == self._failing:
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise FAILURES[self._failure]()
            return real(*arguments, **named)

        return call


def digests_of(bodies):
    return {Digest.of(body): body for body in bodies}


OLD = digests_of(b"old %d " % n * 20 for n in range(12))
NEW = digests_of(b"new %d " % n * 20 for n in range(5))
LOOSE = digests_of(b"loose %d " % n * 20 for n in range(5))
DEAD = sorted(OLD)[:5]
"""Of five bodies in three frames of four: one frame is wholly dead, another in part."""
ERASED = (DEAD[1], sorted(LOOSE)[0])


def stage_pack(store, bodies, per_frame=4):
    items = list(bodies.items())
    with store._tier.writing(frame.LEVEL) as begun:
        for start in range(0, len(items), per_frame):
            begun.add(items[start : start + per_frame])
        return begun.finish()


def without(bodies, gone):
    return {digest: body for digest, body in bodies.items() if digest not in gone}


def by_digest(bodies):
    return dict(sorted(bodies.items()))


class Case:
    """What is done to a store, and what must be there throughout."""

    live: Mapping[Digest, bytes]


class Publish(Case):
    """The first pack of a store: it goes into FORMAT before."""

    live = LOOSE

    def make(self, store, kit):
        store.put_many(list(LOOSE.values()))

    def do(self, store, kit):
        store.publish(packing.stage(store._tier, NEW))

    def is_done(self, store, kit):
        kit.holds(store, NEW)


class Pack(Case):
    """Loose blobs into a pack, then two small packs into one."""

    live = LOOSE | OLD | NEW

    def make(self, store, kit):
        store.put_many(list(LOOSE.values()))
        store.publish(stage_pack(store, by_digest(OLD)))
        store.publish(stage_pack(store, NEW))

    def do(self, store, kit):
        store.pack(kit.runs)

    def is_done(self, store, kit):
        store.release(kit.LATER_S)
        tiers = store.tiers()
        assert (tiers.loose_blobs, tiers.packed_bodies) == (0, 22)


class Release(Pack):
    """What was replaced goes."""

    def make(self, store, kit):
        super().make(store, kit)
        store.pack(kit.runs)

    def do(self, store, kit):
        store.release(kit.LATER_S)

    def is_done(self, store, kit):
        assert (store.tiers().loose_blobs, store.tiers().packed_bodies, store.waiting().files) == (0, 22, 0)


class Sweep(Pack):
    """A pack is rewritten, another goes as a whole, and a loose blob."""

    live = without(OLD | LOOSE, [*DEAD, *sorted(LOOSE)[:2]])

    def do(self, store, kit):
        with store.packing:
            plan = store.plan(sorted(self.live), sorted([*DEAD, *NEW, *sorted(LOOSE)[:2]]))
            store.apply(plan, at_once=self.at_once)

    def is_done(self, store, kit):
        store.release(kit.LATER_S)
        assert list(store) == sorted(self.live)
        assert len(kit.files(".pack")) == 1

    at_once = False


class SweepAtOnce(Sweep):
    """And nothing waits."""

    at_once = True


class Delete(Sweep):
    """Bodies are given up by name."""

    def do(self, store, kit):
        store.delete([*DEAD, *NEW, *sorted(LOOSE)[:2]])

    def is_done(self, store, kit):
        assert list(store) == sorted(self.live)


class Unpack(Pack):
    """Every packed body into a file of its own."""

    live = NEW | dict(list(LOOSE.items())[:2])

    def make(self, store, kit):
        store.publish(stage_pack(store, NEW))
        store.publish(stage_pack(store, dict(list(LOOSE.items())[:2])))

    def do(self, store, kit):
        store.unpack()

    def is_done(self, store, kit):
        store.release(kit.LATER_S)
        assert (store.tiers().loose_blobs, kit.files()) == (7, [])


class Erase(Pack):
    """A body leaves a pack and its own file."""

    live = without(Pack.live, ERASED)

    def make(self, store, kit):
        super().make(store, kit)
        store._backend.publish(store._backend.stage([(DEAD[1], codec.encode(OLD[DEAD[1]]))]))

    def do(self, store, kit):
        store.erase(ERASED)

    def is_done(self, store, kit):
        assert not any(digest in store for digest in ERASED)
        for pack in store._tier:
            for number in range(len(pack.seats)):
                assert OLD[ERASED[0]] not in store._tier.frame_bodies(pack, number)


@pytest.fixture
def made(tmp_path, kit):
    """`made(case)` makes the store of a case, and copies it as often as it is called."""

    def again(case):
        template = tmp_path / "template"
        if not template.exists():
            with BlobStore(template) as store:
                case.make(store, kit)
        shutil.rmtree(kit.root, ignore_errors=True)
        shutil.copytree(template, kit.root, copy_function=shutil.copy2)
        return BlobStore(kit.root, create=False)

    return again


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("case", [Publish, Pack, Release, Sweep, SweepAtOnce, Delete, Unpack, Erase])
def test_a_failure_at_any_step_loses_nothing_and_the_next_run_finishes(case, failure, made, kit, monkeypatch):
    case = case()
    with made(case) as store, monkeypatch.context() as patched:
        steps = Steps(patched)
        case.do(store, kit)
    assert steps.done > 5
    failed = 0
    for step in range(1, steps.done + 1):
        store = made(case)
        with monkeypatch.context() as patched:
            Steps(patched, step, failure)
            try:
                case.do(store, kit)
            except (BlobError, Killed):
                failed += 1
        if failure == "kill":
            store.close()
            store = BlobStore(kit.root, create=False)
        with store:
            kit.holds(store, case.live)
            assert kit.harmful(store) == [], step
            unfinished = [path for path in kit.leftovers() if ".dead" not in path.name]
            assert failure == "kill" or unfinished == [], step
            case.do(store, kit)
            case.is_done(store, kit)
            kit.holds(store, case.live)
            assert kit.harmful(store) == [], step
        with BlobStore(kit.root, create=False) as again:
            kit.holds(again, case.live)
            again.apply(again.plan(sorted(again)))
            assert list(again.verify(data=True)) == [], step
            assert kit.leftovers() == []
    assert failed > steps.done // 3
