"""Packing: bodies move out of files of their own, and out of small packs, into large packs.

    loose    1 ask the caller which of the loose blobs belong together: runs, such as conversations
             2 read run after run, each body hashed; write frames; a pack that is full, or whose next
               run belongs on another shelf, is synced and published
    small    3 take the bodies of small packs, so many at once as memory allows, arrange and write
               them likewise; what was moved is given up where it was

Nothing is removed: a loose blob with a copy in a pack, and a pack without live bodies, are *replaced*,
and wait for `replaced.release`. So a cut at any point leaves every body where it was, or twice.

Order decides the ratio. Runs are put beside those that begin alike; within a run the caller gives
the fullest body first, of which the others are parts. On four corpora this gains 3-24 % over the order
of names, and 8 % over that of time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import NamedTuple, TypeAlias

from blobs import codec
from blobs.backends.base import Backend, Staged
from blobs.digest import Digest
from blobs.errors import BlobError, BlobNotFound
from blobs.packs import frame
from blobs.packs.format import key_of
from blobs.packs.pack import Pack
from blobs.packs.tier import PackTier, Seat, by_pack
from blobs.packs.writer import PackInWriting
from blobs.reading import read_body

PACK_RAW_BYTES = 2**30
PACK_STORED_BYTES = 64 * 2**20
"""A pack is closed at either: one that retention has to rewrite should be copied in a second."""
MOST_PACK_BYTES = 256 * 2**20
"""No pack is larger: one of incompressible bodies is closed by its last frame."""
SMALL_RAW_BYTES = 64 * 2**20
"""Below this a pack is small: it is not closed for the sake of a shelf, and it is packed anew with others."""
WINDOW_RAW_BYTES = 64 * 2**20
"""Bodies of small packs that are in memory at once."""
_ALIKE_BYTES = 4096
_ALIKE_RUNS = 4096


class Run(NamedTuple):
    """Bodies that are alike, the fullest first; those of one shelf will leave at about the same time."""

    shelf: int
    digests: Sequence[Digest]


Arrange: TypeAlias = Callable[[Sequence[Digest]], Iterable[Run]]
"""Gets digests in any order, returns those worth keeping in runs; shelf by shelf."""
Body: TypeAlias = tuple[Digest, bytes]
_Moving: TypeAlias = tuple[int, Body, Sequence[Seat]]
"""The shelf of a body, the body, and the seats that it leaves."""


@dataclass(slots=True)
class PackSummary:
    """What packing did."""

    bodies: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    """Bytes of the packs written."""
    packs: int = 0
    merged_packs: int = 0
    """Small packs whose bodies moved."""
    skipped: int = 0
    """Loose blobs that could not be read: they stay, for verify to tell why."""
    is_complete: bool = True
    """False when it was told to stop."""


def stage(tier: PackTier, bodies: Mapping[Digest, bytes]) -> Staged:
    """Make many bodies on their way in one pack: durable, yet invisible."""
    with tier.writing(frame.FAST_LEVEL) as begun:
        some: list[Body] = []
        some_bytes = 0
        for body in bodies.items():
            some.append(body)
            some_bytes += len(body[1])
            if some_bytes >= frame.RAW_BYTES:
                begun.add(some)
                some, some_bytes = [], 0
        if some:
            begun.add(some)
        return begun.finish()


@dataclass
class Packing:
    """One run of packing over one store."""

    backend: Backend
    tier: PackTier
    lock: AbstractContextManager[object]
    arrange: Arrange
    is_stopped: Callable[[], bool] = lambda: False
    on_progress: Callable[[int, int], None] | None = None
    """Gets bodies done, and bodies there are to do."""
    level: int = frame.LEVEL
    done: PackSummary = field(default_factory=PackSummary)
    _planned: int = 0

    def pack_loose(self, digests: Sequence[Digest]) -> None:
        """Do steps 1 and 2 with these loose blobs."""
        self._planned += len(digests)
        self._write(self._loose(self._beside_alike(self.arrange(digests))))

    def merge(self, small: Sequence[Pack]) -> None:
        """Do step 3 with these packs, each of which is given up as far as its bodies moved."""
        self._planned += sum(pack.live_bodies for pack in small)
        wholly_alive = [pack for pack in small if not pack.dead]
        self._write(self._packed(small))
        for pack in wholly_alive:  # what was in it is now in a pack that was just read back
            pack.is_settled = not pack.live_bodies
        self.done.merged_packs += sum(not pack.live_bodies for pack in small)
        if self.done.is_complete:
            for pack in small:
                pack.is_stuck = bool(pack.live_bodies)

    def _write(self, moving: Iterable[_Moving]) -> None:
        with _Packs(self) as packs:
            for shelf, body, seat in moving:
                if self.is_stopped():
                    self.done.is_complete = False
                    break
                packs.add(shelf, body, seat)
            packs.close()

    def note(self, bodies: int) -> None:
        """Count bodies that were written, and tell."""
        self.done.bodies += bodies
        if self.on_progress is not None:
            self.on_progress(self.done.bodies, max(self._planned, self.done.bodies))

    def _beside_alike(self, runs: Iterable[Run]) -> Iterator[Run]:
        source = iter(runs)
        while some := list(islice(source, _ALIKE_RUNS)):
            yield from _by_opening(some, self._opening_of)

    def _opening_of(self, digest: Digest) -> bytes:
        try:
            return read_body(self.backend, digest)
        except BlobError:
            return b""

    def _loose(self, runs: Iterable[Run]) -> Iterator[_Moving]:
        for run in runs:
            for digest in run.digests:
                try:
                    yield run.shelf, (digest, read_body(self.backend, digest)), ()
                except BlobNotFound:
                    continue  # swept since it was listed
                except BlobError:
                    self.done.skipped += 1

    def _packed(self, small: Sequence[Pack]) -> Iterator[_Moving]:
        """Read the bodies of small packs, a window at a time."""
        for window in _windows(small):
            bodies: dict[Digest, bytes] = {}
            seats: dict[Digest, list[Seat]] = defaultdict(list)
            for pack, number in window:
                self._decode(pack, number, bodies, seats)
            for run in _by_opening(self.arrange(list(bodies)), bodies.__getitem__):
                for digest in run.digests:
                    yield run.shelf, (digest, bodies.pop(digest)), seats[digest]

    def _decode(self, pack: Pack, number: int, bodies: dict[Digest, bytes], seats: dict[Digest, list[Seat]]) -> None:
        first = pack.seats[number].first
        try:
            found = self.tier.frame_bodies(pack, number)
        except BlobError:
            return  # what is in it stays where it is
        keys = {ordinal: key for key, ordinal in pack.entries() if first <= ordinal < first + len(found)}
        for ordinal, body in enumerate(found, first):
            digest = Digest.of(body)
            if keys.get(ordinal) == key_of(digest):
                bodies[digest] = body
                seats[digest].append(Seat(pack, ordinal))


def small_packs(tier: PackTier) -> list[Pack]:
    """Return the packs worth packing anew, the oldest first: small ones, or the only one if it was made in haste."""
    small = [
        pack for pack in tier if pack.live_bodies and pack.footer.raw_bytes < SMALL_RAW_BYTES and not pack.is_stuck
    ]
    return small[::-1] if len(small) > 1 or any(pack.footer.level < frame.LEVEL for pack in small) else []


def unpack(
    backend: Backend,
    tier: PackTier,
    lock: AbstractContextManager[object],
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write every live packed body into a file of its own, then give its pack up."""
    planned = sum(pack.live_bodies for pack in tier)
    done = 0
    for pack in list(tier):
        tier.require_whole_index(pack)
        for number, seat in enumerate(pack.seats):
            found = tier.frame_bodies(pack, number)
            bodies = {Digest.of(b): b for o, b in enumerate(found, seat.first) if o not in pack.dead}
            staged = backend.stage((digest, codec.encode(body)) for digest, body in bodies.items())
            with lock:
                backend.publish(staged)
            done += len(bodies)
            if on_progress is not None:
                on_progress(done, planned)
        with lock:
            tier.give_up(pack, range(pack.footer.bodies))
        tier.save(pack)
    return done


