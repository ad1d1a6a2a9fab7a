"""Who gets through to an app on TCP, and how much of it."""

import asyncio
import contextlib
import os

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tracestore.errors import InputInvalid
from tracestore.serve.failures import HANDLERS
from tracestore.serve.guard import Guard, check_listen, host_names, parse_listen, read_token
from tracestore.serve.limits import Limits

TOKEN = b"0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN.decode()}"}


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


@pytest.fixture
def client(asking):
    """`client(token)` asks an app that says hello, behind a guard."""

    def guarded(token=None, hosts=None):
        app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"])], exception_handlers=HANDLERS)
        return asking(Guard(app, token=token, hosts=hosts or host_names("127.0.0.1")))

    return guarded


@pytest.mark.parametrize("host", ["127.0.0.1:4318", "localhost", "LOCALHOST:1", "[::1]:4318", "127.0.0.1"])
def test_a_name_of_this_machine_gets_through(client, host):
    assert client().get("/", headers={"Host": host}).text == "hello"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4318", "127.0.0.1.evil.example", "localhost.", "127.0.0.1:x", "a@127.0.0.1", "",
     "127.0.0.1:4318:4318", "[::1", "::1", "localhost evil", "127.0.0.2", "0.0.0.0"],
)  # fmt: skip
def test_any_other_name_is_dns_rebinding_and_refused(client, host):
    answer = client().get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["error"] == "MisdirectedRequest"
    assert "localhost" in answer.json()["message"]


def test_two_host_headers_are_refused(client):
    answer = client().get("/", headers=[("Host", "127.0.0.1"), ("Host", "evil.example")])
    assert answer.status_code == 400


def test_the_address_that_is_listened_on_is_a_name(client):
    assert client(hosts=host_names("127.0.0.7")).get("/", headers={"Host": "127.0.0.7:4318"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer " + "x" * 16}, {"Authorization": TOKEN.decode()},
     {"Authorization": f"Basic {TOKEN.decode()}"}, {"Authorization": f"Bearer {TOKEN.decode()}x"},
     {"Authorization": b"Bearer \xff\xfe"}],
)  # fmt: skip
def test_without_the_token_the_answer_is_always_the_same(client, headers):
    answer = client(TOKEN).get("/", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == client(TOKEN).get("/").json()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_lets_through_under_any_name(client, scheme):
    headers = {"Authorization": f"{scheme} {TOKEN.decode()}", "Host": "traces.example"}
    assert client(TOKEN).post("/", headers=headers).text == "hello"


def test_a_request_without_the_token_is_refused_before_its_body_is_read():
    guard = Guard(hello, token=TOKEN, hosts=frozenset())
    sent = []

    async def receive():
        raise AssertionError("the body was asked for")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://127.0.0.1:3000"},
     {"Origin": "http://127.0.0.1"}, {"Origin": "https://127.0.0.1:4318.evil.example"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_origin_is_refused(client, headers, token):
    answer = client(token).post("/", headers=headers | (BEARER if token else {}))
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_origin_is_that_of_a_request_without_a_host(client):
    assert client(TOKEN).get("/", headers=BEARER | {"Host": "", "Origin": "null"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://127.0.0.1:4318"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"},
     {"Origin": "http://localhost", "Host": "localhost:80"}, {"Origin": "HTTP://LocalHost:80", "Host": "localhost"}],
)  # fmt: skip
def test_a_page_of_this_server_gets_through(client, headers):
    assert client().get("/", headers=headers).status_code == 200


def test_a_preflight_gets_no_cors_header(client):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client().request("OPTIONS", "/", headers=asked)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("127.0.0.1:4318", ("127.0.0.1", 4318)), ("[::1]:4318", ("::1", 4318)), (":4318", ("127.0.0.1", 4318)),
     ("0.0.0.0:0", ("0.0.0.0", 0)), ("LocalHost:65535", ("localhost", 65535)), ("[::]:1", ("::", 1))],
)  # fmt: skip
def test_an_address_is_read(text, parsed):
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text",
    ["", ":", "4318", "127.0.0.1", "127.0.0.1:", "::1:4318", "[::1]", "localhost:65536", ":99999", "a b:1", "h:-1",
     "h:१२", ":१२", "http://127.0.0.1:4318", "h:1/x", "h:1\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputInvalid, match=r"--listen: wanted an address such as 127\.0\.0\.1:4318"):
        parse_listen(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "traces.example", "localhost.evil.example", ""])
