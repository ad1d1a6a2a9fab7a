"""Frames kept for the next reader: the bodies of a conversation lie together, so each is decoded once."""

import threading
from collections import OrderedDict

from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs.frame import Frame
from blobs.packs.pack import Pack

CACHE_BYTES = 48 * 2**20
"""Memory of the frames that are kept; the one that was read last is kept whatever it takes."""


class FrameCache:
    """Frames that were read, the last one used last; safe to use from several threads."""

    def __init__(self) -> None:
        self._frames: OrderedDict[tuple[Digest, int], Frame] = OrderedDict()
        self._mutex = threading.Lock()  # never held while the disk is read, nor while a writer waits for it

    @property
    def held_bytes(self) -> int:
        """How much memory the frames take."""
        return sum(frame.held_bytes for frame in self._frames.values())

    def body(self, pack: Pack, ordinal: int) -> bytes:
        """Return a body of a pack, unproved; BlobCorrupt, or an OSError."""
        number = pack.frame_of(ordinal)
        key = pack.name, number
        with self._mutex:
            frame = self._frames.get(key)
        if frame is None:
            opened = pack.open_frame(number)
            with self._mutex:
                frame = self._frames.setdefault(key, opened)
        try:
            body = frame.body(ordinal - pack.seats[number].first)
        except BlobCorrupt:
            with self._mutex:
                self._frames.pop(key, None)  # the next reader may be luckier
            raise
        with self._mutex:
            if key in self._frames:
                self._frames.move_to_end(key)
            while len(self._frames) > 1 and self.held_bytes > CACHE_BYTES:
                self._frames.popitem(last=False)
        return body

    def forget(self, pack: Pack) -> None:
        """Let go of the frames of a pack."""
        with self._mutex:
            for key in [key for key in self._frames if key[0] == pack.name]:
                del self._frames[key]

    def clear(self) -> None:
        """Let go of all frames."""
        with self._mutex:
            self._frames.clear()
