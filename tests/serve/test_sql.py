"""SQL over HTTP: three forms of one answer, bounded, and ended when nobody waits for it any more."""

import csv
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import nanoarrow
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.database.hostile_statements import HOSTILE
from tracestore.serve import sql as serve_sql
from tracestore.serve.failures import HANDLERS
from tracestore.serve.sql import ARROW, CSV, JSON, QuerySlots

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 8"
SECONDS = 30


class Watched:
    """A store that says when a query begins and ends, and why it failed."""

    def __init__(self, store):
        self._store = store
        self.began = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.errors = []

    def sql(self, query, **options):
        return self._watched(self._store.sql, query, **options)

    def sql_arrow(self, query, **options):
        return self._watched(self._store.sql_arrow, query, **options)

    def _watched(self, ask, query, **options):
        self.began.release()
        try:
            return ask(query, **options)
        except Exception as error:
            self.errors.append(str(error))
            raise
        finally:
            self.ended.release()


class Serving:
    """`POST /v1/sql` of one store on loopback."""

    def __init__(self, store, slots):
        self.store = Watched(store)
        self.slots = slots
        app = Starlette(routes=serve_sql.ROUTES, exception_handlers=HANDLERS)
        app.state.store, app.state.queries = self.store, slots
        config = uvicorn.Config(
            app, port=0, lifespan="off", ws="none", log_config=None, http="httptools", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.005)
        assert self._server.started
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def post(self, sql, accept=JSON, **members):
        return self.send(json.dumps({"sql": sql} | members), {"Accept": accept, "Content-Type": JSON})

    def send(self, content, headers):
        url = f"http://127.0.0.1:{self.port}/v1/sql"
        return httpx.post(url, content=content, headers=headers, timeout=SECONDS, trust_env=False)

    def connect(self, sql):
        """Ask, and leave the answer on the connection."""
        body = json.dumps({"sql": sql, "timeout_ms": 120_000}).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        connection.sendall(b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return connection

    def close(self):
        self.slots.close()
        self._server.should_exit = True
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def serving(memory_store):
    """`serving()` serves the store in memory; with other numbers of slots if need be."""
    started = []

    def start(**slots):
        started.append(Serving(memory_store, QuerySlots(**slots)))
        return started[-1]

    yield start
    for server in started:
        server.close()


def arrow_rows(response):
    return nanoarrow.ArrayStream.from_readable(io.BytesIO(response.content)).read_all().to_pylist()


def test_the_three_forms_agree(serving, memory_store, make):
    memory_store.insert_records([make.log(msg=f'line "{n}",\n世界') for n in range(5)])
    server = serving()
    sql = "SELECT seq, msg, seq / 2 AS half, NULL::VARCHAR AS nothing FROM records ORDER BY seq"
    found = {form: server.post(sql, form) for form in (JSON, CSV, ARROW)}
    for form, response in found.items():
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, form)
        assert "tracestore-truncated" not in response.headers
    answer = found[JSON].json()
    assert answer["columns"] == [
        {"name": "seq", "type": "BIGINT"}, {"name": "msg", "type": "VARCHAR"},
        {"name": "half", "type": "DOUBLE"}, {"name": "nothing", "type": "VARCHAR"},
    ]  # fmt: skip
    assert answer["rows"] == [[n + 1, f'line "{n}",\n世界', (n + 1) / 2, None] for n in range(5)]
    assert answer["truncated"] is False
    assert isinstance(answer["elapsed_ms"], int)
    assert [list(row.values()) for row in arrow_rows(found[ARROW])] == answer["rows"]
    header, *rows = csv.reader(io.StringIO(found[CSV].text, newline=""))
    assert header == ["seq", "msg", "half", "nothing"]
    assert rows == [[str(seq), msg, str(half), ""] for seq, msg, half, _ in answer["rows"]]


