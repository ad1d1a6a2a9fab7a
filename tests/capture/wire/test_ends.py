"""Responses that nobody reads to their end, closes twice or forgets, and what a client does with its connections."""

import asyncio
import gc

import pytest

from tracestore.capture import CaptureTransport

CHAT = "/v1/chat/completions"
SSE = {"content-type": "text/event-stream"}


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_can_have_no_body_is_complete_though_nobody_read_it(
    method, status, client, provider, recorded, answer
):
    provider.will_say(answer([b"never sent"], status=status))
    with client.stream(method, "/v1/x"):
        pass
    assert recorded.closed()["attributes"]["responseComplete"] is True


def is_ended(recorded):
    gc.collect()  # does nothing while another thread collects
    return recorded.records(kind="span-close")


def test_a_response_that_is_forgotten_ends_when_it_is_collected(client, provider, recorded, answer, until):
    provider.will_say(answer([b"never read"], headers=SSE))
    client.send(client.build_request("POST", CHAT, content=b"{}"), stream=True)
    until(lambda: is_ended(recorded))
    assert recorded.closed()["attributes"]["responseComplete"] is False


def test_an_async_response_that_is_forgotten_ends_when_it_is_collected(
    async_client, provider, recorded, answer, until
):
    provider.will_say(answer([b"data: 1\n\n"], headers=SSE, ends="hangs"))

    async def run():
        async with async_client:
            response = await async_client.send(async_client.build_request("POST", CHAT, content=b"{}"), stream=True)
            async for _ in response.aiter_raw():
                break
            del response
            gc.collect()
            await asyncio.sleep(0)
            gc.collect()

    asyncio.run(run())
    until(lambda: is_ended(recorded))
    assert recorded.closed()["attributes"]["responseComplete"] is False
    assert recorded.closed()["body"] == "data: 1\n\n"


def test_a_response_that_is_forgotten_until_the_process_ends_says_nothing(library, provider, answer, journal, python):
    provider.will_say(answer([b"never read"], headers=SSE))
    done = python(
        "-c",
        f"""
import {library.__name__} as library
from tracestore.capture import CaptureTransport, Recorder
recorder = Recorder({str(journal.path)!r}, extension_id="app")
client = library.Client(transport=CaptureTransport(recorder), base_url={provider.url!r})
response = client.send(client.build_request("POST", {CHAT!r}, content=b"x"), stream=True)
cycle = [response]
cycle.append(cycle)
""",
    )
    assert not done.stderr
    assert [record["kind"] for record in journal.records()] == ["span-open"]


def test_one_transport_serves_clients_of_both_libraries(recorder, provider, recorded, plain):
    libraries = [pytest.importorskip(name) for name in ("httpx", "httpx2")]
    transport = CaptureTransport(recorder)
    for library in (*libraries, *libraries):
        provider.will_say(plain({"model": library.__name__}))
        client = library.Client(transport=transport, base_url=provider.url, timeout=10)
        assert client.post(CHAT, json={}).json() == {"model": library.__name__}
    transport.close()
    transport.close()
    assert [each["attributes"]["model"] for each in recorded.records(kind="span-close")] == ["httpx", "httpx2"] * 2


def test_a_connection_that_was_left_in_the_middle_harms_no_later_call(library, recorder, provider, recorded, answer):
    limits = library.Limits(max_connections=1, max_keepalive_connections=1)
    transport = CaptureTransport(recorder, library.HTTPTransport(limits=limits))
    with library.Client(transport=transport, base_url=provider.url, timeout=10) as client:
        for number in range(5):
            provider.will_say(answer([b"data: 1\n\n", b"data: 2\n\n"], headers=SSE, ends="hangs"))
            with client.stream("POST", CHAT, content=b"{}") as response:
                assert next(response.iter_raw()).startswith(b"data: 1")
            provider.will_say(answer([f"whole {number}".encode()]))
            assert client.post(CHAT, content=b"{}").text == f"whole {number}"
        client.close()
        client.close()
    bodies = [each["body"] for each in recorded.records(kind="span-close")]
    assert bodies[1::2] == [f"whole {number}" for number in range(5)]


def test_waiting_for_a_connection_that_nobody_gives_back_is_an_error_of_the_call(
    library, recorder, provider, recorded, answer
):
    limits = library.Limits(max_connections=1)
    transport = CaptureTransport(recorder, library.HTTPTransport(limits=limits))
    with library.Client(transport=transport, base_url=provider.url, timeout=0.2) as client:
        provider.will_say(answer([b"data: 1\n\n"], headers=SSE, ends="hangs"))
        with client.stream("POST", CHAT, content=b"{}"), pytest.raises(library.PoolTimeout):
            client.post(CHAT, content=b"{}")
    errors = [each["attributes"].get("error.type") for each in recorded.records(kind="span-close")]
    assert errors == ["PoolTimeout", None]


def test_a_hook_of_the_client_that_fails_leaves_no_span_open(library, recorder, provider, recorded, answer):
    def fail(_response):
        raise ZeroDivisionError

    transport, hooks = CaptureTransport(recorder), {"response": [fail]}
    with library.Client(transport=transport, base_url=provider.url, event_hooks=hooks, timeout=10) as client:
        provider.will_say(answer([b"{}"]))
        with pytest.raises(ZeroDivisionError):
            client.post(CHAT, content=b"{}")
    assert recorded.closed()["attributes"]["http.response.status_code"] == 200


def test_a_response_may_be_closed_by_another_task_than_its_reader(async_client, provider, recorded, answer):
    provider.will_say(answer([b"data: 1\n\n"], headers=SSE, ends="hangs"))

    async def run():
        async with async_client:
            response = await async_client.send(async_client.build_request("POST", CHAT, content=b"{}"), stream=True)
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"data: 1\n\n"
            reading = asyncio.create_task(anext(chunks, None))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.create_task(response.aclose())
            await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(run())
    assert recorded.closed()["body"] == "data: 1\n\n"
    assert recorded.closed()["attributes"]["responseComplete"] is False


@pytest.mark.parametrize("way", ["iter_raw", "iter_bytes", "iter_text", "iter_lines", "read"])
def test_whatever_way_a_stream_is_read_its_bytes_are_recorded(way, client, provider, recorded, answer):
    provider.will_say(answer([b"data: \xc3", b"\xa9\r", b"\n\r\n"], headers=SSE))
    with client.stream("POST", CHAT, content=b"{}") as response:
        list(getattr(response, way)())
    assert recorded.closed()["body"] == "data: \u00e9\r\n\r\n"
    assert recorded.closed()["attributes"]["responseComplete"] is True
