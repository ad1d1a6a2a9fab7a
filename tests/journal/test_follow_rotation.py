"""Following a file that is rotated, to PATH.1 and on or by copying and cutting it, whenever that happens."""

import os
import shutil
from pathlib import Path

from tests.journal.conftest import numbered
from tracestore.journal.notices import NoticeKind


class SeedLikeWriter:
    """Appends a line a record and rotates by renaming to PATH.1, as the seed's own writer does."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes

    def emit(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size >= self.limit_bytes:
            os.replace(self.path, f"{self.path}.1")
        with self.path.open("ab") as file:
            file.write(line + b"\n")


def test_rotation_below_the_offset_loses_no_line(journal, collect):
    """Seed defect `journal`: of 3,000 lines emitted across rotations only 1,294 were stored."""
    writer = SeedLikeWriter(journal, limit_bytes=2_000)
    collector = collect(journal)
    emitted = numbered(0, 3_000)
    for number, line in enumerate(emitted):
        writer.emit(line)
        if number % 37 == 0:
            collector.drain()
    collector.drain()
    assert sorted(collector.lines) == sorted(emitted)
    assert len(collector.told()) > 50


def test_rotation_between_poll_and_read_loses_no_line(journal, collect):
    """The handle that a poll gave stays on its file while the name is overwritten twice."""
    writer = SeedLikeWriter(journal, limit_bytes=100)
    collector = collect(journal)
    emitted = numbered(0, 2)
    for line in emitted:
        writer.emit(line)
    unread = collector.follower.poll().unread
    for line in numbered(2, 10):
        writer.emit(line)
    read = [line.data for line in unread[0].segment.read_chunk(0).lines]
    assert read[:2] == emitted


def test_a_drained_file_is_still_watched_when_rotation_overwrites_it(journal, collect, append):
    append(journal, b"one")
    collector = collect(journal)
    assert collector.drain() == [b"one"]
    append(journal, b"two")
    os.replace(journal, f"{journal}.1")
    append(journal, b"three")
    os.replace(journal, f"{journal}.1")
    append(journal, b"four")
    assert collector.drain() == [b"two", b"three", b"four"]


def test_an_overwritten_file_is_let_go_once_it_is_read(journal, collect, append):
    append(journal, b"one")
    collector = collect(journal)
    collector.drain()
    inode = journal.stat().st_ino
    os.unlink(journal)
    for _ in range(4):
        collector.drain()
    held = {os.stat(f"/proc/self/fd/{fd}").st_ino for fd in os.listdir("/proc/self/fd") if _is_file(fd)}
    assert inode not in held


def _is_file(fd: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_rotation_while_the_collector_is_down_is_read_once(journal, collect, append):
    append(journal, b"one", b"two")
    collector = collect(journal)
    collector.drain()
    append(journal, b"three")
    os.replace(journal, f"{journal}.1")
    append(journal, b"four")
    collector.restart()
    assert collector.drain() == [b"three", b"four"]
    assert collector.told() == [NoticeKind.NEW_SEGMENT, NoticeKind.ROTATED, NoticeKind.NEW_SEGMENT]


def test_rotated_siblings_are_read_oldest_first(journal, collect, append):
    append(Path(f"{journal}.10"), b"ten")
    append(Path(f"{journal}.2"), b"two")
    append(journal, b"zero")
    append(Path(f"{journal}.old"), b"no sibling")
    assert collect(journal).drain() == [b"ten", b"two", b"zero"]


def test_a_rotation_caught_between_its_two_steps_is_no_wait(journal, collect, append):
    append(Path(f"{journal}.1"), b"one")
    collector = collect(journal)
    assert collector.drain() == [b"one"]
    assert NoticeKind.WAITING not in collector.told()


def test_copytruncate_reads_every_line_once(journal, collect, append):
    append(journal, *numbered(0, 10))
    collector = collect(journal)
    collector.drain()
    append(journal, *numbered(10, 12))
    shutil.copyfile(journal, f"{journal}.1")
    os.truncate(journal, 0)
    append(journal, *numbered(12, 15))
    assert collector.drain() == numbered(10, 15)
    assert NoticeKind.TRUNCATED in collector.told()


def test_copytruncate_with_a_writer_that_keeps_its_place_skips_the_hole(journal, collect):
    with journal.open("wb", buffering=0) as writer:
        writer.write(b"one\n")
        collector = collect(journal)
        collector.drain()
        os.truncate(journal, 0)
        writer.write(b"two\n")
        assert journal.read_bytes() == b"\0\0\0\0two\n"
        assert collector.drain() == [b"two"]
