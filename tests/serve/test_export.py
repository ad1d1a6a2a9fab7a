"""GET /v1/export: the bytes of an export, as they come."""

import asyncio
import threading
import time

import pytest
from starlette.applications import Starlette

from tracestore.database import pages
from tracestore.export import export as exporting
from tracestore.serve.export import ROUTES
from tracestore.serve.failures import HANDLERS

NOW_MS = 1_772_413_967_075


@pytest.fixture
def app(memory_store):
    app = Starlette(routes=ROUTES, exception_handlers=HANDLERS)
    app.state.store = memory_store
    return app


def expected(store, **options):
    with store.export(**options) as export:
        return b"".join(export)


def test_an_export_over_http_is_the_export(app, asking, memory_store, make):
    memory_store.insert_records([*make.turn("t", request="Grüße", response=b"\x00\xff"), make.log(msg="alone")])
    for path, options, type_ in [
        ("", {}, "application/x-ndjson"),
        ("?bodies=true", {"bodies": True}, "application/x-ndjson"),
        ("?format=parquet&bodies=true", {"format": "parquet", "bodies": True}, "application/vnd.apache.parquet"),
        ("?conversation=c-t&status=ok", {"conversation_id": "c-t", "status": "ok"}, "application/x-ndjson"),
        ("?since=2100-01-01", {"status": "error"}, "application/x-ndjson"),
    ]:
        answer = asking(app).get(f"/v1/export{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, type_)
        assert answer.content == expected(memory_store, **options)
    assert asking(app).get("/v1/export").headers["tracestore-records"] == "4"


WRONG = ["format=csv", "bodies=yes", "since=soon", "status=done", "limit=5", "status=ok&status=ok"]


@pytest.mark.parametrize("query", WRONG)
def test_a_wrong_parameter_is_named(app, asking, query):
    answer = asking(app).get(f"/v1/export?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "InputInvalid")
    assert query.partition("=")[0] in answer.json()["message"]


@pytest.mark.parametrize("format_", ["ndjson", "parquet"])
def test_a_client_that_leaves_ends_the_reading(app, memory_store, make, monkeypatch, format_):
    monkeypatch.setattr(pages, "PAGE_ROWS", 10)
    monkeypatch.setattr(exporting, "CHUNK_BYTES", 1)
    memory_store.insert_records([make.log(NOW_MS + n, make.body(n, 60_000)) for n in range(800)])
    read = []
    at = pages.Pages._at
    monkeypatch.setattr(pages.Pages, "_at", lambda *arguments: read.append(1) or at(*arguments))
    before = threading.active_count()

    async def leave_early():
        incoming = asyncio.Queue()
        await incoming.put({"type": "http.request", "body": b"", "more_body": False})
        sent = []

        async def send(message):
            sent.append(message)
            if message["type"] == "http.response.body":
                await incoming.put({"type": "http.disconnect"})
                await asyncio.sleep(0)

        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "path": "/v1/export", "raw_path": b"/v1/export", "root_path": "", "scheme": "http", "headers": [],
            "query_string": f"format={format_}".encode(), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await app(scope, incoming.get, send)
        return sent

    sent = asyncio.run(leave_early())
    assert sent[0]["status"] == 200
    deadline = time.monotonic() + 10
    while any(thread.name == "tracestore-parquet" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
    seen = len(read)
    assert 0 < seen < 81, "pages of 10 records, and the one behind the last"
    assert not memory_store._database._readers
    assert threading.active_count() <= before + 6
