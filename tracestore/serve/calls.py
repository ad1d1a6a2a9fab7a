"""The calls of `tracestore.remote`, answered: what the owner's own programs ask through the store's socket.

A worker thread does the work and writes frames; the event loop sends them. When nobody listens any more
the next frame ends the work, except for a prune, which goes to its end.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tracestore.database.answers import Interrupt, Listed, QueryLimits
from tracestore.errors import TraceStoreError
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.record import StoredRecord
from tracestore.remote import calls, frames
from tracestore.remote.client import CALLS_PATH
from tracestore.remote.values import to_json
from tracestore.serve.failures import failure
from tracestore.store import TraceStore

WAITING_FRAMES = 16
"""Frames that wait to be sent; then the worker waits."""
ROWS_IN_FRAME = 500
PROGRESS_EVERY_S = 0.1
_LOG = logging.getLogger(__name__)


class ClientLeft(Exception):  # not an error: nobody waits for what it would answer
    """Nobody listens any more."""


class Frames:
    """From the worker's thread to the event loop; `put` waits where the client is slow."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_FRAMES)
        self._next_progress = 0.0
        self.interrupt = Interrupt()
        self.is_abandoned = False

    def put(self, kind: str, value: Any) -> None:
        """Send a frame; ClientLeft where nobody takes it."""
        self._put(frames.encode(kind, value))

    def progress(self, done: int, planned: int) -> None:
        """Send how far it is, now and then, and not to a client that does not read: nothing waits for it."""
        if self._queue.full():
            return
        if (now := time.monotonic()) >= self._next_progress or done == planned:
            self._next_progress = now + PROGRESS_EVERY_S
            self.put("progress", [done, planned])

    def progress_to_the_end(self, done: int, planned: int) -> None:
        """Send how far it is, and go on where nobody takes it."""
        with suppress(ClientLeft):
            self.progress(done, planned)

    def end(self) -> None:
        """Say that there is no more."""
        self._put(None)

    def _put(self, frame: bytes | None) -> None:
        if self.is_abandoned:
            raise ClientLeft
        asyncio.run_coroutine_threadsafe(self._queue.put(frame), self._loop).result()
        if self.is_abandoned:
            raise ClientLeft

    async def end_when_client_leaves(self, receive: Receive) -> None:
        """Wait for the end of the connection, which may come before there is anything to send."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.abandon()
        self._queue.put_nowait(None)

    async def sent(self) -> AsyncIterator[bytes]:
        """Give frames as they come, until the end."""
        while (frame := await self._queue.get()) is not None:
            yield frame

    def abandon(self) -> None:
        """End the work: nobody listens."""
        self.is_abandoned = True
        self.interrupt.set()
        while not self._queue.empty():  # a worker that waits for room goes on, and sees it
            self._queue.get_nowait()


async def answer_call(request: Request) -> Response:
    """POST /store: one call of `tracestore.remote.calls`, its answer as frames."""
    found = request.headers.get(frames.PROTOCOL_HEADER)
    headers = {frames.PROTOCOL_HEADER: frames.PROTOCOL}
    if found != frames.PROTOCOL:
        message = f"wanted protocol {frames.PROTOCOL}, found {found}; use one release of tracestore on both sides"
        return failure(400, "InputInvalid", message, headers)
    call = calls.decode_call(await request.body())
    answered = Frames(asyncio.get_running_loop())
    request.app.state.workers.submit(_work, request.app.state.store, call, answered)
    return _Sent(answered, headers)


class _Sent(StreamingResponse):
    """Sends frames as they come. The work ends with it, be it cut off at a client that does not read."""

    def __init__(self, answered: Frames, headers: Mapping[str, str]) -> None:
        super().__init__(answered.sent(), media_type="application/x-ndjson", headers=headers)
        self._frames = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(self._frames.end_when_client_leaves(receive))
        try:
            await self.stream_response(send)
        finally:
            listening.cancel()
            self._frames.abandon()


ROUTES = [Route(CALLS_PATH, answer_call, methods=["POST"])]


def _work(store: TraceStore, call: calls.Call, answered: Frames) -> None:
    """Do what a call asks, in a worker thread."""
    if answered.is_abandoned:  # while it waited for a worker
        return
    with suppress(ClientLeft):
        try:
            answered.put("result", _Answers(store, answered).answer(call))
        except TraceStoreError as error:
            answered.put("error", frames.error_members(error))
        except ClientLeft:
            raise
        except Exception as error:  # the client gets a sentence, the log on stderr the stack
            _LOG.exception("call %s", type(call).__name__)
            message = f"unexpected {type(error).__name__}: {error}; stderr of the collector says more"
            answered.put("error", frames.error_members(TraceStoreError(message)))
        answered.end()


@dataclass(frozen=True, slots=True)
class _Answers:
    """One method for each kind of call."""

    store: TraceStore
    frames: Frames

    def answer(self, call: calls.Call) -> Any:
        """Return the result; items go out before it."""
        answers: dict[type, Callable[[Any], Any]] = {
            calls.Turn: lambda call: self._records(self.store.reader.turn(call.turn_id)),
            calls.Span: lambda call: self._records(self.store.reader.span(call.span_id)),
            calls.OneRecord: self._record,
            calls.BodyDigest: self._body_digest,
            calls.BodyStateOf: lambda call: self.store.reader.body_state(bytes.fromhex(call.digest)),
            calls.Turns: lambda call: _listed(self.store.reader.turns(call.limit, **_filters(call))),
            calls.Conversations: self._conversations,
            calls.Body: lambda call: to_json(self.store.get_body(call.id)),
            calls.Bodies: self._bodies,
            calls.Query: self._query,
            calls.Schema: lambda call: self.store.schema(),
            calls.Stats: lambda call: to_json(self.store.stats()),
            calls.Export: self._export,
            calls.Verify: self._verify,
            calls.Prune: self._prune,
            calls.Pack: self._pack,
        }
        return answers[type(call)](call)

    def _records(self, records: Iterable[StoredRecord]) -> None:
        for record in records:
            self.frames.put("item", calls.record_members(record))

    def _record(self, call: calls.OneRecord) -> Any:
        record = self.store.reader.record(UUID(call.record_id))
        return None if record is None else calls.record_members(record)

    def _body_digest(self, call: calls.BodyDigest) -> str | None:
        digest = self.store.reader.body_digest(UUID(call.record_id))
        return None if digest is None else digest.hex()

    def _conversations(self, call: calls.Conversations) -> Any:
        reader = self.store.reader
        if call.ids is not None:
            return _listed(reader.conversations_of(call.ids))
        return _listed(reader.conversations(call.limit, **_filters(call)))

    def _bodies(self, call: calls.Bodies) -> None:
        for digest, body, state in self.store.get_bodies(call.digests):
            self.frames.put("item", to_json([digest, body, state]))

    def _query(self, call: calls.Query) -> dict[str, Any]:
        limits = QueryLimits(call.max_rows, call.max_bytes, call.timeout_ms)
        result = self.store.sql(call.sql, limits=limits, interrupt=self.frames.interrupt)
        for start in range(0, len(result.rows), ROWS_IN_FRAME):
            self.frames.put("item", [to_json(list(row)) for row in result.rows[start : start + ROWS_IN_FRAME]])
        return {"columns": result.columns, "types": result.types, "truncated": result.truncated}

    def _export(self, call: calls.Export) -> None:
        with self.store.export(call.format, bodies=call.bodies, **_filters(call)) as export:  # type: ignore[arg-type]
            self.frames.put("progress", [0, export.planned_records])
            for chunk in export:
                report = export.report
                item = [to_json(chunk), report.records, report.bodies, report.missing_bodies]
                self.frames.put("item", item)

    def _verify(self, call: calls.Verify) -> Any:
        report = self.store.verify(call.data, subset=call.subset, on_progress=self.frames.progress)
        return msgspec.to_builtins(report)

    def _prune(self, call: calls.Prune) -> Any:
        policy = RetentionPolicy(call.max_age_ms, call.max_total_body_bytes)
        show = self.frames.progress_to_the_end
        return msgspec.to_builtins(self.store.prune(policy, call.dry_run, force=call.force, on_progress=show))

    def _pack(self, call: calls.Pack) -> Any:
        report = self.store.pack(
            grace_ms=call.grace_ms, settled_ms=call.settled_ms, is_stopped=lambda: self.frames.is_abandoned,
            on_progress=self.frames.progress_to_the_end,
        )  # fmt: skip
        return msgspec.to_builtins(report)


def _listed(found: Sequence[Listed]) -> Any:
    return msgspec.to_builtins(found)


def _filters(call: calls.Turns | calls.Conversations | calls.Export) -> dict[str, Any]:
    return {"since": call.since, "status": call.status, "conversation_id": call.conversation_id}
