"""The clients of OpenAI and Anthropic, and others over httpx: what the store knows of a call afterwards."""

import asyncio
import gc

import pytest

from tracestore.capture import AsyncCaptureTransport, CaptureTransport

CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
CHAT_USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": CHAT_USAGE,
}
CHAT_STREAM = (
    CHUNK | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}], "usage": None},
    CHUNK | {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}], "usage": None},
    CHUNK | {"choices": [], "usage": CHAT_USAGE},
    "[DONE]",
)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "status": "completed",
    "error": None,
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 123,
    },
}
RESPONSE_STREAM = (
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"usage": None, "status": "in_progress"}},
    {"type": "response.output_text.delta", "sequence_number": 1, "delta": '"usage":{"input_tokens":1}', "item_id": "i",
     "output_index": 0, "content_index": 0, "logprobs": []},
    {"type": "response.completed", "sequence_number": 2, "response": RESPONSE},
)  # fmt: skip
EMBEDDINGS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-m",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188,
        "cache_read_input_tokens": 1234,
        "output_tokens": 15,
    },
}
MESSAGE_STREAM = (
    {"type": "message_start",
     "message": MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE["usage"] | {"output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
)  # fmt: skip
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 9, "cachedContentTokenCount": 2},
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r-1",
}
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
COLUMNS = "provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, status"


@pytest.fixture
def openai():
    return pytest.importorskip("openai")


@pytest.fixture
def anthropic():
    return pytest.importorskip("anthropic")


@pytest.fixture
def options(recorder, provider):
    """What makes a client of an SDK: `sdk.OpenAI(**options(sdk))`."""

    def make(sdk, *, path="", is_async=False, **more):
        transport = AsyncCaptureTransport(recorder) if is_async else CaptureTransport(recorder)
        http_client = (sdk.DefaultAsyncHttpxClient if is_async else sdk.DefaultHttpxClient)(transport=transport)
        return {"api_key": "sk-secret-of-the-application", "base_url": provider.url + path, "max_retries": 0,
                "http_client": http_client} | more  # fmt: skip

    return make


@pytest.fixture
def chat(openai, options):
    with openai.OpenAI(**options(openai, path="/v1")) as one:
        yield one


@pytest.fixture
def claude(anthropic, options):
    with anthropic.Anthropic(**options(anthropic)) as one:
        yield one


@pytest.fixture
def requests(recorder, journal, store, collecting):
    """What the store says of the calls."""

    def rows():
        assert recorder.flush()
        collecting(store, journal.path).drain()
        return store.sql(f"SELECT {COLUMNS} FROM requests ORDER BY started_at, ended_at").rows

    return rows


def whole(recorded, provider, body_of):
    """Assert that the only call is recorded byte for byte, and return the attributes of its end."""
    assert body_of(recorded.opened()) == provider.asked[0].body
    assert body_of(recorded.closed()) == provider.answers[0].body
    assert recorded.closed()["attributes"]["responseComplete"] is True
    assert b"sk-secret-of-the-application" not in recorded.raw()
    return recorded.closed()["attributes"]


OPENAI_ROW = ("openai", "gpt-4o", 19, 10, 12, None, "ok")


def test_chat_of_openai(chat, provider, plain, recorded, body_of, requests):
    provider.will_say(plain(CHAT, headers={"content-type": "application/json", "x-request-id": "req_7"}))
    assert chat.chat.completions.create(**ASKED).choices[0].message.content == "Hello"
    attributes = whole(recorded, provider, body_of)
    assert (attributes["requestId"], attributes["responseId"]) == ("req_7", "chatcmpl-1")
    assert attributes["reasoningTokens"] == 4
    assert requests() == [OPENAI_ROW]


def test_streamed_chat_of_openai_which_stops_reading_at_done(chat, provider, stream, recorded, body_of, requests):
    provider.will_say(stream(*CHAT_STREAM, ends="hangs"))
    said = [chunk.choices[0].delta.content for chunk in chat.chat.completions.create(**ASKED, stream=True)
            if chunk.choices]  # fmt: skip
    assert said == ["Hel", "lo"]
    whole(recorded, provider, body_of)
    assert recorded.opened()["attributes"]["stream"] is True
    assert requests() == [OPENAI_ROW]


def test_chat_of_openai_in_asyncio(openai, options, provider, plain, stream, recorded, body_of, requests):
    provider.will_say(plain(CHAT), stream(*CHAT_STREAM))

    async def run():
        async with openai.AsyncOpenAI(**options(openai, path="/v1", is_async=True)) as client:
            message = (await client.chat.completions.create(**ASKED)).choices[0].message
            chunks = [chunk async for chunk in await client.chat.completions.create(**ASKED, stream=True)]
            return message.content, len(chunks)

    assert asyncio.run(run()) == ("Hello", 3)
    assert requests() == [OPENAI_ROW, OPENAI_ROW]
    assert all(each["attributes"]["responseComplete"] for each in recorded.records(kind="span-close"))


