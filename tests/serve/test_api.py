"""Turns, records and figures over HTTP: what the command line writes, in pages, and why it cannot."""

import asyncio
import base64
import json
import shlex

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from tracestore import errors
from tracestore.cli import main
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.serve import records
from tracestore.serve.failures import HANDLERS

BINARY = b"\x89PNG\r\n\x1a\n\x00\xff"
SURROGATE = "half \ud83d of a smile"


@pytest.fixture
def filled(open_store, make, now_ms):
    """A store with three turns, one of them with an error and one open; a log beside them."""
    store = open_store()
    store.insert_records([
        *make.turn("t1", now_ms, request="Grüße 世界", response="the answer"),
        *make.turn("t/2", now_ms + 5000, request=BINARY, response="Grüße 世界"),
        make.log(now_ms + 5200, "boom", turnId="t/2", level="error", attributes={"n": 1.5, "big": 2**63}),
        make.opened("s9", now_ms + 9000, turnId="t 3", conversationId="c-t1"),
        make.log(now_ms + 9500, "alone"),
    ])  # fmt: skip
    return store


def ids(answer):
    return [listed["id"] for listed in answer.json()]


@pytest.mark.parametrize(
    ("command", "path"),
    [("list --turns", "/v1/turns"), ("list --conversations", "/v1/conversations"),
     ("list --turns --status error", "/v1/turns?status=error"), ("list --turns -n 1", "/v1/turns?limit=1"),
     ("list --turns --conversation c-t1", "/v1/turns?conversation=c-t1"),
     ("list --turns --since 2027-01-01", "/v1/turns?since=2027-01-01"),
     ("show s-t1", "/v1/spans/s-t1"), ("show s-t1 --body", "/v1/spans/s-t1?bodies=true"),
     ("show s-t/2 --body", "/v1/spans/s-t/2?bodies=true"),
     ("stats", "/v1/stats"), ("query --schema", "/v1/schema")],
)  # fmt: skip
def test_the_command_line_and_the_server_say_the_same(filled, api, command, path):
    answer = api(filled).get(path)
    filled.close()
    done = CliRunner().invoke(main, [*shlex.split(command), "--json", "--store", str(filled.path)])
    assert done.exit_code == 0, done.output
    assert answer.status_code == 200
    served = answer.json()
    if path == "/v1/stats":
        served["database_bytes"] = json.loads(done.stdout)["database_bytes"]  # closing writes the log into the file
    assert (served["records"] if "spans" in path else served) == json.loads(done.stdout)


def test_a_record_is_what_the_command_line_shows_of_it(filled, api):
    record_id = filled.get_turn("t1")[0].record_id
    answer = api(filled).get(f"/v1/records/{record_id}")
    filled.close()
    done = CliRunner().invoke(main, ["show", record_id, "--json", "--store", str(filled.path)])
    assert [answer.json()] == json.loads(done.stdout)