class _Packs:
    """Packs being written one after another."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._tier = packing.tier
        self._stack = ExitStack()
        self._open: PackInWriting | None = None
        self._shelf = 0
        self._frame: list[Body] = []
        self._frame_bytes = 0
        self._moved: list[Seat] = []

    def __enter__(self) -> "_Packs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, shelf: int, body: Body, moved: Sequence[Seat]) -> None:
        """Add a body; another shelf begins another pack, if the one being written is large enough."""
        if shelf != self._shelf and self._raw_bytes >= SMALL_RAW_BYTES:
            self.close()
        self._shelf = shelf
        self._frame.append(body)
        self._frame_bytes += len(body[1])
        self._moved += moved
        many = len(self._frame) >= frame.FEWEST_BODIES
        if self._frame_bytes >= (frame.RAW_BYTES if many else frame.MOST_RAW_BYTES):
            self._write_frame()
            writer = self._writing().writer
            if writer.raw_bytes >= PACK_RAW_BYTES or writer.size_bytes >= PACK_STORED_BYTES:
                self.close()

    def close(self) -> None:
        """Publish what was written, and give up the seats that it replaces."""
        self._write_frame()
        if self._open is None:
            return
        raw_bytes = self._open.writer.raw_bytes
        staged = self._open.finish()
        self._stack.close()
        self._open = None
        with self._packing.lock:
            published = self._tier.publish(staged)
            left = by_pack(self._moved)
            for pack, ordinals in left.items():
                self._tier.give_up(pack, ordinals)
        for pack in left:
            self._tier.save(pack)
        self._moved = []
        done = self._packing.done
        done.packs += 1
        done.raw_bytes += raw_bytes
        done.stored_bytes += published.allocated_bytes

    @property
    def _raw_bytes(self) -> int:
        return self._frame_bytes + (self._open.writer.raw_bytes if self._open else 0)

    def _write_frame(self) -> None:
        if self._frame:
            self._writing().add(self._frame)
            self._packing.note(len(self._frame))
            self._frame, self._frame_bytes = [], 0

    def _writing(self) -> PackInWriting:
        if self._open is None:
            self._open = self._stack.enter_context(self._tier.writing(self._packing.level))
        return self._open


def _by_opening(runs: Iterable[Run], body_of: Callable[[Digest], bytes]) -> list[Run]:
    """Sort the runs of each shelf by what their fullest bodies begin with; the order of equal ones stays."""
    filled = [run for run in runs if run.digests]
    return sorted(filled, key=lambda run: (run.shelf, body_of(run.digests[0])[:_ALIKE_BYTES]))


def _windows(packs: Iterable[Pack]) -> Iterator[list[tuple[Pack, int]]]:
    window: list[tuple[Pack, int]] = []
    window_bytes = 0
    for pack in packs:
        for number, seat in enumerate(pack.seats):
            if window and window_bytes + seat.raw_bytes > WINDOW_RAW_BYTES:
                yield window
                window, window_bytes = [], 0
            window.append((pack, number))
            window_bytes += seat.raw_bytes
    if window:
        yield window
