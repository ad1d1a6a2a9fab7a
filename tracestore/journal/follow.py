"""Follows a journal through rotation, truncation, replacement and restart.

A poll scans the journal (`scan`), recognises every file and offers those that hold bytes behind
their committed position, oldest first. A known inode whose content still carries the position's
fingerprints goes on where it stood, under whatever name; any other content is looked up among the
positions without a file (`matching`); what nobody has read is a new segment, from its first byte.
A start is no special case: the stored positions are segments whose files have not been looked at.

Open files: what is offered, and the latest changed others, stay open up to ``max_open``, so that a
segment that is renamed, or unlinked by a rotation, between two polls is still read to its end.
Files that did not change since they were verified cost one stat a poll and are not opened.

The follower moves a position only when it is told that it was committed (`commit`). After any
failure of its caller the next poll offers the same bytes again.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal import notices
from tracestore.journal.followed import Followed, OpenFiles
from tracestore.journal.matching import LostPositions
from tracestore.journal.notices import Notice
from tracestore.journal.position import Position, path_text
from tracestore.journal.scan import Found, scan, state_of
from tracestore.journal.segment import Segment

MAX_OPEN = 64  # far below the usual limit of 1,024 open files of a process
SETTLE_NS = 2_000_000_000  # coarser than any file system's clock: an older file has not changed unseen
RESCAN_NS = 250_000_000  # while more is known to be unread than can be offered, scan no oftener than this


@dataclass(frozen=True, slots=True)
class Unread:
    """A segment with bytes behind its committed position. The handle is good until the next poll."""

    segment: Segment
    position: Position


@dataclass(frozen=True, slots=True)
class Poll:
    """What one look at the journal found."""

    unread: list[Unread]
    notices: list[Notice]


class JournalFollower:
    """The reading end of a journal; one thread polls and commits.

    ``positions`` are all the positions that the database holds. ``segment_ids`` gives new segments
    their ids, which only grow; two followers of one database share it.
    """

    def __init__(
        self,
        path: str,
        positions: Iterable[Position] = (),
        *,
        segment_ids: Iterator[int] | None = None,
        max_open: int = MAX_OPEN,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = path
        self._max_open = max_open
        self._now_ns = now_ns
        self._by_inode: dict[tuple[int, int], Followed] = {}
        self._by_id: dict[int, Followed] = {}
        self._files = OpenFiles(max_open, self._say)
        self._lost = LostPositions()
        self._last_id = 0
        self._waiting = False
        self._vacated: set[str] = set()
        self._notices: list[Notice] = []
        self._left_out = False
        self._scanned_ns = 0
        for position in sorted(positions, key=lambda position: position.segment_id):
            self._expect(position)
        self._segment_ids = segment_ids or itertools.count(self._last_id + 1)

    def poll(self) -> Poll:
        """Look at the journal once and return what there is to read, oldest first.

        At most ``max_open`` segments are offered; the others come once those are read. Raises
        StoreUnavailable when the journal is there and cannot be read.
        """
        self._notices = []
        now_ns = self._now_ns()
        if not (self._left_out and 0 <= now_ns - self._scanned_ns < RESCAN_NS):
            self._scanned_ns = now_ns
            self._look()
        return Poll(self._offer(), self._notices)

    def commit(self, position: Position) -> None:
        """Take note that a position is durable; reading goes on from there."""
        if not 0 < position.segment_id <= self._last_id:
            raise InputInvalid(f"segment {position.segment_id} is not one of this journal; commit what a poll offered")
        followed = self._by_id.get(position.segment_id)
        if followed is None:
            self._lost.add(position)
        else:
            followed.position = position

    def close(self) -> None:
        """Let every open file go; may be called twice."""
        self._files.close_all()

    def _say(self, notice: Notice) -> None:
        self._notices.append(notice)

    def _look(self) -> None:
        """Scan the journal and account for every file and every segment."""
        self._vacated.clear()
        found = scan(self._path)
        if found is None and not self._waiting:
            self._say(notices.waiting(self._path))
        self._waiting = found is None
        files = found or []
        unknown = [file for file in files if not self._recognise(file)]
        for identity in self._by_inode.keys() - {file.identity for file in files}:
            self._miss(self._by_inode[identity])
        for file in sorted(unknown, key=lambda file: file.age_order):
            self._adopt(file)

    def _expect(self, position: Position) -> None:
        """Take a stored position for the segment with its inode, until its file was looked at."""
        self._last_id = max(self._last_id, position.segment_id)
        if not position.offset:
            return  # nothing was read, so there is nothing to go on from
        identity = (position.device, position.inode)
        earlier = self._by_inode.get(identity)
        if earlier:  # an inode that was given out again: the later segment has it
            self._drop(earlier)
        self._enter(Followed(position, position.path, identity))

    def _recognise(self, file: Found) -> bool:
        """Whether the file is the segment known under its inode; if it is not, that segment is dropped."""
        followed = self._by_inode.get(file.identity)
        if followed is None:
            return False
        if followed.segment or followed.seen is None or followed.seen.state != file.state:
            was_open = followed.segment is not None
            segment = followed.segment or self._files.open(file)
            if segment is None:
                return True  # said, or seen by the next poll
            self._files.keep(followed, segment)
            if not segment.holds(followed.position):
                if was_open or path_text(file.path) == path_text(followed.path):
                    self._report_cut(followed, segment, file)  # else another file was given the inode
                self._drop(followed)
                return False
            self._settle(followed, file)
        if file.path != followed.path:
            self._rename(followed, file)
        followed.seen, followed.named, followed.idle_polls = file, True, 0
        self._files.close_surplus(followed)
        return True

    def _rename(self, followed: Followed, file: Found) -> None:
        if path_text(file.path) != path_text(followed.path):
            self._say(notices.rotated(followed.path, file.path, followed.position))
        followed.path = file.path
        if followed.segment:
            followed.segment.path = file.path

    def _report_cut(self, followed: Followed, segment: Segment, file: Found) -> None:
        """Say what happened to a file that no longer holds what was read from it."""
        position, unread_bytes = followed.position, followed.unread_bytes
        same_head = segment.holds_head(position)
        self._say(notices.cut(file.path, position, file.size_bytes, unread_bytes, same_head=same_head))

    def _settle(self, followed: Followed, file: Found) -> None:
        """Stop offering a segment that holds only a torn line and has been quiet since before it was read."""
        unchanged = followed.seen is not None and followed.seen.state == file.state
        torn = followed.segment and followed.segment.torn_state == (followed.position.offset, file.size_bytes)
        if unchanged and torn and self._now_ns() - file.mtime_ns > SETTLE_NS:
            followed.settled = file.state

    def _miss(self, followed: Followed) -> None:
        """Deal with a segment that the scan did not find: read on from its open file, or let it go."""
        self._vacated.add(followed.path)
        segment = followed.segment
        if segment is None or followed.seen is None:
            if followed.seen is not None:
                self._say(notices.vanished(followed.path, followed.position, followed.unread_bytes))
            self._drop(followed)
            return
        status = segment.stat()
        file = followed.seen._replace(state=state_of(status))
        if not segment.holds(followed.position):
            self._report_cut(followed, segment, file)
            self._drop(followed)
            return
        self._settle(followed, file)
        unchanged = followed.seen.state == file.state
        followed.seen = file
        if followed.named:
            self._say(notices.unlinked(followed.path, followed.position, followed.unread_bytes))
        followed.named = False
        followed.idle_polls = 0 if followed.is_waiting_to_be_read or not unchanged else followed.idle_polls + 1
        if status.st_nlink == 0 and followed.idle_polls > 1:
            if followed.unread_bytes > 0:
                self._say(notices.vanished(followed.path, followed.position, followed.unread_bytes))
            self._drop(followed)

    def _adopt(self, file: Found) -> None:
        """Take a file that no known inode explains: read before under another one, or new."""
        segment = self._files.open(file)
        if segment is None:
            return
        try:
            position = self._position_of(segment)
        except StoreUnavailable:
            segment.close()
            raise
        if position is None:
            self._last_id = next(self._segment_ids)
            position = segment.start(self._last_id)
            notice = notices.replaced if file.path in self._vacated else notices.new_segment
            self._say(notice(file.path, self._last_id))
        elif position.path == path_text(file.path) or (position.device, position.inode) != file.identity:
            self._say(notices.returned(file.path, position))
        else:
            self._say(notices.rotated(position.path, file.path, position))
        followed = Followed(position, file.path, file.identity, file)
        self._enter(followed)
        self._files.keep(followed, segment)
        self._files.close_surplus(followed)

    def _position_of(self, segment: Segment) -> Position | None:
        """Return the position that was reached in this content and whose file is not in sight, if any."""
        for other in self._files.without_a_name():
            if other.unread_bytes <= 0 and segment.holds(other.position):
                self._drop(other)  # the file is back as a copy, with all that was read of it
        return self._lost.take(segment)

    def _offer(self) -> list[Unread]:
        """Return the oldest segments with something to read, opened; let other files go to make room."""
        waiting = [followed for followed in self._by_id.values() if followed.is_waiting_to_be_read]
        waiting.sort(key=lambda followed: followed.read_order)
        chosen = waiting[: self._max_open]
        self._left_out = len(waiting) > len(chosen)
        for other in self._files.in_the_way_of(chosen):
            if other.named:
                self._files.close(other)
            else:
                self._drop(other)
        return [
            Unread(segment, followed.position)
            for followed in chosen
            if (segment := self._files.opened(followed)) is not None
        ]

    def _enter(self, followed: Followed) -> None:
        self._by_inode[followed.identity] = followed
        self._by_id[followed.position.segment_id] = followed

    def _drop(self, followed: Followed) -> None:
        """Let a segment's file go, and keep its position for when the content turns up again."""
        self._files.close(followed)
        del self._by_inode[followed.identity]
        del self._by_id[followed.position.segment_id]
        self._lost.add(followed.position)
