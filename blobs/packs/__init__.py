"""Packs: where cold blobs lie, many in one file. `format` specifies the file, `tier` is all of them."""

from blobs.packs.seat import Seat
from blobs.packs.tier import PackTier

__all__ = ["PackTier", "Seat"]
