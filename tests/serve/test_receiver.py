"""OTLP over HTTP: real exporters, every answer the protocol knows, and nothing acknowledged before its sync."""

import errno
import gzip
import json
import os
import socket
import threading
import time

import httpx
import pytest

from tracestore.errors import StoreUnavailable
from tracestore.journal import disk
from tracestore.serve import incoming, receiver

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
metrics_service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")

NOW_NS = 1_772_413_967_075_000_000
SECONDS = 20


def traces(*numbers, content="", span_id=None):
    """A request of a span for each number."""
    request = trace_service.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in numbers:
        span = spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big") if span_id is None else span_id,
            name=f"chat {number}",
            start_time_unix_nano=NOW_NS + number,
            end_time_unix_nano=NOW_NS + number + 1_000_000,
        )
        if content:
            span.attributes.add(key="gen_ai.input.messages").value.string_value = content
    return request.SerializeToString()


def logs(*numbers):
    request = logs_service.ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number in numbers:
        records.add(time_unix_nano=NOW_NS + number, severity_number=9).body.string_value = f"line {number}"
    return request.SerializeToString()


def metrics(points):
    request = metrics_service.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="tokens")
    for number in range(points):
        metric.sum.data_points.add(as_int=number, time_unix_nano=NOW_NS)
    return request.SerializeToString()


TRACE_JSON = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "app"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "5b8efff798038103d269b633813fc60c",
                            "spanId": "eee19b7ec3c1b174",
                            "name": "chat",
                            "kind": 3,
                            "startTimeUnixNano": str(NOW_NS),
                            "endTimeUnixNano": str(NOW_NS + 5_000_000),
                        }
                    ]
                }
            ],
        }
    ]
}


def partial_success(response):
    return trace_service.ExportTraceServiceResponse.FromString(response.content).partial_success


def test_spans_are_in_the_journal_when_they_are_acknowledged(receiving):
    response = receiving.post(traces(1, 2, 3))
    assert (response.status_code, response.headers["content-type"], response.content) == (
        200,
        "application/x-protobuf",
        b"",
    )
    assert [line["kind"] for line in receiving.lines()] == ["span-open", "span-close"] * 3
    assert receiving.received.to_json() == {
        "accepted": {"traces": 3, "logs": 0, "metrics": 0},
        "rejected": {"traces": 0, "logs": 0, "metrics": 0},
        "refused_requests": 0,
        "postponed_requests": 0,
    }


def test_an_acknowledgement_waits_for_the_sync(receiving, monkeypatch):
    entered, let_go = threading.Event(), threading.Event()
    real_sync = disk.sync_written

    def slow_sync(fd, path):
        entered.set()
        assert let_go.wait(SECONDS)
        real_sync(fd, path)

    monkeypatch.setattr(disk, "sync_written", slow_sync)
    answers = []
    client = threading.Thread(target=lambda: answers.append(receiving.post(traces(1)).status_code))
    client.start()
    assert entered.wait(SECONDS)
    assert answers == []
    let_go.set()
    client.join(SECONDS)
    assert answers == [200]


def test_json_is_answered_in_json(receiving):
    content = json.dumps(TRACE_JSON).encode()
    response = receiving.post(content, content_type="application/json; charset=utf-8")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() in ({}, {"partialSuccess": {}})
    opened, closed = receiving.lines()
    assert opened["turnId"] == closed["turnId"] == "5b8efff798038103d269b633813fc60c"
    assert closed["durationMs"] == 5


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_zipped_body_is_unzipped(receiving, encoding):
    assert receiving.post(gzip.compress(traces(1)), content_encoding=encoding).status_code == 200
    assert len(receiving.lines()) == 2


def test_a_body_in_pieces_of_unknown_number_is_read_whole(receiving):
    content = traces(1, content="x" * 300_000)
    pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
    assert receiving.post(pieces).status_code == 200
    assert receiving.lines()[0]["body"] == "x" * 300_000


def test_logs_are_records(receiving):
    assert receiving.post(logs(1, 2), "logs").status_code == 200
    assert [(line["kind"], line["msg"]) for line in receiving.lines()] == [("log", "line 1"), ("log", "line 2")]
    assert receiving.received.accepted["logs"] == 2


def test_metrics_are_counted_and_not_stored(receiving):
    assert receiving.post(metrics(5), "metrics").status_code == 200
    assert receiving.lines() == []
    assert receiving.received.accepted["metrics"] == 5


def test_an_empty_request_is_a_request(receiving):
    assert receiving.post(b"").status_code == 200
    assert receiving.lines() == []


