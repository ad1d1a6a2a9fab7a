import gzip
import os
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from isal import isal_zlib

from blobs import BlobCorrupt, BlobTooLarge, codec

BODY = b'{"role":"user","content":"hello"}' * 20


@given(some.binary(max_size=4096))
def test_what_goes_in_comes_out(body):
    assert codec.decode(codec.encode(body)) == body


def test_the_same_body_gives_the_same_bytes_without_a_time():
    assert codec.encode(BODY) == codec.encode(BODY)
    assert codec.encode(BODY)[:10] == codec.HEADER


def test_zcat_reads_a_blob():
    shown = subprocess.run(["zcat"], input=codec.encode(BODY), capture_output=True, check=True)
    assert shown.stdout == BODY


def test_a_blob_of_another_compressor_is_read():
    assert codec.decode(gzip.compress(BODY, 9)) == BODY


def test_a_body_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(codec, "MAX_BODY_BYTES", 10)
    with pytest.raises(BlobTooLarge, match="11 bytes"):
        codec.encode(b"x" * 11)
    assert codec.encode(b"x" * 10)


def test_a_body_that_does_not_compress_stays_below_the_stored_limit():
    body = os.urandom(1 << 20)
    share = codec.MAX_STORED_BYTES / codec.MAX_BODY_BYTES
    assert len(codec.encode(body)) < len(body) * share


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 11, 30, -8, -4, -1])
def test_a_blob_cut_short_is_corrupt(cut):
    with pytest.raises(BlobCorrupt):
        codec.decode(codec.encode(BODY)[:cut])


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 512, codec.encode(b""), codec.encode(BODY)])
def test_anything_behind_the_member_is_corrupt(tail):
    with pytest.raises(BlobCorrupt, match="behind it"):
        codec.decode(codec.encode(BODY) + tail)


@pytest.mark.parametrize("stored", [b"", b"\0" * 100, b"plain text, not gzip at all", zlib.compress(BODY)])
def test_anything_but_gzip_is_corrupt(stored):
    with pytest.raises(BlobCorrupt):
        codec.decode(stored)


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not():
    stored = codec.encode(b"x" * 1000)
    assert len(codec.decode(stored, 1000)) == 1000
    with pytest.raises(BlobCorrupt, match="at most 999 bytes"):
        codec.decode(stored, 999)


def test_a_bomb_does_not_fill_the_memory():
    """A copied directory may hold anything: 1 GiB of zeros in 5 MB must not be unpacked."""
    packer = isal_zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    script = (
        "import resource, sys; from blobs import codec, BlobCorrupt\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))\n"
        "try: codec.decode(sys.stdin.buffer.read(), 16 << 20)\n"
        "except BlobCorrupt: print('refused')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True, check=False)
    assert run.stdout == b"refused\n", run.stderr


@given(some.integers(0, 3 * codec.PIECE_BYTES), some.booleans())
@settings(max_examples=30, deadline=None)
def test_pieces_are_the_body(size, is_plain):
    body = bytes(size) if is_plain else os.urandom(size)
    found = list(codec.pieces(codec.encode(body)))
    assert b"".join(found) == body
    assert max(map(len, found)) <= codec.PIECE_BYTES
    assert codec.claimed_bytes(codec.encode(body)) == size


@pytest.mark.parametrize("body", [b"", BODY, os.urandom(200_000)])
@pytest.mark.parametrize(("cut", "tail"), [(-1, b""), (5, b""), (None, b"\0"), (None, bytes(1 << 20))])
def test_pieces_of_what_is_damaged_end_in_the_same_error(body, cut, tail):
    stored = codec.encode(body)[:cut] + tail
    with pytest.raises(BlobCorrupt) as whole:
        codec.decode(stored)
    with pytest.raises(BlobCorrupt) as in_pieces:
        list(codec.pieces(stored))
    assert str(in_pieces.value) == str(whole.value)


def test_pieces_stop_at_the_limit():
    made: list[int] = []
    with pytest.raises(BlobCorrupt, match="at most 3000000 bytes"):
        made.extend(len(piece) for piece in codec.pieces(codec.encode(bytes(50 << 20)), 3_000_000))
    assert sum(made) <= 3_000_000


def test_every_flipped_bit_that_does_no_harm_is_counted():
    stored = codec.encode(BODY)
    assert codec.flipped_bits(BODY, stored) == 0
    for bit in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            whole = codec.decode(bytes(damaged)) == BODY
        except BlobCorrupt:
            continue
        assert not whole or codec.flipped_bits(BODY, bytes(damaged)) == 1


def test_bytes_of_another_release_of_the_compressor_are_not_called_flipped():
    other = codec.HEADER + gzip.compress(BODY, 1, mtime=0)[10:]
    assert other != codec.encode(BODY)
    assert codec.flipped_bits(BODY, other) == 0
