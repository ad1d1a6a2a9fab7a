"""Calls that end before their end: what came until then is recorded, and why no more came."""

import asyncio
import gc
import socket
import tracemalloc

import pytest

from tracestore.capture import AsyncCaptureTransport, CaptureTransport, Recorder

CHAT = "/v1/chat/completions"
SSE = {"content-type": "text/event-stream"}


def ended(recorded):
    """Status, kind of error, whether the response is complete, and its body."""
    record = recorded.closed()
    attributes = record["attributes"]
    return record["status"], attributes.get("error.type"), attributes.get("responseComplete"), record.get("body")


def test_a_server_that_nobody_runs(client, recorded, library):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(library.ConnectError):
        client.post(f"http://127.0.0.1:{port}{CHAT}", content=b'{"model":"m-1"}')
    assert ended(recorded) == ("error", "ConnectError", None, None)
    assert recorded.opened()["attributes"]["model"] == "m-1"


def test_a_server_that_does_not_answer_in_time(client, provider, recorded, answer, library):
    provider.will_say(answer(head="none"))
    with pytest.raises(library.ReadTimeout):
        client.post(CHAT, content=b"{}", timeout=0.1)
    assert ended(recorded) == ("error", "ReadTimeout", None, None)


def test_a_stream_that_stops_in_the_middle(client, provider, recorded, answer, library):
    provider.will_say(answer([b"data: 1\n\n", b"data: 2\n\n"], headers=SSE, ends="hangs"))
    with pytest.raises(library.ReadTimeout), client.stream("POST", CHAT, content=b"{}", timeout=0.2) as response:
        for _ in response.iter_bytes():
            pass
    assert ended(recorded) == ("error", "ReadTimeout", False, "data: 1\n\ndata: 2\n\n")


def test_a_stream_that_the_server_breaks_off(client, provider, recorded, answer, library):
    provider.will_say(answer([b"data: 1\n\n", b"da"], headers=SSE, ends="broken"))
    with pytest.raises(library.RemoteProtocolError):
        client.post(CHAT, content=b"{}")
    assert ended(recorded) == ("error", "RemoteProtocolError", False, "data: 1\n\nda")


def test_a_body_shorter_than_it_was_said_to_be(client, provider, recorded, answer, library):
    provider.will_say(answer([b'{"a":'], headers={"content-length": "9"}, ends="broken"))
    with pytest.raises(library.RemoteProtocolError):
        client.post(CHAT, content=b"{}")
    assert ended(recorded) == ("error", "RemoteProtocolError", False, '{"a":')


def test_a_stream_that_the_application_leaves(client, provider, recorded, answer):
    provider.will_say(answer([b"data: 1\n\n", b"data: 2\n\n"], headers=SSE, ends="hangs"))
    with client.stream("POST", CHAT, content=b"{}") as response:
        for _ in response.iter_lines():
            break
    status, error, is_complete, body = ended(recorded)
    assert (status, error, is_complete) == ("ok", None, False)
    assert "data: 1\n\ndata: 2\n\n".startswith(body)
    assert body


def test_a_response_that_is_closed_unread(client, provider, recorded, answer):
    provider.will_say(answer([b"never read"], headers=SSE))
    with client.stream("POST", CHAT, content=b"{}"):
        pass
    assert ended(recorded) == ("ok", None, False, None)


def test_while_nobody_reads_or_closes_a_response_its_span_is_open(client, provider, recorded, answer):
    provider.will_say(answer([b"never read"], headers=SSE))
    response = client.send(client.build_request("POST", CHAT, content=b"{}"), stream=True)
    assert recorded.opened()
    assert recorded.records(kind="span-close") == []
    response.close()


def test_a_reader_that_stops_at_the_announced_length_has_all_of_it(client, provider, recorded, answer):
    provider.will_say(answer([b"0123456789"]))
    with client.stream("POST", CHAT, content=b"{}") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"0123456789"
    assert ended(recorded) == ("ok", None, True, "0123456789")


