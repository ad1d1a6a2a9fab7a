"""What the views read of a record; the store's rows fit without knowing it."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None


class EventLike(Protocol):
    """A log, or one half of a span; fields that a kind does not have are None."""

    @property
    def kind(self) -> str:
        """``log``, ``span-open`` or ``span-close``."""

    @property
    def timestamp_ns(self) -> int:
        """When it happened, in nanoseconds since the epoch."""

    @property
    def span_id(self) -> str | None:
        """The span itself; for a log the span it was written in."""

    @property
    def parent_span_id(self) -> str | None:
        """The span around that one."""

    @property
    def name(self) -> str | None:
        """The span's name."""

    @property
    def level(self) -> str | None:
        """A log's ``debug``, ``info``, ``warn`` or ``error``."""

    @property
    def msg(self) -> str | None:
        """A log's text."""

    @property
    def duration_ms(self) -> float | None:
        """How long the span took, on its close."""

    @property
    def status(self) -> str | None:
        """``ok`` or ``error``, on a close."""

    @property
    def attributes(self) -> Mapping[str, Scalar] | None:
        """Flat values by key, in the order they were written."""

    @property
    def links(self) -> Sequence[Mapping[str, Scalar]] | None:
        """Spans elsewhere: ``spanId``, ``turnId``, ``reason``."""

    @property
    def body_size_bytes(self) -> int | None:
        """What the body weighs, kept or evicted; None without one."""
