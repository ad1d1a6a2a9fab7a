"""OTLP over HTTP: ``POST /v1/traces``, ``/v1/logs``, ``/v1/metrics``.

A request is read, decoded and mapped to journal lines in a worker thread, and answered with 200
only after its lines are durable in the journal. What the answers mean to a client:

=====  =======================================================================================
200    every span or log record is durable; with a partial success: but for the rejected ones
400    it cannot be decoded, or every one of its records was rejected; do not send it again
408    it came too slowly; send it again
413    over 64 MiB, as it came or unzipped; send fewer records in a request
415    neither protobuf nor JSON, or zipped by something else than gzip
503    disk full, journal or collector behind or at a halt, shutting down; send it again after ``Retry-After``
=====  =======================================================================================

Sending again makes no second row, for a record is known by its content. Metrics are decoded and
counted, and not stored.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tracestore.errors import InputInvalid, RecordInvalid, StoreUnavailable, message_of
from tracestore.formats import otlp
from tracestore.journal.chunk import LINE_LIMIT_BYTES
from tracestore.record import encode_line
from tracestore.serve import incoming
from tracestore.serve.appending import Behind
from tracestore.serve.incoming import RETRY_SOON_S, Refused, Room

LAG_LIMIT_BYTES = 1024 * 1024 * 1024
"""Journal that the collector has not read: beyond it the disk fills up faster than anybody can look."""
RETRY_LATER_S = 30
"""A full disk, or a collector far behind, is no matter of a second."""
DECODING = 2
"""Requests at once: decoding holds the interpreter, and one of 64 MiB takes 300 MB for a moment."""
MESSAGE_LIMIT = 1000
_REASONS_SHOWN = 5
_RPC_CODES = {400: 3, 408: 4, 413: 8, 415: 3, 503: 14}
"""google.rpc.Code: INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE."""

Signal: TypeAlias = Literal["traces", "logs", "metrics"]


class Received:
    """What came in by OTLP since the start, by signal; and the bounds of what comes in at once."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter(traces=0, logs=0, metrics=0)
        """Spans, log records and metric data points that were acknowledged."""
        self.rejected: Counter[str] = Counter(traces=0, logs=0, metrics=0)
        """Those that were refused by a partial success, or with their whole request."""
        self.refused_requests = 0
        """Requests that are not to be sent again (4xx)."""
        self.postponed_requests = 0
        """Requests that are to be sent again (503)."""
        self.room = Room()
        self.decoding = CapacityLimiter(DECODING)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "accepted": dict(self.accepted),
            "rejected": dict(self.rejected),
            "refused_requests": self.refused_requests,
            "postponed_requests": self.postponed_requests,
        }


class _Batch(NamedTuple):
    """What a request holds: how many records of its signal, and their journal lines."""

    total: int
    lines: list[bytes]
    rejected: int
    reasons: list[str]


async def _receive(signal: Signal, request: Request) -> Response:
    """Answer one request, in the content type it came in."""
    received: Received = request.app.state.received
    content_type = otlp.JSON  # which people can read, where a client sent neither
    try:
        content_type = incoming.content_type_of(request)
        return await _taken(signal, request, content_type)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody hears it
    except Refused as error:
        status, message, headers = error.status, str(error), error.headers
    except InputInvalid as error:
        status, message, headers = 400, str(error), {}
    except Behind as error:
        status, message, headers = 503, str(error), {"Retry-After": str(RETRY_SOON_S)}
    except StoreUnavailable as error:  # full, read-only, failing: none of it is the client's fault
        status, message, headers = 503, message_of(error), {"Retry-After": str(RETRY_LATER_S)}
    if status == 503:
        received.postponed_requests += 1
    else:
        received.refused_requests += 1
    content = otlp.failure(content_type, _RPC_CODES[status], message[:MESSAGE_LIMIT])
    return Response(content, status, headers, content_type)


async def _taken(signal: Signal, request: Request, content_type: str) -> Response:
    """Take a request in; returns when its records are durable."""
    state = request.app.state
    received: Received = state.received
    if state.status.failure is not None:  # else the journal would take every byte that gets free, and it none
        message = f"the collector cannot go on: {state.status.failure}; send this again later"
        raise Refused(503, message, {"Retry-After": str(RETRY_LATER_S)})
    lag_bytes = state.lag_bytes()
    if lag_bytes > LAG_LIMIT_BYTES:
        found = f"{lag_bytes} bytes of journal that the collector has not read"
        message = f"wanted at most {LAG_LIMIT_BYTES}, found {found}; send this again later"
        raise Refused(503, message, {"Retry-After": str(RETRY_LATER_S)})
    zipped = incoming.is_zipped(request)
    async with incoming.content_of(request, received.room) as content:
        decode = partial(_decoded, signal, content, zipped, content_type, state.read_ref)
        batch = await to_thread.run_sync(decode, limiter=received.decoding)
    if batch.lines:
        await asyncio.wrap_future(state.appending.submit(batch.lines))
    received.rejected[signal] += batch.rejected
    received.accepted[signal] += batch.total - batch.rejected
    message = _summary(batch.reasons)
    if batch.rejected and not batch.lines:
        raise InputInvalid(message)
    return Response(otlp.success(signal, content_type, batch.rejected, message), media_type=content_type)


def _decoded(signal: Signal, content: bytes, zipped: bool, content_type: str, read_ref: otlp.ReadRef) -> _Batch:
    """Turn a body into journal lines; InputInvalid when it is none."""
    if zipped:
        content = incoming.unzipped(content)
    if signal == "metrics":
        return _Batch(otlp.count_metrics(content, content_type), [], 0, [])
    if signal == "traces":
        spans = otlp.decode_traces(content, content_type)
        return _encoded(len(spans), otlp.map_traces(spans, read_ref))
    entries = otlp.decode_logs(content, content_type)
    return _encoded(len(entries), otlp.map_logs(entries, read_ref))


def _encoded(count: int, mapped: otlp.Mapped) -> _Batch:
    """Encode records; a line that the journal would not take is rejected, the others are kept."""
    lines: list[bytes] = []
    reasons = list(mapped.reasons)
    rejected = mapped.rejected
    for record in mapped.records:
        try:
            line = encode_line(record)
            if len(line) > LINE_LIMIT_BYTES:
                raise RecordInvalid(f"record: wanted a line of at most {LINE_LIMIT_BYTES} bytes, found {len(line)}")
        except RecordInvalid as error:
            rejected += 1
            reasons.append(str(error))
        else:
            lines.append(line)
    return _Batch(count, lines, min(rejected, count), reasons)


def _summary(reasons: list[str]) -> str:
    """Say why records were rejected: each reason once, the first few."""
    different = list(dict.fromkeys(reasons))
    more = f"; and {len(different) - _REASONS_SHOWN} more reasons" if len(different) > _REASONS_SHOWN else ""
    return ("; ".join(different[:_REASONS_SHOWN])[: MESSAGE_LIMIT - len(more)]) + more


def _receiving(signal: Signal) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a signal; a function, for Starlette takes a partial for an ASGI app."""

    async def receive(request: Request) -> Response:
        return await _receive(signal, request)

    kept = "counted, not stored" if signal == "metrics" else "durable when it is answered with 200"
    receive.__doc__ = f"OTLP/HTTP {signal}, protobuf or JSON: {kept}."
    return receive


_SIGNALS: tuple[Signal, ...] = ("traces", "logs", "metrics")
ROUTES = [Route(f"/v1/{signal}", _receiving(signal), methods=["POST"], name=signal) for signal in _SIGNALS]
