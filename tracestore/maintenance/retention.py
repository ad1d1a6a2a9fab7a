"""What should go: the retention policy, and which bodies it evicts. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from tracestore.errors import InputInvalid
from tracestore.units import parse_duration_ms, parse_size_bytes

_Value = TypeVar("_Value")

DISK_BLOCK_BYTES = 4096
"""What a file's size is rounded up to when bytes on disk are estimated."""


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
    """A body on disk and the newest time a record used it."""

    digest: bytes
    disk_bytes: int
    newest_use_ns: int


def disk_bytes(stored_bytes: int) -> int:
    """Return what a file of this size takes up, in whole disk blocks."""
    return -(-stored_bytes // DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES


def plan_evictions(bodies: Iterable[BodyUse], total_bytes: int, cap_bytes: int) -> list[BodyUse]:
    """Return the bodies to drop, least recently used first, until the rest fits under the cap.

    ``bodies`` come in that order already; no more of them are read than are dropped.
    """
    evicted: list[BodyUse] = []
    if total_bytes <= cap_bytes:
        return evicted
    for body in bodies:
        evicted.append(body)
        total_bytes -= body.disk_bytes
        if total_bytes <= cap_bytes:
            break
    return evicted


def _named(name: str, parse: Callable[[_Value], int], value: _Value) -> int:
    try:
        return parse(value)
    except InputInvalid as error:
        raise InputInvalid(f"{name}: {error}") from error


DEFAULT_RETENTION = RetentionPolicy(max_age="7d", max_total_body_bytes="256MiB")
"""A week of records and 256 MiB of bodies; deletes only where it is passed to prune."""
