"""What recorders and spans have in common: they log."""

from typing import Final, Literal, TypeAlias, get_args

from tracestore.capture import plain
from tracestore.capture.funnel import Funnel
from tracestore.record.attributes import Members

Level: TypeAlias = Literal["debug", "info", "warn", "error"]

_LEVELS: Final = frozenset(get_args(Level))
LOG_ID_BYTES = 8


class Logs:
    """Says what happens, in the span it belongs to. None of its methods raises."""

    funnel: Funnel
    """The way into the journal; with it the clock and the redaction."""

    def where(self) -> tuple[Members, str | None]:
        """Return what all records made here share, and the id of the span around them, if any."""
        raise AssertionError("a recorder and a span each say where they are")

    def debug(self, msg: str, /, *, body: object = None, **attributes: object) -> None:
        """Record what helps to find a fault."""
        self.log(msg, "debug", body=body, **attributes)

    def info(self, msg: str, /, *, body: object = None, **attributes: object) -> None:
        """Record what happens in the ordinary course."""
        self.log(msg, "info", body=body, **attributes)

    def warn(self, msg: str, /, *, body: object = None, **attributes: object) -> None:
        """Record what should not happen, and did no harm."""
        self.log(msg, "warn", body=body, **attributes)

    def error(self, msg: str, /, *, body: object = None, **attributes: object) -> None:
        """Record what failed."""
        self.log(msg, "error", body=body, **attributes)

    def log(self, msg: str, level: Level = "info", /, *, body: object = None, **attributes: object) -> None:
        """Record one thing that happened now; ``body`` is text, bytes, or anything that JSON can say."""
        self.log_with(attributes, msg, level, body)

    def log_with(self, attributes: dict[str, object], msg: object, level: Level, body: object = None) -> None:
        """Record what `log` does, with attributes of any name."""
        if not isinstance(level, str) or level not in _LEVELS:
            attributes, level = {**attributes, "level": level}, "info"
        own, span_id = self.where()
        record: Members = {
            "kind": "log",
            "timestamp": self.funnel.clock.timestamp_ms(),
            **own,
            "level": level,
            "msg": plain.text(msg),
            "id": self.funnel.new_id(LOG_ID_BYTES),  # two events that read alike in one microsecond stay two
        }
        if span_id is not None:
            record["spanId"] = span_id
        self.funnel.emit(record, attributes, body)
