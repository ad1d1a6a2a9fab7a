"""The transports under bare clients: what is sent and received is recorded, and neither is changed."""

import asyncio
import json
import threading

import pytest

from tracestore import InputInvalid
from tracestore.capture import AsyncCaptureTransport, CaptureTransport, Recorder

CHAT = "/v1/chat/completions"


def test_the_bytes_of_request_and_response_are_recorded_as_they_were_on_the_socket(
    client, provider, recorded, answer, body_of
):
    said = provider.will_say(answer([b'{"caf\xc3\xa9" :  1 , "n":1.10}\n']))
    sent = b'{ "model": "m-1",\n\t"x":  1e3, "stream":false}'
    response = client.post(CHAT, content=sent, headers={"content-type": "application/json"})
    assert response.content == said.body
    assert provider.asked[0].body == sent == body_of(recorded.opened())
    assert body_of(recorded.closed()) == said.body
    assert recorded.opened()["attributes"]["requestBytes"] == len(sent)
    assert recorded.opened()["attributes"]["url.full"] == provider.url + CHAT
    assert recorded.opened()["attributes"]["http.request.method"] == "POST"
    attributes = recorded.closed()["attributes"]
    assert (attributes["http.response.status_code"], attributes["responseBytes"]) == (200, len(said.body))
    assert attributes["responseComplete"] is True
    assert recorded.closed()["name"] == "provider.request"


def pieces_read(client, provider):
    """The chunks a client gets where each is sent after the one before was taken."""
    gate = provider.answers[0].gate
    gate.release()
    found = []
    with client.stream("POST", CHAT, content=b"{}") as response:
        for chunk in response.iter_raw():
            found.append(chunk)
            gate.release()
    return found


def test_chunks_reach_the_application_as_they_are_and_one_by_one(client, provider, library, recorded, answer, body_of):
    pieces = [b"data: {", b'"a":1}\n\nda', b"ta: \xc3", b"\xa9\n\n", b"\n" * 70_000, b"x"]
    found = []
    with library.Client(base_url=provider.url, timeout=10) as without:
        for each in (client, without):
            provider.will_say(answer(pieces, gate=threading.Semaphore(0)))
            found.append(pieces_read(each, provider))
    assert found[0][:4] == found[1][:4] == pieces[:4]
    assert b"".join(found[0]) == b"".join(found[1]) == b"".join(pieces)
    assert body_of(recorded.closed()) == b"".join(pieces)


def test_chunks_reach_an_async_application_as_they_are(async_client, provider, recorded, answer, body_of):
    pieces = [b"a", b"bc", b"d" * 1000, b"\x00\xff"]
    provider.will_say(answer(pieces, gate=threading.Semaphore(1)))

    async def run():
        async with async_client, async_client.stream("POST", CHAT, content=b"{}") as response:
            found = []
            async for chunk in response.aiter_raw():
                found.append(chunk)
                provider.answers[0].gate.release()
            return found

    assert asyncio.run(run()) == pieces
    assert body_of(recorded.closed()) == b"".join(pieces)


def test_times_to_the_first_byte_and_to_the_end_are_those_of_the_clock(client, provider, recorded, answer):
    """The clock ticks once a millisecond: start, the span's own start, first byte, end."""
    provider.will_say(answer([b"a", b"b", b"c"]))
    client.post(CHAT, content=b"{}")
    assert recorded.closed()["attributes"]["firstByteMs"] == 2.0
    assert recorded.closed()["durationMs"] == 2.0


def test_a_span_is_the_parent_of_the_calls_made_in_it(library, recorder, provider, recorded, plain):
    provider.will_say(plain({}))
    span = recorder.child(conversation_id="c-1").span("turn")
    with span, library.Client(transport=CaptureTransport(span)) as client:
        client.post(provider.url + CHAT, content=b"{}")
    call = recorded.records(kind="span-close", name="provider.request")[0]
    assert (call["parentSpanId"], call["turnId"], call["conversationId"]) == (span.span_id, span.turn_id, "c-1")


def test_calls_are_made_in_the_span_that_a_task_is_in(library, provider, journal, plain):
    provider.will_say(plain({}))

    async def turn(recorder, client, name):
        with recorder.span(name) as span:
            await asyncio.gather(*(client.post(provider.url + CHAT, json={"of": name}) for _ in range(3)))
            return name, span.span_id

    async def run(recorder):
        async with library.AsyncClient(transport=AsyncCaptureTransport(recorder)) as client:
            return dict(await asyncio.gather(*(turn(recorder, client, name) for name in ("a", "b"))))

    with Recorder(journal.path, extension_id="app", in_context=True) as recorder:
        spans = asyncio.run(run(recorder))
    opened = [record for record in journal.records() if record["kind"] == "span-open"]
    calls = [record for record in opened if record["name"] == "provider.request"]
    assert len(calls) == 6
    assert all(call["parentSpanId"] == spans[json.loads(call["body"])["of"]] for call in calls)


