"""Lines out of bytes: ends, offsets, budgets, and lines too long for memory."""

import os
import random
from pathlib import Path

import pytest

from tracestore.journal.chunk import BLOCK_BYTES, LINE_LIMIT_BYTES, ChunkReader, Line, OversizedLine
from tracestore.journal.segment import Segment


@pytest.fixture
def segment_of(tmp_path):
    """`segment_of(content)` opens a segment that holds the bytes."""
    opened = []

    def make(content: bytes) -> Segment:
        path = tmp_path / f"{len(opened)}.ndjson"
        path.write_bytes(content)
        opened.append(Segment.open(str(path)))
        return opened[-1]

    yield make
    for segment in opened:
        segment.close()


def read_all(segment, **limits):
    offset, lines = 0, []
    while True:
        chunk = segment.read_chunk(offset, **limits)
        lines += chunk.lines
        if chunk.next_offset == offset:
            return lines, offset, chunk.torn_bytes
        offset = chunk.next_offset


def test_lines_carry_their_offsets(segment_of):
    chunk = segment_of(b"a\nbcd\ne").read_chunk(0)
    assert chunk.lines == [Line(0, b"a"), Line(2, b"bcd")]
    assert (chunk.next_offset, chunk.torn_bytes) == (6, 1)


def test_blank_lines_and_carriage_returns_are_no_lines(segment_of):
    chunk = segment_of(b"\n \t\r\na\r\n\r\n\n b \nc\r\r\n").read_chunk(0)
    assert chunk.lines == [Line(5, b"a"), Line(11, b" b "), Line(15, b"c\r")]
    assert (chunk.next_offset, chunk.torn_bytes) == (19, 0)


def test_invalid_utf8_does_not_shift_offsets(segment_of):
    """Seed defect `journal`: invalid UTF-8 shifted the offset and ate the next record."""
    chunk = segment_of(b"\xff\xfe\xc3\n\xf0\x9f\nok\n").read_chunk(0)
    assert chunk.lines == [Line(0, b"\xff\xfe\xc3"), Line(4, b"\xf0\x9f"), Line(7, b"ok")]


def test_the_hole_in_front_of_a_line_is_passed_over(segment_of):
    chunk = segment_of(b"a\n\0\0\0\nb\n" + b"\0" * 5 + b"c\n").read_chunk(0)
    assert chunk.lines == [Line(0, b"a"), Line(6, b"b"), Line(13, b"c")]


def test_a_hole_larger_than_any_line_is_passed_over(segment_of, tmp_path):
    segment = segment_of(b"")
    with Path(segment.path).open("r+b") as file:
        file.seek(LINE_LIMIT_BYTES + BLOCK_BYTES + 7)
        file.write(b"after\nnext\n")
    assert read_all(segment)[0] == [
        Line(LINE_LIMIT_BYTES + BLOCK_BYTES + 7, b"after"),
        Line(LINE_LIMIT_BYTES + BLOCK_BYTES + 13, b"next"),
    ]


def test_a_torn_line_is_reported_and_not_taken(segment_of):
    segment = segment_of(b"one\ntw")
    assert segment.read_chunk(4).lines == []
    assert segment.read_chunk(4).torn_bytes == 2
    assert segment.read_chunk(4).next_offset == 4
    with Path(segment.path).open("ab") as file:
        file.write(b"o\n")
    assert segment.read_chunk(4).lines == [Line(4, b"two")]


def test_a_torn_line_of_many_blocks_is_reported(segment_of):
    segment = segment_of(b"x" * (3 * BLOCK_BYTES))
    chunk = segment.read_chunk(0)
    assert (chunk.lines, chunk.next_offset, chunk.torn_bytes) == ([], 0, 3 * BLOCK_BYTES)


def test_a_chunk_keeps_to_both_budgets(segment_of):
    segment = segment_of(b"0123456789\n" * 1_000)
    assert len(segment.read_chunk(0, max_lines=7).lines) == 7
    assert segment.read_chunk(0, max_lines=7).next_offset == 77
    assert segment.read_chunk(0, max_bytes=100).next_offset == 99