def test_one_bad_span_is_rejected_and_the_others_are_kept(receiving):
    request = trace_service.ExportTraceServiceRequest.FromString(traces(1, 2))
    request.resource_spans[0].scope_spans[0].spans[0].span_id = b"short"
    response = receiving.post(request.SerializeToString())
    assert response.status_code == 200
    assert partial_success(response).rejected_spans == 1
    assert "span" in partial_success(response).error_message
    assert {line["name"] for line in receiving.lines()} == {"chat 2"}
    assert (receiving.received.accepted["traces"], receiving.received.rejected["traces"]) == (1, 1)


def test_a_line_that_the_journal_would_not_take_is_rejected_and_the_others_are_kept(receiving, monkeypatch):
    monkeypatch.setattr(receiver, "LINE_LIMIT_BYTES", 10_000)
    request = trace_service.ExportTraceServiceRequest.FromString(traces(1))
    request.MergeFromString(traces(2, content="x" * 20_000))
    response = receiving.post(request.SerializeToString())
    assert response.status_code == 200
    assert partial_success(response).rejected_spans == 1
    assert "at most 10000 bytes" in partial_success(response).error_message
    assert {line["name"] for line in receiving.lines() if line["kind"] == "span-open"} == {"chat 1"}


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json"])
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_what_cannot_be_decoded_is_a_400_with_a_status(receiving, signal, content_type):
    status = pytest.importorskip("google.rpc.status_pb2").Status
    response = receiving.post(b"\xff\xff\xff", signal, content_type=content_type)
    assert (response.status_code, response.headers["content-type"]) == (400, content_type)
    if content_type == "application/json":
        found = response.json()
        assert found["code"] == 3
        assert found["message"]
    else:
        found = status.FromString(response.content)
        assert found.code == 3
        assert found.message
    assert receiving.received.refused_requests == 1


def test_a_request_of_nothing_but_bad_spans_is_a_400(receiving):
    response = receiving.post(traces(1, 2, span_id=b"short"))
    assert response.status_code == 400
    assert receiving.lines() == []
    assert receiving.received.rejected["traces"] == 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"plain text, as long as a header", "wanted gzip"),
        (gzip.compress(b"", mtime=0)[:-4], "cut off"),
        (gzip.compress(b"", mtime=0) * 2, "more behind it"),
        (b"", "cut off"),
    ],
)
def test_a_damaged_gzip_body_is_a_400(receiving, content, found):
    response = receiving.post(content, content_encoding="gzip")
    assert response.status_code == 400
    assert found in response.text


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json-seq", "application/protobuf", "x" * 300])
def test_another_content_type_is_a_415(receiving, content_type):
    response = receiving.post(traces(1), content_type=content_type)
    assert response.status_code == 415
    assert "application/x-protobuf" in response.json()["message"]


def test_another_encoding_is_a_415_that_names_gzip(receiving):
    response = receiving.post(traces(1), content_encoding="br")
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip")


def test_another_method_is_a_405(receiving):
    assert httpx.get(receiving.url(), trust_env=False).status_code == 405


def test_a_body_that_is_announced_too_large_is_not_read(receiving):
    with socket.create_connection(("127.0.0.1", receiving.port), timeout=SECONDS) as client:
        head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        client.sendall(f"{head}Content-Length: {incoming.LIMIT_BYTES + 1}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")  # not a byte of it was sent


def test_a_body_that_turns_out_too_large_is_read_no_further(receiving, monkeypatch):
    monkeypatch.setattr(incoming, "LIMIT_BYTES", 100_000)
    response = receiving.post(b"x" * 1000 for _ in range(200))
    assert response.status_code == 413
    assert receiving.received.room.held_bytes == 0


BOMB = """
import sys
from isal import isal_zlib
from tests.peak_memory import peak_kib
from tracestore.serve.incoming import LIMIT_BYTES, Refused, unzipped

zipper = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
bomb = b"".join(zipper.compress(bytes(2**20)) for _ in range(512)) + zipper.flush()
before = peak_kib()
try:
    unzipped(bomb)
except Refused as error:
    print(error.status, (peak_kib() - before) * 1024 < 2.5 * LIMIT_BYTES)
"""


def test_a_gzip_bomb_is_a_413_and_never_in_memory(receiving, python, monkeypatch):
    assert python("-c", BOMB).stdout == "413 True\n"
    monkeypatch.setattr(incoming, "LIMIT_BYTES", 100_000)
    assert receiving.post(gzip.compress(bytes(200_000)), content_encoding="gzip").status_code == 413


def test_a_client_that_never_ends_its_body_is_sent_away(receiving, monkeypatch):
    monkeypatch.setattr(incoming, "READ_TIMEOUT_S", 0.05)
    with socket.create_connection(("127.0.0.1", receiving.port), timeout=SECONDS) as client:
        head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n"
        client.sendall(f"{head}\r\nhalf".encode())
        answer = b""
        while piece := client.recv(1000):  # to the end: the connection is closed
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert receiving.received.room.held_bytes == 0