def test_the_easy_view_is_text(filled, api):
    answer = api(filled).get("/v1/view/t/2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == filled.easy_view("t/2") + "\n"
    assert "boom" in answer.text


def test_lists_are_filtered(filled, api, now_ms):
    asking = api(filled)
    assert ids(asking.get("/v1/turns")) == ["t 3", "t/2", "t1"]
    assert ids(asking.get("/v1/turns?status=error")) == ["t/2"]
    assert ids(asking.get("/v1/turns?status=open&conversation=c-t1")) == ["t 3"]
    assert ids(asking.get("/v1/turns?limit=2")) == ["t 3", "t/2"]
    assert ids(asking.get("/v1/turns?since=2126-01-01")) == []
    assert ids(asking.get("/v1/turns?since=9999-12-31")) == []
    assert ids(asking.get("/v1/turns?since=0001-01-01")) == ["t 3", "t/2", "t1"]
    assert ids(asking.get("/v1/conversations?conversation=c-t1")) == ["c-t1"]


def test_a_list_is_bounded_where_nothing_is_said(store, make, now_ms, api):
    store.insert_records([make.log(now_ms + n, turnId=f"t{n}") for n in range(150)])
    assert len(ids(api(store).get("/v1/turns"))) == 100
    assert len(ids(api(store).get("/v1/turns?limit=1000"))) == 150


@pytest.mark.parametrize(
    ("path", "named"),
    [("/v1/turns?limt=3", "since, status, conversation, limit"), ("/v1/turns/t1?body=true", "bodies, after, limit"),
     ("/v1/stats?x", "none"), ("/v1/view/t1?bodies=true", "none"), ("/v1/turns?limit=3&limit=4", "limit"),
     ("/v1/turns?limit=0", "1 to 1,000"), ("/v1/turns?limit=1001", "1 to 1,000"), ("/v1/turns?limit=१", "1 to 1,000"),
     ("/v1/turns?limit=" + "9" * 5000, "1 to 1,000"), ("/v1/turns/t1?limit=10001", "1 to 10,000"),
     ("/v1/turns?status=bad", "ok or error or open"), ("/v1/turns?since=yesterday", "a duration such as 1h"),
     ("/v1/turns/t1?bodies=yes", "true or false"), ("/v1/turns/t1?after=x", "UUID"), ("/v1/records/x", "UUID"),
     ("/v1/turns/t1?after=00000000-0000-0000-0000-000000000000", "after: wanted the id of one of these")],
)  # fmt: skip
def test_a_request_that_cannot_be_meant_says_what_was_wanted(filled, api, path, named):
    answer = api(filled).get(path)
    assert answer.status_code == 400
    assert answer.json()["error"] == "InputInvalid"
    assert named in answer.json()["message"]


@pytest.mark.parametrize(
    "path",
    ["/v1/turns/none", "/v1/turns/", "/v1/view/none", "/v1/spans/none", "/v1/nothing", "/v1/turnsandmore",
     "/v1/records/00000000-0000-0000-0000-000000000000", "/v1/records/ffffffff-ffff-ffff-ffff-ffffffffffff"],
)  # fmt: skip
def test_what_is_not_there_is_404(filled, api, path):
    answer = api(filled).get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "message"}
    assert answer.json()["error"] == "NotFound"


def test_a_method_that_is_not_there_names_those_that_are(filled, api):
    answer = api(filled).request("DELETE", "/v1/turns")
    assert answer.status_code == 405
    assert answer.json()["error"] == "MethodNotAllowed"
    assert "GET" in answer.headers["allow"]
    assert "GET" in answer.json()["message"]


def walked(asking, path, limit):
    found, after = [], ""
    while after is not None:
        page = asking.get(f"{path}?limit={limit}{after and '&after=' + after}").json()
        assert page["records"]
        assert len(found) < 10
        found.append([record["record_id"] for record in page["records"]])
        after = page["next"]
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_of_a_turn_are_the_turn(filled, api, limit):
    pages = walked(api(filled), "/v1/turns/t/2", limit)
    assert [one for page in pages for one in page] == [record.record_id for record in filled.get_turn("t/2")]
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_records_of_one_id_are_not_parted_by_a_page(store, make, now_ms, api):
    twins = [make.log(now_ms + part, turnId="t", id="one") for part in (0, 0.25, 0.5)]
    store.insert_records([*twins, make.log(now_ms + 1, turnId="t")])
    pages = walked(api(store), "/v1/turns/t", 2)
    assert [len(page) for page in pages] == [3, 1]
    assert len(set(pages[0])) == 1


def test_a_page_ends_where_its_bodies_are_many(store, make, now_ms, api, monkeypatch):
    monkeypatch.setattr(records, "PAGE_BODY_BYTES", 1000)
    store.insert_records([make.log(now_ms + n, turnId="t", body="x" * 600) for n in range(5)])
    page = api(store).get("/v1/turns/t?bodies=true").json()
    assert len(page["records"]) == 2
    assert page["next"] == page["records"][1]["record_id"]
    assert len(api(store).get("/v1/turns/t").json()["records"]) == 5


