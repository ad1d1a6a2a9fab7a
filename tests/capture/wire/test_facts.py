"""What calls say about themselves: of each provider's own shapes, and of real traffic where it is at hand."""

import json
import os
from pathlib import Path

import pytest

from tracestore.capture.wire import facts

BESIDE = Path(__file__).parents[4] / "shared" / "corpora"  # as in tests/pipeline/test_corpora.py
CORPORA = Path(os.environ.get("TRACESTORE_CORPORA", BESIDE)) / "compact"


def sse(*events):
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


@pytest.mark.parametrize(
    ("host", "path", "provider"),
    [
        ("api.openai.com", "/v1/chat/completions", "openai"),
        ("api.anthropic.com", "/v1/messages", "anthropic"),
        ("mine.openai.azure.com", "/openai/deployments/d/chat/completions", "azure.openai"),
        ("us-central1-aiplatform.googleapis.com", "/v1/projects/p", "google"),
        ("api.groq.com", "/openai/v1/chat/completions", "groq"),
        ("gateway.local", "/v1/messages", "anthropic"),
        ("gateway.local", "/v1/responses", "openai"),
        ("gateway.local", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", "google"),
        ("gateway.local", "/v1/else", "gateway.local"),
    ],
)
def test_the_provider_is_known_by_its_host_or_else_by_whose_path_it_is(host, path, provider):
    assert facts.provider_of(host, path) == provider


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/messages", b'{"model":"m","stream":true,"messages":[{"model":"no"}]}', {"model": "m", "stream": True}),
        ("/v1beta/models/gemini-2.5-pro:generateContent", b"{}", {"model": "gemini-2.5-pro"}),
        ("/openai/deployments/mine/chat/completions", b'{"messages":[]}', {"model": "mine"}),
        ("/model/anthropic.claude-v1:0/invoke", b"{}", {"model": "anthropic.claude-v1:0"}),
        ("/v1/models/gpt-4o", b"", {}),
        ("/v1/messages", b'{"model":7,"stream":"yes"}', {"stream": "yes"}),
        ("/v1/messages", b"[1]", {}),
        ("/v1/messages", b"{", {}),
        ("/v1/messages", b"\xff\xfe", {}),
        ("/v1/messages", b"[" * 100_000, {}),
    ],
)
def test_what_a_request_says(path, body, said):
    assert facts.of_request(path, body) == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, ("m", 1, 2)),
        ({"model": "m", "usage": {"input_tokens": 0, "output_tokens": 2}}, ("m", 0, 2)),
        ({"modelVersion": "m", "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}}, ("m", 1, 2)),
        ({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}, (None, 1, 2)),
        ({"usage": {"tokens": {"input_tokens": 69, "output_tokens": 89}}}, (None, 69, 89)),
        ({"meta": {"tokens": {"input_tokens": 69, "output_tokens": 89}}}, (None, 69, 89)),
        ({"model": 3, "usage": {"input_tokens": True, "output_tokens": "2"}}, (None, None, None)),
        ({"model": "m", "usage": None}, ("m", None, None)),
        ({"model": "m", "usage": [1]}, ("m", None, None)),
        ("text", (None, None, None)),
    ],
)
def test_what_a_response_says(body, said):
    found = facts.of_response(json.dumps(body).encode()).attributes
    assert (found.get("model"), found.get("inputTokens"), found.get("outputTokens")) == said


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00\xff" * 50, b"{", b"[[[", b"[" * 100_000, b"data: {\n\n", b'{"usage":', b"\xff{}", b"data: [DONE]\n\n",
     b'data: {"usage":{"input_tokens":\n\n', b'data: {"a":1}\n\ndata: {"usage": {', b"null", b"[null,1]"],
)  # fmt: skip
def test_what_says_nothing_says_nothing(body):
    assert facts.of_response(body) == ({}, None)
    assert facts.is_finished(body) is (body == b"data: [DONE]\n\n")


def test_the_first_error_of_a_stream_is_why_it_failed():
    body = sse({"id": "r"}, {"error": {"message": "first"}}, {"error": {"message": "second"}})
    assert facts.of_response(body).error == "first"


def test_usage_that_grows_along_a_stream_is_the_last_one():
    body = sse(
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 5}},
        {"type": "message_delta", "usage": {"output_tokens": 50, "input_tokens": None}},
    )
    assert facts.of_response(body).attributes == {"model": "m", "inputTokens": 9, "outputTokens": 50}


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 20, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 10},
        {"inputTokens": 20, "cacheReadInputTokens": 70, "cacheWriteInputTokens": 10},
        {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 70}, "cache_creation_input_tokens": 10,
         "cache_read_input_tokens": 70},
        {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 70}},
        {"promptTokenCount": 100, "cachedContentTokenCount": 70},
    ],
)  # fmt: skip
def test_what_a_cache_gave_is_part_of_the_input_whoever_counts_it(usage):
    found = facts.of_response(json.dumps({"usage": usage}).encode()).attributes
    assert (found["inputTokens"], found["cacheReadTokens"]) == (100, 70)


