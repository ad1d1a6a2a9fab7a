"""Arize Phoenix: spans over OTLP/HTTP to ``phoenix serve`` on SQLite, through its own OpenTelemetry set-up."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openinference.instrumentation import (
    get_input_attributes,
    get_llm_attributes,
    get_output_attributes,
    get_session_attributes,
    get_span_kind_attributes,
)
from opentelemetry.trace import set_span_in_context
from phoenix.otel import register

from benchmarks.peers.calls import Message, Span, parsed, request_messages, response_messages, steps, tools
from benchmarks.peers.feeding import main, peak_rss_bytes

START_LIMIT_S = 180
STALL_LIMIT_S = 180
_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    address: str
    process: subprocess.Popen[bytes]


def feed(journal: Path, store: Path) -> dict[str, float]:
    """Send every span as it ends, and wait until all are in the database; the server's start is not timed."""
    with _serving(store) as server:
        start = time.perf_counter()
        spans, calls = _send(journal, f"{server.address}/v1/traces")
        _wait_for(spans, store)
        wall_s = time.perf_counter() - start
        memory_bytes = peak_rss_bytes(server.process.pid) + peak_rss_bytes("self")
    return {"calls": calls, "wall_s": wall_s, "peak_rss_bytes": memory_bytes}


def delete(cutoff_ms: int, store: Path) -> dict[str, float]:
    """Delete the traces that started before a time, by the server's own call."""
    before = _count(store, "traces")
    with _serving(store) as server:
        start = time.perf_counter()
        until = datetime.fromtimestamp(cutoff_ms / 1e3, UTC).isoformat()
        query = urllib.parse.urlencode({"start_time": "1970-01-02T00:00:00+00:00", "end_time": until})
        request = urllib.request.Request(f"{server.address}/v1/projects/default/traces?{query}", method="DELETE")
        with urllib.request.urlopen(request, timeout=3600):
            wall_s = time.perf_counter() - start
    return {"wall_s": wall_s, "deleted": before - _count(store, "traces")}


def _send(journal: Path, endpoint: str) -> tuple[int, int]:
    """Return how many spans were sent, and how many of them are provider calls."""
    provider = register(
        endpoint=endpoint,
        protocol="http/protobuf",
        project_name="default",
        set_global_tracer_provider=False,
        verbose=False,
    )
    tracer = provider.get_tracer("benchmarks")
    running: dict[str, Any] = {}
    spans = calls = 0
    for step in steps(journal):
        if step.end_ms is None:
            parent = running.get(step.parent_id or "")
            context = None if parent is None else set_span_in_context(parent)
            running[step.span_id] = tracer.start_span(step.name, context=context, start_time=int(step.start_ms * _NS))
        else:
            span = running.pop(step.span_id)
            span.set_attributes(_attributes(step))
            span.end(int(step.end_ms * _NS))
            spans, calls = spans + 1, calls + step.is_call
    provider.shutdown()
    return spans, calls


def _attributes(step: Span) -> dict[str, Any]:
    session = get_session_attributes(session_id=step.conversation_id)
    if not step.is_call:
        return {**get_span_kind_attributes("chain"), **session, **step.attributes}
    request, response = parsed(step.request), parsed(step.response)
    parameters = {name: value for name, value in request.items() if name not in ("messages", "system", "tools")}
    return {
        **get_span_kind_attributes("llm"),
        **session,
        **get_input_attributes(step.request, mime_type="application/json"),
        **get_output_attributes(step.response or "", mime_type="application/json"),
        **get_llm_attributes(
            model_name=str(request.get("model", "")),
            invocation_parameters=parameters,
            input_messages=[_message(message) for message in request_messages(request)],
            output_messages=[_message(message) for message in response_messages(response)],
            token_count=_tokens(response.get("usage") or {}),
            tools=[{"json_schema": json.dumps(tool)} for tool in request.get("tools") or [] if tools(request)],
        ),
    }


def _message(message: Message) -> dict[str, Any]:
    contents = [{"type": "text", "text": message.text}] if message.text else []
    if message.reasoning:
        contents.insert(0, {"type": "reasoning", "text": message.reasoning})
    flat: dict[str, Any] = {"role": message.role}
    flat |= {"contents": contents} if message.reasoning else {"content": message.text}
    if message.tool_calls:
        flat["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}} for call in message.tool_calls
        ]
    return flat | ({"tool_call_id": message.result_of} if message.result_of else {})


def _tokens(usage: dict[str, Any]) -> dict[str, int]:
    names = {"prompt": ("input_tokens", "prompt_tokens"), "completion": ("output_tokens", "completion_tokens")}
    found = {name: next((usage[key] for key in keys if key in usage), None) for name, keys in names.items()}
    return {name: int(count) for name, count in found.items() if count is not None}


@contextmanager
def _serving(store: Path) -> Iterator[Server]:
    """Run the server over a directory; it is stopped, and has written everything, when the block ends."""
    port, grpc_port = _free_ports()
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(store),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    command = [str(Path(sys.executable).with_name("phoenix")), "serve"]
    with (store.parent / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(address, process)
        yield Server(address, process)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
    raise SystemExit(f"phoenix serve: wanted an answer within {START_LIMIT_S} s, found none; see server.log")


def _wait_for(spans: int, store: Path) -> None:
    """Wait until so many spans are in the database."""
    found, changed_s = 0, time.monotonic()
    while found < spans:
        if time.monotonic() - changed_s > STALL_LIMIT_S:
            raise SystemExit(f"phoenix: wanted {spans} spans in its database, found {found} and no more coming")
        time.sleep(0.1)
        before, found = found, _count(store, "spans")
        changed_s = time.monotonic() if found != before else changed_s


def _count(store: Path, table: str) -> int:
    with closing(sqlite3.connect(f"file:{store / 'phoenix.db'}?mode=ro", uri=True, timeout=60)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


if __name__ == "__main__":
    main("arize-phoenix", feed, delete)