@pytest.mark.parametrize(
    ("last", "is_complete"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'event: message_stop\ndata: {"type": "message_stop"}\n\n', True),
        (b'event: message_stop\ndata: {"later":0,"type":"message_stop"}\n\n', True),
        (b'data: {"type":"response.completed","response":{}}\n\n', True),
        (b'data: {"type":"response.failed","response":{}}\n\n', True),
        (b'data: {"type":"response.completed","resp', False),
        (b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n', False),
        (b'data: {"text":"[DONE]"}\n\n', False),
        (b'data: {"type":"ping"}\n\n', False),
    ],
)
def test_a_stream_is_complete_when_its_protocol_says_so(client, provider, recorded, answer, last, is_complete):
    """Readers of events stop at the last one, and close before the end of the response."""
    provider.will_say(answer([b'data: {"n":1}\n\n' + last], headers=SSE, ends="hangs"))
    with client.stream("POST", CHAT, content=b"{}") as response:
        next(response.iter_raw())
    assert ended(recorded)[:3] == ("ok", None, is_complete)


async def cancelled(call, is_reached):
    """Run a call, and cancel it once it is where it is to be."""
    task = asyncio.create_task(call())
    for _ in range(2000):
        if is_reached():
            break
        await asyncio.sleep(0.005)
    assert is_reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_task_that_is_cancelled_before_the_answer_begins(library, recorder, provider, recorded, answer):
    provider.will_say(answer(head="none"))

    async def call():
        async with library.AsyncClient(transport=AsyncCaptureTransport(recorder)) as client:
            await client.post(provider.url + CHAT, content=b"{}")

    asyncio.run(cancelled(call, lambda: provider.asked))
    assert ended(recorded) == ("error", "CancelledError", None, None)


def test_a_task_that_is_cancelled_while_it_sends(library, recorder, provider, recorded, answer):
    provider.will_say(answer(head="none"))
    sent = []

    async def upload():
        for piece in (b"one", b"two"):
            yield piece
            sent.append(piece)
            await asyncio.sleep(60)

    async def call():
        async with library.AsyncClient(transport=AsyncCaptureTransport(recorder)) as client:
            await client.post(provider.url + CHAT, content=upload())

    asyncio.run(cancelled(call, lambda: sent))
    assert ended(recorded) == ("error", "CancelledError", None, None)
    assert recorded.log("http.request.body")["body"] == "one"


@pytest.mark.parametrize("is_reading", [True, False])
def test_a_task_that_is_cancelled_in_the_middle_of_a_stream(
    library, recorder, provider, recorded, answer, is_reading
):
    """One that does something else between two chunks only leaves the call."""
    provider.will_say(answer([b"data: 1\n\n"], headers=SSE, ends="hangs"))
    found = []

    async def call():
        client = library.AsyncClient(transport=AsyncCaptureTransport(recorder))
        async with client, client.stream("POST", provider.url + CHAT, content=b"{}") as response:
            async for chunk in response.aiter_raw():
                found.append(chunk)
                if not is_reading:
                    await asyncio.sleep(60)

    asyncio.run(cancelled(call, lambda: found))
    status, error = ("error", "CancelledError") if is_reading else ("ok", None)
    assert ended(recorded) == (status, error, False, "data: 1\n\n")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
def test_what_the_provider_refuses_is_an_error_in_its_own_words(client, provider, recorded, plain, status):
    provider.will_say(plain({"error": {"type": "some_error", "message": "not like this"}}, status=status))
    assert client.post(CHAT, content=b"{}").status_code == status
    record = recorded.closed()
    assert record["status"] == "error"
    assert record["attributes"]["error.message"] == f"HTTP {status}: some_error: not like this"
    assert record["attributes"]["http.response.status_code"] == status
    assert record["body"] == provider.answers[0].body.decode()
    assert record["attributes"]["responseComplete"] is True


def test_a_refusal_that_is_no_json_is_an_error_too(client, provider, recorded, answer):
    provider.will_say(answer([b"<html>Bad Gateway</html>"], status=502))
    client.post(CHAT, content=b"{}")
    assert recorded.closed()["attributes"]["error.message"] == "HTTP 502"


