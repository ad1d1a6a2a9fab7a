"""Rejected lines: verbatim, exactly once, of any size."""

import errno
import json
import os
import random

import pytest

from tracestore.errors import StoreBroken, StoreUnavailable
from tracestore.journal.chunk import LINE_LIMIT_BYTES, Line, OversizedLine
from tracestore.journal.rejects import _BLOCK_BYTES, RejectedLines, read_rejected
from tracestore.journal.segment import Segment


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rejected.ndjson"


@pytest.fixture
def segment(tmp_path):
    (tmp_path / "app.ndjson").write_bytes(b"not json\n")
    segment = Segment.open(str(tmp_path / "app.ndjson"))
    yield segment
    segment.close()


AWKWARD = [
    b"not json",
    '{"text":"zażółć \U0001f600 \u2028 \ufeff"}'.encode(),
    b'{"quotes":"\\"", "line": "x", "lineBase64": "y"}',
    b"\x00\x01\x1f\x7f\t",
    b"\xff\xfe invalid",
    b"\xed\xa0\x80 a surrogate",
    b"cut in a character \xf0\x9f\x98",
    b" leading and trailing \r",
]


def test_every_line_comes_back_byte_for_byte(path, segment):
    with RejectedLines.open(str(path)) as rejected:
        for number, data in enumerate(AWKWARD):
            rejected.append(3, segment, Line(number, data), f'reason "{number}", "line": "')
        assert rejected.count == len(AWKWARD)
        assert rejected.size_bytes == path.stat().st_size
    entries = list(read_rejected(str(path)))
    assert [entry.line() for entry in entries] == AWKWARD
    assert [entry.offset for entry in entries] == list(range(len(AWKWARD)))
    assert entries[1].reason == 'reason "1", "line": "'
    assert {(entry.segment_id, entry.path) for entry in entries} == {(3, segment.path)}


def test_the_file_is_plain_ndjson(path, segment):
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(3, segment, Line(7, "zażółć".encode()), "no record")
        rejected.append(3, segment, Line(8, b"\xff"), "no record")
    first, second = path.read_text(encoding="utf-8").splitlines()
    about = {"segment": 3, "path": segment.path, "reason": "no record"}
    assert json.loads(first) == about | {"offset": 7, "line": "zażółć"}
    assert json.loads(second) == about | {"offset": 8, "lineBase64": "/w=="}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("extra", [-1, 0, 1, _BLOCK_BYTES + 2])
def test_lines_longer_than_a_block_come_back(path, segment, extra):
    rng = random.Random(extra)
    text = ("żółw " * (_BLOCK_BYTES // 4)).encode()[: _BLOCK_BYTES + extra]
    binary = rng.randbytes(_BLOCK_BYTES + extra)
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, text), "text")
        rejected.append(1, segment, Line(0, binary), "binary")
    assert [entry.line() for entry in read_rejected(str(path))] == [text, binary]


def test_an_oversized_line_is_streamed_from_its_segment(path, tmp_path):
    line = random.Random(1).randbytes(1_000_003).replace(b"\n", b"n") * 34
    big = tmp_path / "big.ndjson"
    big.write_bytes(b"first\n" + line + b"\n")
    segment = Segment.open(str(big))
    _, oversized = segment.read_chunk(0).lines
    assert oversized == OversizedLine(6, len(line))
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, oversized, "over the line limit")
        rejected.append(1, segment, Line(0, b"first"), "another")
    segment.close()
    entries = list(read_rejected(str(path)))
    assert len(line) > LINE_LIMIT_BYTES
    assert b"".join(entries[0].blocks()) == line
    assert max(map(len, entries[0].blocks())) <= _BLOCK_BYTES
    assert entries[1].line() == b"first"


def test_what_lies_beyond_the_committed_length_is_cut_away(path, segment):
    """A crash between append and commit: those lines are read, and rejected, again."""
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, b"committed"), "r")
        committed = rejected.size_bytes
        rejected.append(1, segment, Line(10, b"not committed"), "r")
    with RejectedLines.open(str(path), committed, committed_count=1) as rejected:
        assert (rejected.size_bytes, rejected.count) == (committed, 1)
        rejected.append(1, segment, Line(10, b"not committed"), "r")
        assert rejected.count == 2
    assert [entry.line() for entry in read_rejected(str(path))] == [b"committed", b"not committed"]


def test_a_failed_commit_is_rolled_back_in_the_same_process(path, segment):
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, b"one"), "r")
        rejected.sync()
        rejected.committed()
        rejected.append(1, segment, Line(4, b"two"), "r")
        rejected.roll_back()
        assert (rejected.count, rejected.size_bytes) == (1, path.stat().st_size)
        rejected.append(1, segment, Line(4, b"two"), "r")
    assert [entry.line() for entry in read_rejected(str(path))] == [b"one", b"two"]


def test_a_file_that_was_moved_away_is_begun_again(path, segment):
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, b"one"), "r")
        committed = rejected.size_bytes
    os.rename(path, path.with_name("seen.txt"))
    with RejectedLines.open(str(path), committed, committed_count=1) as rejected:
        rejected.append(1, segment, Line(4, b"two"), "r")
        assert (rejected.size_bytes, rejected.count) == (path.stat().st_size, 2)
    assert [entry.line() for entry in read_rejected(str(path))] == [b"two"]


def test_a_torn_last_entry_is_never_glued_to_the_next(path, segment):
    path.write_bytes(b'{"segment": 1, "pa')
    with RejectedLines.open(str(path), committed_bytes=500) as rejected:
        rejected.append(1, segment, Line(0, b"whole"), "r")
    torn, whole = path.read_bytes().splitlines()
    assert torn == b'{"segment": 1, "pa'
    assert json.loads(whole)["line"] == "whole"


def test_an_entry_that_cannot_be_written_whole_is_taken_back(path, segment, monkeypatch):
    real_write = os.write
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, b"one"), "r")
        before = path.read_bytes()

        def full(fd, data):
            if b"lineBase64" in bytes(data):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_write(fd, data)

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StoreUnavailable) as caught:
            rejected.append(1, segment, Line(4, b"\xff"), "r")
        monkeypatch.undo()
        assert caught.value.errno == errno.ENOSPC
        assert (path.read_bytes(), rejected.count) == (before, 1)


def test_a_path_that_is_not_utf8_is_written_as_text(path, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff.ndjson")
    odd.write_bytes(b"x\n")
    segment = Segment.open(str(odd))
    with RejectedLines.open(str(path)) as rejected:
        rejected.append(1, segment, Line(0, b"x"), "r")
    segment.close()
    assert next(read_rejected(str(path))).path.endswith("\\xff.ndjson")


@pytest.mark.parametrize("damage", [b"no entry", b'{"segment": 1, "line": "x"}', b'{"seg, "line": "x"}'])
def test_a_damaged_entry_is_named(path, damage):
    path.write_bytes(damage + b"\n")
    with pytest.raises(StoreBroken, match="damaged at byte 0"):
        list(read_rejected(str(path)))


def test_no_file_means_no_rejected_lines(path):
    assert list(read_rejected(str(path))) == []
