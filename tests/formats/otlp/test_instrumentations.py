"""Real instrumentations call a provider, the SDK's exporter encodes their spans, and each content is there once."""

import asyncio
import json
import threading
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tracestore.formats.otlp import JSON, PROTOBUF, decode_traces, map_traces
from tracestore.record import decode_line, encode_line

openai = pytest.importorskip("openai")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder")

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}
MODEL = "m-1-real"
PROMPT = "What is the weather in Bern, and what should I wear?"
LONG = "It is a long story. " * 1000


class Provider(BaseHTTPRequestHandler):
    """Answers as OpenAI's chat does: a tool call first where there are tools, then text."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        if request.get("stream"):
            return self._send(b"".join(self._chunks()), "text/event-stream")
        message, reason = {"role": "assistant", "content": "Sunny"}, "stop"
        if request.get("tools") and request["messages"][-1]["role"] != "tool":
            message, reason = {"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        answer = {"object": "chat.completion", "choices": [choice], "usage": USAGE}
        return self._send(json.dumps({"id": "c1", "created": 1, "model": MODEL, **answer}).encode(), "application/json")

    def _chunks(self):
        deltas = [{"role": "assistant", "content": ""}, {"content": "Sun"}, {"content": "ny"}, {}]
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
            chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    def _send(self, body, content_type):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def provider():
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def traced():
    """A tracer provider, and what its spans become once they are encoded, decoded and mapped."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracer_provider = sdk.TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))

    def halves():
        data = encoder.encode_spans(exporter.get_finished_spans()).SerializeToString()
        mapped = map_traces(decode_traces(data, PROTOBUF))
        assert (mapped.rejected, mapped.reasons) == (0, [])
        lines = [encode_line(record) for record in mapped.records]
        assert [decode_line(line).record.kind for line in lines]
        records = [json.loads(line) for line in lines]
        opened = {record["spanId"]: record for record in records if record["kind"] == "span-open"}
        closed = [record for record in records if record["kind"] == "span-close"]
        assert len(opened) == len(closed)
        return [(opened[record["spanId"]], record) for record in closed]

    yield tracer_provider, halves
    tracer_provider.shutdown()


@contextmanager
def instrumented(instrumentor, tracer_provider):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the instrumentation's own dependencies
        instrumentor.instrument(tracer_provider=tracer_provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()


@pytest.fixture
def client(provider):
    with openai.OpenAI(base_url=provider.url, api_key="none", max_retries=0) as client:
        yield client


def ask(client, **options):
    answer = client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": PROMPT}], **options)
    return list(answer) if options.get("stream") else answer


def converse(client):
    """Make a call with tools, a long one that answers them, and a streamed one."""
    ask(client, tools=TOOLS, temperature=0.5)
    client.chat.completions.create(
        model="m-1",
        messages=[
            {"role": "system", "content": LONG},
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "22 C"},
        ],
    )
    ask(client, stream=True)


def assert_once(text, opening, closing):
    """The content is in the body of the request, and nowhere else."""
    assert json.dumps(opening["body"]).count(text) == 1
    assert text not in json.dumps(closing)
    assert text not in json.dumps(opening.get("attributes", {}))


def test_openinference_keeps_what_the_provider_got_and_gave(provider, client, traced):
    instrumentation = pytest.importorskip("openinference.instrumentation.openai")
    tracer_provider, halves = traced
    with instrumented(instrumentation.OpenAIInstrumentor(), tracer_provider):
        converse(client)
    spans = halves()
    assert [json.loads(opening["body"]) for opening, _ in spans] == provider.requests
    assert [opening["attributes"]["otlp.body"] for opening, _ in spans] == ["input.value"] * 3
    assert [closing["attributes"]["otlp.body"] for _, closing in spans] == ["output.value"] * 3
    messages = [json.loads(closing["body"])["choices"][0]["message"] for _, closing in spans]
    assert [message["content"] for message in messages] == [None, "Sunny", "Sunny"]
    assert messages[0]["tool_calls"][0]["function"] == CALL["function"]
    for opening, closing in spans:
        assert_once(PROMPT, opening, closing)
    attributes = spans[0][1]["attributes"]
    assert attributes["llm.model_name"] == MODEL
    assert attributes["llm.token_count.prompt_details.cache_read"] == 4


