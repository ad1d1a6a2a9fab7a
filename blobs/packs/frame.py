"""A frame: a run of bodies compressed together, decoded as far as a reader goes. Format: see `format`."""

import struct
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise, starmap

from blobs.codec import MAX_BODY_BYTES
from blobs.errors import BlobCorrupt, BlobTooLarge

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW_BYTES = 16 * 2**20
"""A frame is closed from here on, if it holds enough bodies: what one read of a body has to decode at most."""
FEWEST_BODIES = 32
MOST_RAW_BYTES = 32 * 2**20
"""Yet no further body is added from here on."""

FAST_LEVEL = 1
"""For bodies on their way in; they are packed anew later."""
LEVEL = 9
_WINDOW_LOG = 27
# With matches of 128 bytes and more left to the long-distance search, four corpora shrink by 1-3 % more than with 64.
_LONG_MATCH_BYTES = 128

MAGIC = bytes.fromhex("28b52ffd")
"""What a zstd frame begins with."""
_MOST_HEAD_BODIES = 2**24
_MOST_BYTES = MOST_RAW_BYTES + MAX_BODY_BYTES + 4 * _MOST_HEAD_BODIES
"""No frame is larger, whatever it claims."""
_READ_AHEAD_BYTES = 64 * 1024
"""Decoded at once: the allocator keeps pieces of this size, while it asks the kernel for larger ones each time,
which made decoding a frame take 35 ms instead of 4."""
_CHUNK_BYTES = 128 * 1024


def encode(bodies: Sequence[bytes], level: int) -> bytes:
    """Compress bodies together, and prove that what will be stored gives them back; BlobTooLarge."""
    largest = max(map(len, bodies))
    if largest > MAX_BODY_BYTES:
        raise BlobTooLarge(largest, MAX_BODY_BYTES)
    head = struct.pack(f"<{len(bodies) + 1}I", len(bodies), *map(len, bodies))
    stored = _compress((head, *bodies), level)
    if not _gives_back(stored, (head, *bodies)):
        raise BlobCorrupt("a compressor that gives the bodies back", "other bytes")
    return stored


def trial(bodies: Sequence[bytes]) -> int:
    """Return about how many bytes a frame of these bodies would take."""
    return len(_compress(bodies, FAST_LEVEL))


def _compress(pieces: Sequence[bytes], level: int) -> bytes:
    """Compress pieces as if they were joined, which would touch as much memory again."""
    parameter = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(
        options={
            parameter.compression_level: level,
            parameter.enable_long_distance_matching: 1,
            parameter.ldm_min_match: _LONG_MATCH_BYTES,
            parameter.window_log: _WINDOW_LOG,
            parameter.checksum_flag: 1,
        },
    )
    compressor.set_pledged_input_size(sum(map(len, pieces)))
    return b"".join([*map(compressor.compress, _in_chunks(pieces)), compressor.flush(compressor.FLUSH_FRAME)])