def test_values_are_what_the_command_line_prints(serving):
    sql = (
        "SELECT '{\"a\": [1]}'::JSON, 'nan'::DOUBLE, 'ab'::BLOB, 1.5::DECIMAL(3, 1), TIMESTAMP '2026-01-02 03:04:05', "
        "{'k': 'infinity'::DOUBLE}, true, 1 AS a, 2 AS a"
    )
    server = serving()
    found = server.post(sql).json()["rows"]
    assert found == [[{"a": [1]}, None, "6162", 1.5, "2026-01-02T03:04:05", {"k": None}, True, 1, 2]]
    assert server.post(sql, CSV).text.splitlines()[1] == (
        '"{""a"": [1]}",nan,6162,1.5,2026-01-02 03:04:05,"{""k"": null}",true,1,2'
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON), ("text/*", CSV), ("text/html, */*;q=0.8", JSON), (f"{ARROW};q=1, {JSON}", ARROW),
        ("Text/CSV; charset=utf-8", CSV),
    ],
)  # fmt: skip
def test_the_first_form_that_there_is_is_given(serving, accept, form):
    assert serving().post("SELECT 1", accept).headers["content-type"].split(";")[0] == form


def test_sql_may_come_as_text(serving):
    server = serving()
    for content_type in ("text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"):
        response = server.send("SELECT 'Grüße'".encode(), {"Content-Type": content_type})
        assert response.json()["rows"] == [["Grüße"]]


def test_json_is_json_whatever_curl_calls_it(serving):
    server = serving()
    for content_type in ("application/x-www-form-urlencoded", "text/plain"):
        response = server.send(b' {"sql": "SELECT 1 UNION SELECT 2", "max_rows": 1}', {"Content-Type": content_type})
        assert len(response.json()["rows"]) == 1
        refused = server.send(b'{"sql": "SELECT 1", "max_row": 1}', {"Content-Type": content_type})
        assert (refused.status_code, refused.json()["error"]) == (400, "InputInvalid")


@pytest.mark.parametrize("form", [JSON, CSV, ARROW])
def test_an_answer_is_cut_off_at_its_limits_and_says_so(serving, monkeypatch, form):
    rows = {
        JSON: lambda response: response.json()["rows"],
        CSV: lambda response: response.text.splitlines()[1:],
        ARROW: arrow_rows,
    }[form]
    server = serving()
    for sql, members, count in (
        ("SELECT * FROM range(10000000000)", {}, 10_000),
        ("SELECT * FROM range(10000000000)", {"max_rows": 7}, 7),
        ("SELECT * FROM range(12000)", {"max_rows": 11_000}, 11_000),
    ):
        response = server.post(sql, form, **members)
        assert response.headers["tracestore-truncated"] == "true"
        assert len(rows(response)) == count
    whole = server.post("SELECT * FROM range(12000)", form, max_rows=12_000)
    assert len(rows(whole)) == 12_000
    assert "tracestore-truncated" not in whole.headers
    monkeypatch.setattr(serve_sql, "ANSWER_BYTES", 1000)
    large = server.post("SELECT repeat('x', 400) FROM range(10000000000)", form)
    assert len(rows(large)) == 2
    assert large.headers["tracestore-truncated"] == "true"


@pytest.mark.parametrize("form", [JSON, CSV, ARROW])
def test_a_query_that_takes_too_long_is_the_clients_error(serving, form):
    response = serving().post(ENDLESS, form, timeout_ms=50)
    assert response.status_code == 400
    assert response.json()["error"] == "QueryInvalid"
    assert "within 50 ms" in response.json()["message"]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'{"sql": 1}', {}, 400),
        (b"{}", {}, 400),
        (b'{"sql": "SELECT 1", "more": 1}', {}, 400),
        (b'{"sql": "SELECT 1", "max_rows": 0}', {}, 400),
        (b'{"sql": "SELECT 1", "max_rows": 1000001}', {}, 400),
        (b'{"sql": "SELECT 1", "max_rows": 1.5}', {}, 400),
        (b'{"sql": "SELECT 1", "timeout_ms": 120001}', {}, 400),
        (b'{"sql": "SELECT 1", "timeout_ms": "1"}', {}, 400),
        (b'{"sql": "SELECT \xff"}', {}, 400),
        (b'{"sql": "SELECT \\ud800"}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"SELECT \xff", {"Content-Type": "text/plain"}, 400),
        (b"SELECT 1", {"Content-Type": "multipart/form-data"}, 415),
        (b'{"sql": "SELECT 1"}', {"Accept": "image/png"}, 406),
        (b'{"sql": "SELECT 1"}', {"Accept": ""}, 406),
        (b" " * (1024 * 1024 + 1), {}, 413),
    ],
    ids=range(19),
)
def test_a_request_that_is_none_is_refused_with_what_was_wanted(serving, content, headers, status):
    response = serving().send(content, {"Content-Type": JSON} | headers)
    assert response.status_code == status
    assert set(response.json()) == {"error", "message"}
    assert "wanted" in response.json()["message"] or "surrogate" in response.json()["message"]


