"""Turns, conversations, spans, records, the easy view and figures over HTTP, as the command line writes them.

Lists and records have the shapes of `--json`. A turn or a span comes in pages: ``next`` is what to give as
``after`` for the following one. A page ends early where its bodies are many: an answer stays small.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracestore.errors import InputInvalid, NotFound
from tracestore.record import StoredRecord
from tracestore.serve.answering import Parameters, in_thread, json_answer
from tracestore.units import parse_since
from tracestore.views.answers import listed_members, record_members, schema_members, stats_members

if TYPE_CHECKING:
    from tracestore.database.reader import Reader
    from tracestore.store import TraceStore

LISTED, LISTED_MOST = 100, 1000
"""Entries of a list, where nothing is said, and at most."""
PAGE, PAGE_MOST = 1000, 10_000
"""Records of a page, likewise."""
PAGE_BODY_BYTES = 32 << 20
"""A page with bodies ends behind the one that reaches this many bytes."""


async def answer_turns(request: Request) -> Response:
    """Turns, newest first; ?since= &status=ok|error|open &conversation= &limit=."""
    return await _listing(request, lambda store: store.reader.turns)


async def answer_conversations(request: Request) -> Response:
    """Conversations, newest first; ?since= &status=ok|error|open &conversation= &limit=."""
    return await _listing(request, lambda store: store.reader.conversations)


async def answer_turn(request: Request) -> Response:
    """The records of a turn, in pages; ?bodies=true &after= &limit=."""
    turn_id = request.path_params["turn_id"]
    return await _page_of(request, lambda store: store.reader.turn(turn_id), _no_turn(turn_id))


async def answer_span(request: Request) -> Response:
    """The records of a span, in pages; ?bodies=true &after= &limit=."""
    span_id = request.path_params["span_id"]
    missing = f"no span {span_id!r:.80}; GET /v1/turns/ID has the spans of a turn"
    return await _page_of(request, lambda store: store.reader.span(span_id), missing)


async def answer_record(request: Request) -> Response:
    """One record; ?bodies=true."""
    store: TraceStore = request.app.state.store
    with_body = Parameters(request, "bodies").flag("bodies")
    record_id = request.path_params["record_id"]

    def find() -> Response:
        record = store.reader.record(_uuid(record_id))
        if record is None:
            raise NotFound(f"no record {record_id!r:.80}; GET /v1/turns/ID has the records of a turn")
        return json_answer(_members(store, [record], with_body)[0])

    return await in_thread(find)


async def answer_view(request: Request) -> Response:
    """The easy view of a turn: text, one line per event."""
    store: TraceStore = request.app.state.store
    Parameters(request)
    turn_id = request.path_params["turn_id"]

    def render() -> str:
        text = store.easy_view(turn_id)
        if not text and not store.reader.turn(turn_id):
            raise NotFound(_no_turn(turn_id))
        return text + "\n"

    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(await in_thread(render), headers=headers, media_type="text/plain; charset=utf-8")


async def answer_schema(request: Request) -> Response:
    """The views and columns that POST /v1/sql can name."""
    store: TraceStore = request.app.state.store
    Parameters(request)
    return json_answer(schema_members(await in_thread(store.schema)))


async def answer_stats(request: Request) -> Response:
    """What is stored, and what it costs on disk."""
    store: TraceStore = request.app.state.store
    Parameters(request)
    return json_answer(stats_members(await in_thread(store.stats)))


ROUTES = [
    Route("/v1/turns", answer_turns),
    Route("/v1/turns/{turn_id:path}", answer_turn),
    Route("/v1/conversations", answer_conversations),
    Route("/v1/view/{turn_id:path}", answer_view),
    Route("/v1/spans/{span_id:path}", answer_span),
    Route("/v1/records/{record_id}", answer_record),
    Route("/v1/schema", answer_schema),
    Route("/v1/stats", answer_stats),
]


async def _listing(request: Request, finder: Any) -> Response:
    given = Parameters(request, "since", "status", "conversation", "limit")
    since = given.text("since")
    limit = given.count("limit", LISTED, LISTED_MOST)
    filters = {
        "since": None if since is None else parse_since(since, "since"),
        "status": given.one_of("status", "ok", "error", "open"),
        "conversation_id": given.text("conversation"),
    }

    def find() -> Response:
        found = finder(request.app.state.store)(limit, **filters)
        return json_answer([listed_members(listed) for listed in found])

    return await in_thread(find)


async def _page_of(request: Request, finder: Any, missing: str) -> Response:
    store: TraceStore = request.app.state.store
    given = Parameters(request, "bodies", "after", "limit")
    with_bodies, after = given.flag("bodies"), given.text("after")
    limit = given.count("limit", PAGE, PAGE_MOST)

    def find() -> Response:
        records: list[StoredRecord] = finder(store)
        if not records:
            raise NotFound(missing)
        start = _behind(records, after)
        end = _end(records, start, limit, PAGE_BODY_BYTES if with_bodies else None)
        following = records[end - 1].record_id if end < len(records) else None
        return json_answer({"records": _members(store, records[start:end], with_bodies), "next": following})

    return await in_thread(find)


def _behind(records: Sequence[StoredRecord], after: str | None) -> int:
    """Return where the page behind a record begins."""
    if after is None:
        return 0
    wanted = str(_uuid(after))
    for position in range(len(records) - 1, -1, -1):
        if records[position].record_id == wanted:
            return position + 1
    found = f"found {after!r:.80}; it may be pruned, begin again"
    raise InputInvalid(f"after: wanted the id of one of these records, {found}")


def _end(records: Sequence[StoredRecord], start: int, limit: int, body_bytes: int | None) -> int:
    """Return where a page ends: at its limit, or where its bodies are too many; records of one id stay together."""
    end, held_bytes = start, 0
    while end < len(records):
        is_full = end >= start + limit or (body_bytes is not None and held_bytes >= body_bytes)
        if is_full and records[end].record_id != records[end - 1].record_id:
            break
        held_bytes += records[end].body_size_bytes or 0
        end += 1
    return end


def _members(store: "TraceStore", records: Sequence[StoredRecord], with_bodies: bool) -> list[dict[str, Any]]:
    """Return records by name; without their bodies still with what the ledger says of those."""
    if with_bodies:
        store.fetch_bodies(records)
    else:
        digests = {bytes.fromhex(record.body_digest) for record in records if record.body_digest is not None}
        reader = cast("Reader", store.reader)  # this process has the store open
        states = reader.body_states(list(digests)) if digests else {}
        for record in records:
            if record.body_digest is not None:
                record.body_state = states.get(bytes.fromhex(record.body_digest), "lost")
    return [record_members(record, with_body=with_bodies) for record in records]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InputInvalid(f"wanted the id of a record (a UUID), found {text!r:.80}") from error


def _no_turn(turn_id: str) -> str:
    return f"no turn {turn_id!r:.80}; GET /v1/turns lists those there are"
