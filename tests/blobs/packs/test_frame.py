"""A frame is decoded as far as a reader goes, and no claim in it is believed."""

import os
import struct
import threading

import pytest

from blobs import BlobCorrupt, BlobTooLarge, codec
from blobs.packs import frame
from blobs.packs.frame import Frame, encode, raw_bytes_of, zstd

BODIES = [b"", b"a", os.urandom(3000), b"x" * 100_000, b"last"]


def frame_of(content: bytes) -> Frame:
    return Frame(zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}), "here")


def head(*lengths: int) -> bytes:
    return struct.pack(f"<{len(lengths) + 1}I", len(lengths), *lengths)


@pytest.mark.parametrize("level", [frame.FAST_LEVEL, frame.LEVEL])
def test_bodies_come_back_in_any_order(level):
    stored = encode(BODIES, level)
    opened = Frame(stored, "here")
    assert len(opened) == len(BODIES)
    assert [opened.body(number) for number in (3, 0, 4, 2, 1, 3)] == [BODIES[number] for number in (3, 0, 4, 2, 1, 3)]
    assert list(Frame(stored, "here").bodies()) == BODIES
    assert opened.decoded_bytes == raw_bytes_of(BODIES)


def test_a_reader_decodes_no_further_than_to_its_body():
    bodies = [os.urandom(1000) * 2000 for _ in range(4)]
    opened = Frame(encode(bodies, frame.LEVEL), "here")
    assert opened.body(0) == bodies[0]
    assert opened.decoded_bytes <= 3_000_000
    assert opened.body(3) == bodies[3]
    assert opened.decoded_bytes == raw_bytes_of(bodies)


def test_the_same_bodies_are_the_same_frame():
    assert encode(BODIES, frame.LEVEL) == encode(BODIES, frame.LEVEL)


def test_a_body_that_no_reader_would_take_is_not_written(monkeypatch):
    monkeypatch.setattr(frame, "MAX_BODY_BYTES", 10)
    with pytest.raises(BlobTooLarge, match="11 bytes is over the limit of 10"):
        encode([b"small", b"l" * 11], frame.LEVEL)


def test_a_compressor_that_gives_other_bytes_back_is_noticed(monkeypatch):
    real = frame._compress
    for broken in (
        lambda pieces, level: real([*pieces[:-1], pieces[-1][:-1]], level),
        lambda pieces, level: real([*pieces, b"x"], level),
        lambda pieces, level: real([piece.replace(b"a", b"b") for piece in pieces], level),
        lambda pieces, level: real(pieces, level)[:-3],
    ):
        monkeypatch.setattr(frame, "_compress", broken)
        with pytest.raises(BlobCorrupt, match="a compressor that gives the bodies back"):
            encode([b"a" * 100, b"ab" * 100], frame.LEVEL)


def test_every_flipped_byte_gives_the_right_bodies_or_an_error():
    bodies = [b"abc" * 40, b"abd" * 30]
    stored = encode(bodies, frame.LEVEL)
    for at in range(len(stored)):
        damaged = bytearray(stored)
        damaged[at] ^= 1 << at % 8
        try:
            assert list(Frame(bytes(damaged), "here").bodies()) == bodies
        except BlobCorrupt:
            continue


def test_every_truncation_is_an_error():
    stored = encode(BODIES, frame.LEVEL)
    for size in [*range(64), *range(64, len(stored), 37), len(stored) - 1]:
        with pytest.raises(BlobCorrupt):
            list(Frame(stored[:size], "here").bodies())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found 0"),
        (b"abc", "found 3"),
        (head(), "found 0"),
        (struct.pack("<I", 2**32 - 1) + bytes(100), "found 4294967295"),
        (struct.pack("<I", 1000) + bytes(8), "found 12"),
        (head(2**32 - 1) + bytes(100), f"at most {codec.MAX_BODY_BYTES} bytes"),
        (head(*[codec.MAX_BODY_BYTES] * 3) + bytes(100), "a frame of at most"),
        (head(5, 5) + b"12345", "found 17"),
    ],
    ids=["nothing", "half a count", "no body", "many bodies", "no lengths", "a huge body", "a huge frame", "cut off"],
)
def test_what_a_frame_claims_is_not_believed(content, found):
    with pytest.raises(BlobCorrupt, match=found):
        list(frame_of(content).bodies())


def test_a_bomb_is_not_decoded():
    """It claims one small body, and decodes to a gigabyte."""
    compressor = zstd.ZstdCompressor()
    stored = compressor.compress(head(3) + b"abc")
    for _ in range(64):
        stored += compressor.compress(bytes(2**24))
    bomb = Frame(stored + compressor.flush(), "here")
    assert bomb.body(0) == b"abc"
    with pytest.raises(BlobCorrupt, match="wanted 11 bytes in the frame, found more"):
        list(bomb.bodies())
    assert bomb.decoded_bytes < 2**20


def test_bytes_behind_the_last_body_are_an_error():
    with pytest.raises(BlobCorrupt, match="wanted 11 bytes in the frame, found more"):
        list(frame_of(head(3) + b"abc" + b"d").bodies())


def test_bytes_behind_a_frame_are_counted():
    stored = encode(BODIES, frame.LEVEL)
    assert Frame(stored + b"next", "here").finish() == 4
    assert Frame(stored, "here").finish() == 0


def test_a_window_larger_than_the_format_allows_is_refused():
    wide = zstd.compress(
        head(4) + b"wide",
        options={zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.content_size_flag: 0},
    )
    assert Frame(wide, "here").body(0) == b"wide"  # shrunk to what it holds
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    wide = compressor.compress(head(4)) + compressor.compress(b"wide") + compressor.flush()
    with pytest.raises(BlobCorrupt, match="a zstd frame"):
        Frame(wide, "here").body(0)


def test_a_number_beyond_the_last_body_is_an_error():
    with pytest.raises(BlobCorrupt, match="wanted at least 6 bodies, found 5"):
        Frame(encode(BODIES, frame.LEVEL), "here").body(5)


def test_several_threads_read_one_frame():
    bodies = [b"%d " % n * 5000 for n in range(40)]
    opened = Frame(encode(bodies, frame.LEVEL), "here")
    wrong = []

    def read(first: int) -> None:
        for number in range(first, first + 4 * len(bodies)):
            if opened.body(number * 7 % len(bodies)) != bodies[number * 7 % len(bodies)]:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=[first]) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
