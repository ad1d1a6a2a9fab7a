"""Any sequence of operations gives what a dict would give."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from blobs import BlobNotFound, BlobStore, Digest, durable, layout

BODIES = some.one_of(some.binary(max_size=40), some.sampled_from([b"", b"a", b"b" * 5000, bytes(range(256)) * 9]))


class StoreMachine(RuleBasedStateMachine):
    """A store in a directory beside a dict; reopening and other hands are operations like any other."""

    @initialize(syncfs=some.booleans())
    def start(self, syncfs: bool) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "blobs"
        self.model: dict[Digest, bytes] = {}
        self.staged = []
        self.syncfs = durable._syncfs
        if not syncfs:
            durable._syncfs = None
        self.store = BlobStore(self.root)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            durable._syncfs = self.syncfs
            self.store.close()
            shutil.rmtree(self.home)

    @rule(bodies=some.lists(BODIES, max_size=8))
    def put(self, bodies) -> None:
        assert self.store.put_many(bodies) == [Digest.of(body) for body in bodies]
        self.model.update((Digest.of(body), body) for body in bodies)

    @rule(bodies=some.lists(BODIES, max_size=8))
    def stage(self, bodies) -> None:
        batch = {Digest.of(body): body for body in bodies}
        self.staged.append((self.store.stage(batch), batch))

    @rule()
    def publish(self) -> None:
        if self.staged:
            staged, batch = self.staged.pop()
            self.store.publish(staged)
            self.model.update(batch)

    @rule()
    def discard(self) -> None:
        if self.staged:
            self.store.discard(self.staged.pop()[0])

    @rule(data=some.data())
    def delete(self, data) -> None:
        victims = self.some_of(data)
        assert self.store.delete(victims).blobs == len(victims)
        for digest in victims:
            del self.model[digest]

    @rule(data=some.data())
    def sweep(self, data) -> None:
        retired = set(self.some_of(data))
        plan = self.store.plan(sorted(self.model.keys() - retired), sorted(retired))
        assert (plan.dead_count, plan.stray_count, plan.missing_count) == (len(retired), 0, 0)
        assert self.store.apply(plan).blobs_deleted == len(retired)
        for digest in retired:
            del self.model[digest]

    @rule(data=some.data())
    def quarantine(self, data) -> None:
        for digest in self.some_of(data)[:1]:
            self.store.quarantine(digest)
            del self.model[digest]

    @rule(data=some.data())
    def lose_a_file_to_another_hand(self, data) -> None:
        for digest in self.some_of(data)[:1]:
            (self.root / layout.blob_path(digest)).unlink()
            assert self.store.plan(sorted(self.model)).missing == (digest,)
            self.store.put(self.model[digest])

    @rule()
    def reopen(self) -> None:
        """Close without discarding, as a crash does: what was staged is then swept."""
        self.store.close()
        self.store = BlobStore(self.root, create=False)
        crashed = sum(bool(batch) for _, batch in self.staged)
        self.staged.clear()
        summary = self.store.apply(self.store.plan(sorted(self.model)))
        assert bool(summary.leftovers_deleted) == bool(crashed)
        assert list((self.root / layout.STAGE).glob("*")) == []

    @invariant()
    def the_store_is_the_dict(self) -> None:
        if not hasattr(self, "store"):
            return
        assert list(self.store) == sorted(self.model)
        for digest, body in self.model.items():
            assert self.store.get(digest) == body
            assert digest in self.store
        absent = Digest.of(b"never put, for it is longer than any small body")
        assert self.store.stat(absent) is None
        try:
            self.store.get(absent)
        except BlobNotFound:
            pass
        else:
            raise AssertionError("found what was never put")

    def some_of(self, data) -> list[Digest]:
        if not self.model:
            return []
        return data.draw(some.lists(some.sampled_from(sorted(self.model)), unique=True, max_size=5))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
