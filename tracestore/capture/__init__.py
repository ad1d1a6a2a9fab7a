"""Capture: what an application puts in, without being held up by it, and without an error out of it.

::

    Recorder(path, extension_id="my-agent")     spans and logs, into a journal
    CaptureTransport(recorder)                  every call of an httpx client, byte for byte
    JournalHandler(recorder)                    what libraries log
    capture.otel                                exporters, and a hook for GenAI instrumentations

Everything goes through one funnel, masked there, into one queue in memory and from there into a
segment of the journal. Neither DuckDB nor Arrow nor `blobs` is imported: it starts in a few
milliseconds, and runs where no store is.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tracestore.capture.clock import Clock
from tracestore.capture.current import carried
from tracestore.capture.known_secrets import KNOWN_SECRETS, Secret
from tracestore.capture.recorder import Recorder
from tracestore.capture.redaction import Redaction
from tracestore.capture.span import Span, current_span

if TYPE_CHECKING:
    from tracestore.capture.logging_handler import JournalHandler
    from tracestore.capture.wire.transport import AsyncCaptureTransport, CaptureTransport

__all__ = [
    "KNOWN_SECRETS",
    "AsyncCaptureTransport",
    "CaptureTransport",
    "Clock",
    "JournalHandler",
    "Recorder",
    "Redaction",
    "Secret",
    "Span",
    "carried",
    "current_span",
]

_HOMES = {
    "AsyncCaptureTransport": "tracestore.capture.wire.transport",
    "CaptureTransport": "tracestore.capture.wire.transport",
    "JournalHandler": "tracestore.capture.logging_handler",
}
"""Where the names live that are loaded when they are first asked for: a recorder alone starts without them."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