def test_other_machines_reach_it_only_with_a_token(host):
    with pytest.raises(InputInvalid, match="--token-file"):
        check_listen(host, None)
    check_listen(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_token(host):
    check_listen(host, None)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b" " + TOKEN + b"\n")
    path.chmod(0o600)
    return path


def test_a_token_is_read_without_what_is_around_it(token_file):
    assert read_token(token_file) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_token_that_others_can_read_is_refused(token_file, mode):
    token_file.chmod(mode)
    with pytest.raises(InputInvalid, match="chmod 600"):
        read_token(token_file)


@pytest.mark.parametrize("content", [b"", b"\n", TOKEN[:15], TOKEN + b" " + TOKEN, b"\xff" * 16, b"x" * 5000])
def test_what_no_client_could_send_is_no_token(token_file, content):
    token_file.write_bytes(content)
    with pytest.raises(InputInvalid, match="visible ASCII"):
        read_token(token_file)


def test_a_token_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "missing", "."):
        with pytest.raises(InputInvalid, match="--token-file: wanted"):
            read_token(tmp_path / name)
    with pytest.raises(InputInvalid, match="--token-file: wanted"):
        read_token(tmp_path / "a\0b")


class Slow:
    """An app whose answers wait until they are told; counts those that run."""

    def __init__(self, first=None):
        self.running = 0
        self.first = first
        self.go_on = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.running += 1
        if self.first:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        await PlainTextResponse("done")(scope, receive, send)


async def asked(app, method="GET", path="/"):
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": []}, None, send)
    return sent


def test_more_requests_than_allowed_are_sent_away_and_later_ones_get_through():
    async def run():
        slow = Slow()
        limited = Limits(slow, requests_at_once=2)
        waiting = [asyncio.create_task(asked(limited)) for _ in range(2)]
        while slow.running < 2:
            await asyncio.sleep(0)
        away = await asked(limited)
        slow.go_on.set()
        done = await asyncio.gather(*waiting)
        return away, done, await asked(limited)

    away, done, later = asyncio.run(run())
    assert away[0]["status"] == 503
    assert dict(away[0]["headers"])[b"retry-after"] == b"1"
    assert [sent[0]["status"] for sent in (*done, later)] == [200, 200, 200]


def test_a_get_that_takes_too_long_is_ended_with_503():
    async def run():
        slow = Slow()
        sent = await asked(Limits(slow, time_limit_s=0.01))
        return sent, slow.running

    sent, running = asyncio.run(run())
    assert sent[0]["status"] == 503
    assert b"TimedOut" in sent[1]["body"]
    assert running == 0


def test_an_answer_that_has_begun_is_cut_off():
    sent = asyncio.run(_begun())
    assert [message["type"] for message in sent] == ["http.response.start"]


async def _begun():
    return await asked(Limits(Slow(first=True), time_limit_s=0.01))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/sql"), ("GET", "/v1/export")])
def test_sql_and_export_have_time_limits_of_their_own(method, path):
    async def run():
        slow = Slow()
        task = asyncio.create_task(asked(Limits(slow, time_limit_s=0), method, path))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0.02)
        slow.go_on.set()
        return await task

    assert asyncio.run(run())[0]["status"] == 200


def test_a_timeout_of_the_app_itself_is_not_taken_for_ours():
    async def app(scope, receive, send):
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(asked(Limits(app)))