def test_a_stream_of_openai_that_the_application_leaves(chat, provider, stream, recorded):
    provider.will_say(stream(*CHAT_STREAM[:2], ends="hangs"))
    with chat.chat.completions.create(**ASKED, stream=True) as chunks:
        for _ in chunks:
            break
    assert recorded.closed()["attributes"]["responseComplete"] is False
    assert recorded.closed()["status"] == "ok"
    assert recorded.closed()["body"].startswith('data: {"id":"chatcmpl-1"')


def test_a_stream_of_openai_that_is_forgotten_is_closed_with_its_last_reference(chat, provider, stream, recorded):
    provider.will_say(stream(*CHAT_STREAM[:2], ends="hangs"))
    for _ in chat.chat.completions.create(**ASKED, stream=True):
        break
    gc.collect()
    assert recorded.closed()["attributes"]["responseComplete"] is False


def test_responses_of_openai(chat, provider, plain, recorded, body_of, requests):
    provider.will_say(plain(RESPONSE))
    assert chat.responses.create(model="gpt-4o", input="hi").id == "resp_1"
    assert whole(recorded, provider, body_of)["responseId"] == "resp_1"
    assert requests() == [("openai", "gpt-4o", 36, 87, 5, None, "ok")]


def test_streamed_responses_of_openai(chat, provider, stream, recorded, body_of, requests):
    provider.will_say(stream(*RESPONSE_STREAM, names=True))
    events = [event.type for event in chat.responses.create(model="gpt-4o", input="hi", stream=True)]
    assert events[-1] == "response.completed"
    whole(recorded, provider, body_of)
    assert requests() == [("openai", "gpt-4o", 36, 87, 5, None, "ok")]


def test_a_response_of_openai_that_failed_in_its_stream(chat, provider, stream, recorded, requests):
    failed = RESPONSE | {"status": "failed", "error": {"code": "server_error", "message": "no luck"}, "usage": None}
    provider.will_say(stream(RESPONSE_STREAM[0], {"type": "response.failed", "sequence_number": 1, "response": failed}))
    assert list(chat.responses.create(model="gpt-4o", input="hi", stream=True))
    assert recorded.closed()["attributes"]["error.message"] == "server_error: no luck"
    assert requests()[0][-1] == "error"


def test_embeddings_of_openai(chat, provider, plain, recorded, body_of, requests):
    provider.will_say(plain(EMBEDDINGS))
    created = chat.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float")
    assert created.data[0].embedding == [0.25, -1.5]
    whole(recorded, provider, body_of)
    assert requests() == [("openai", "text-embedding-3-small", 8, None, None, None, "ok")]


def test_speech_of_openai_is_bytes(chat, provider, answer, recorded, body_of):
    provider.will_say(answer([bytes(range(256)) * 9, b"\xff\xfb"], headers={"content-type": "audio/mpeg"}))
    speech = {"model": "tts-1", "voice": "alloy", "input": "hi"}
    with chat.audio.speech.with_streaming_response.create(**speech) as response:
        assert b"".join(response.iter_bytes()) == provider.answers[0].body
    whole(recorded, provider, body_of)


def test_a_file_given_to_openai(chat, provider, plain, recorded, body_of):
    provider.will_say(plain({"text": "hello"}))
    assert chat.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF\x00\xff" * 99)).text == "hello"
    assert body_of(recorded.log("http.request.body")) == provider.asked[0].body
    assert b"RIFF\x00\xff" * 99 in provider.asked[0].body


@pytest.mark.parametrize("way", ["raw", "streaming"])
def test_raw_and_streaming_responses_of_openai(chat, provider, plain, recorded, body_of, way):
    provider.will_say(plain(CHAT))
    if way == "raw":
        response = chat.chat.completions.with_raw_response.create(**ASKED)
        assert response.parse().id == "chatcmpl-1"
    else:
        with chat.chat.completions.with_streaming_response.create(**ASKED) as response:
            assert list(response.iter_lines()) == [provider.answers[0].body.decode()]
    whole(recorded, provider, body_of)


def test_each_attempt_of_a_client_is_a_call(openai, options, provider, plain, recorded, requests):
    busy = {"error": {"message": "slow down", "type": "rate_limit"}}
    headers = {"content-type": "application/json", "retry-after-ms": "1"}
    provider.will_say(plain(busy, status=429, headers=headers), plain(busy, status=503, headers=headers), plain(CHAT))
    with openai.OpenAI(**options(openai, path="/v1", max_retries=2)) as client:
        assert client.chat.completions.create(**ASKED).id == "chatcmpl-1"
    opened = recorded.records(kind="span-open")
    resent = [each["attributes"].get("http.request.resend_count") for each in opened]
    assert resent == [None, 1, 2]
    assert len({each["body"] for each in opened}) == 1
    messages = [each["attributes"].get("error.message") for each in recorded.records(kind="span-close")]
    assert messages == ["HTTP 429: rate_limit: slow down", "HTTP 503: rate_limit: slow down", None]
    assert [row[-1] for row in requests()] == ["error", "error", "ok"]


