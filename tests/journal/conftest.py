"""A collector in small: polls, reads, keeps positions as a database would, and can be restarted."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracestore.journal.chunk import OversizedLine
from tracestore.journal.follow import JournalFollower
from tracestore.journal.notices import Notice, NoticeKind
from tracestore.journal.position import Position


class SmallCollector:
    """Reads a journal into a list; its positions survive `restart`, nothing else does."""

    def __init__(self, path: Path, max_open: int = 64, sync: bool = True) -> None:
        self.path = path
        self.sync = sync
        self.max_open = max_open
        self.stored: dict[int, Position] = {}
        self.lines: list[bytes] = []
        self.notices: list[Notice] = []
        self.follower = self._follower()

    def _follower(self) -> JournalFollower:
        return JournalFollower(str(self.path), self.stored.values(), max_open=self.max_open)

    def poll_once(self, max_lines: int = 10_000) -> int:
        """One poll, one chunk of each offered segment; returns how many bytes were consumed."""
        poll = self.follower.poll()
        self.notices += poll.notices
        consumed = 0
        for unread in poll.unread:
            chunk = unread.segment.read_chunk(unread.position.offset, max_lines=max_lines)
            if chunk.next_offset == chunk.offset:
                continue
            if self.sync:
                unread.segment.sync()
            position = unread.segment.advance(unread.position, chunk)
            for line in chunk.lines:
                assert not isinstance(line, OversizedLine)
                self.lines.append(line.data)
            self.stored[position.segment_id] = position
            self.follower.commit(position)
            consumed += chunk.next_offset - chunk.offset
        return consumed

    def drain(self) -> list[bytes]:
        """Read everything there is; returns the lines of this call."""
        before = len(self.lines)
        while self.poll_once():
            pass
        return self.lines[before:]

    def restart(self) -> None:
        """End the process and start another one that knows the stored positions."""
        self.follower.close()
        self.follower = self._follower()

    def told(self) -> list[NoticeKind]:
        """The kinds of the notices since the last call."""
        kinds = [notice.kind for notice in self.notices]
        self.notices.clear()
        return kinds


@pytest.fixture(scope="session")
def small_collector() -> type[SmallCollector]:
    """The class itself, for a state machine that makes its own."""
    return SmallCollector


@pytest.fixture
def collect() -> Iterator[Callable[..., SmallCollector]]:
    """`collect(path)` starts a small collector on a journal."""
    started: list[SmallCollector] = []

    def start(path: Path, **options: int) -> SmallCollector:
        started.append(SmallCollector(path, **options))
        return started[-1]

    yield start
    for collector in started:
        collector.follower.close()


@pytest.fixture
def append() -> Callable[..., None]:
    """`append(path, b"one", b"two")` appends whole lines as another program would."""

    def append_lines(path: Path, *lines: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, b"".join(line + b"\n" for line in lines))
        os.close(fd)

    return append_lines


def numbered(first: int, end: int) -> list[bytes]:
    """Return a line for each number."""
    return [b'{"n":%d,"text":"a record among others"}' % n for n in range(first, end)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "app.ndjson"
