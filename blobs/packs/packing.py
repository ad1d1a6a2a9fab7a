"""Packing: bodies move out of files of their own, and out of small packs, into large packs.

    1 ask the caller which bodies of small packs, and which loose blobs, belong together: runs, such as
        conversations
    2 read a window of them at a time, each hashed, and put them in order (`window`)
    3 write frames; a pack that is full, or whose next window belongs on another shelf, is synced, read
        back and published
    4 give up the seats in small packs that its bodies left

Nothing is removed: a loose blob with a copy in a pack, and a pack without live bodies, are *replaced*,
and wait for `replaced.release`. So a cut at any point leaves every body where it was, or twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import NamedTuple, TypeAlias

from blobs import codec
from blobs.backends.base import Backend, Staged
from blobs.digest import Digest
from blobs.errors import BlobError, BlobNotFound
from blobs.packs import frame
from blobs.packs.format import key_of
from blobs.packs.pack import Pack
from blobs.packs.seat import Seat, by_frame, by_pack
from blobs.packs.tier import PackTier
from blobs.packs.window import Arrange, Order, Window
from blobs.packs.writer import PackInWriting
from blobs.reading import read_body

PACK_RAW_BYTES = 2**30
PACK_STORED_BYTES = 64 * 2**20
"""A pack is closed at either: one that retention has to rewrite should be copied in a second."""
MOST_PACK_BYTES = 256 * 2**20
"""No pack is larger: one of incompressible bodies is closed by its last frame."""
SMALL_RAW_BYTES = 64 * 2**20
"""Below this a pack is small: it is not closed for the sake of a shelf, and it is packed anew with others."""
SMALL_BODY_BYTES = 4096
"""Smaller ones stand first in their frame: half of all reads then decode a tenth of it, and it shrinks by 1-5 %."""

GROUP_RAW_BYTES = 256 * 2**20
"""Small packs that are sorted together: more, and a conversation is less scattered, but each is read more often."""

Body: TypeAlias = tuple[Digest, bytes]
_Moving: TypeAlias = tuple[int, Body, Sequence[Seat]]
"""The shelf of a body, the body, and the seats that it leaves."""


class _Found(NamedTuple):
    """A body in small packs: its size, and every seat of it."""

    size_bytes: int
    seats: list[Seat]


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
    done: PackSummary = field(default_factory=PackSummary)
    _planned: int = 0

    def run(self, loose: Sequence[Digest], small: Sequence[Pack]) -> None:
        """Pack these loose blobs and the bodies of these packs."""
        self._planned = len(loose) + sum(pack.live_bodies for pack in small)
        wholly_alive = [pack for pack in small if not pack.dead]
        with _Packs(self) as packs:
            for moving in self._in_order(chain(self._packed(small), self._loose(loose))):
                if self.is_stopped():
                    self.done.is_complete = False
                    break
                packs.add(*moving)
            packs.close()
        for pack in wholly_alive:  # what was in it is now in a pack that was just read back
            pack.is_moved = not pack.live_bodies
        self.done.merged_packs += sum(not pack.live_bodies for pack in small)
        if self.done.is_complete:
            for pack in small:
                pack.is_stuck = bool(pack.live_bodies)

    def note(self, bodies: int) -> None:
        """Count bodies that were written, and tell."""
        self.done.bodies += bodies
        if self.on_progress is not None:
            self.on_progress(self.done.bodies, max(self._planned, self.done.bodies))

    def _in_order(self, windows: Iterable[Window]) -> Iterator[_Moving]:
        order = Order()
        for window in windows:
            shelf = window.shelf
            for digest in order.of(window):
                yield shelf, (digest, window.bodies.pop(digest)), window.seats.get(digest, ())

    def _packed(self, small: Sequence[Pack]) -> Iterator[Window]:
        """Read the bodies of small packs twice: to learn what they are, then run by run, wherever they lie."""
        for group in _groups(small):
            found: dict[Digest, _Found] = {}
            for pack in group:
                for number in range(len(pack.seats)):
                    self._locate(pack, number, found)
            window = Window()
            for place, run in enumerate(self.arrange(list(found))):
                for digest in run.digests:
                    window.put(place, run.shelf, digest)
                    window.raw_bytes += found[digest].size_bytes
                    if window.is_full:
                        yield self._filled(window, found)
                        window = Window()
            yield self._filled(window, found)

    def _locate(self, pack: Pack, number: int, found: dict[Digest, _Found]) -> None:
        first = pack.seats[number].first
        try:
            bodies = self.tier.frame_bodies(pack, number)
        except BlobError:
            return  # what is in it stays where it is
        keys = {ordinal: key for key, ordinal in pack.entries() if first <= ordinal < first + len(bodies)}
        for ordinal, body in enumerate(bodies, first):
            digest = Digest.of(body)
            if keys.get(ordinal) == key_of(digest):
                found.setdefault(digest, _Found(len(body), [])).seats.append(Seat(pack, ordinal))

    def _filled(self, window: Window, found: Mapping[Digest, _Found]) -> Window:
        """Read the bodies that were put into a window; what is not what it was stays where it is."""
        wanted = {found[digest].seats[0]: digest for digest in window.digests}
        for (pack, number), seats in by_frame(wanted).items():
            with suppress(BlobError):
                for seat, body in self.tier.bodies(pack, number, seats):
                    if Digest.of(body) == wanted[seat]:
                        window.add(wanted[seat], body, found[wanted[seat]].seats)
        return window

    def _loose(self, digests: Sequence[Digest]) -> Iterator[Window]:
        """Read runs shelf by shelf; within a window they are in the caller's order again."""
        runs = sorted(enumerate(self.arrange(digests)), key=lambda entry: entry[1].shelf)
        window, shelf, shelf_bytes = Window(), 0, 0
        for place, run in runs:
            if run.shelf != shelf and shelf_bytes >= SMALL_RAW_BYTES:
                yield window
                window, shelf_bytes = Window(), 0
            shelf = run.shelf
            for digest in run.digests:
                body = self._read(digest)
                if body is None:
                    continue
                window.add(digest, body)
                window.put(place, run.shelf, digest)
                window.raw_bytes += len(body)
                shelf_bytes += len(body)
                if window.is_full:
                    yield window
                    window = Window()
        yield window

    def _read(self, digest: Digest) -> bytes | None:
        try:
            return read_body(self.backend, digest)
        except BlobNotFound:
            return None  # swept since it was listed
        except BlobError:
            self.done.skipped += 1
            return None


def _is_large(body: Body) -> bool:
    return len(body[1]) >= SMALL_BODY_BYTES


def _groups(packs: Iterable[Pack]) -> Iterator[list[Pack]]:
    group: list[Pack] = []
    for pack in packs:
        group.append(pack)
        if sum(pack.footer.raw_bytes for pack in group) >= GROUP_RAW_BYTES:
            yield group
            group = []
    if group:
        yield group


def small_packs(tier: PackTier, others: int = 0) -> list[Pack]:
    """Return the packs worth packing anew, with so many loose blobs: the small ones, the oldest first.

    A single one is, only if it was made in haste.
    """
    small = [
        pack for pack in tier if pack.live_bodies and pack.footer.raw_bytes < SMALL_RAW_BYTES and not pack.is_stuck
    ]
    is_worth_it = len(small) > 1 or others or any(pack.footer.level < frame.LEVEL for pack in small)
    return small[::-1] if is_worth_it else []


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
            self._writing().add(sorted(self._frame, key=_is_large))
            self._packing.note(len(self._frame))
            self._frame, self._frame_bytes = [], 0

    def _writing(self) -> PackInWriting:
        if self._open is None:
            self._open = self._stack.enter_context(self._tier.writing(frame.LEVEL))
        return self._open
