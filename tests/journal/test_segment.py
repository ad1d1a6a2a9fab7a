"""One segment: what may be opened, how it is made durable, and its positions."""

import errno
import os

import pytest

from tracestore.directory.lock import StoreLock
from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal import disk
from tracestore.journal.position import Position, fingerprint, path_text
from tracestore.journal.rejects import RejectedLines
from tracestore.journal.segment import Segment, SegmentChanged


@pytest.fixture
def segment(tmp_path):
    (tmp_path / "app.ndjson").write_bytes(b"".join(b"line %d\n" % n for n in range(2_000)))
    segment = Segment.open(str(tmp_path / "app.ndjson"))
    yield segment
    segment.close()


def fail_with(code):
    def refuse(_fd):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_position_carries_the_fingerprints_of_both_ends(segment):
    chunk = segment.read_chunk(0)
    content = segment.read_at(chunk.next_offset, 0)
    status = segment.stat()
    assert segment.advance(segment.start(7), chunk) == Position(
        segment_id=7,
        path=segment.path,
        device=status.st_dev,
        inode=status.st_ino,
        offset=len(content),
        head_bytes=4096,
        head_digest=fingerprint(content[:4096]),
        tail_bytes=256,
        tail_digest=fingerprint(content[-256:]),
    )


def test_chunks_advance_one_behind_the_other(segment):
    position = segment.start(1)
    while (chunk := segment.read_chunk(position.offset, max_lines=300)).lines:
        position = segment.advance(position, chunk)
        assert segment.holds(position)
    assert position.offset == segment.size_bytes


def test_a_chunk_of_another_place_does_not_advance_a_position(segment):
    chunk = segment.read_chunk(7)
    with pytest.raises(SegmentChanged):
        segment.advance(segment.start(1), chunk)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make):
    make(tmp_path / "odd.ndjson")
    with pytest.raises(InputInvalid, match="is a regular file"):
        Segment.open(str(tmp_path / "odd.ndjson"))


def test_sync_makes_durable_what_another_process_wrote(segment, monkeypatch):
    """The step that keeps the offset from outliving the journal's tail; a descriptor for reading does."""
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    segment.sync()
    assert [os.fstat(fd).st_ino for fd in synced] == [segment.inode]
    monkeypatch.undo()
    segment.sync()


def test_a_sync_that_fails_is_an_error(segment, monkeypatch):
    monkeypatch.setattr(disk, "_sync", fail_with(errno.EIO))
    with pytest.raises(StoreUnavailable) as caught:
        segment.sync()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, segment.path)


def test_a_file_system_that_cannot_sync_can_still_be_read(segment, monkeypatch):
    monkeypatch.setattr(disk, "_sync", fail_with(errno.EINVAL))
    segment.sync()


def test_a_range_beyond_the_end_is_an_error(segment):
    size_bytes = segment.size_bytes
    assert b"".join(segment.blocks(5, size_bytes - 5, 100)) == segment.read_at(size_bytes, 5)
    with pytest.raises(SegmentChanged, match=f"ends at {size_bytes}"):
        list(segment.blocks(0, size_bytes + 1, 100))


def test_a_path_of_any_bytes_becomes_text_that_a_database_takes():
    odd = os.fsdecode(b"/j/\xff\xc5\xbc.ndjson")
    assert path_text(odd) == "/j/\\xffż.ndjson"
    path_text(odd).encode("utf-8")


def test_a_system_call_that_fails_says_what_to_do(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot open a journal segment for reading: No such file") as caught:
        Segment.open(str(tmp_path / "missing.ndjson"))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("opened", ["segment", "rejected lines", "lock"])
def test_a_close_that_fails_is_no_error(tmp_path, monkeypatch, opened):
    """Nothing depends on it: what had to be durable was synced, and the descriptor is gone in any event."""
    (tmp_path / "app.ndjson").write_bytes(b"a line\n")
    one = {
        "segment": lambda: Segment.open(str(tmp_path / "app.ndjson")),
        "rejected lines": lambda: RejectedLines.open(str(tmp_path / "rejected.ndjson")),
        "lock": lambda: StoreLock(tmp_path / "lock", shared=False),
    }[opened]()
    close = os.close
    closed = []

    def close_badly(fd):
        close(fd)
        closed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close_badly)
    one.release() if opened == "lock" else one.close()
    assert len(closed) == 1
