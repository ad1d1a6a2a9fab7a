"""The README tells the truth: its Python runs, its SQL answers, its commands exist."""

import re
from pathlib import Path

import click
import pytest

from tracestore import TraceStore
from tracestore.cli import main
from tracestore.collector import Collector
from tracestore.serve.health import Status
from tracestore.serve.server import Listen, Server

README = (Path(__file__).parents[1] / "README.md").read_text()


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
