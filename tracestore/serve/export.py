"""GET /v1/export: records as NDJSON or Parquet, as they come; it ends when the client leaves."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tracestore.export.report import Export
from tracestore.serve.answering import Parameters, in_thread
from tracestore.units import parse_since

if TYPE_CHECKING:
    from tracestore.store import TraceStore

_TYPES = {"ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


async def answer_export(request: Request) -> Response:
    """Records by time; ?format=ndjson|parquet &bodies=true &since= &status=ok|error|open &conversation=."""
    store: TraceStore = request.app.state.store
    given = Parameters(request, "format", "bodies", "since", "status", "conversation")
    format_: Literal["ndjson", "parquet"] = "parquet" if given.one_of("format", *_TYPES) == "parquet" else "ndjson"
    since = given.text("since")
    earliest = None if since is None else parse_since(since, "since")
    status, bodies = given.one_of("status", "ok", "error", "open"), given.flag("bodies")
    export = await in_thread(
        lambda: store.export(
            format_, bodies=bodies, since=earliest, status=status, conversation_id=given.text("conversation")
        )
    )
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="tracestore.{format_}"',
        "Tracestore-Records": str(export.planned_records),
    }
    return StreamingResponse(_chunks(export), headers=headers, media_type=_TYPES[format_])


ROUTES = [Route("/v1/export", answer_export)]


async def _chunks(export: Export) -> AsyncIterator[bytes]:
    """Give chunks; an error on the way breaks the connection off, for the status has been sent."""
    try:
        async for chunk in iterate_in_threadpool(export):
            yield chunk
    finally:  # in a thread, because it may wait for a page; not waited for, because the client may have left
        asyncio.get_running_loop().run_in_executor(None, export.close)
