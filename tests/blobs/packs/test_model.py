"""Any sequence of what is done to loose blobs and packs gives what a dict would give."""

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from blobs import BlobNotFound, BlobStore, Digest, Run, durable, layout
from blobs.packs import frame, packing

LATER_S = 4_000_000_000.0
SEED = random.Random(4).randbytes(700)
BODIES = some.builds(lambda start, end: SEED[start : start + end], some.integers(0, 40), some.integers(0, 600))
LISTS = some.lists(BODIES, max_size=8)


class PackMachine(RuleBasedStateMachine):
    """A store in a directory beside a dict of what must be there."""

    @initialize(frame_bytes=some.sampled_from([1, 500, 2**24]))
    def start(self, frame_bytes) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "blobs"
        self.model: dict[Digest, bytes] = {}
        self.staged = []
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(durable, "sync_filesystem", lambda fd: None)
        self.patched.setattr(durable, "sync_file", lambda fd: None)
        self.patched.setattr(durable, "sync_directory", lambda fd: None)
        self.patched.setattr(frame, "RAW_BYTES", frame_bytes)
        self.patched.setattr(frame, "FEWEST_BODIES", 3)
        self.store = BlobStore(self.root)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.patched.undo()
            self.store.close()
            shutil.rmtree(self.home)

    @rule(bodies=LISTS)
    def put(self, bodies) -> None:
        self.store.put_many(bodies)
        self.model.update((Digest.of(body), body) for body in bodies)

    @rule(bodies=LISTS.filter(bool))
    def stage(self, bodies) -> None:
        batch = {Digest.of(body): body for body in bodies}
        self.staged.append((packing.stage(self.store._tier, batch), batch))

    @rule()
    def publish(self) -> None:
        if self.staged:
            staged, batch = self.staged.pop()
            self.store.publish(staged)
            self.model.update(batch)

    @rule(data=some.data(), stop_after=some.integers(0, 30))
    def pack(self, data, stop_after) -> None:
        left_out = set(self.some_of(data))
        asked = iter(range(1000))

        def arrange(digests):
            return [Run(digest[0] % 2, [digest]) for digest in sorted(digests) if digest not in left_out]

        self.store.pack(arrange, is_stopped=lambda: next(asked) >= stop_after)

    @rule()
    def release(self) -> None:
        self.store.release(LATER_S)

    @rule(data=some.data(), at_once=some.booleans())
    def sweep(self, data, at_once) -> None:
        retired = set(self.some_of(data))
        live = sorted(self.model.keys() - retired)
        with self.store.packing:
            plan = self.store.plan(live, sorted(retired))
            assert (plan.missing_count, plan.stray_count) == (0, 0)
            assert set(plan.dead) == retired
            assert self.store.apply(plan, at_once=at_once).blobs_deleted == len(retired)
        self.forget(retired)

    @rule(data=some.data())
    def delete(self, data) -> None:
        victims = self.some_of(data)
        self.store.delete(victims)
        self.forget(victims)

    @rule(data=some.data())
    def erase(self, data) -> None:
        victims = self.some_of(data)
        self.store.erase(victims)
        self.forget(victims)
        for digest in victims:
            try:
                self.store.get(digest)
            except BlobNotFound:
                continue
            raise AssertionError("read what was erased")
        # What was dead beside it, and is nowhere else, is found again: a sweep knows that nothing names it.
        self.store.apply(self.store.plan(sorted(self.model)), force=True)

    @rule()
    def unpack(self) -> None:
        self.store.unpack()

    @rule()
    def reopen(self) -> None:
        """Close without discarding, as a crash does: what was staged is then swept."""
        self.store.close()
        self.store = BlobStore(self.root, create=False)
        self.staged.clear()

    @invariant()
    def the_store_is_the_dict(self) -> None:
        if not hasattr(self, "store"):
            return
        assert list(self.store) == sorted(self.model)
        assert dict(self.store.get_many(self.model)) == self.model
        assert all(digest in self.store for digest in self.model)
        assert [finding for finding in self.store.verify(data=True) if not finding.harmless] == []
        requires = layout.check_format((self.root / layout.FORMAT).read_bytes())
        assert requires == (layout.PACKS_REQUIRED,) or not list(self.root.glob("packs/*.pack"))

    def forget(self, digests) -> None:
        for digest in digests:
            del self.model[digest]

    def some_of(self, data) -> list[Digest]:
        if not self.model:
            return []
        return data.draw(some.lists(some.sampled_from(sorted(self.model)), unique=True, max_size=6))


TestPacks = PackMachine.TestCase
TestPacks.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
