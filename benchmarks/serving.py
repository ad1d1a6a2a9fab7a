"""`tracestore serve` in a process of its own, and what an OpenTelemetry SDK sends it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from tracestore import TraceStore
from tracestore.collector import Collector

START_S = 30.0
"""Longer than any start takes."""
SPAN_NS = 1_500_000_000
_FIRST_NS = 1_772_413_967_075_000_000
_ADDRESS = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class Serving:
    """A server on a port of loopback, until `stop` or `kill`."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._log = store.with_name(f"{store.name}.log")
        command = [sys.executable, "-m", "tracestore", "serve", "--store", str(store), "--listen", "127.0.0.1:0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := _ADDRESS.search(self._log.read_text()):
                return int(found[1])
            time.sleep(0.01)
        self._process.kill()
        raise RuntimeError(f"wanted a server that listens, found: {self._log.read_text()}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def health(self) -> dict[str, Any]:
        """Ask how it does."""
        connection = self.connect()
        connection.request("GET", "/v1/health")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def stop(self) -> None:
        """End it as a person does; it collects what is there."""
        self._process.send_signal(signal.SIGTERM)
        if code := self._process.wait(120):
            raise RuntimeError(f"wanted exit code 0, found {code}: {self._log.read_text()}")

    def kill(self) -> None:
        """End it at once; what is not on disk is lost."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


def traces(numbers: Iterable[int], content: str) -> bytes:
    """Return a request of one span for each number, as protobuf; no two numbers have a body in common."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "bench"
    scope = resource.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai"
    for number in numbers:
        start_ns = _FIRST_NS + number * 1_000_003
        span = scope.spans.add(
            trace_id=(number // 8 + 1).to_bytes(16, "big"),
            span_id=span_id(number),
            name="chat gpt-5",
            kind=3,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + SPAN_NS,
        )
        said = [{"role": "user", "parts": [{"type": "text", "content": f"{number}: {content}"}]}]
        answered = [{"role": "assistant", "parts": [{"type": "text", "content": f"{number}, because"}]}]
        texts = {
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5", "gen_ai.operation.name": "chat",
            "gen_ai.conversation.id": f"c{number // 64}", "gen_ai.input.messages": json.dumps(said),
            "gen_ai.output.messages": json.dumps(answered),
        }  # fmt: skip
        for key, text in texts.items():
            span.attributes.add(key=key).value.string_value = text
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 5_000
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 20
    return request.SerializeToString()


def span_id(number: int) -> bytes:
    """Return the id of the span of a number."""
    return (number + 1).to_bytes(8, "big")


def post(connection: http.client.HTTPConnection, payload: bytes) -> int:
    """Send a request; returns its status."""
    connection.request("POST", "/v1/traces", payload, {"Content-Type": "application/x-protobuf"})
    response = connection.getresponse()
    response.read()
    return response.status


def acknowledged_after_kill(store: Path, requests: int, spans: int = 1) -> tuple[int, int]:
    """Send so many requests one after the other and kill the server right behind the last 200.

    Returns how many spans were acknowledged, and how many of those are in the store afterwards, once and whole.
    """
    serving = Serving(store)
    connection = serving.connect()
    acknowledged: list[int] = []
    try:
        for first in range(0, requests * spans, spans):
            numbers = range(first, first + spans)
            if post(connection, traces(numbers, "x" * 200)) == 200:
                acknowledged += numbers
    finally:
        serving.kill()
        connection.close()
    return len(acknowledged), len(stored(store).intersection(map(span_id, acknowledged)))


def stored(store: Path) -> set[bytes]:
    """Collect what waits in a store's journal, and return the ids of spans that are there once, with both halves."""
    with TraceStore(store) as opened:
        collector = Collector(opened, str(store / "journal"), lambda event: None)
        try:
            collector.drain()
        finally:
            collector.close()
        rows = opened.sql(
            "SELECT span_id FROM records WHERE span_id IS NOT NULL GROUP BY span_id HAVING count(*) = 2"
            " AND count(*) FILTER (WHERE kind = 'span-close') = 1 AND count(body_digest) = 2"
        ).rows
    return {bytes.fromhex(span) for (span,) in rows}