def test_what_the_model_writes_is_not_taken_for_what_the_provider_says():
    spoken = '{"usage":{"input_tokens":666},"error":{"message":"no"}}\n\ndata: {"usage":{"input_tokens":666}}\n\n'
    body = sse(
        {"id": "r", "model": "m", "choices": [{"delta": {"content": spoken}}]},
        {"choices": [{"delta": {"tool": {"usage": {"input_tokens": 666}, "error": {"message": "no"}}}}]},
        {"usage": {"prompt_tokens": 1}},
        b"[DONE]",
    )
    assert facts.of_response(body) == ({"model": "m", "responseId": "r", "inputTokens": 1}, None)


def test_lines_of_events_may_end_as_they_like():
    body = b': hello\r\nevent: x\r\ndata:{"model":"m","usage":{"prompt_tokens":1}}\r\n\r\ndata: [DONE]\r\n\r\n'
    assert facts.of_response(body).attributes == {"model": "m", "inputTokens": 1}
    assert facts.is_finished(body)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "t", "message": "m"}, "t: m"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}, "RESOURCE_EXHAUSTED: m"),
        ({"code": "c"}, "c"),
        ("model not found", "model not found"),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_an_error_is_said_in_the_providers_words(error, said):
    assert facts.of_response(json.dumps({"error": error}).encode()).error == said


def cassettes():
    """Real calls: URL, content type and response, each with a body of JSON or events."""
    zstd = pytest.importorskip("backports.zstd")
    for path in sorted(CORPORA.glob("cassettes_*.zst")):
        with zstd.open(path) as lines:
            next(lines)
            for line in lines:
                for call in json.loads(line)["interactions"]:
                    if call.get("s") and str(call.get("status")) == "200":
                        yield call["uri"], call.get("rtype") or "", call["s"].encode("utf-8", "surrogateescape")


def usages(value):
    """Every object called usage in a value, wherever it stands."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in ("usage", "usageMetadata") and isinstance(item, dict):
                yield item
            yield from usages(item)
    elif isinstance(value, list):
        for item in value:
            yield from usages(item)


@pytest.mark.skipif(not CORPORA.exists(), reason="real traffic is not part of the project")
def test_tokens_of_real_traffic_are_those_that_an_independent_reading_finds():
    names = ("input_tokens", "prompt_tokens", "promptTokenCount"), (
        "output_tokens", "completion_tokens", "candidatesTokenCount")  # fmt: skip
    compared = 0
    for url, kind, body in cassettes():
        if not any(path in url for path in ("/chat/completions", "/v1/messages", "/v1/responses", "enerateContent")):
            continue
        parts = [body] if not kind.startswith("text/event-stream") else [
            line[5:] for line in body.splitlines() if line.startswith(b"data:") and b"[DONE]" not in line]  # fmt: skip
        try:
            said = [usage for part in parts for usage in usages(json.loads(part))]
        except ValueError:
            continue  # cut by whoever recorded it
        expected = []
        for group in names:
            counts = [usage[name] for usage in said for name in group if isinstance(usage.get(name), int)]
            expected.append(counts[-1] if counts else None)
        latest = {name: value for usage in said for name, value in usage.items() if value is not None}
        if "input_tokens" in latest:  # Anthropic's are without those of its cache
            beside = ("cache_read_input_tokens", "cache_creation_input_tokens")
            expected[0] += sum(latest.get(name, 0) for name in beside)
        found = facts.of_response(body).attributes
        assert [found.get("inputTokens"), found.get("outputTokens")] == expected, url
        compared += any(count is not None for count in expected)
    assert compared > 500