def test_a_transport_of_the_applications_own_is_wrapped(library, recorder, recorded, body_of):
    def respond(request):
        return library.Response(200, json={"model": "m-1", "usage": {"input_tokens": 3}})

    with library.Client(transport=CaptureTransport(recorder, library.MockTransport(respond))) as client:
        response = client.post("http://there/v1/messages", json={"model": "m-1"})
    assert body_of(recorded.closed()) == response.content
    assert recorded.closed()["attributes"]["inputTokens"] == 3
    assert recorded.closed()["attributes"]["responseComplete"] is True


def test_requests_and_responses_may_be_of_classes_of_the_applications_own(library, recorder, recorded, body_of):
    class OwnResponse(library.Response):
        pass

    class OwnRequest(library.Request):
        pass

    class Own(library.BaseTransport):
        def handle_request(self, request):
            return OwnResponse(200, content=iter([b"a", b"b"]))

    with library.Client(transport=CaptureTransport(recorder, Own())) as client:
        assert client.send(OwnRequest("POST", "http://there/", content=iter([b"x", b"y"]))).content == b"ab"
    assert body_of(recorded.closed()) == b"ab"


@pytest.mark.parametrize("kind", [CaptureTransport, AsyncCaptureTransport])
def test_a_transport_into_what_does_not_record_is_refused_at_once(kind):
    with pytest.raises(InputInvalid, match="into: wanted a Recorder or a Span, found 'journal'"):
        kind("journal")


def test_a_client_in_place_of_a_transport_is_said_at_once(recorder, library):
    with library.Client() as other, pytest.raises(InputInvalid, match="wrapped: wanted a transport with a handle_req"):
        CaptureTransport(recorder, wrapped=other)


def test_a_transport_in_the_wrong_kind_of_client_says_which_one_is_wanted(recorder, library):
    async def ask():
        async with library.AsyncClient(transport=CaptureTransport(recorder)) as wrong:
            await wrong.get("http://127.0.0.1:1")

    with pytest.raises(AttributeError, match=r"CaptureTransport has no __aenter__: .* an AsyncClient AsyncCapture"):
        asyncio.run(ask())
    with pytest.raises(AttributeError, match="has no handle_request: a Client takes CaptureTransport"):
        library.Client(transport=AsyncCaptureTransport(recorder)).get("http://127.0.0.1:1")


def test_a_streamed_upload_is_recorded_when_it_was_sent(client, provider, recorded, plain, body_of):
    provider.will_say(plain({}))
    client.post(CHAT, content=iter([b'{"model":', b'"m-9","stream":', b"true}"]))
    assert provider.asked[0].body == b'{"model":"m-9","stream":true}'
    assert "body" not in recorded.opened()
    assert body_of(recorded.log("http.request.body")) == provider.asked[0].body
    assert recorded.closed()["attributes"]["model"] == "m-9"
    assert recorded.closed()["attributes"]["requestBytes"] == len(provider.asked[0].body)


def test_a_request_is_afterwards_what_it_was_before(client, provider, plain):
    """It may be sent again, also by another transport."""
    provider.will_say(plain({}))
    request = client.build_request("POST", CHAT, files={"file": b"content"})
    stream = request.stream
    client.send(request)
    assert request.stream is stream
    client.send(request)
    assert provider.asked[0].body == provider.asked[1].body


def test_an_uploaded_file_is_recorded_as_it_was_sent(client, provider, recorded, plain, body_of, tmp_path):
    provider.will_say(plain({"text": "hello"}))
    (tmp_path / "a.wav").write_bytes(bytes(range(256)) * 300)
    with (tmp_path / "a.wav").open("rb") as file:
        client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": file})
    assert b"whisper-1" in provider.asked[0].body
    assert body_of(recorded.log("http.request.body")) == provider.asked[0].body


def test_an_async_upload_is_recorded(async_client, provider, recorded, plain, body_of):
    provider.will_say(plain({}))

    async def content():
        yield b"one"
        yield b"two"

    async def run():
        async with async_client:
            await async_client.post(CHAT, content=content())

    asyncio.run(run())
    assert provider.asked[0].body == b"onetwo" == body_of(recorded.log("http.request.body"))


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("POST", 200)])
def test_a_call_without_bodies_is_recorded_without(client, provider, recorded, answer, method, status):
    provider.will_say(answer([b""], status=status))
    assert client.request(method, "/v1/x").status_code == status
    assert "body" not in recorded.opened()
    assert "body" not in recorded.closed()
    assert recorded.closed()["attributes"]["responseBytes"] == 0
    assert recorded.closed()["status"] == "ok"


