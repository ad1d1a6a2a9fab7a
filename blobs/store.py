"""The store: bodies in, digests out, checked both ways.

The rule of a caller that keeps references: write the blob, then the row; delete the row, then the
blob. A crash leaves garbage, never a dangling reference. And the rule of `lock`: whoever looks up
which blobs are there, publishes the others and commits rows that name them holds it from the
look to the commit. A sweep holds it from its last look at the rows to the deletion. So no sweep
removes a blob that a committed row names, under any interleaving.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from blobs import codec, layout, sweep
from blobs.backends.base import Backend, BlobStat, Deleted, Staged, Usage
from blobs.backends.local import LocalBackend
from blobs.backends.memory import MemoryBackend
from blobs.comparing import compare
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsUnavailable
from blobs.packs import packing, rewriting
from blobs.packs.packing import Packing, PackSummary, small_packs, unpack
from blobs.packs.replaced import Waiting, release, waiting
from blobs.packs.seat import by_pack
from blobs.packs.tier import PackTier
from blobs.packs.window import Arrange
from blobs.reading import read_body
from blobs.slices import CORES, SLICE_ITEMS, in_slices
from blobs.subset import Subset
from blobs.sweep import Confirm, Progress, SweepPlan, SweepSummary
from blobs.tiers import Places, Tiers, measure
from blobs.verify import Finding, salvage, verify

PACKED_FROM_BODIES = 256
"""A batch of so many new bodies becomes a pack at once: making a file for each is what limits a backlog."""
PACKED_FROM_LARGE = 32, 4 * 2**20
"""So does one of so many bodies that together have so many bytes."""


class BlobStore:
    """Bodies by digest, in a directory or in memory; safe to use from several threads.

    One process at a time may write to a directory, with one BlobStore; the caller sees to that.
    """

    lock: threading.RLock
    packing: threading.RLock
    """Held by whoever moves bodies from place to place, or must find them where they are."""

    def __init__(self, path: str | os.PathLike[str], create: bool = True, packs: bool = True) -> None:
        """Open a store; an absent or empty directory becomes one when `create` is set.

        Without `packs` what comes in stays in files of its own; packs that are there are read all the same.
        A directory that is no store raises FormatUnknown; a missing one, or parent, BlobsUnavailable.
        """
        backend = LocalBackend(Path(path), create)
        try:
            self._start(backend, PackTier(Path(path)), packs)
        except BaseException:
            backend.close()
            raise

    @classmethod
    def memory(cls) -> Self:
        """Open a store that lives in this process."""
        return cls.over(MemoryBackend())

    @classmethod
    def over(cls, backend: Backend) -> Self:
        """Open a store over any backend."""
        store = cls.__new__(cls)
        store._start(backend, PackTier(None), packs=False)
        return store

    def _start(self, backend: Backend, tier: PackTier, packs: bool) -> None:
        self._backend = backend
        self._tier = tier
        self._packs_new = packs
        self.lock = threading.RLock()
        self.packing = threading.RLock()

    def __repr__(self) -> str:
        return f"BlobStore({self._backend.where()!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, digest: Digest) -> bool:
        return self.stat(digest) is not None

    def __iter__(self) -> Iterator[Digest]:
        """Yield every digest in ascending order; bodies in packs are read to be named."""
        return (digest for digest, _, _ in self.compare(()))

    def close(self) -> None:
        """Let go of the directory; may be called twice."""
        self._tier.close()
        self._backend.close()

    def put(self, body: bytes) -> Digest:
        """Keep a body; it is durable on return."""
        return self.put_many([body])[0]

    def put_many(self, bodies: Iterable[bytes]) -> Sequence[Digest]:
        """Keep bodies; all are durable on return, or none is promised. Holds the lock.

        What is there already is not written again, but made durable; a blob of the wrong size is
        replaced.
        """
        ordered = list(bodies)
        digests = [Digest.of(body) for body in ordered]
        known: set[Digest] = set()

        def unknown() -> Iterator[tuple[Digest, bytes]]:
            for digest, stored in _encoded(dict(zip(digests, ordered, strict=True))):
                if self._is_packed(digest):
                    continue
                there = self._backend.stat(digest)
                if there is not None and there.stored_bytes == len(stored):
                    known.add(digest)
                else:
                    yield digest, stored

        with self.lock:
            self._publish(self._backend.stage(unknown()), known)
        return digests

    def stage(self, bodies: Mapping[Digest, bytes]) -> Staged:
        """Compress bodies and make them durable, yet invisible; needs no lock. Many of them become a pack.

        Each digest must be that of its body: it is not computed again.
        """
        if self._packs_new and _is_backlog(bodies):
            return packing.stage(self._tier, bodies)
        return self._backend.stage(_encoded(bodies))

    def publish(self, staged: Staged) -> None:
        """Make a staged batch visible; durable on return. On an error stage it anew."""
        with self.lock:
            self._publish(staged, ())

    def discard(self, staged: Staged) -> None:
        """Throw away a staged batch that shall not be published."""
        (self._backend if staged.pack is None else self._tier).discard(staged)

    def get(self, digest: Digest) -> bytes:
        """Return a body, hashed again; BlobNotFound or BlobCorrupt, never wrong bytes. Loose first, then packs."""
        try:
            return read_body(self._backend, digest)
        except (BlobNotFound, BlobCorrupt, BlobsUnavailable) as error:
            failure = error
        try:
            return self._tier.read(digest)
        except BlobNotFound:
            if not isinstance(failure, BlobNotFound):
                raise failure from None
            return read_body(self._backend, digest)  # unpacked between the two looks

    def get_many(self, digests: Iterable[Digest]) -> Iterator[tuple[Digest, bytes | BlobError]]:
        """Yield each body, or why it cannot be had, in the order that decodes every frame once."""
        for digest in sorted(set(digests), key=self._tier.order_of):
            try:
                yield digest, self.get(digest)
            except BlobError as error:
                yield digest, error

    def stat(self, digest: Digest) -> BlobStat | None:
        """Return the sizes of a blob, or None when there is none. A packed one is known by 64 bits of its digest."""
        found = self._backend.stat(digest)
        if found is None and self._tier:
            for seat in self._tier.find(digest):
                return BlobStat(digest, 0, seat.share_bytes, is_packed=True)
        return found

    def list(self) -> Iterator[BlobStat]:
        """Yield every loose blob in ascending order of digests."""
        return self._backend.list()

    def compare(self, digests: Iterable[bytes]) -> Iterator[tuple[Digest, bool, BlobStat | None]]:
        """Hold ascending digests against what is stored: yield each, True and its sizes, or None where it is missing.

        Stored blobs that were not asked for come between them, with False.
        """
        return compare(self._backend, self._tier, digests)

    @property
    def is_partly_unreadable(self) -> bool:
        """Tell whether the disk refused to give a pack when the store was opened: what is in it is not known."""
        return any(isinstance(error, BlobsUnavailable) for error in self._tier.damaged.values())

    def usage(self) -> Usage:
        """Measure the whole store: files, and bytes as `du` counts them."""
        return self._backend.usage()

    def delete(self, digests: Iterable[Digest]) -> Deleted:
        """Remove blobs that the caller knows to be unreferenced; a missing one is no error."""
        chosen = list(digests)
        with self.lock:
            ordered = sorted(chosen, key=self._tier.order_of)
            seats = (seat for d in ordered for seat in rewriting.own_seats(self._tier, d, self._tier.find(d)))
            for pack, ordinals in by_pack(seats).items():
                self._tier.give_up(pack, ordinals)
                self._tier.save(pack)
            return self._backend.delete(chosen)

    def erase(self, digests: Iterable[Digest]) -> Deleted:
        """Remove blobs so that no file holds them any more: packs are written anew without them, at once."""
        chosen = list(digests)
        with self.packing, self.lock:
            deleted = self._backend.delete(chosen)
            return deleted + rewriting.erase(self._tier, chosen, self.lock, lambda d: self._backend.stat(d) is not None)

    def quarantine(self, digest: Digest) -> str:
        """Set a blob aside for a person to look at; return where. BlobNotFound."""
        path = layout.blob_path(digest)
        with self.lock:
            try:
                return self.set_aside(path, self.name_aside(path))
            except FileNotFoundError:
                raise BlobNotFound(digest, self._backend.where()) from None

    def without(self, paths: Collection[str]) -> AbstractContextManager[None]:
        """Find nothing in these packs inside the block: damaged ones, given by the paths of their findings."""
        return self._tier.without(paths)

    def name_aside(self, path: str) -> str:
        """Return the name under which `set_aside` can keep what is at a path."""
        return self._backend.name_aside(path)

    def set_aside(self, path: str, name: str) -> str:
        """Move anything that a finding names into quarantine/, a link as a link; return where it is now."""
        with self.lock:
            place = self._backend.set_aside(path, name)
            self._tier.forget_damaged(path)
            return place

    def erase_aside(self, digests: Collection[bytes]) -> int:
        """Unlink every file in quarantine/ that holds one of these bodies, or is called by its digest."""
        wanted = {Digest(digest) for digest in digests}
        names = tuple(digest.hex() for digest in wanted)
        with self.lock:
            paths = {path for path, _, _ in self.salvage([layout.QUARANTINE], wanted)}
            paths |= {path for path in self._backend.files(layout.QUARANTINE) if _last(path).startswith(names)}
            for path in paths:
                self._backend.erase(path)
        return len(paths)

    def protect(self, path: str) -> None:
        """Give a file that a finding names the mode that it was made with."""
        self._backend.protect(path)

    def salvage(self, paths: Iterable[str], wanted: Collection[Digest]) -> Iterator[tuple[str, Digest, bytes]]:
        """Yield path, digest and body of every file at or below these paths that holds a wanted body.

        Paths as findings name them; `blobs.layout.QUARANTINE` is everything that was set aside.
        """
        return salvage(self._backend, paths, wanted)

    def plan(self, live: Iterable[bytes], retired: Iterable[bytes] = ()) -> SweepPlan:
        """Find what a sweep would delete; both arguments ascending. See `blobs.sweep`."""
        return sweep.plan(self._backend, self._tier, live, retired)

    def apply(
        self,
        sweep_plan: SweepPlan,
        confirm: Confirm | None = None,
        force: bool = False,
        on_progress: Progress | None = None,
        at_once: bool = False,
    ) -> SweepSummary:
        """Sweep by plan, taking the lock for each chunk; SweepRefused unless forced. See `blobs.sweep`.

        The caller holds `packing` since before it made the plan.
        """
        return sweep.apply(self._backend, self._tier, sweep_plan, self.lock, confirm, force, on_progress, at_once)

    def pack(
        self,
        arrange: Arrange,
        digests: Iterable[Digest] | None = None,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        on_progress: Progress | None = None,
    ) -> PackSummary:
        """Move loose blobs, all or these, and the bodies of small packs into large packs. See `blobs.packs.packing`.

        What was replaced stays until `release`. ``arrange`` says what belongs together; what it leaves out stays.
        """
        if not self._tier.is_possible:
            return PackSummary()
        with self.packing:
            job = Packing(self._backend, self._tier, self.lock, arrange, is_stopped, on_progress)
            chosen = (blob.digest for blob in self._backend.list()) if digests is None else digests
            loose = [digest for digest in chosen if not self._tier.has(digest)]
            job.run(loose, small_packs(self._tier, len(loose)))
            return job.done

    def unpack(self, on_progress: Progress | None = None) -> int:
        """Write every packed body into a file of its own and give the packs up; returns how many."""
        with self.packing:
            return unpack(self._backend, self._tier, self.lock, on_progress)

    def release(self, until_s: float, is_stopped: Callable[[], bool] = lambda: False) -> Deleted:
        """Remove what was replaced at this time (seconds since 1970) or before. See `blobs.replaced`."""
        with self.packing:
            return release(self._backend, self._tier, self.lock, until_s, is_stopped)

    def waiting(self) -> Waiting:
        """Count what was replaced and is still there."""
        return waiting(self._backend, self._tier)

    def tiers(self) -> Tiers:
        """Measure loose blobs and packs, each by itself."""
        return measure(self._backend, self._tier)

    def places(self) -> Places:
        """Begin to look up what comes back when bodies go."""
        return Places(self._backend, self._tier)

    def verify(
        self,
        data: bool = False,
        subset: Subset | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Iterator[Finding]:
        """Yield what is not as it should be; with `data` blobs are read through, all or a subset.

        ``on_progress`` gets the number of blobs looked at so far.
        """
        return verify(self._backend, self._tier, data, subset, on_progress)

    def _publish(self, staged: Staged, known: Iterable[Digest]) -> None:
        try:
            if staged.pack is None:
                self._backend.publish(staged, frozenset(known))
            else:
                self._tier.publish(staged)
        except BlobError:
            with suppress(BlobError):  # the first error is the one to tell; what stays is swept
                self.discard(staged)
            raise

    def _is_packed(self, digest: Digest) -> bool:
        try:
            return self._tier.has(digest) and Digest.of(self._tier.read(digest)) == digest
        except BlobError:
            return False


def _is_backlog(bodies: Mapping[Digest, bytes]) -> bool:
    few, size_bytes = PACKED_FROM_LARGE
    return len(bodies) >= PACKED_FROM_BODIES or (
        len(bodies) >= few and sum(map(len, bodies.values())) >= size_bytes
    )


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _encoded(bodies: Mapping[Digest, bytes]) -> Iterator[tuple[Digest, bytes]]:
    # The calling thread writes files meanwhile: on two cores a second compressor made the whole 10 % slower.
    return in_slices(_encode, bodies.items(), SLICE_ITEMS, max(1, CORES - 1))


def _encode(bodies: Sequence[tuple[Digest, bytes]]) -> Sequence[tuple[Digest, bytes]]:
    return [(digest, _encode_checked(digest, body)) for digest, body in bodies]


def _encode_checked(digest: Digest, body: bytes) -> bytes:
    """Compress, and prove that what will be stored gives the body back: 5-8 % of a put."""
    stored = codec.encode(body)
    if codec.decode(stored) != body:
        raise BlobCorrupt("a compressor that gives the body back", "another body", digest)
    return stored
