"""The README tells the truth: its Python runs, its SQL answers, its commands exist."""

import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tracestore import TraceStore
from tracestore.capture import JournalHandler
from tracestore.cli import main
from tracestore.collector import Collector
from tracestore.serve.health import Status
from tracestore.serve.server import Listen, Server

README = (Path(__file__).parents[1] / "README.md").read_text()


ANSWERS = {
    "/v1/chat/completions": {
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}],
        "usage": {"prompt_tokens": 1764, "completion_tokens": 3, "total_tokens": 1767},
    },
    "/v1/messages": {
        "id": "m-1", "type": "message", "role": "assistant", "model": "claude-next",
        "stop_reason": "end_turn", "stop_sequence": None, "content": [{"type": "text", "text": "Paris."}],
        "usage": {"input_tokens": 12, "output_tokens": 5},
    },
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def python_with(name):
    """The one block of Python that mentions `name`."""
    (block,) = [block for block in blocks("python") if name in block]
    return block


def test_the_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = python_with("from tracestore import")
    exec(compile(source, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert '- provider.request 1.0s {model="gpt-4o", inputTokens=1764}' in printed
    assert "[('gpt-4o', 1764)]" in printed
    with TraceStore("traces", create=False) as store:
        assert [record.body for record in store.get_turn("t1")] == ['{"messages": [...]}', '{"id": ...}']


def test_the_three_lines_bring_spans_of_an_opentelemetry_sdk(tmp_path):
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    given = []
    names = {
        "TracerProvider": sdk.TracerProvider,
        "BatchSpanProcessor": export.BatchSpanProcessor,
        "OTLPSpanExporter": exporter.OTLPSpanExporter,
        "trace": type("trace", (), {"set_tracer_provider": given.append}),
    }
    lines = python_with("OTLPSpanExporter")
    assert lines.count("\n") == 3
    with TraceStore(tmp_path / "store") as store:
        status = Status()
        with Server(store, status, listen=Listen("127.0.0.1", 0)) as server:
            exec(compile(lines.replace(":4318", f":{server.address[1]}"), "README.md", "exec"), names)
            with given[0].get_tracer("app").start_as_current_span("chat") as span:
                span.set_attribute("gen_ai.request.model", "m-1")
                span.set_attribute("gen_ai.input.messages", '[{"role": "user"}]')
            given[0].shutdown()
        collector = Collector(store, str(store.path / "journal"), status)
        collector.drain()
        collector.close()
        assert store.sql("SELECT name, model, status FROM requests").rows == [("chat", "m-1", "ok")]


class Provider(BaseHTTPRequestHandler):
    """Answers one question for each of two providers, with what they would send."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture
def provider(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in {"OPENAI_BASE_URL": f"{address}/v1", "ANTHROPIC_BASE_URL": address}.items():
        monkeypatch.setenv(name, value)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "sk-not-in-a-journal-0123456789")
    yield
    server.shutdown()
    server.server_close()


def test_the_three_lines_record_what_clients_of_openai_and_anthropic_send(tmp_path, monkeypatch, provider):
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    monkeypatch.chdir(tmp_path)
    lines = python_with("CaptureTransport(recorder)")
    assert len([line for line in lines.splitlines() if "recorder" in line]) == 3
    names = {"openai": openai, "anthropic": anthropic}
    exec(compile(lines, "README.md", "exec"), names)
    question = [{"role": "user", "content": "The capital of France?"}]
    with names["openai_client"] as client:
        assert client.chat.completions.create(model="gpt-4o", messages=question).choices[0].message.content == "Paris."
    with names["anthropic_client"] as client:
        message = client.messages.create(model="claude-next", messages=question, max_tokens=9)
        assert message.content[0].text == "Paris."
    names["recorder"].close()
    assert CliRunner().invoke(main, ["collect", "--once"]).exit_code == 0
    with TraceStore("tracestore-data", create=False) as store:
        asked = store.sql("SELECT provider, model, input_tokens, output_tokens, status FROM requests ORDER BY provider")
        assert asked.rows == [("anthropic", "claude-next", 12, 5, "ok"), ("openai", "gpt-4o", 1764, 3, "ok")]
        bodies = [store.get_body(*row) for row in store.sql("SELECT body_digest FROM records ORDER BY timestamp").rows]
    assert [json.loads(body).get("usage") for body in bodies[1::2]] == [a["usage"] for a in ANSWERS.values()]
    assert not [path for path in Path("tracestore-data").rglob("*.ndjson") if b"not-in-a-journal" in path.read_bytes()]


def test_the_recorder_records_what_an_application_does_and_the_calls_it_makes_there(tmp_path, monkeypatch, provider):
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    names = {"openai": openai, "anthropic": anthropic, "logging": logging, "JournalHandler": JournalHandler}
    exec(compile(python_with("CaptureTransport(recorder)"), "README.md", "exec"), names)

    def search(arguments):
        with names["openai_client"] as client:
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": arguments}])
        return f"found {arguments}"

    names |= {"question": "why?", "arguments": '{"q": "x"}', "search": search}
    exec(compile(python_with("addHandler"), "README.md", "exec"), names)
    names["anthropic_client"].close()
    logging.getLogger("library").warning("slow")
    names["recorder"].close()
    assert CliRunner().invoke(main, ["collect", "--once"]).exit_code == 0
    with TraceStore("tracestore-data", create=False) as store:
        rows = store.sql("SELECT kind, coalesce(name, msg), conversation_id FROM records ORDER BY timestamp").rows
    assert rows == [
        ("span-open", "turn", "thread-7"),
        ("span-open", "tool.call", "thread-7"),
        ("span-open", "provider.request", "thread-7"),
        ("span-close", "provider.request", "thread-7"),
        ("span-close", "tool.call", "thread-7"),
        ("log", "answered", "thread-7"),
        ("span-close", "turn", "thread-7"),
        ("log", "slow", None),
    ]


@pytest.mark.parametrize("question", re.split(r"\n\n", blocks("sql")[0].strip()), ids=lambda text: text.splitlines()[0])
def test_every_question_has_an_answer(question, memory_store):
    """The rows do not matter here, the names do: a view or column that is gone fails."""
    assert memory_store.sql(question).columns


def test_there_are_five_questions():
    assert blocks("sql")[0].count(";") == 5


def test_every_command_that_is_shown_exists():
    shown = set(re.findall(r"^(?:`)?tracestore ([a-z]+)", README, re.MULTILINE)) | set(
        re.findall(r"`tracestore ([a-z]+)", README)
    )
    assert {"collect", "list", "view", "body", "query", "prune"} <= shown
    assert shown <= set(main.list_commands(click.Context(main)))


def test_only_the_two_commands_of_make_are_named():
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) == {"demo", "test"}
