"""What should go: the retention policy, and which bodies it evicts. Pure."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from blobs import Place
from tracestore.errors import InputInvalid
from tracestore.units import parse_duration_ms, parse_size_bytes

_Value = TypeVar("_Value")

GRACE_MS = 3_600_000
"""Files of bodies that were replaced wait so long, for a copy of the directory that is running."""


@dataclass(frozen=True, slots=True, init=False)
class RetentionPolicy:
    """How long records are kept and how many bytes of disk bodies may take.

    Both take text ("7d", "256MiB") or a number (milliseconds, bytes); None means no rule.
    Zero is a rule: it keeps nothing. Anything else raises InputInvalid.
    """

    max_age_ms: int | None
    max_total_body_bytes: int | None

    def __init__(
        self, max_age: str | float | None = None, max_total_body_bytes: str | int | None = None
    ) -> None:
        age_ms = None if max_age is None else _named("max_age", parse_duration_ms, max_age)
        size_bytes = (
            None
            if max_total_body_bytes is None
            else _named("max_total_body_bytes", parse_size_bytes, max_total_body_bytes)
        )
        object.__setattr__(self, "max_age_ms", age_ms)
        object.__setattr__(self, "max_total_body_bytes", size_bytes)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no rule, so that nothing would be done."""
        return self.max_age_ms is None and self.max_total_body_bytes is None


@dataclass(frozen=True, slots=True)
class BodyUse:
    """A body on disk and where it is."""

    digest: bytes
    places: Sequence[Place]


class Remaining:
    """What is on disk while one body after the other is thought away."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._live: dict[Hashable, int] = {}

    def take(self, places: Iterable[Place]) -> None:
        """Think a body away; bytes come back with the last body of a place."""
        for place in places:
            left = self._live.get(place.unit, place.live_bodies) - 1
            self._live[place.unit] = left
            if left == 0:
                self.total_bytes -= place.size_bytes

    def is_empty(self, place: Place) -> bool:
        """Tell whether no body is left in a place."""
        return self._live.get(place.unit, place.live_bodies) <= 0


def plan_evictions(bodies: Iterable[BodyUse], remaining: Remaining, cap_bytes: int) -> list[bytes]:
    """Return the digests to drop, least recently used first, until the rest fits under the cap.

    ``bodies`` come in that order already; no more of them are read than are needed. Bodies that are
    compressed together go together: one whose neighbours stay would give nothing back, so it stays.
    """
    taken: list[BodyUse] = []
    if remaining.total_bytes > cap_bytes:
        for body in bodies:
            taken.append(body)
            remaining.take(body.places)
            if remaining.total_bytes <= cap_bytes:
                break
    return [body.digest for body in taken if any(map(remaining.is_empty, body.places))]


def _named(name: str, parse: Callable[[_Value], int], value: _Value) -> int:
    try:
        return parse(value)
    except InputInvalid as error:
        raise InputInvalid(f"{name}: {error}") from error


DEFAULT_RETENTION = RetentionPolicy(max_age="7d", max_total_body_bytes="256MiB")
"""A week of records and 256 MiB of bodies; deletes only where it is passed to prune."""
