"""Compressed bodies: what is in them can be read, and beside it they are as they were on the wire."""

import gzip
import json
import zlib

import pytest

PLAIN = b'{"model":"m-1", "usage":{"input_tokens":7}, "text":"%s"}' % ("à bientôt ".encode() * 2000)
SECRET = "sk-ant-" + "a1b2c3d4" * 5
WITH_SECRET = PLAIN.replace("à".encode(), SECRET.encode(), 1)


def zstd(data):
    return pytest.importorskip("backports.zstd").compress(data)


def brotli(data):
    return pytest.importorskip("brotli").compress(data)


PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd,
    "br": brotli,
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
}


def packed(answer, body, encoding, **more):
    return answer([body], headers={"content-type": "application/json", "content-encoding": encoding}, **more)


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_compressed_response_is_recorded_readable_and_as_it_came(
    client, provider, recorded, answer, body_of, encoding
):
    wire = PACKERS[encoding](PLAIN)
    provider.will_say(packed(answer, wire, encoding))
    assert client.post("/v1/messages", content=b"{}").content == PLAIN
    assert body_of(recorded.closed()) == PLAIN
    assert body_of(recorded.log("http.response.wire")) == wire
    attributes = recorded.closed()["attributes"]
    assert (attributes["inputTokens"], attributes["responseBytes"]) == (7, len(wire))


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_compressed_request_is_recorded_readable_and_as_it_was_sent(
    client, provider, recorded, plain, body_of, encoding
):
    provider.will_say(plain({}))
    wire = PACKERS[encoding](PLAIN)
    client.post("/v1/messages", content=wire, headers={"content-encoding": encoding})
    assert provider.asked[0].body == wire == body_of(recorded.log("http.request.wire"))
    assert body_of(recorded.opened()) == PLAIN
    assert recorded.opened()["attributes"]["model"] == "m-1"


def test_a_compressed_upload_is_recorded_readable(client, provider, recorded, plain, body_of):
    provider.will_say(plain({}))
    wire = gzip.compress(PLAIN)
    client.post("/v1/messages", content=iter([wire[:50], wire[50:]]), headers={"content-encoding": "gzip"})
    assert provider.asked[0].body == wire == body_of(recorded.log("http.request.wire"))
    assert body_of(recorded.log("http.request.body")) == PLAIN


@pytest.mark.parametrize("encoding", PACKERS)
def test_what_came_of_a_compressed_response_that_broke_off_can_be_read(
    client, provider, recorded, answer, library, body_of, encoding
):
    wire = PACKERS[encoding](json.dumps(list(range(150_000))).encode())
    part = wire[: len(wire) * 2 // 3]
    provider.will_say(answer([part], headers={"content-encoding": encoding}, ends="broken"))
    with pytest.raises(library.RemoteProtocolError):
        client.post("/v1/messages", content=b"{}")
    assert body_of(recorded.closed()).startswith(b"[0, 1, 2, 3")
    log = recorded.log("http.response.wire")
    assert body_of(log) == part or log["attributes"]["redacted_bytes"] == len(part)
    assert recorded.closed()["attributes"]["responseComplete"] is False


def test_a_stream_of_events_may_be_compressed_and_left_at_its_last_one(client, provider, recorded, answer, body_of):
    events = b'data: {"model":"m-1","usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n'
    packer = zlib.compressobj(wbits=31)
    wire = packer.compress(events) + packer.flush(zlib.Z_SYNC_FLUSH)
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    provider.will_say(answer([wire], headers=headers, ends="hangs"))
    with client.stream("POST", "/v1/chat/completions", content=b"{}") as response:
        assert next(response.iter_bytes()) == events
    assert body_of(recorded.closed()) == events
    assert recorded.closed()["attributes"]["responseComplete"] is True
    assert recorded.closed()["attributes"]["inputTokens"] == 3


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "x-unheard-of"])
def test_a_response_that_is_not_what_it_says_is_kept_as_it_came(
    client, provider, recorded, answer, body_of, encoding
):
    provider.will_say(packed(answer, WITH_SECRET, encoding))
    with client.stream("POST", "/v1/messages", content=b"{}") as response:
        assert b"".join(response.iter_raw()) == WITH_SECRET
    masked = "sk-…redacted…3d4".encode()
    assert body_of(recorded.closed()) == WITH_SECRET.replace(SECRET.encode(), masked)
    assert recorded.records(msg="http.response.wire") == []


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_secret_is_in_neither_form_of_a_compressed_body(
    client, provider, recorded, answer, body_of, encoding, is_cut
):
    wire = PACKERS[encoding](WITH_SECRET)
    sent = wire[:-1] if is_cut else wire
    provider.will_say(packed(answer, sent, encoding))
    headers = {"content-encoding": encoding}
    with client.stream("POST", "/v1/messages", content=wire, headers=headers) as response:
        assert b"".join(response.iter_raw()) == sent
    assert "sk-…redacted…3d4".encode() in body_of(recorded.opened())
    if not (is_cut and encoding == "zstd"):  # of that, nothing can be read before the end of a block
        assert "sk-…redacted…3d4".encode() in body_of(recorded.closed())
    for side, size_bytes in (("request", len(wire)), ("response", len(sent))):
        log = recorded.log(f"http.{side}.wire")
        assert "body" not in log
        assert log["attributes"]["redacted_bytes"] == size_bytes
    assert SECRET.encode() not in recorded.raw()


def test_bytes_that_could_only_partly_be_read_are_not_recorded_as_they_came(
    client, provider, recorded, answer, body_of
):
    """A secret may stand in the part that nobody read."""
    wire = bytearray(gzip.compress(json.dumps(list(range(60_000))).encode()))
    assert len(wire) > 50_000
    wire[-20_000] ^= 0xFF
    provider.will_say(packed(answer, bytes(wire), "gzip"))
    with client.stream("POST", "/v1/messages", content=b"{}") as response:
        for _ in response.iter_raw():
            pass
    assert body_of(recorded.closed()).startswith(b"[0, 1, 2, 3")
    assert recorded.log("http.response.wire")["attributes"]["redacted_bytes"] == len(wire)


def test_little_that_becomes_much_is_not_unpacked_to_its_end(client, provider, recorded, answer, recorder):
    wire = gzip.compress(bytes(200_000_000), 1)
    provider.will_say(packed(answer, wire, "gzip"))
    with client.stream("POST", "/v1/messages", content=b"{}") as response:
        for _ in response.iter_raw():
            pass
    attributes = recorded.closed()["attributes"]
    assert "body" not in recorded.closed()
    assert 32 * 1024 * 1024 < attributes["body_dropped_bytes"] < 64 * 1024 * 1024
    assert recorder.dropped == {"too_large": 1}


def test_a_body_over_the_limit_is_passed_on_and_counted(client, provider, recorded, recorder, answer):
    provider.will_say(answer([bytes(9_000_000)] * 4))
    assert len(client.post("/v1/messages", content=b"{}").content) == 36_000_000
    attributes = recorded.closed()["attributes"]
    assert "body" not in recorded.closed()
    assert (attributes["body_dropped_bytes"], attributes["responseBytes"]) == (36_000_000, 36_000_000)
    assert recorder.dropped == {"too_large": 1}