def test_bodies_come_when_they_are_asked_for(filled, api):
    asking = api(filled)
    without = asking.get("/v1/turns/t/2").json()["records"][0]
    assert "body" not in without
    assert (without["body_state"], without["body_size_bytes"]) == ("present", len(BINARY))
    opened, _, closed, _ = asking.get("/v1/turns/t/2?bodies=true").json()["records"]
    assert (base64.b64decode(opened["body"]), opened["body_encoding"]) == (BINARY, "base64")
    assert closed["body"] == "Grüße 世界"
    assert "body_encoding" not in closed


def test_a_body_that_is_gone_says_so_with_and_without_bodies(filled, api):
    filled.prune(RetentionPolicy(max_total_body_bytes=0), force=True)
    for path in ("/v1/turns/t1", "/v1/turns/t1?bodies=true"):
        record = api(filled).get(path).json()["records"][0]
        assert record["body_state"] == "evicted"
        assert record.get("body") is None


def test_lone_surrogates_pass_through_json(store, make, now_ms, api):
    store.insert_records([
        make.log(now_ms, SURROGATE, turnId="t", attributes={"a": SURROGATE}, body=SURROGATE, extra=[SURROGATE]),
        make.opened("s", now_ms + 1, SURROGATE, turnId="t", conversationId=SURROGATE),
    ])  # fmt: skip
    asking = api(store)
    log, opened = asking.get("/v1/turns/t?bodies=true").json()["records"]
    assert [log["msg"], log["attributes"]["a"], log["body"], log["extra"]["extra"][0]] == [SURROGATE] * 4
    assert opened["name"] == SURROGATE
    assert asking.get("/v1/turns").json()[0]["name"] == SURROGATE.replace("\ud83d", "\ufffd")  # as columns have it
    assert "\\ud83d" in asking.get("/v1/view/t").text


def test_the_index_lists_every_endpoint_and_what_it_answers(store, api):
    listed = {entry["path"]: entry for entry in api(store).get("/").json()["endpoints"]}
    assert {"/", "/v1/turns", "/v1/turns/{turn_id}", "/v1/bodies/{id}", "/v1/health", "/metrics"} <= set(listed)
    assert all(entry["about"] and entry["methods"] == ["GET"] for entry in listed.values())


def failing(asking, error, *, raises=True):
    async def answer(request):
        raise error

    return asking(Starlette(routes=[Route("/", answer)], exception_handlers=HANDLERS), raises=raises).get("/")


@pytest.mark.parametrize(
    ("error", "status"),
    [(errors.InputInvalid("x"), 400), (errors.QueryInvalid("x"), 400), (errors.NotFound("x"), 404),
     (errors.PruneRefused("x"), 409), (errors.StoreBroken("x"), 500), (errors.StoreNotFound("x"), 500),
     (errors.StoreLocked("x"), 503), (errors.StoreUnavailable("x"), 503), (errors.StoreUnavailable(28, "x"), 503),
     (errors.TraceStoreError("x"), 500)],
)  # fmt: skip
def test_an_error_of_the_store_has_a_status_and_its_name(asking, error, status):
    answer = failing(asking, error)
    assert answer.status_code == status
    assert answer.json() == {"error": type(error).__name__, "message": "x"}
    assert ("retry-after" in answer.headers) == (status == 503)


def test_what_was_not_expected_is_logged_by_the_server_and_not_told(asking):
    answer = failing(asking, KeyError("a secret"), raises=False)
    assert answer.status_code == 500
    assert answer.json()["error"] == "Unexpected"
    assert "secret" not in answer.text
    with pytest.raises(KeyError):
        failing(asking, KeyError("a secret"))


def test_a_client_that_leaves_is_no_error_of_the_server(asking):
    assert failing(asking, ClientDisconnect()).status_code == 400


def test_reading_blocks_nobody_else(filled, api):
    """While one answer waits for the store, another one is given."""
    asking, store = api(filled), filled

    async def ask_both():
        entered, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow():
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return []

        store.schema = slow
        waiting = asyncio.create_task(asking._request("GET", "/v1/schema"))
        await entered.wait()
        other = await asking._request("GET", "/v1/turns")
        assert not waiting.done()
        go_on.set()
        return other, await waiting

    other, waited = asyncio.run(ask_both())
    assert len(other.json()) == 3
    assert waited.json() == []