def test_an_error_of_openai_reaches_the_application(openai, chat, provider, plain, recorded):
    provider.will_say(plain({"error": {"message": "bad key", "type": "invalid", "code": None}}, status=401))
    with pytest.raises(openai.AuthenticationError, match="bad key"):
        chat.chat.completions.create(**ASKED)
    assert recorded.closed()["attributes"]["error.message"] == "HTTP 401: invalid: bad key"


def test_a_time_out_reaches_the_application(openai, chat, provider, answer, recorded):
    provider.will_say(answer(head="none"))
    with pytest.raises(openai.APITimeoutError):
        chat.chat.completions.create(**ASKED, timeout=0.1)
    assert recorded.closed()["attributes"]["error.type"] == "ReadTimeout"


ANTHROPIC_ROW = ("anthropic", "claude-m", 21 + 1234 + 188, 15, 1234, 188, "ok")
TOLD = {"model": "claude-m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_messages_of_anthropic(claude, provider, plain, recorded, body_of, requests):
    provider.will_say(plain(MESSAGE, headers={"content-type": "application/json", "request-id": "req_9"}))
    assert claude.messages.create(**TOLD).content[0].text == "Hi"
    attributes = whole(recorded, provider, body_of)
    assert (attributes["requestId"], attributes["responseId"]) == ("req_9", "msg_1")
    assert requests() == [ANTHROPIC_ROW]


@pytest.mark.parametrize("way", ["create", "stream"])
def test_streamed_messages_of_anthropic(claude, provider, stream, recorded, body_of, requests, way):
    provider.will_say(stream(*MESSAGE_STREAM, names=True))
    if way == "create":
        assert [event.type for event in claude.messages.create(**TOLD, stream=True)][-1] == "message_stop"
    else:
        with claude.messages.stream(**TOLD) as events:
            assert "".join(events.text_stream) == "Hi"
            assert events.get_final_message().usage.output_tokens == 15
    whole(recorded, provider, body_of)
    assert requests() == [ANTHROPIC_ROW]


def test_a_stream_of_anthropic_that_is_left_behind_its_last_event(claude, provider, stream, recorded, body_of):
    provider.will_say(stream(*MESSAGE_STREAM, names=True, ends="hangs"))
    with claude.messages.create(**TOLD, stream=True) as events:
        for event in events:
            if event.type == "message_stop":
                break
    whole(recorded, provider, body_of)


def test_messages_of_anthropic_in_asyncio(anthropic, options, provider, stream, recorded, body_of, requests):
    provider.will_say(stream(*MESSAGE_STREAM, names=True))

    async def run():
        client = anthropic.AsyncAnthropic(**options(anthropic, is_async=True))
        async with client, client.messages.stream(**TOLD) as events:
            return [text async for text in events.text_stream]

    assert asyncio.run(run()) == ["Hi"]
    whole(recorded, provider, body_of)
    assert requests() == [ANTHROPIC_ROW]


def test_a_stream_of_anthropic_that_is_overloaded_in_the_middle(anthropic, claude, provider, stream, recorded):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.will_say(stream(*MESSAGE_STREAM[:3], error, names=True))
    with pytest.raises(anthropic.APIStatusError):
        list(claude.messages.create(**TOLD, stream=True))
    assert recorded.closed()["status"] == "error"
    assert recorded.closed()["attributes"]["error.message"] == "overloaded_error: Overloaded"


@pytest.mark.parametrize("way", ["plain", "stream", "list"])
def test_gemini_over_httpx(library, recorder, provider, answer, plain, stream, recorded, body_of, requests, way):
    first = {"candidates": [], "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1}}
    said = {"plain": plain(GEMINI), "stream": stream(first, GEMINI), "list": plain([first, GEMINI])}[way]
    provider.will_say(said)
    path = "/v1beta/models/gemini-2.5-flash:" + ("generateContent" if way == "plain" else "streamGenerateContent")
    with library.Client(transport=CaptureTransport(recorder), base_url=provider.url) as client:
        client.post(f"{path}?alt=sse&key=AIzaSyA-secret-key-of-the-application00", json={"contents": []})
    assert recorded.opened()["attributes"]["model"] == "gemini-2.5-flash"
    assert b"secret-key" not in recorded.raw()
    whole(recorded, provider, body_of)
    assert requests() == [("google", "gemini-2.5-flash", 4, 9, 2, None, "ok")]


def test_the_model_of_a_refused_call_is_the_one_that_was_asked_for(claude, anthropic, provider, plain, requests):
    provider.will_say(plain({"type": "error", "error": {"type": "not_found", "message": "m"}}, status=404))
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**TOLD)
    assert requests() == [("anthropic", "claude-m", None, None, None, None, "error")]


def test_the_model_that_answers_may_be_another_than_the_one_asked_for(chat, provider, plain, recorded):
    provider.will_say(plain(CHAT | {"model": "gpt-4o-2024-08-06"}))
    chat.chat.completions.create(**ASKED)
    assert recorded.opened()["attributes"]["model"] == "gpt-4o"
    assert recorded.closed()["attributes"]["model"] == "gpt-4o-2024-08-06"
