"""What a follower knows of one segment, and which segments it holds open.

An open handle keeps a file readable after its name is gone, so the handles are worth having; a
directory may hold ten thousand segments, so they are counted.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from tracestore.errors import StoreUnavailable
from tracestore.journal import notices
from tracestore.journal.notices import Notice
from tracestore.journal.position import Position
from tracestore.journal.scan import Found
from tracestore.journal.segment import Segment


@dataclass(slots=True)
class Followed:
    """One segment: its committed position, its file at the last look, its handle."""

    position: Position
    path: str
    identity: tuple[int, int]
    seen: Found | None = None
    """The file at the last poll; None until it was found in this run."""
    segment: Segment | None = None
    named: bool = True
    """Whether the last scan found the file; without a name it lives from its open handle."""
    settled: tuple[int, int, int] | None = None
    """The file's state at which a quiet file held nothing but a torn line."""
    idle_polls: int = 0
    """Polls in a row that found nothing new in a file without a name."""

    @property
    def unread_bytes(self) -> int:
        """Bytes behind the position at the last poll."""
        return self.seen.size_bytes - self.position.offset if self.seen else 0

    @property
    def is_waiting_to_be_read(self) -> bool:
        """Whether there is something behind the position that a read has not found to be torn."""
        return self.seen is not None and self.unread_bytes > 0 and self.settled != self.seen.state

    @property
    def read_order(self) -> tuple[bool, tuple[int, int, str]]:
        """Sort key: what only lives from its open handle, then oldest first."""
        return self.named, self.seen.age_order if self.seen else (0, 0, self.path)


class OpenFiles:
    """The handles of the followed segments, at most ``max_open`` between two polls."""

    __slots__ = ("_by_id", "_max_open", "_say", "_unreadable")

    def __init__(self, max_open: int, say: Callable[[Notice], None]) -> None:
        self._max_open = max_open
        self._say = say
        self._by_id: dict[int, Followed] = {}
        self._unreadable: set[str] = set()

    def open(self, file: Found) -> Segment | None:
        """Open a file as the scan saw it; None when it has moved since, or is unreadable among others."""
        try:
            segment = Segment.open(file.path)
        except StoreUnavailable as error:
            if error.errno == errno.ENOENT:
                return None  # renamed since the scan; the next one finds it under its new name
            if error.errno not in (errno.EACCES, errno.EPERM) or not file.is_one_of_many:
                raise
            if file.path not in self._unreadable:
                self._unreadable.add(file.path)
                self._say(notices.unreadable(file.path, str(error)))
            return None
        self._unreadable.discard(file.path)
        if segment.identity != file.identity:
            segment.close()
            return None
        return segment

    def keep(self, followed: Followed, segment: Segment) -> None:
        """Let a followed segment own its handle."""
        followed.segment = segment
        self._by_id[followed.position.segment_id] = followed

    def opened(self, followed: Followed) -> Segment | None:
        """Return the handle of a followed segment, opened now if need be; None when it cannot be had."""
        if followed.segment is None and followed.seen is not None:
            segment = self.open(followed.seen)
            if segment is not None:
                self.keep(followed, segment)
        return followed.segment

    def close(self, followed: Followed) -> None:
        """Let a handle go; nothing happens when there is none."""
        if followed.segment:
            followed.segment.close()
            followed.segment = None
            del self._by_id[followed.position.segment_id]

    def close_surplus(self, followed: Followed) -> None:
        """Let a file that was only looked at go again when enough are open; it is opened in its turn."""
        if len(self._by_id) > self._max_open:
            self.close(followed)

    def close_all(self) -> None:
        """Let every handle go."""
        for followed in list(self._by_id.values()):
            self.close(followed)

    def in_the_way_of(self, chosen: list[Followed]) -> list[Followed]:
        """Return the open segments that have to make room for these, those quiet for longest first."""
        ids = {followed.position.segment_id for followed in chosen}
        others = [followed for key, followed in self._by_id.items() if key not in ids]
        others.sort(key=lambda followed: followed.seen.mtime_ns if followed.seen else 0)
        return others[: max(0, len(chosen) + len(others) - self._max_open)]

    def without_a_name(self) -> list[Followed]:
        """Return the segments that live from their open handle alone."""
        return [followed for followed in self._by_id.values() if not followed.named]
