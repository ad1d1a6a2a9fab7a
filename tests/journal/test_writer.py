"""Appending: whole lines or none, durable or an error."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading

import pytest

from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal import disk
from tracestore.journal.chunk import LINE_LIMIT_BYTES
from tracestore.journal.writer import SegmentWriter


def clock_ms():
    return 1_700_000_000_000


@pytest.fixture
def writer(tmp_path):
    with SegmentWriter(tmp_path, clock_ms) as writer:
        yield writer


def content(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def fail_with(code):
    def refuse(*_arguments):
        raise OSError(code, os.strerror(code))

    return refuse


def test_lines_are_appended_in_order_with_their_offsets(writer, tmp_path):
    first = writer.append([b"one", b"two"])
    second = writer.append([b"three"])
    assert (first.offset, first.end_offset, second.offset, second.end_offset) == (0, 8, 8, 14)
    assert content(tmp_path) == {f"1700000000000-{os.getpid()}-0.ndjson": b"one\ntwo\nthree\n"}
    assert first.path == second.path


def test_a_segment_is_for_its_owner_only(writer):
    path = writer.append([b"one"]).path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_appending_nothing_makes_no_file(writer, tmp_path):
    appended = writer.append([])
    writer.sync()
    assert appended.offset == appended.end_offset == 0
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"a\nb", "holds a newline"),
        (b"", "is blank"),
        (b" \r", "is blank"),
        (b"x" * (LINE_LIMIT_BYTES + 1), "the limit is"),
    ],
)
def test_what_is_not_one_line_is_refused_with_the_whole_append(writer, tmp_path, line, complaint):
    with pytest.raises(InputInvalid, match=f"line 1 of this append .*{complaint}"):
        writer.append([b"fine", line])
    assert content(tmp_path) == {}


def test_two_writers_never_share_a_segment(tmp_path):
    with SegmentWriter(tmp_path, clock_ms) as one, SegmentWriter(tmp_path, clock_ms) as other:
        assert one.append([b"one"]).path != other.append([b"other"]).path


def test_a_full_segment_is_followed_by_the_next(tmp_path):
    with SegmentWriter(tmp_path, clock_ms, segment_limit_bytes=10) as writer:
        for _ in range(3):
            writer.append([b"1234567"])
    assert list(content(tmp_path).values()) == [b"1234567\n1234567\n", b"1234567\n"]


def test_a_full_segment_is_synced_before_the_next_is_started(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "sync_written", lambda fd, path: synced.append(path))
    with SegmentWriter(tmp_path, clock_ms, segment_limit_bytes=1) as writer:
        first = writer.append([b"one"]).path
        assert synced == []
        writer.append([b"two"])
        assert synced == [first]


def test_a_new_segment_has_a_durable_name(writer, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    writer.append([b"one"])
    writer.append([b"two"])
    assert synced == [str(tmp_path)]


def test_a_segment_whose_name_cannot_be_made_durable_is_taken_back(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(StoreUnavailable) as caught:
        writer.append([b"one"])
    assert caught.value.errno == errno.EIO
    assert content(tmp_path) == {}


def test_a_short_write_is_completed(writer, tmp_path, monkeypatch):
    """Seed defect `journal`: a short write glued two records."""
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data[:3])))
    writer.append([b"one-long-line", b"two"])
    monkeypatch.undo()
    writer.append([b"three"])
    assert list(content(tmp_path).values()) == [b"one-long-line\ntwo\nthree\n"]


FULL_DISK = """
import resource, sys
from tracestore.errors import StoreUnavailable
from tracestore.journal.writer import SegmentWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
with SegmentWriter(sys.argv[1], lambda: 1) as writer:
    writer.append([b"a" * 39])
    try:
        writer.append([b"b" * 39, b"c" * 39])
    except StoreUnavailable as error:
        print(error.errno, error.filename)
    writer.append([b"d" * 39])
    writer.sync()
"""


def test_an_append_that_the_disk_cuts_short_leaves_nothing_behind(tmp_path):
    """Seed defect `journal`: here the kernel itself writes 60 bytes of 80 and refuses the rest."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    ((name, data),) = content(tmp_path).items()
    assert data == b"a" * 39 + b"\n" + b"d" * 39 + b"\n"
    assert run.stdout == f"{errno.EFBIG} {tmp_path / name}\n"


