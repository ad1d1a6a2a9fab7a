"""Damaged packs: verify finds each one, no wrong byte is read, and repair mends it or says what is lost.

A round copies a store of small packs, damages about half of their files while it is closed, opens it, verifies,
reads every body and, in some rounds, repairs it: without help, then with the whole store for a donor, after
which it must be as it was, and stay so when it is swept and packed. Notes of the dead and FORMAT are damaged,
too: the first mean nothing without their checksum, by the second a store is refused or read as it is.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from blobs import Digest
from blobs.packs import format as pack_format
from tests.faults import workload
from tests.faults.damages import DAMAGES, body
from tests.faults.report import Report
from tracestore import RetentionPolicy, StoreBroken, TraceStore, TraceStoreError

SIZES = (0, 1, 7, 40, 300, 900, 3_000, 3_000, 6_000)
BATCHES, BODIES = 24, 12
REPAIRED = 4
"""Every so-manieth round is repaired."""
OLD_MS, NEW_MS = workload.BASE_MS - 8 * workload.DAY_MS, workload.BASE_MS


def run(count: int, rng: random.Random, home: Path, report: Report) -> None:
    """Do at least so many damages and add them to a report."""
    whole = home / "whole"
    bodies = make_store(whole, rng)
    wanted = report.tries + count
    while report.tries < wanted and not report.violations:
        number = report.notes["rounds of packs"]
        with workload.scaled_down(packed_from=BODIES):
            damaged = Damaged(whole, home / "damaged", bodies, rng)
            report.tries += damaged.damage()
            found = list(damaged.examine(repairs=number % REPAIRED == 0))
        report.violations += [f"round {number} of packs: {wrong}" for wrong in found]
        report.notes["rounds of packs"] += 1
        if not found:
            shutil.rmtree(home / "damaged")


def make_store(path: Path, rng: random.Random) -> dict[Digest, bytes]:
    """Make a store of packs of which some hold dead bodies; return the bodies that live."""
    living: dict[Digest, bytes] = {}
    with workload.scaled_down(packed_from=BODIES), TraceStore(path, now_ns=now_ns) as store:
        for _ in range(BATCHES):
            contents = list({body(rng, rng.choice(SIZES)) for _ in range(2 * BODIES)} - set(living.values()))
            dying = contents[: len(contents) // 8]
            store.insert_records(
                {"kind": "log", "timestamp": OLD_MS if content in dying else NEW_MS, "extensionId": "app",
                 "level": "info", "msg": "", "body": content.decode()}
                for content in contents
            )  # fmt: skip
            store.stats()  # a batch for itself, and so a pack
            living |= {Digest.of(content): content for content in contents if content not in dying}
        store.prune(RetentionPolicy(max_age="7d"))
        assert store.verify(data=True).is_clean
    assert len(list((path / "blobs" / "packs").glob("*.dead"))) > BATCHES // 2
    return living


def now_ns() -> int:
    """Return the store's time."""
    return workload.BASE_MS * workload.NS_PER_MS


def mix_ordinals(whole: bytes) -> bytes:
    """Let the index of a pack say of each body that it is where the next one is."""
    footer = pack_format.decode_footer(whole[-pack_format.FOOTER_BYTES :], len(whole), "a pack")
    start, end = footer.index_start + pack_format.KEY_BYTES * footer.bodies, len(whole) - pack_format.FOOTER_BYTES
    return whole[:start] + whole[start + 4 : end] + whole[start : start + 4] + whole[end:]


