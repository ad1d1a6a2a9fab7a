"""Every endpoint, asked anything: an answer or a JSON error, never a failure of the server."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import NOW_MS, Make
from tracestore import TraceStore
from tracestore.collector import Idle
from tracestore.serve.app import Serving, public_app
from tracestore.serve.appending import Appending
from tracestore.serve.health import Status
from tracestore.serve.receiver import Received

BODY = "the body"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The app as it answers over TCP, over a store with a few records, and names of things in it."""
    directory = tmp_path_factory.mktemp("fuzz")
    make = Make()
    appending = Appending(directory / "journal", lambda: NOW_MS)
    with TraceStore(directory / "store") as store, ThreadPoolExecutor(1) as workers:
        store.insert_records([*make.turn("t1", request=BODY), make.log(turnId="t/ü", msg="half \ud83d", body=b"\xff")])
        record = store.get_turn("t1")[0]
        status = Status()
        status(Idle())
        serving = Serving(
            store=store, status=status, lag_bytes=status.lag_bytes, appending=appending, received=Received(),
            read_ref=lambda name: None, workers=workers,
        )  # fmt: skip
        names = ["t1", "t/ü", "s-t1", "c-t1", record.record_id, record.body_digest, "", "/", "..", "\0", "%"]
        yield public_app(serving, "127.0.0.1", None), names
    appending.close()


class Answer:
    """Collects what an app sends."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = b""
        self.is_whole = False

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)


def ask(app, method, path, query=b"", headers=(), content=b""):
    """Ask as a server would: what no client library sends can be asked too."""
    answer = Answer()
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # it stays, and says no more

    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": query, "headers": [(b"host", b"127.0.0.1:4318"), *headers],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 4318),
    }  # fmt: skip
    asyncio.run(app(scope, receive, answer.send))
    return answer


def check(answer):
    """Every answer is whole, none is a failure, and an error is JSON that says what."""
    assert answer.is_whole
    assert 200 <= answer.status < 500, (answer.status, answer.body)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert not answer.headers.get("content-type", "").startswith("text/html")
    if answer.status >= 400:
        assert answer.headers["content-type"].split(";")[0] in ("application/json", "application/x-protobuf")
        if answer.headers["content-type"] == "application/json" and answer.body:
            assert json.loads(answer.body)["message"]


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
HEADER = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\0"))
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X"])
ENDPOINTS = st.sampled_from([
    "/", "/metrics", "/v1/turns", "/v1/turns/{}", "/v1/conversations", "/v1/view/{}", "/v1/spans/{}", "/v1/records/{}",
    "/v1/bodies/{}", "/v1/schema", "/v1/stats", "/v1/health", "/v1/ready", "/v1/sql", "/v1/export", "/v1/traces",
    "/v1/logs", "/v1/metrics", "/store", "/{}", "/v1/{}", "{}",
])  # fmt: skip
PARAMETERS = st.sampled_from(["since", "status", "conversation", "limit", "after", "bodies", "format", "x"])
VALUES = st.one_of(
    TEXT, st.integers().map(str), st.datetimes().map(str), st.uuids().map(str),
    st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat()),
    st.sampled_from(["true", "false", "ok", "error", "1h", "0", "9" * 25 + "d", "ndjson"]),
)  # fmt: skip
QUERIES = st.one_of(
    st.just(b""),
    st.dictionaries(PARAMETERS, VALUES, max_size=3).map(lambda given: urlencode(given).encode()),
    st.binary(max_size=30),
)
RANGES = st.one_of(
    HEADER, st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: b"bytes=%d-%d" % pair),
    st.sampled_from([b"bytes=-3", b"bytes=9-", b"bytes=0-0,2-3"]),
)  # fmt: skip
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just(b"range"), RANGES),
        st.tuples(
            st.sampled_from([
                b"accept", b"accept-encoding", b"if-none-match", b"if-range", b"content-encoding", b"content-length",
                b"cookie", b"transfer-encoding", b"expect", b"x",
            ]),
            HEADER,
        ),
        st.tuples(
            st.just(b"content-type"),
            st.one_of(HEADER, st.sampled_from([b"application/json", b"application/x-protobuf", b"text/plain"])),
        ),
    ),
    max_size=3,
)  # fmt: skip
CONTENTS = st.one_of(
    st.binary(max_size=60), TEXT.map(str.encode),
    st.sampled_from([b"", b"{}", b"[]", b"null", b'{"sql": 1}', b'{"sql": "SELECT 1"}', b'{"resourceSpans": [{}]}']),
)  # fmt: skip
FUZZED = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZED
@given(data=st.data())
def test_whatever_is_asked_the_answer_is_whole_and_no_failure(served, data):
    app, names = served
    name = data.draw(st.one_of(st.sampled_from(names), TEXT, st.uuids().map(str)))
    path = data.draw(ENDPOINTS).format(name)
    asked = [data.draw(what) for what in (METHODS, QUERIES, HEADERS, CONTENTS)]
    method, query, headers, content = asked
    check(ask(app, method, path, query, headers, content))


@FUZZED
@given(data=st.data())
def test_reading_what_is_there_with_any_parameters(served, data):
    """GET on paths that lead somewhere: more of these get past the first check."""
    app, names = served
    path = data.draw(ENDPOINTS.filter(lambda path: path.startswith("/v1/"))).format(data.draw(st.sampled_from(names)))
    check(ask(app, "GET", path, data.draw(QUERIES), data.draw(HEADERS)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(host=HEADER, origin=st.one_of(st.none(), HEADER), token=st.one_of(st.none(), HEADER))
def test_whoever_asks_gets_through_or_is_told_why_not(served, host, origin, token):
    app, _ = served
    headers = [(b"host", host)]
    headers += [(name, value) for name, value in ((b"origin", origin), (b"authorization", token)) if value is not None]
    answer = ask_as(app, headers)
    check(answer)
    assert answer.status in (200, 403, 421)


def ask_as(app, headers):
    answer = Answer()
    scope = {"type": "http", "method": "GET", "path": "/v1/health", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, None, answer.send))
    return answer


def test_the_server_is_as_it_was_after_all_that(served):
    app, _ = served
    for path in ("/v1/health", "/v1/ready", "/v1/turns/t1", "/v1/turns/t/ü", "/metrics"):
        assert ask(app, "GET", path).status == 200, path
    assert json.loads(ask(app, "GET", "/v1/stats").body)["records"] == 4


def test_every_endpoint_says_what_it_answers(served):
    app, _ = served
    listed = json.loads(ask(app, "GET", "/").body)["endpoints"]
    assert {"/v1/traces", "/v1/sql", "/v1/turns/{turn_id}", "/metrics"} <= {entry["path"] for entry in listed}
    assert [entry for entry in listed if not entry["about"] or not entry["methods"]] == []