def _in_chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, for a call costs as much as compressing some KB; a large one is passed on as it is."""
    some: list[bytes] = []
    some_bytes = 0
    for piece in pieces:
        some.append(piece)
        some_bytes += len(piece)
        if some_bytes >= _CHUNK_BYTES:
            yield b"".join(some)
            some, some_bytes = [], 0
    yield b"".join(some)


def _gives_back(stored: bytes, pieces: Sequence[bytes]) -> bool:
    decoder = zstd.ZstdDecompressor()
    decoded, at = decoder.decompress(stored, max_length=_READ_AHEAD_BYTES), 0
    for piece in pieces:
        done = 0
        while done < len(piece):
            if at == len(decoded) and not decoder.eof:
                decoded, at = decoder.decompress(b"", max_length=_READ_AHEAD_BYTES), 0
            taken = decoded[at : at + len(piece) - done]
            if not taken or not piece.startswith(taken, done):
                return False
            done, at = done + len(taken), at + len(taken)
    rest = b"" if decoder.eof else decoder.decompress(b"", max_length=1)
    return at == len(decoded) and not rest and decoder.eof


def raw_bytes_of(bodies: Sequence[bytes]) -> int:
    """Return what a frame of these bodies holds before it is compressed."""
    return 4 + sum(len(body) + 4 for body in bodies)


class Frame:
    """One stored frame, being decoded; safe to use from several threads."""

    def __init__(self, stored: bytes, where: str) -> None:
        self._stored: bytes | None = stored
        self._stored_bytes = len(stored)
        self._where = where
        decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        self._decoder: zstd.ZstdDecompressor | None = decoder
        self._pieces: list[bytes] = []
        self._ends: list[int] = []
        """What was decoded, and where each piece of it ends; as one growing buffer it would be copied over and over."""
        self._starts: list[int] = []
        self._behind_bytes = 0
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        """Count the bodies; decodes the head."""
        with self._mutex:
            return len(self._bounds()) - 1

    @property
    def decoded_bytes(self) -> int:
        """How much of it was decoded."""
        return self._ends[-1] if self._ends else 0

    @property
    def held_bytes(self) -> int:
        """How much memory it takes: until the end was decoded, its stored bytes and the decoder's window as well."""
        decoded_bytes = self.decoded_bytes
        return decoded_bytes + (decoded_bytes + self._stored_bytes if self._decoder is not None else 0)

    def body(self, number: int) -> bytes:
        """Return a body, decoding no further than to its end; BlobCorrupt when that cannot be."""
        with self._mutex:
            bounds = self._bounds()
            if number >= len(bounds) - 1:
                raise self._corrupt(f"at least {number + 1} bodies", f"{len(bounds) - 1}")
            self._decode_to(bounds[number + 1])
            if number == len(bounds) - 2:
                with suppress(BlobCorrupt):  # the body is there; to end the frame only frees its decoder
                    self._decode_to(bounds[-1] + 1, to_end=True)
            return self._slice(bounds[number], bounds[number + 1])

    def bodies(self) -> Iterator[bytes]:
        """Yield every body, once the frame was decoded to its end and its checksum is right."""
        self.finish()
        return starmap(self._slice, pairwise(self._bounds()))

    def finish(self) -> int:
        """Decode to the end; returns how many stored bytes behind the frame are not its own."""
        with self._mutex:
            end = self._bounds()[-1]
            self._decode_to(end + 1, to_end=True)
            if self.decoded_bytes != end or self._decoder is not None:
                found = "more" if self.decoded_bytes > end else f"{self.decoded_bytes}"
                raise self._corrupt(f"{end} bytes in the frame", found)
            return self._behind_bytes

    def _bounds(self) -> list[int]:
        """Return where each body begins, and where the last one ends."""
        if not self._starts:
            self._decode_to(4)
            (count,) = struct.unpack("<I", self._slice(0, 4))
            if not 0 < count <= _MOST_HEAD_BODIES:
                raise self._corrupt(f"1 to {_MOST_HEAD_BODIES} bodies", f"{count}")
            self._decode_to(4 + 4 * count)
            lengths = struct.unpack(f"<{count}I", self._slice(4, 4 + 4 * count))
            if max(lengths) > MAX_BODY_BYTES:
                raise self._corrupt(f"bodies of at most {MAX_BODY_BYTES} bytes", f"{max(lengths)}")
            starts = list(accumulate(lengths, initial=4 + 4 * count))
            if starts[-1] > _MOST_BYTES:
                raise self._corrupt(f"a frame of at most {_MOST_BYTES} bytes", f"{starts[-1]}")
            self._starts = starts
        return self._starts

    def _slice(self, start: int, end: int) -> bytes:
        """Return a part of what was decoded."""
        if start == end:
            return b""
        first, last = bisect_right(self._ends, start), bisect_left(self._ends, end)
        begins = self._ends[first] - len(self._pieces[first])
        if first == last:
            return self._pieces[first][start - begins : end - begins]
        ends = self._ends[last] - len(self._pieces[last])
        inner = self._pieces[first + 1 : last]
        return b"".join([self._pieces[first][start - begins :], *inner, self._pieces[last][: end - ends]])

    def _decode_to(self, end: int, to_end: bool = False) -> None:
        while self.decoded_bytes < end:
            if self._decoder is None:
                if to_end:
                    return
                raise self._corrupt(f"{end} bytes in the frame", f"{self.decoded_bytes}")
            stored, self._stored = self._stored or b"", None
            try:
                piece = self._decoder.decompress(stored, max_length=_READ_AHEAD_BYTES)
            except zstd.ZstdError as error:
                raise self._corrupt("a zstd frame", str(error)) from None
            if not piece and not self._decoder.eof and self._decoder.needs_input:
                raise self._corrupt("a whole zstd frame", f"one cut short after {self.decoded_bytes} bytes")
            if piece:
                self._pieces.append(piece)
                self._ends.append(self.decoded_bytes + len(piece))
            if self._decoder.eof:
                self._behind_bytes = len(self._decoder.unused_data)
                self._decoder = None

    def _corrupt(self, wanted: str, found: str) -> BlobCorrupt:
        return BlobCorrupt(wanted, found, None, self._where)