class Damaged:
    """A copy of a store, and what was done to its files."""

    def __init__(self, whole: Path, path: Path, bodies: dict[Digest, bytes], rng: random.Random) -> None:
        shutil.copytree(whole, path)
        self.whole, self.path, self.bodies, self.rng = whole, path, bodies, rng
        self.packs = sorted((path / "blobs" / "packs").glob("*.pack"))
        self.done: dict[str, str] = {}
        """Name of a pack to what was done to it."""
        self.notes_done = 0
        self.wrong: list[str] = []

    def damage(self) -> int:
        """Damage files; returns how many."""
        victims = self.rng.sample(self.packs, len(self.packs) // 2)
        while victims:
            self._damage(victims.pop(), victims)
        for note in sorted((self.path / "blobs" / "packs").glob("*.dead")):
            if self.rng.random() < 0.3:
                self.notes_done += self._write(note, DAMAGES[self.rng.choice([*DAMAGES])](self.rng, note.read_bytes()))
        return len(self.done) + self.notes_done

    def _damage(self, pack: Path, others: list[Path]) -> None:
        kind = self.rng.choice([*DAMAGES, *DAMAGES, "swap", "missing", "another pack", "mixed ordinals"])
        if kind == "missing":
            pack.unlink()
        elif kind == "swap" and others:
            other = others.pop()
            content = other.read_bytes()
            self._write(other, pack.read_bytes())
            self._write(pack, content)
            self.done[other.name] = kind
        elif kind in ("swap", "another pack"):
            others = [other for other in self.packs if other != pack and other.exists()]
            self._write(pack, self.rng.choice(others).read_bytes())
        elif kind == "mixed ordinals":
            self._write(pack, mix_ordinals(pack.read_bytes()))
        elif not self._write(pack, DAMAGES[kind](self.rng, pack.read_bytes())):
            return
        self.done[pack.name] = kind

    def examine(self, *, repairs: bool) -> Iterator[str]:
        """Yield what is wrong with how the damage is met."""
        if self.rng.random() < 0.2:
            yield from self._examine_format()
        with TraceStore(self.path, now_ns=now_ns) as store:
            accused = {one.path or one.subject: one for one in store.verify(data=True).findings if not one.harmless}
            for name, done in self.done.items():
                if done != "missing" and not any(name in subject for subject in accused):
                    yield f"not found: {done} at {name}"
            for subject, finding in accused.items():
                if subject.endswith(".pack") and Path(subject).name not in self.done:
                    yield f"accused without a reason: {finding}"
            unread = {digest for digest in self.bodies if not self._is_read(store, digest)}
            if unread and not self.done:
                yield f"{len(unread)} whole bodies cannot be read"
            yield from self._of_whole_packs(unread)
            if repairs:
                yield from self._repair(store)
        yield from self.wrong

    def _is_read(self, store: TraceStore, digest: Digest) -> bool:
        """Tell whether a body is had; wrong bytes are a violation."""
        try:
            found = store.get_body(str(digest))
        except StoreBroken:
            return False
        if found not in (self.bodies[digest], None):
            self.wrong.append(f"wrong bytes for {digest}")
        return found is not None

    def _of_whole_packs(self, unread: set[Digest]) -> Iterator[str]:
        """Every body of a pack that nobody touched must be had; which those are a store of these packs alone tells."""
        with TraceStore(self.whole, now_ns=now_ns) as store:
            tier = store._blobs._tier
            for digest in unread:
                if not any(Path(seat.pack.path).name in self.done for seat in tier.find(digest)):
                    yield f"a whole body cannot be read: {digest}"

    def _repair(self, store: TraceStore) -> Iterator[str]:
        store.repair(apply=True)
        left = [one for one in store.verify(data=True).findings if not one.harmless]
        yield from (f"after a repair without a donor: {one}" for one in left)
        lost = {digest for digest in self.bodies if not self._is_read(store, digest)}
        states = dict(store.sql("SELECT digest, state FROM bodies").rows)
        kept = [digest for digest in lost if states[str(digest)] != "lost"]
        yield from (f"{states[str(digest)]}, and not there: {digest}" for digest in kept)
        store.repair(apply=True, donor=self.whole)
        for when in ("after a repair with a donor", "after packing"):
            yield from (f"{when}: {one}" for one in store.verify(data=True).findings if not one.harmless)
            for digest in self.bodies:
                if not self._is_read(store, digest):
                    yield f"{when}: not there: {digest}"
            store.prune(RetentionPolicy(max_age="3000d"))
            store.pack(grace_ms=workload.AT_ONCE_MS)

    def _examine_format(self) -> Iterator[str]:
        file = self.path / "blobs" / "FORMAT"
        whole = file.read_bytes()
        self.notes_done += self._write(file, DAMAGES[self.rng.choice([*DAMAGES])](self.rng, whole))
        try:
            TraceStore(self.path, now_ns=now_ns).close()
        except TraceStoreError:
            pass
        except Exception as error:
            yield f"FORMAT {file.read_bytes()!r}: an error that is not ours: {error!r}"
        self._write(file, whole)

    def _write(self, path: Path, content: bytes) -> int:
        """Put other bytes into a file; tells how many files are other than before."""
        if path.exists() and path.read_bytes() == content:
            return 0
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(0o400)
        return 1