def test_an_error_in_the_middle_of_a_stream_is_an_error_whatever_its_status_said(client, provider, recorded, stream):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.will_say(stream({"type": "message_start", "message": {"model": "m-1"}}, error, names=True))
    assert client.post("/v1/messages", content=b"{}").status_code == 200
    assert recorded.closed()["status"] == "error"
    assert recorded.closed()["attributes"]["error.message"] == "overloaded_error: Overloaded"
    assert recorded.closed()["attributes"]["model"] == "m-1"


def fail(*_, **__):
    raise RuntimeError("the recorder is broken")


@pytest.mark.parametrize("part", ["funnel.emit", "queue.put", "clock", "new_id", "redaction"])
def test_a_recorder_that_is_broken_breaks_no_call(
    client, recorder, provider, answer, stream, plain, monkeypatch, part
):
    funnel = recorder.funnel
    if part == "clock":
        monkeypatch.setattr(funnel, "clock", funnel.clock._replace(elapsed_ns=fail, now_ns=fail))
    elif part == "new_id":
        monkeypatch.setattr(funnel, "new_id", fail)
    elif part == "redaction":
        monkeypatch.setattr(funnel, "redaction", None)
    elif part == "funnel.emit":
        monkeypatch.setattr(funnel, "emit", fail)
    else:
        monkeypatch.setattr(funnel.queue, "put", fail)
    said = provider.will_say(stream({"n": 1}, {"n": 2}, "[DONE]"))
    assert client.post(CHAT, content=b"{}").content == said.body
    assert client.post(CHAT, content=iter([b"{", b"}"])).content == said.body
    with client.stream("POST", CHAT, content=b"{}") as response:
        assert next(response.iter_raw())
    assert provider.asked[1].body == b"{}"


def test_calls_go_on_while_the_disk_takes_nothing(library, provider, tmp_path, stream):
    (tmp_path / "journal").write_bytes(b"a file where the directory is to be")
    recorder = Recorder(tmp_path / "journal", extension_id="app", queue_bytes=20_000)
    said = provider.will_say(stream(*({"n": n} for n in range(50)), "[DONE]"))
    with library.Client(transport=CaptureTransport(recorder), base_url=provider.url) as client:
        for _ in range(50):
            assert client.post(CHAT, content=b"{}" * 100).content == said.body
    assert recorder.dropped
    (tmp_path / "journal").unlink()
    assert recorder.close()


def test_chunks_are_held_once_and_let_go_at_the_end(library, recorder):
    """The chunks themselves are what is held until the end, none is copied; afterwards nothing is held."""

    class Chunk(bytes):
        pass

    class Sending(library.SyncByteStream):
        def __iter__(self):
            for number in range(100):
                yield Chunk(b"%04d" % number)

    class Wrapped(library.BaseTransport):
        def handle_request(self, request):
            return library.Response(200, stream=Sending())

    def held():
        return [each for each in gc.get_objects() if type(each) is Chunk]

    with library.Client(transport=CaptureTransport(recorder, Wrapped())) as client:
        with client.stream("GET", "http://there/") as response:
            seen = 0
            for chunk in response.iter_raw():
                seen += 1
                assert type(chunk) is Chunk
            assert seen == 100
            del chunk
        assert held() == []


def test_while_a_response_comes_one_copy_of_it_is_held(library, recorder):
    chunk_bytes, chunks = 8192, 1000

    class Sending(library.SyncByteStream):
        def __iter__(self):
            for _ in range(chunks):
                yield bytes(chunk_bytes)

    class Wrapped(library.BaseTransport):
        def handle_request(self, request):
            return library.Response(200, stream=Sending())

    with library.Client(transport=CaptureTransport(recorder, Wrapped())) as client:
        tracemalloc.start()
        try:
            with client.stream("GET", "http://there/") as response:
                before, _ = tracemalloc.get_traced_memory()
                for number, _ in enumerate(response.iter_raw(), 1):
                    if number == chunks:
                        _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert chunks * chunk_bytes < peak - before < 1.1 * chunks * chunk_bytes
