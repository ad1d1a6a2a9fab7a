"""A part of all blobs: a range of digests.

Digests are evenly spread, so a range of them is as fair a sample as any other choice, whole
directories of it lie together on disk, and a few characters name it for good.
"""

from dataclasses import dataclass
from typing import Self

_BITS = 64
CIRCLE = 1 << _BITS
"""Digests are told apart by their first 64 bits, which lie on a circle of this circumference."""


@dataclass(frozen=True, slots=True)
class Subset:
    """The digests from `first` on, `width` of the circle."""

    first: int
    width: int

    @classmethod
    def part(cls, number: int, parts: int) -> Self:
        """Return the number-th of so many parts, from 1 on: together they are everything, and none overlap."""
        if not 1 <= number <= parts:
            raise ValueError(f"part {number} of {parts}: wanted a part from 1 to the number of parts")
        first, end = (-(-CIRCLE * n // parts) for n in (number - 1, number))
        return cls(first, end - first)

    @classmethod
    def share(cls, share: float, first: int) -> Self:
        """Return a share of everything, above 0 and up to 1, that begins at some point of the circle."""
        if not 0 < share <= 1:
            raise ValueError(f"a share of {share}: wanted one above 0 and up to 1")
        return cls(first % CIRCLE, max(1, int(share * CIRCLE)))

    def __contains__(self, digest: bytes) -> bool:
        return (int.from_bytes(digest[: _BITS // 8], "big") - self.first) % CIRCLE < self.width
