"""A seat: where one body lies."""

from collections.abc import Iterable
from dataclasses import dataclass

from blobs.packs.pack import Pack


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one body lies: a pack and its ordinal in it."""

    pack: Pack
    ordinal: int

    @property
    def frame(self) -> int:
        """The number of its frame."""
        return self.pack.frame_of(self.ordinal)

    @property
    def share_bytes(self) -> int:
        """About how many stored bytes of its frame are its own."""
        seat = self.pack.seats[self.frame]
        return seat.stored_bytes // seat.bodies


def by_pack(seats: Iterable[Seat]) -> dict[Pack, list[int]]:
    """Return the ordinals of seats, pack by pack."""
    found: dict[Pack, list[int]] = {}
    for seat in seats:
        found.setdefault(seat.pack, []).append(seat.ordinal)
    return found


def by_frame(seats: Iterable[Seat]) -> dict[tuple[Pack, int], list[Seat]]:
    """Return seats, frame by frame, each in order."""
    found: dict[tuple[Pack, int], list[Seat]] = {}
    for seat in sorted(seats, key=lambda seat: (seat.pack.name, seat.ordinal)):
        found.setdefault((seat.pack, seat.frame), []).append(seat)
    return found
