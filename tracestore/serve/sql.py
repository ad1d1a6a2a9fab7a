"""``POST /v1/sql``: a question in SQL, answered as JSON, CSV or an Arrow IPC stream.

The request is ``{"sql": "...", "max_rows": n, "timeout_ms": n}`` or the statement itself as text;
the first of ``Accept`` that there is says what the answer is. An answer that was cut off, at ``max_rows`` or
at `ANSWER_BYTES`, has ``Tracestore-Truncated: true``. The statement ends when the client leaves. So many
run at once, so many more wait, and who comes then is sent away with 503.
"""

import asyncio
import csv
import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive

from tracestore.database.answers import Interrupt, QueryLimits
from tracestore.errors import InputInvalid, QueryInvalid
from tracestore.serve.answering import json_answer
from tracestore.serve.failures import RETRY_AFTER_S
from tracestore.store import TraceStore
from tracestore.views.values import cell_text, json_value

DEFAULT_ROWS, MOST_ROWS = 10_000, 1_000_000
DEFAULT_TIMEOUT_MS, MOST_TIMEOUT_MS = 30_000, 120_000
ANSWER_BYTES = 64 * 1024 * 1024
"""As `QueryLimits` counts them."""
REQUEST_BYTES = 1024 * 1024
RUNNING, WAITING = 8, 32
JSON, CSV, ARROW, TEXT = "application/json", "text/csv", "application/vnd.apache.arrow.stream", "text/plain"
_CURL = "application/x-www-form-urlencoded"
"""What ``curl -d`` calls any text; a page of another origin that sends a form is kept out by the guard."""
_ACCEPTED = {JSON: JSON, CSV: CSV, ARROW: ARROW, "application/*": JSON, "text/*": CSV, "*/*": JSON}

_Answer: TypeAlias = tuple[bytes, bool]
"""What is sent, and whether it was cut off."""
_Result = TypeVar("_Result")


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    sql: str
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)] = DEFAULT_ROWS
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=MOST_TIMEOUT_MS)] = DEFAULT_TIMEOUT_MS

    @property
    def limits(self) -> QueryLimits:
        return QueryLimits(self.max_rows, ANSWER_BYTES, self.timeout_ms)


class Busy(Exception):
    """As many queries wait as may."""


class QuerySlots:
    """How many queries of a server run at once, each in a thread of its own, and how many may wait."""

    def __init__(self, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._most = running + waiting
        self._threads = ThreadPoolExecutor(running, "tracestore-sql")
        self._asked: set[Interrupt] = set()
        self._is_closed = False

    @property
    def taken(self) -> int:
        """How many queries run or wait."""
        return len(self._asked)

    async def run(self, work: Callable[[Interrupt], _Result], receive: Receive) -> _Result:
        """Do the work once there is a slot; its interrupt is set when the client leaves. Busy when too many wait."""
        if self._is_closed or self.taken >= self._most:
            raise Busy
        interrupt = Interrupt()
        self._asked.add(interrupt)
        working = self._threads.submit(work, interrupt)
        leaving = asyncio.create_task(_end_when_gone(receive, interrupt, working))
        try:
            return await asyncio.wrap_future(working)
        except asyncio.CancelledError:
            if interrupt.is_set():  # not this task is cancelled, but work that never began
                raise ClientDisconnect from None
            raise
        finally:
            interrupt.set()  # else work would run on when this task is cancelled
            leaving.cancel()
            self._asked.discard(interrupt)

    def close(self) -> None:
        """End every query, and take no more."""
        self._is_closed = True
        for interrupt in list(self._asked):
            interrupt.set()
        self._threads.shutdown(cancel_futures=True)


async def _end_when_gone(receive: Receive, interrupt: Interrupt, working: "Future[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    interrupt.set()
    working.cancel()


async def answer_sql(request: Request) -> Response:
    """A SELECT as text or {"sql": ..., "max_rows": ..., "timeout_ms": ...}; Accept: JSON, CSV or Arrow."""
    form = _form(request)
    asked = await _asked(request)
    slots: QuerySlots = request.app.state.queries
    store: TraceStore = request.app.state.store
    try:
        content, truncated = await slots.run(partial(_FORMS[form], store, asked), request.receive)
    except Busy as error:
        message = f"{slots.taken} queries run or wait already; try again"
        raise HTTPException(503, message, {"Retry-After": str(RETRY_AFTER_S)}) from error
    headers = {"X-Content-Type-Options": "nosniff", **({"Tracestore-Truncated": "true"} if truncated else {})}
    return Response(content, headers=headers, media_type=form)


def _form(request: Request) -> str:
    """Return the first content type of those accepted that there is."""
    accepted = request.headers.get("accept", "*/*")
    for one in accepted.split(","):
        if form := _ACCEPTED.get(one.partition(";")[0].strip().lower()):
            return form
    raise HTTPException(406, f"Accept: wanted {JSON}, {CSV} or {ARROW}, found {accepted!r:.80}")


async def _asked(request: Request) -> _Asked:
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type not in (JSON, TEXT, _CURL):
        raise HTTPException(415, f"Content-Type: wanted {JSON} or {TEXT}, found {content_type!r:.80}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > REQUEST_BYTES:
            raise HTTPException(413, f"body: wanted at most {REQUEST_BYTES:,} bytes, found more; ask for less")
    try:
        if content_type != JSON and not body.lstrip().startswith(b"{"):  # no statement begins so: JSON from curl -d
            return _Asked(body.decode())
        return msgspec.json.decode(body, type=_Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        wanted = '{"sql": "SELECT ...", "max_rows": 10, "timeout_ms": 1000}'
        raise InputInvalid(f"body: wanted {wanted}, the last two if need be; found: {error}") from error


def _json(store: TraceStore, asked: _Asked, interrupt: Interrupt) -> _Answer:
    began = time.monotonic()
    result = store.sql(asked.sql, limits=asked.limits, interrupt=interrupt)
    elapsed_ms = round((time.monotonic() - began) * 1000)
    columns = [{"name": name, "type": type_} for name, type_ in zip(result.columns, result.types, strict=True)]
    try:
        rows = [list(map(json_value, row, result.types)) for row in result.rows]
        answer = json_answer(
            {"columns": columns, "rows": rows, "truncated": result.truncated, "elapsed_ms": elapsed_ms}
        )
    except RecursionError as error:
        raise QueryInvalid("query: wanted values with fewer parts inside one another, for JSON") from error
    return bytes(answer.body), result.truncated


def _csv(store: TraceStore, asked: _Asked, interrupt: Interrupt) -> _Answer:
    result = store.sql(asked.sql, limits=asked.limits, interrupt=interrupt)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(result.columns)
    try:
        writer.writerows(map(cell_text, row) for row in result.rows)
    except RecursionError as error:
        raise QueryInvalid("query: wanted values with fewer parts inside one another, for CSV") from error
    return written.getvalue().encode(), result.truncated


def _arrow(store: TraceStore, asked: _Asked, interrupt: Interrupt) -> _Answer:
    result = store.sql_arrow(asked.sql, limits=asked.limits, interrupt=interrupt)
    return result.stream, result.truncated


_FORMS: dict[str, Callable[[TraceStore, _Asked, Interrupt], _Answer]] = {JSON: _json, CSV: _csv, ARROW: _arrow}

ROUTES = [Route("/v1/sql", answer_sql, methods=["POST"])]