@pytest.mark.parametrize("trick", HOSTILE)
def test_hostile_sql_is_the_clients_error_in_every_form(serving, trick):
    server = serving()
    for sql in HOSTILE[trick][:4]:
        for form in (JSON, CSV, ARROW):
            response = server.post(sql, form)
            assert (response.status_code, response.json()["error"]) == (400, "QueryInvalid"), sql


def test_values_too_deep_for_a_form_are_the_clients_error(serving):
    server = serving()
    for form in (JSON, CSV):
        assert server.post("SELECT " + "[" * 250 + "1" + "]" * 250, form).status_code == 200
    deep = "SELECT '" + "[" * 5000 + "]" * 5000 + "'::JSON AS deep"
    assert server.post(deep).json()["rows"] == [["[" * 5000 + "]" * 5000]]


@pytest.mark.parametrize("form", ["sql", "sql_arrow"])
def test_a_query_ends_when_its_client_leaves(serving, form, monkeypatch):
    server = serving()
    if form == "sql_arrow":
        monkeypatch.setitem(serve_sql._ACCEPTED, "*/*", ARROW)
    connection = server.connect(ENDLESS)
    assert server.store.began.acquire(timeout=SECONDS)
    connection.close()
    assert server.store.ended.acquire(timeout=SECONDS)
    assert "interrupted by whoever asked" in server.store.errors[0]
    assert server.post("SELECT 1").json()["rows"] == [[1]]


def test_so_many_queries_run_so_many_wait_and_the_next_is_sent_away(serving):
    server = serving(running=2, waiting=1)
    running = [server.connect(ENDLESS) for _ in range(2)]
    for _ in running:
        assert server.store.began.acquire(timeout=SECONDS)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(server.post, "SELECT 1")
        deadline = time.monotonic() + SECONDS
        while server.slots.taken < 3:
            assert time.monotonic() < deadline
        refused = server.post("SELECT 1")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert set(refused.json()) == {"error", "message"}
        assert not waiting.done()
        running[0].close()
        assert waiting.result(SECONDS).json()["rows"] == [[1]]
    running[1].close()
    assert server.store.ended.acquire(timeout=SECONDS)


def test_a_client_that_leaves_while_it_waits_frees_its_place(serving):
    server = serving(running=1, waiting=1)
    running = server.connect(ENDLESS)
    assert server.store.began.acquire(timeout=SECONDS)
    waiting = server.connect("SELECT 1")
    deadline = time.monotonic() + SECONDS
    while server.slots.taken < 2:
        assert time.monotonic() < deadline
    waiting.close()
    while server.slots.taken > 1:
        assert time.monotonic() < deadline
    assert not server.store.began.acquire(blocking=False)
    running.close()
    assert server.store.ended.acquire(timeout=SECONDS)


def test_closing_the_slots_ends_every_query(serving):
    server = serving(running=2)
    connections = [server.connect(ENDLESS) for _ in range(4)]
    for _ in range(2):
        assert server.store.began.acquire(timeout=SECONDS)
    deadline = time.monotonic() + SECONDS
    while server.slots.taken < 4:
        assert time.monotonic() < deadline
    server.slots.close()
    assert server.post("SELECT 1").status_code == 503
    server.close()
    assert len(server.store.errors) == 2
    assert server.slots.taken == 0
    for connection in connections:
        connection.close()
