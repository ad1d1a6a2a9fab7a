"""Finds the position that belongs to a file nobody recognises by its inode.

Positions without a file are indexed by their head fingerprint, so that one look at the first
4096 bytes of a file finds the few that may be its own, however many there are.
"""

import hashlib
from collections import Counter

from tracestore.journal.position import DIGEST_BYTES, HEAD_BYTES, Position, path_text
from tracestore.journal.segment import Segment

_Head = tuple[int, bytes]


class LostPositions:
    """Positions whose file is not in sight, waiting for it to turn up under any name."""

    __slots__ = ("_by_head", "_by_id", "_head_lengths")

    def __init__(self) -> None:
        self._by_id: dict[int, Position] = {}
        self._by_head: dict[_Head, set[int]] = {}
        self._head_lengths: Counter[int] = Counter()

    def add(self, position: Position) -> None:
        """Remember a position, in place of an earlier one of the same segment.

        One that has read nothing can be recognised by nothing, and nothing is lost without it.
        """
        self._forget(position.segment_id)
        if position.offset:
            self._by_id[position.segment_id] = position
            self._by_head.setdefault(_head(position), set()).add(position.segment_id)
            self._head_lengths[position.head_bytes] += 1

    def take(self, segment: Segment) -> Position | None:
        """Return, and forget, the position that was reached in this very content, or None.

        Of several the one with the same inode is preferred, then the same path, then the farthest.
        """
        ids = [segment_id for head in self._heads_of(segment) for segment_id in self._by_head.get(head, ())]
        candidates = [self._by_id[segment_id] for segment_id in ids]
        candidates.sort(key=lambda position: _likeness(position, segment), reverse=True)
        for position in candidates:
            if segment.holds(position):
                self._forget(position.segment_id)
                return position
        return None

    def _heads_of(self, segment: Segment) -> list[_Head]:
        """Return the file's head fingerprints, one for every length in use."""
        if not self._head_lengths:
            return []
        content = segment.read_at(HEAD_BYTES, 0)
        running = hashlib.blake2b(digest_size=DIGEST_BYTES)
        heads: list[_Head] = []
        done_bytes = 0
        for length_bytes in sorted(self._head_lengths):
            if length_bytes > len(content):
                break
            running.update(content[done_bytes:length_bytes])
            heads.append((length_bytes, running.copy().digest()))
            done_bytes = length_bytes
        return heads

    def _forget(self, segment_id: int) -> None:
        position = self._by_id.pop(segment_id, None)
        if position is None:
            return
        group = self._by_head[_head(position)]
        group.discard(segment_id)
        if not group:
            del self._by_head[_head(position)]
        self._head_lengths[position.head_bytes] -= 1
        if not self._head_lengths[position.head_bytes]:
            del self._head_lengths[position.head_bytes]


def _head(position: Position) -> _Head:
    return position.head_bytes, position.head_digest


def _likeness(position: Position, segment: Segment) -> tuple[bool, bool, int]:
    same_file = (position.device, position.inode) == segment.identity
    return same_file, position.path == path_text(segment.path), position.offset
