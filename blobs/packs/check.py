"""Is a pack as it was written, and what is in it if it is not?

With data its file is hashed, which finds every changed bit, and each frame decoded and each body hashed:
a pack may be as it was written and yet not hold what its index says, by a fault of memory or of ours.
"""

import stat as st
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

from blake3 import blake3

from blobs import layout
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobsUnavailable
from blobs.packs.format import key_of
from blobs.packs.frame import MAGIC as FRAME_MAGIC
from blobs.packs.frame import Frame
from blobs.packs.pack import Pack
from blobs.packs.tier import PackTier

Kind = Literal["corrupt", "flipped", "leftover", "mode", "stranger", "symlink", "unreadable"]
_PIECE_BYTES = 4 * 2**20


def oddities(tier: PackTier) -> Iterator[tuple[Kind, str, str]]:
    """Yield kind, path and detail of what does not belong into packs/, or has not the mode it was made with."""
    for name, mode, is_leftover in tier.listing():
        path = f"{layout.PACKS}/{name}"
        if st.S_ISLNK(mode):
            yield "symlink", path, "symbolic links are not followed"
        elif is_leftover and st.S_ISREG(mode):
            yield "leftover", path, "left by a crash; the next sweep removes it"
        elif not st.S_ISREG(mode) or not (layout.parse_pack_name(name) or layout.is_unfinished_name(name)):
            yield "stranger", path, "not a pack"
        elif st.S_IMODE(mode) != layout.FILE_MODE:
            yield "mode", path, f"mode {st.S_IMODE(mode):04o}, wanted {layout.FILE_MODE:04o}"


def damaged(tier: PackTier) -> Iterator[tuple[Kind, str, str]]:
    """Yield kind, path and detail of every pack that could not even be opened."""
    for path, error in sorted(tier.damaged.items()):
        if isinstance(error, BlobCorrupt):
            yield "corrupt", path, f"wanted {error.wanted}, found {error.found}"
        else:
            yield "unreadable", path, str(error)


def check(tier: PackTier, pack: Pack, data: bool) -> Iterator[tuple[Kind, str]]:
    """Yield kind and detail of what is wrong with a pack that opens."""
    try:
        if not data:
            tier.require_whole_index(pack)
            return
        is_as_written = _is_as_written(tier, pack)
        if is_as_written and not any(_wrong_frames(tier, pack, fresh=False)):
            return
        wrong = list(_wrong_frames(tier, pack, fresh=True))
        yield from (("corrupt", detail) for detail in wrong)
        tier.require_whole_index(pack)
        if not wrong and not is_as_written:
            yield "flipped", "stored bits changed; every body is whole"
    except BlobCorrupt:
        yield "corrupt", "its index is not what was written"
    except BlobsUnavailable as error:
        if pack in set(tier):  # else it was removed since it was listed
            yield "unreadable", str(error)


def bodies(content: bytes) -> Iterator[bytes]:
    """Yield every body of every whole frame in what is left of a pack; nothing else in it is needed.

    Bodies of a frame that is torn are given as far as it can be decoded.
    """
    at = content.find(FRAME_MAGIC)
    while at >= 0:
        frame = Frame(content[at:], "a damaged pack")
        taken = len(FRAME_MAGIC)
        with suppress(BlobCorrupt):
            yield from (frame.body(number) for number in range(len(frame)))
            taken = len(content) - at - frame.finish()
        at = content.find(FRAME_MAGIC, at + taken)


def _is_as_written(tier: PackTier, pack: Pack) -> bool:
    """Hash the file, past the page cache when it differs the first time."""
    return any(_hash(tier, pack, fresh) == pack.name for fresh in (False, True))


def _hash(tier: PackTier, pack: Pack, fresh: bool) -> bytes:
    hasher = blake3()
    for start in range(0, pack.size_bytes, _PIECE_BYTES):
        hasher.update(tier.read_range(pack, start, min(_PIECE_BYTES, pack.size_bytes - start), fresh))
    return hasher.digest()


def _wrong_frames(tier: PackTier, pack: Pack, fresh: bool) -> Iterator[str]:
    keys = pack.index.keys_by_ordinal()
    for number, seat in enumerate(pack.seats):
        try:
            found = tier.frame_bodies(pack, number, fresh)
        except BlobCorrupt as error:
            yield f"frame {number}, {seat.bodies} bodies: wanted {error.wanted}, found {error.found}"
            continue
        wanted = keys[seat.first : seat.first + seat.bodies]
        wrong = sum(key_of(Digest.of(body)) != key for body, key in zip(found, wanted, strict=False))
        if wrong or len(found) != len(wanted):
            yield f"frame {number}: {wrong} of {seat.bodies} bodies are not those of its index"
