"""What GenAI instrumentations hand to a hook is in the journal in full, and their spans say where."""

import json
import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points

import pytest

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.util.genai")

from blake3 import blake3
from click.testing import CliRunner
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.util.genai import types
from opentelemetry.util.genai.completion_hook import load_completion_hook
from opentelemetry.util.genai.handler import TelemetryHandler

from tests.capture.planted import SECRETS, is_told
from tracestore.capture.otel import JournalCompletionHook, JournalLogExporter, JournalSpanExporter, completion_hook
from tracestore.cli import main
from tracestore.errors import InputInvalid

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM, TOOLS = "gen_ai.system_instructions", "gen_ai.tool.definitions"
LONG = "It is a long story. " * 1000
PARTS = {
    "text": types.TextPart(LONG),
    "reasoning": types.ReasoningPart("thought"),
    "call": types.ToolCallRequestPart({"city": "Bern", "n": 1}, "weather", "call_1"),
    "answer": types.ToolCallResponsePart({"degrees": 22}, "call_1"),
    "blob": types.BlobPart("image/png", types.Modality.IMAGE, b"\x89PNG\x00\xff"),
    "file": types.FilePart("text/plain", "document", "file_1"),
    "uri": types.UriPart(None, types.Modality.AUDIO, "https://host/a.wav"),
    "server call": types.ServerToolCallPart("search", {"q": "x"}, "s1"),
    "server answer": types.ServerToolCallResponsePart({"found": [1]}, "s1"),
    "compaction": types.CompactionPart(),
    "generic": types.GenericPart("custom"),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("TRACESTORE_JOURNAL", "TRACESTORE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "tracestore")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")


@pytest.fixture
def recorder(recorder_of, journal):
    return recorder_of(journal.path)


@pytest.fixture
def handler(recorder):
    """A handler whose hook, spans and events all go into one journal."""
    traces, logs = TracerProvider(), LoggerProvider()
    traces.add_span_processor(SimpleSpanProcessor(JournalSpanExporter(recorder)))
    logs.add_log_record_processor(SimpleLogRecordProcessor(JournalLogExporter(recorder)))
    yield TelemetryHandler(
        tracer_provider=traces, logger_provider=logs, completion_hook=JournalCompletionHook(recorder)
    )
    traces.shutdown()
    logs.shutdown()


@contextmanager
def chat_server():
    """A provider that gives one answer; yields where it is."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Sunny"}, "finish_reason": "stop"}
    answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice]}

    class Chat(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing."""

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def infer(handler, *parts, error=None):
    invocation = handler.inference("openai", request_model="m-1")
    invocation.input_messages = [types.InputMessage("user", list(parts))]
    invocation.output_messages = [types.OutputMessage("assistant", [types.TextPart("Sunny")], "stop")]
    invocation.system_instruction = [types.TextPart("Be brief")]
    parameters = {"type": "object", "properties": {"password": {"type": "string"}}}
    invocation.tool_definitions = [types.FunctionToolDefinition("weather", None, parameters)]
    invocation.fail(error) if error else invocation.stop()


def content_of(records):
    """The content that the hook recorded, by its name."""
    found = {}
    for record in records:
        if record["kind"] == "log" and "body" in record:
            names, content = record["attributes"]["otlp.body"].split(","), json.loads(record["body"])
            found |= content if len(names) > 1 else {names[0]: content}
    return found


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_kind_of_part_is_recorded_in_full(part, handler, recorder, journal):
    infer(handler, part)
    assert recorder.flush()
    content = content_of(journal.records())
    assert set(content) == {INPUT, OUTPUT, SYSTEM, TOOLS}
    expected = dict(vars(part))
    if part is PARTS["blob"]:
        expected["content"] = "iVBORwD/"
    assert content[INPUT][0]["parts"] == [json.loads(json.dumps(expected))]
    assert content[OUTPUT][0]["parts"] == [{"content": "Sunny", "type": "text"}]
    assert content[SYSTEM] == [{"content": "Be brief", "type": "text"}]
    assert content[TOOLS][0]["parameters"]["properties"] == {"password": {"type": "string"}}


def test_the_span_says_under_which_digests_the_store_has_its_content(handler, recorder, collected, journal, tmp_path):
    infer(handler, *PARTS.values())
    collected(recorder).close()
    [closed] = [record for record in journal.records() if record["kind"] == "span-close"]
    logs = [record for record in journal.records() if record["kind"] == "log" and "body" in record]
    assert {(log["turnId"], log["spanId"]) for log in logs} == {(closed["turnId"], closed["spanId"])}
    refs = {name: closed["attributes"][f"{name}_ref"].removeprefix("body:") for name in (INPUT, OUTPUT, SYSTEM, TOOLS)}
    assert refs[INPUT] == refs[SYSTEM] == refs[TOOLS] != refs[OUTPUT]
    for digest in set(refs.values()):
        shown = CliRunner().invoke(main, ["body", digest, "--store", str(tmp_path / "store")])
        assert (shown.stderr, blake3(shown.stdout_bytes).hexdigest()) == ("", digest)


def test_an_event_of_the_operation_says_so_too(handler, recorder, journal, monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    infer(handler, PARTS["text"])
    assert recorder.flush()
    events = [record for record in journal.records() if record["kind"] == "log" and "body" not in record]
    assert [event["attributes"][f"{OUTPUT}_ref"][:5] for event in events] == ["body:"]


def test_a_call_that_failed_is_recorded_with_what_was_sent(handler, recorder, journal):
    infer(handler, PARTS["text"], error=RuntimeError("refused"))
    assert recorder.flush()
    [closed] = [record for record in journal.records() if record["kind"] == "span-close"]
    assert closed["status"] == "error"
    assert content_of(journal.records())[INPUT][0]["parts"][0]["content"] == LONG


def test_content_without_a_span_is_recorded(recorder, journal):
    message = types.InputMessage("user", [types.TextPart("alone")])
    JournalCompletionHook(recorder).on_completion(inputs=[message], outputs=[], system_instruction=[])
    assert recorder.flush()
    [record] = journal.records()
    assert json.loads(record["body"])[0]["parts"][0]["content"] == "alone"
    assert "turnId" not in record


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_no_secret_in_content_reaches_the_journal(secret, handler, recorder, journal):
    parts = [types.TextPart(secret), types.BlobPart(None, "document", secret.encode())]
    infer(handler, *parts, types.ToolCallRequestPart({"command": f"\n{secret}", "at": [secret]}, secret, secret))
    assert recorder.flush()
    assert len(journal.records()) >= 4
    assert not any(is_told(path.read_bytes()) for path in journal.segments())


def test_content_that_no_line_can_hold_is_dropped_and_counted(handler, recorder, journal):
    infer(handler, types.TextPart("x" * 33 * 1024 * 1024))
    assert recorder.flush()
    assert sum(recorder.dropped.values()) == 1
    [closed] = [record for record in journal.records() if record["kind"] == "span-close"]
    assert f"{INPUT}_ref" not in closed["attributes"]


def test_the_hook_is_loaded_by_its_name_and_writes_into_the_journal_of_a_store(tmp_path, monkeypatch):
    if not entry_points(group="opentelemetry_genai_completion_hook", name="tracestore"):
        pytest.skip("tracestore is not installed, so it has no entry points")
    monkeypatch.setenv("TRACESTORE_DIR", str(tmp_path))
    hook = load_completion_hook()
    message = types.InputMessage("user", [types.TextPart("by name")])
    hook.on_completion(inputs=[message], outputs=[], system_instruction=[])
    made = hook._wrapped
    assert isinstance(made, JournalCompletionHook)
    assert made._recorder.close()
    [segment] = (tmp_path / "journal").glob("*.ndjson")
    assert b"by name" in segment.read_bytes()


def test_a_journal_that_is_named_wins_over_that_of_a_store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACESTORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("TRACESTORE_JOURNAL", str(tmp_path / "other"))
    hook = completion_hook()
    hook.on_completion(inputs=["x"], outputs=[], system_instruction=[])
    assert hook._recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_without_a_journal_the_application_goes_on_and_is_told_what_to_set(caplog):
    with pytest.raises(InputInvalid, match="TRACESTORE_JOURNAL, or a store in TRACESTORE_DIR, found neither"):
        completion_hook()
    with caplog.at_level(logging.ERROR):
        load_completion_hook().on_completion(inputs=["x"], outputs=[], system_instruction=[])
    assert "tracestore configuration failed" in caplog.text or "not a valid option" in caplog.text


def test_a_hook_whose_recorder_was_closed_goes_on(recorder, journal, handler):
    recorder.close()
    infer(handler, PARTS["call"])
    assert recorder.flush()
    assert content_of(journal.records())[INPUT][0]["parts"][0]["name"] == "weather"


def test_a_real_instrumentation_hands_over_what_was_said(recorder, journal):
    openai = pytest.importorskip("openai")
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.genai.openai")
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(JournalSpanExporter(recorder)))
    instrumentor = instrumentation.OpenAIInstrumentor()
    hook = JournalCompletionHook(recorder)
    instrumentor.instrument(tracer_provider=traces, completion_hook=hook, skip_dep_check=True)
    try:
        with chat_server() as url, openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": LONG}])
    finally:
        instrumentor.uninstrument()
        traces.shutdown()
    assert recorder.flush()
    content = content_of(journal.records())
    assert content[INPUT][0]["parts"][0]["content"] == LONG
    assert content[OUTPUT][0]["parts"][0]["content"] == "Sunny"
    [closed] = [record for record in journal.records() if record["kind"] == "span-close"]
    assert {f"{INPUT}_ref", f"{OUTPUT}_ref"} <= set(closed["attributes"])
