"""A timed unit of work, written when it opens and again when it closes: a crash leaves the truth."""

from collections.abc import Mapping
from types import TracebackType
from typing import TypeAlias

from tracestore.capture import plain
from tracestore.capture.clock import ms_of
from tracestore.capture.current import Place, current, enter, leave
from tracestore.capture.funnel import Funnel
from tracestore.capture.logs import Logs
from tracestore.record import Scalar
from tracestore.record.attributes import Members

Attributes: TypeAlias = Mapping[str, object] | None
Error: TypeAlias = BaseException | str | bool | None

SPAN_ID_BYTES = 8
TURN_ID_BYTES = 16


class Span(Logs):
    """An open span: ``with recorder.span("step") as span``, or `end` it yourself. None of its methods raises.

    An exception that leaves the ``with`` is recorded as its error, and goes on. A span without a
    turn begins one. ``span_id``, ``turn_id`` and ``conversation_id`` can go to another process, which
    goes on with ``Recorder(…).child(turn_id=…, parent_span_id=…)``.
    """

    def __init__(
        self, funnel: Funnel, own: Members, parent_id: str | None, name: str, attributes: Attributes, body: object
    ) -> None:
        self.funnel = funnel
        self._own = own if "turnId" in own else {**own, "turnId": funnel.new_id(TURN_ID_BYTES)}
        self._span_id = funnel.new_id(SPAN_ID_BYTES)
        self._half: Members = {"spanId": self._span_id, "name": plain.text(name)}
        if parent_id is not None:
            self._half["parentSpanId"] = parent_id
        self._attributes: dict[str, object] = {}
        self._links: list[dict[str, Scalar]] = []
        self._is_ended = False
        self._place: Place | None = None
        self._started_ns = funnel.clock.elapsed_ns()
        opened = {"kind": "span-open", "timestamp": funnel.clock.timestamp_ms(), **self._own, **self._half}
        funnel.emit(opened, attributes, body)

    def __repr__(self) -> str:
        return f"<Span {self._half['name']!r} {self._span_id} {'ended' if self._is_ended else 'open'}>"

    @property
    def span_id(self) -> str:
        """The span's id: 16 hexadecimal digits."""
        return self._span_id

    @property
    def turn_id(self) -> str:
        """The id of the turn it is part of."""
        turn_id: str = self._own["turnId"]
        return turn_id

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation it is part of, if any."""
        return self._own.get("conversationId")

    def set_attributes(self, attributes: Attributes = None, /, **more: object) -> None:
        """Add attributes as they are now, written when the span closes; the last value of a name counts."""
        self._attributes |= self.funnel.scalars(attributes) | self.funnel.scalars(more)

    def add_link(self, span_id: str, turn_id: str | None = None, reason: str | None = None) -> None:
        """Say that this span has to do with one elsewhere; written when the span closes."""
        about = {"turnId": turn_id, "reason": reason}
        known = {name: plain.text(value) for name, value in about.items() if value is not None}
        self._links.append({"spanId": plain.text(span_id), **known})

    def child(self, name: str, attributes: Attributes = None, body: object = None) -> "Span":
        """Open a span inside this one."""
        return Span(self.funnel, self._own, self._span_id, name, attributes, body)

    def end(self, error: Error = None, attributes: Attributes = None, body: object = None) -> None:
        """Close the span; ``error`` is the exception, a text, or True. Once: a second call changes nothing."""
        if self._is_ended:
            return
        self._is_ended = True
        is_error = bool(error) if isinstance(error, str) else error is not None and error is not False
        duration_ns = self.funnel.clock.elapsed_ns() - self._started_ns
        closed: Members = {
            "kind": "span-close",
            "timestamp": self.funnel.clock.timestamp_ms(),
            **self._own,
            **self._half,
            "durationMs": ms_of(max(0, duration_ns)),
            "status": "error" if is_error else "ok",
        }
        if self._links:
            closed["links"] = self._links
        said = self._attributes
        if attributes is not None or is_error:
            said = said | self.funnel.scalars(attributes) | (_about(error) if is_error else {})
        self.funnel.emit(closed, said, body)

    def __enter__(self) -> "Span":
        if self.funnel.in_context and self._place is None:
            self._place = enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place is not None:
            leave(self._place)
        self.end(error)

    def where(self) -> tuple[Members, str | None]:
        """Return what all records made in this span share, and its id."""
        return self._own, self._span_id


def current_span() -> Span | None:
    """Return the span that this thread or task is in; None where no recorder uses the context."""
    span = current()
    return span if isinstance(span, Span) else None


def _about(error: Error) -> dict[str, object]:
    if isinstance(error, BaseException):
        return {"error.type": type(error).__qualname__, "error.message": plain.text(error)}
    return {} if error is None or isinstance(error, bool) else {"error.message": plain.text(error)}