def test_a_client_that_goes_away_leaves_nothing_behind(receiving):
    with socket.create_connection(("127.0.0.1", receiving.port), timeout=SECONDS) as client:
        head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n"
        client.sendall(f"{head}\r\nhalf".encode())
    assert receiving.post(traces(1)).status_code == 200
    deadline = time.monotonic() + SECONDS
    while receiving.received.room.held_bytes and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert receiving.received.room.held_bytes == 0
    assert len(receiving.lines()) == 2


def refused(response):
    return response.status_code, "Retry-After" in response.headers


def test_requests_that_would_take_too_much_memory_together_are_postponed(receiving, monkeypatch):
    monkeypatch.setattr(receiving.received, "room", incoming.Room(limit_bytes=50))
    assert refused(receiving.post(traces(1, 2))) == (503, True)
    assert receiving.received.postponed_requests == 1
    assert receiving.post(traces(1)[:0]).status_code == 200


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_is_a_503_and_the_retry_is_kept(receiving, monkeypatch, code):
    def refuse(fd, path):
        raise StoreUnavailable(code, os.strerror(code), path)

    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_written", refuse)
        assert refused(receiving.post(traces(1))) == (503, True)
    assert receiving.received.accepted["traces"] == 0
    assert receiving.post(traces(1)).status_code == 200


def test_a_journal_that_is_behind_is_a_503(receiving, monkeypatch):
    monkeypatch.setattr(receiving.appending, "_limit_bytes", -1)
    monkeypatch.setattr(receiving.appending, "_waiting_bytes", 1)
    assert refused(receiving.post(traces(1))) == (503, True)


def test_a_collector_too_far_behind_is_a_503_until_it_has_caught_up(receiving):
    receiving.lag_bytes = receiver.LAG_LIMIT_BYTES + 1
    assert refused(receiving.post(traces(1))) == (503, True)
    receiving.lag_bytes = receiver.LAG_LIMIT_BYTES
    assert receiving.post(traces(1)).status_code == 200


def test_while_shutting_down_the_answer_is_503(receiving):
    receiving.appending.close()
    assert refused(receiving.post(traces(1))) == (503, True)


def test_a_retry_makes_no_second_row(receiving, open_store, collecting):
    for _ in range(2):
        assert receiving.post(traces(1, 2, content="hello")).status_code == 200
    assert receiving.post(gzip.compress(traces(2, 3, content="hello")), content_encoding="gzip").status_code == 200
    assert len(receiving.lines()) == 12
    store = open_store()
    collecting(store, receiving.journal).drain()
    assert store.sql("SELECT count(*), count(DISTINCT turn_id) FROM records").rows == [(6, 3)]


def test_the_exporter_of_the_sdk_is_understood(receiving, open_store, collecting):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    processors = pytest.importorskip("opentelemetry.sdk.trace.export")
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    http = pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    provider = sdk.TracerProvider()
    sent = exporter.OTLPSpanExporter(receiving.url(), compression=http.Compression.Gzip)
    provider.add_span_processor(processors.BatchSpanProcessor(sent))
    tracer = provider.get_tracer("app")
    for number in range(20):
        with tracer.start_as_current_span(f"turn {number}"), tracer.start_as_current_span("chat") as span:
            span.set_attribute("gen_ai.input.messages", json.dumps([{"role": "user", "content": f"hello {number}"}]))
            span.add_event("first token")
    assert provider.force_flush()
    provider.shutdown()
    assert receiving.received.accepted["traces"] == 40
    store = open_store()
    collecting(store, receiving.journal).drain()
    assert store.sql("SELECT count(*) FROM spans WHERE name = 'chat' AND duration_ms IS NOT NULL").rows == [(20,)]
    assert store.sql("SELECT count(DISTINCT body_digest) FROM records").rows == [(20,)]


def test_the_log_exporter_of_the_sdk_is_understood(receiving):
    sdk = pytest.importorskip("opentelemetry.sdk._logs")
    export = pytest.importorskip("opentelemetry.sdk._logs.export")
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http._log_exporter")
    provider = sdk.LoggerProvider()
    provider.add_log_record_processor(export.BatchLogRecordProcessor(exporter.OTLPLogExporter(receiving.url("logs"))))
    logger = provider.get_logger("app")
    for number in range(20):
        logger.emit(timestamp=NOW_NS + number, body=f"line {number}", event_name="app.event")
    provider.force_flush()
    provider.shutdown()
    assert receiving.received.accepted["logs"] == 20
    assert len(receiving.lines()) == 20