def test_openllmetry_keeps_each_side_as_one_body(provider, client, traced):
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.openai")
    tracer_provider, halves = traced
    with instrumented(instrumentation.OpenAIInstrumentor(), tracer_provider):
        converse(client)
    with_tools, long, streamed = halves()
    assert with_tools[0]["attributes"]["otlp.body"] == "gen_ai.input.messages,gen_ai.tool.definitions"
    sent = json.loads(with_tools[0]["body"])
    assert sent["gen_ai.input.messages"] == [{"role": "user", "parts": [{"content": PROMPT, "type": "text"}]}]
    assert sent["gen_ai.tool.definitions"][0]["name"] == "weather"
    [called] = json.loads(with_tools[1]["body"])
    assert called["parts"][0]["arguments"] == {"city": "Bern"}
    assert json.loads(long[0]["body"])[0]["parts"][0]["content"] == LONG
    assert json.loads(streamed[1]["body"])[0]["parts"] == [{"content": "Sunny", "type": "text"}]
    for opening, closing in (with_tools, long, streamed):
        assert_once(PROMPT, opening, closing)
    assert with_tools[1]["attributes"]["gen_ai.usage.cache_read.input_tokens"] == 4


def test_pydantic_ai_keeps_model_calls_tools_and_the_run(provider, traced):
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    tracer_provider, halves = traced
    model = OpenAIChatModel("m-1", provider=OpenAIProvider(base_url=provider.url, api_key="none"))
    agent = pydantic_ai.Agent(model, name="clerk", instructions="Be brief")
    agent.instrument = InstrumentationSettings(tracer_provider=tracer_provider)

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"22 C in {city}"

    assert asyncio.run(agent.run(PROMPT)).output == "Sunny"
    first, tool, second, run = halves()
    sent = json.loads(first[0]["body"])
    assert sent["gen_ai.input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
    assert sent["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief"}]
    assert (tool[0]["body"], tool[1]["body"]) == ('{"city":"Bern"}', "22 C in Bern")
    assert json.loads(second[1]["body"])[0]["parts"] == [{"type": "text", "content": "Sunny"}]
    assert run[1]["body"] == "Sunny"
    assert json.loads(run[0]["body"])["pydantic_ai.all_messages"][0]["parts"][0]["content"] == PROMPT
    for opening, closing in (first, second, run):
        assert_once(PROMPT, opening, closing)
    assert {record["turnId"] for pair in (first, tool, second, run) for record in pair} == {run[0]["turnId"]}
    [conversation] = {record["conversationId"] for pair in (first, tool, second, run) for record in pair}
    assert conversation == first[1]["attributes"]["gen_ai.conversation.id"]
    assert {pair[0]["parentSpanId"] for pair in (first, tool, second)} == {run[0]["spanId"]}


def test_a_real_error_is_an_error_with_its_exception_as_a_log(client, provider, traced):
    tracer_provider, _ = traced
    tracer = tracer_provider.get_tracer("app", "1")
    with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("work") as span:
        raise ZeroDivisionError("what")
    data = encoder.encode_spans([span]).SerializeToString()
    _, closing, log = map_traces(decode_traces(data, PROTOBUF)).records
    assert (closing["status"], closing["extensionId"]) == ("error", "app")
    assert (log["level"], log["msg"], log["attributes"]["exception.message"]) == ("error", "exception", "what")


def test_the_exporter_of_json_is_understood_too(traced):
    json_format = pytest.importorskip("google.protobuf.json_format")
    tracer_provider, _ = traced
    with tracer_provider.get_tracer("app").start_as_current_span("work", attributes={"n": 1, "l": ["a"]}) as span:
        pass
    request = encoder.encode_spans([span])
    members = json_format.MessageToDict(request)
    [of_span] = members["resourceSpans"][0]["scopeSpans"][0]["spans"]
    of_span |= {"traceId": f"{span.context.trace_id:032X}", "spanId": f"{span.context.span_id:016x}"}
    decoded = decode_traces(json.dumps(members).encode(), JSON)
    assert decoded == decode_traces(request.SerializeToString(), PROTOBUF)