def test_a_segment_that_cannot_be_cut_back_is_abandoned(writer, tmp_path, monkeypatch):
    real_write = os.write
    calls = []

    def half_then_full(fd, data):
        if calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        calls.append(fd)
        return real_write(fd, bytes(data[:2]))

    writer.append([b"one"])
    monkeypatch.setattr(os, "write", half_then_full)
    monkeypatch.setattr(os, "ftruncate", fail_with(errno.EIO))
    with pytest.raises(StoreUnavailable) as caught:
        writer.append([b"two"])
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    writer.append([b"three"])
    writer.sync()
    assert list(content(tmp_path).values()) == [b"one\ntw", b"three\n"]


def test_an_interrupt_behind_a_short_write_leaves_nothing_behind(writer, tmp_path, monkeypatch):
    real_write = os.write

    def half_then_interrupt(fd, data):
        real_write(fd, bytes(data[:2]))
        raise KeyboardInterrupt

    writer.append([b"one"])
    monkeypatch.setattr(os, "write", half_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.append([b"two"])
    monkeypatch.undo()
    appended = writer.append([b"three"])
    assert (appended.offset, appended.end_offset) == (4, 10)
    assert list(content(tmp_path).values()) == [b"one\nthree\n"]


def test_a_failed_sync_is_not_repeated_as_if_it_had_succeeded(writer, tmp_path, monkeypatch):
    """After a failed fsync the kernel marks the pages clean: the next fsync proves nothing."""
    writer.append([b"one"])
    monkeypatch.setattr(disk, "_sync", fail_with(errno.EIO))
    with pytest.raises(StoreUnavailable) as caught:
        writer.sync()
    assert caught.value.errno == errno.EIO
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable, match="append the lines since the last good sync again"):
        writer.sync()
    writer.append([b"one"])
    writer.sync()
    assert list(content(tmp_path).values()) == [b"one\n", b"one\n"]


def test_close_makes_durable_what_was_appended(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "sync_written", lambda fd, path: synced.append(path))
    writer = SegmentWriter(tmp_path, clock_ms)
    path = writer.append([b"one"]).path
    writer.close()
    writer.close()
    assert synced == [path]
    assert "no segment" in repr(writer)


def test_a_forked_child_starts_a_segment_of_its_own(writer, tmp_path, monkeypatch):
    parent = writer.append([b"parent"]).path
    monkeypatch.setattr(os, "getpid", lambda: 4_000_001)
    child = writer.append([b"child"]).path
    assert parent != child
    assert "-4000001-" in child


def test_a_directory_that_is_not_there_is_an_error_with_its_path(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot start a journal segment") as caught:
        SegmentWriter(tmp_path / "missing", clock_ms).append([b"one"])
    assert caught.value.errno == errno.ENOENT


def test_a_reader_beside_the_writer_sees_whole_lines_only(tmp_path, collect):
    lines = [b'{"n":%d,"text":"%s"}' % (n, b"x" * (n % 300)) for n in range(2_000)]

    def write():
        with SegmentWriter(tmp_path, clock_ms, segment_limit_bytes=20_000) as writer:
            for start in range(0, len(lines), 7):
                writer.append(lines[start : start + 7])

    thread = threading.Thread(target=write)
    collector = collect(tmp_path)
    thread.start()
    while thread.is_alive():
        collector.poll_once(max_lines=50)
    thread.join()
    collector.drain()
    assert sorted(collector.lines) == sorted(lines)


def test_a_segment_that_was_removed_acknowledges_nothing(writer, tmp_path):
    """What is in a removed file goes with the process, though every sync of it succeeds."""
    removed = writer.append([b"one"]).path
    os.unlink(removed)
    with pytest.raises(StoreUnavailable, match="is there"):
        writer.sync()
    appended = writer.append([b"one"])
    writer.sync()
    assert content(tmp_path) == {os.path.basename(appended.path): b"one\n"}


@pytest.mark.parametrize("copies", [False, True])
def test_a_segment_that_went_with_its_directory_acknowledges_nothing(copies, tmp_path):
    """As where a store is put aside and a copy of it put in its place: nobody reads what is appended there."""
    journal = tmp_path / "journal"
    journal.mkdir()
    with SegmentWriter(journal, clock_ms) as writer:
        writer.append([b"one"])
        writer.sync()
        journal.rename(tmp_path / "aside")
        shutil.copytree(tmp_path / "aside", journal) if copies else journal.mkdir()
        writer.append([b"two"])
        with pytest.raises(StoreUnavailable, match="is there"):
            writer.sync()
        appended = writer.append([b"two"])
        writer.sync()
    assert content(journal)[os.path.basename(appended.path)] == b"two\n"