@pytest.mark.parametrize("content", [bytes(range(256)) * 50, b"caf\xe9", b"\xef\xbb\xbf{}", b"\x00"])
def test_bytes_that_are_no_text_are_recorded_as_they_are(client, provider, recorded, answer, body_of, content):
    provider.will_say(answer([content], headers={"content-type": "audio/mpeg"}))
    assert client.post("/v1/audio/speech", content=content).content == content
    assert body_of(recorded.opened()) == content
    assert body_of(recorded.closed()) == content


def test_a_redirect_is_two_calls(client, provider, recorded, answer, plain):
    secret = "opaque-and-long-enough-to-be-a-key"
    there = f"{provider.url}/there?key={secret}&alt=sse#access_token={secret}"
    provider.will_say(answer([b"moved"], status=307, headers={"location": there}), plain({"model": "m-2"}))
    assert client.post(CHAT, content=b"{}", follow_redirects=True).json() == {"model": "m-2"}
    assert [asked.path for asked in provider.asked] == [CHAT, f"/there?key={secret}&alt=sse"]
    first, second = recorded.records(kind="span-close")
    assert first["attributes"]["http.response.status_code"] == 307
    assert second["attributes"]["http.response.status_code"] == 200
    masked = provider.url + "/there?key=opa…redacted…key&alt=sse#access_token=opa…redacted…key"
    assert first["attributes"]["http.response.header.location"] == masked
    assert recorded.records(kind="span-open")[1]["attributes"]["url.full"] == masked
    assert secret.encode() not in recorded.raw()


def test_an_authentication_that_asks_twice_is_two_calls(client, provider, recorded, answer, plain, library):
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    provider.will_say(answer([b"no"], status=401, headers={"www-authenticate": challenge}), plain({"ok": True}))
    assert client.post(CHAT, content=b"{}", auth=library.DigestAuth("me", "pass-word")).json() == {"ok": True}
    assert [each["status"] for each in recorded.records(kind="span-close")] == ["error", "ok"]
    assert provider.asked[1].headers["authorization"].startswith("Digest ")
    assert provider.asked[1].headers["authorization"].encode() not in recorded.raw()


def test_secret_headers_and_the_user_in_a_url_are_masked(client, provider, recorded, answer):
    secrets = {name: f"{name}-value-of-a-secret" for name in ("authorization", "x-api-key", "cookie", "x-goog-api-key")}
    provider.will_say(answer([b"{}"], headers={"set-cookie": "sid=session-id-of-a-user"}))
    client.post(provider.url.replace("//", "//me:my-pass-word@") + "/x?api_key=query-secret-of-mine", headers=secrets)
    raw = recorded.raw()
    for secret in (*secrets.values(), "session-id-of-a-user", "my-pass-word", "query-secret-of-mine"):
        assert secret.encode() not in raw
    assert provider.asked[0].headers["x-api-key"] == secrets["x-api-key"]


def test_fifty_calls_at_once_are_fifty_spans(library, recorder, provider, recorded, stream, body_of):
    provider.will_say(stream({"n": 1}, {"n": 2}, "[DONE]"))

    async def run():
        transport = AsyncCaptureTransport(recorder)
        async with library.AsyncClient(transport=transport, base_url=provider.url, timeout=20) as client:
            return await asyncio.gather(*(client.post(CHAT, json={"number": n}) for n in range(50)))

    responses = asyncio.run(run())
    assert {response.content for response in responses} == {provider.answers[0].body}
    assert {body_of(each) for each in recorded.records(kind="span-open")} == {asked.body for asked in provider.asked}
    closed = recorded.records(kind="span-close")
    assert [body_of(each) for each in closed] == [provider.answers[0].body] * 50
    assert len({each["spanId"] for each in closed}) == 50


def test_one_client_serves_many_threads(client, provider, recorded, stream, body_of):
    provider.will_say(stream({"n": 1}, "[DONE]"))
    found = []

    def ask(number):
        found.extend(client.post(CHAT, json={"number": [number, n]}).content for n in range(3))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [provider.answers[0].body] * 96
    opened = {each["spanId"]: body_of(each) for each in recorded.records(kind="span-open")}
    assert sorted(opened.values()) == sorted(asked.body for asked in provider.asked)
    assert {each["spanId"] for each in recorded.records(kind="span-close")} == opened.keys()


def test_two_recorders_may_hear_the_same_call(library, recorder, provider, recorded, tmp_path, plain, body_of):
    provider.will_say(plain({"model": "m-1"}))
    with Recorder(tmp_path / "other", extension_id="outer") as outer:
        both = CaptureTransport(outer, CaptureTransport(recorder))
        with library.Client(transport=both) as client:
            client.post(provider.url + CHAT, content=iter([b"a", b"b"]))
        assert outer.dropped == {}
    assert body_of(recorded.closed()) == provider.answers[0].body
    assert body_of(recorded.log("http.request.body")) == b"ab"
    assert len(list((tmp_path / "other").glob("*.ndjson"))) == 1
