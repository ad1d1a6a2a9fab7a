"""The recorder: what an application holds to say what it does."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from weakref import finalize

from tracestore.capture import plain
from tracestore.capture.appender import Fsync
from tracestore.capture.clock import Clock, NewId, random_hex
from tracestore.capture.current import current_trace
from tracestore.capture.drops import Reason
from tracestore.capture.funnel import Funnel, line_of_drops
from tracestore.capture.logs import LOG_ID_BYTES, Logs
from tracestore.capture.queue import QUEUE_LIMIT_BYTES, JournalQueue
from tracestore.capture.redaction import Redaction
from tracestore.capture.span import Attributes, Span, current_span
from tracestore.errors import InputInvalid
from tracestore.record.attributes import Members

FLUSH_TIMEOUT_S = 5.0


class Recorder(Logs):
    """Records what an application does, into a journal that a collector moves into a store.

    ``path`` is the journal's directory, made when it is not there: ``STORE/journal``, or any other that
    a collector is told of. Many processes may share it. Keep one recorder in each process, and give
    its children to whoever records: they share the queue and the segment.

    Nothing but a wrong argument here (InputInvalid) ever raises, and a call waits for no disk unless
    ``is_direct`` says so: see `capture.queue`, also for ``fsync``. ``in_context`` makes spans entered with
    ``with`` the parents of what is recorded inside, as `capture.current` explains.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        extension_id: str,
        conversation_id: str | None = None,
        turn_id: str | None = None,
        redaction: Redaction | None = None,
        in_context: bool = False,
        fsync: Fsync = "periodic",
        is_direct: bool = False,
        queue_bytes: int = QUEUE_LIMIT_BYTES,
        clock: Clock = Clock(),  # noqa: B008  # immutable
        new_id: NewId = random_hex,
    ) -> None:
        if not isinstance(extension_id, str) or not extension_id:
            raise InputInvalid(f"extension_id: wanted a name of who records, found {extension_id!r:.40}")
        if not isinstance(redaction, Redaction | None):
            raise InputInvalid(f"redaction: wanted a Redaction, found {redaction!r:.40}")

        def tell(counts: "Counter[Reason]") -> bytes:
            return line_of_drops(counts, extension_id, clock.timestamp_ms(), new_id(LOG_ID_BYTES))

        queue = JournalQueue(path, clock.now_ms, tell, fsync=fsync, is_direct=is_direct, limit_bytes=queue_bytes)
        self.funnel = Funnel(queue, redaction or Redaction(), clock, new_id, in_context=in_context)
        finalize(self.funnel, queue.forget).atexit = False  # the queue's thread holds the queue
        self._own = _own({}, extension_id=extension_id, conversation_id=conversation_id, turn_id=turn_id)
        self._span_id: str | None = None

    def __repr__(self) -> str:
        return f"<Recorder {self._own} into {self.funnel.queue!r}>"

    @property
    def dropped(self) -> dict[Reason, int]:
        """How many records this process dropped so far, by reason; empty where all were recorded."""
        return self.funnel.queue.dropped

    def child(
        self,
        *,
        extension_id: str | None = None,
        conversation_id: str | None = None,
        turn_id: str | None = None,
        parent_span_id: str | None = None,
    ) -> "Recorder":
        """Return a recorder of the same journal for a conversation, a turn, a span or an extension."""
        child: Recorder = object.__new__(Recorder)
        child.funnel = self.funnel
        child._own = _own(self._own, extension_id=extension_id, conversation_id=conversation_id, turn_id=turn_id)
        child._span_id = self._span_id if parent_span_id is None else plain.text(parent_span_id)
        return child

    def span(self, name: str, attributes: Attributes = None, body: object = None) -> Span:
        """Open a span, with attributes and body (text, bytes, or what JSON can say) as far as they are known."""
        own, parent_id = self.where()
        return Span(self.funnel, own, parent_id, name, attributes, body)

    def where(self) -> tuple[Members, str | None]:
        """Return what all records made here share, and the id of the span around them, if any."""
        if self.funnel.in_context and self._span_id is None:
            span = current_span()
            if span is not None:
                own, span_id = span.where()
                return own | self._own, span_id
            trace = current_trace()
            if trace is not None and "turnId" not in self._own:
                return {**self._own, "turnId": trace[0]}, trace[1]
        return self._own, self._span_id

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Write what was recorded so far and, unless fsync is ``none``, make it durable; False when that failed."""
        return self.funnel.queue.flush(timeout_s)

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Flush, and let the segment go; what is recorded later starts another. The end of the process does it, too."""
        return self.funnel.queue.close(timeout_s)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _own(members: Members, *, extension_id: str | None, conversation_id: str | None, turn_id: str | None) -> Members:
    given = {"extensionId": extension_id, "conversationId": conversation_id, "turnId": turn_id}
    return members | {key: plain.text(value) for key, value in given.items() if value is not None}