def test_a_line_over_the_byte_budget_comes_alone(segment_of):
    segment = segment_of(b"a\n" + b"x" * 5_000 + b"\nb\n")
    chunks = [segment.read_chunk(0, max_bytes=100), segment.read_chunk(2, max_bytes=100)]
    assert [[len(line.data) for line in chunk.lines] for chunk in chunks] == [[1], [5_000]]
    assert read_all(segment, max_bytes=100)[0][-1] == Line(5_003, b"b")


@pytest.mark.parametrize("length", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 3])
def test_a_line_across_blocks_arrives_whole(segment_of, length):
    line = random.Random(length).randbytes(length).replace(b"\n", b"n").replace(b"\0", b"0")
    lines, offset, torn_bytes = read_all(segment_of(b"first\n" + line + b"\r\nlast\n"))
    assert lines == [Line(0, b"first"), Line(6, line), Line(6 + length + 2, b"last")]
    assert (offset, torn_bytes) == (6 + length + 2 + 5, 0)


def test_a_line_at_the_limit_is_a_line_and_one_byte_more_is_not(segment_of):
    segment = segment_of(b"")
    with Path(segment.path).open("wb") as file:
        file.write(b"x" * LINE_LIMIT_BYTES + b"\n" + b"y" * (LINE_LIMIT_BYTES + 1) + b"\nafter\n")
    lines, _, _ = read_all(segment)
    assert lines[0] == Line(0, b"x" * LINE_LIMIT_BYTES)
    assert lines[1] == OversizedLine(LINE_LIMIT_BYTES + 1, LINE_LIMIT_BYTES + 1)
    assert lines[2].data == b"after"


def test_any_content_in_any_budgets_gives_the_same_lines(segment_of):
    """Model: the lines of `bytes.split`, without the blank ones."""
    rng = random.Random(7)
    for _ in range(150):
        content = b"".join(rng.choice([b"\n", b"\r\n", b"ab", b" ", b"\xff", b"x" * 70]) for _ in range(60))
        expected = [line.removesuffix(b"\r") for line in content.split(b"\n")[:-1]]
        expected = [line for line in expected if line.strip()]
        segment = segment_of(content)
        lines, offset, torn_bytes = read_all(
            segment, max_bytes=rng.randint(1, 300), max_lines=rng.randint(1, 20)
        )
        assert [line.data for line in lines] == expected
        assert all(content[line.offset :].startswith(line.data) for line in lines)
        assert offset + torn_bytes == len(content)
        segment.close()


def test_both_ends_of_a_chunk_are_kept_as_proof(segment_of):
    content = b"".join(b"%d-%s\n" % (n, b"x" * (n % 90)) for n in range(500))
    chunk = segment_of(content).read_chunk(0, max_lines=333)
    consumed = content[: chunk.next_offset]
    assert (chunk.first, chunk.last) == (consumed[:256], consumed[-256:])


def test_the_proof_of_a_chunk_holds_with_a_long_line_behind_short_ones(segment_of):
    """It was patched together from before and behind the long line: the collector read that chunk for ever."""
    content = b"short\n" + b"x" * (BLOCK_BYTES + 7) + b"\n" + b"after\n" * 100
    segment = segment_of(content)
    chunk = segment.read_chunk(0)
    assert chunk.next_offset == len(content)
    assert (chunk.first, chunk.last) == (content[:256], content[-256:])
    assert segment.advance(segment.start(1), chunk).offset == len(content)


def test_a_closed_segment_is_an_error_and_not_another_file(segment_of, tmp_path):
    segment = segment_of(b"a\n")
    segment.close()
    segment.close()
    assert "closed" in repr(segment)
    with (tmp_path / "another").open("wb"), pytest.raises(OSError, match="cannot"):
        segment.read_chunk(0)
    assert os.path.exists(segment.path)


def test_a_long_line_that_changes_between_two_reads_is_left_for_the_next_poll():
    contents = [b"x" * 5_000 + b"\n", b"y" * 40 + b"\n" + b"z" * 4_960]
    reads = []

    def read_at(length, offset):
        reads.append(offset)
        return contents[len(reads) > 2][offset : offset + length]

    chunk = ChunkReader(read_at, 5_001, 0, max_bytes=100, max_lines=10).read()
    assert (chunk.lines, chunk.next_offset) == ([], 0)
