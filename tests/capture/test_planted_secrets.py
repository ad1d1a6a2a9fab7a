"""Secrets in every place where an application can put one: none gets into the files of a journal."""

import dataclasses
import gzip
import json
import logging
import types
import zlib

import pytest
from blake3 import blake3

from tests.capture.planted import SECRETS, is_told, journal_of
from tracestore.capture import CaptureTransport, JournalHandler, Recorder, Redaction

KINDS = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
OPAQUE = "Zq7Xw9Kp-opaque"


@dataclasses.dataclass
class Held:
    """What an application may hold a secret in."""

    api_key: str
    more: object = None


@pytest.fixture
def recorder(tmp_path):
    with Recorder(tmp_path, extension_id="app", redaction=Redaction(fields=("pin",))) as recorder:
        yield recorder


@pytest.fixture
def written(recorder, tmp_path):
    """What stands in the journal: at least so many records, all of them without a secret."""

    def look(records):
        assert recorder.flush()
        assert recorder.dropped == {}
        content = journal_of(tmp_path)
        lines = [json.loads(line) for line in content.splitlines()]
        assert len(lines) >= records
        assert not is_told(content)
        assert "redacted" in content.decode()
        return lines

    return look


@KINDS
def test_no_secret_of_a_record_reaches_the_journal(secret, recorder, written):
    recorder.info(f"message {secret}", body=f"body {secret}", plain=secret, **{f"name {secret}": 1})
    recorder.warn("nested", nested={"a": [{"b": secret, secret: 1}], "data": secret.encode()}, data=secret.encode())
    recorder.error("bodies", body={"messages": [{"content": secret, "inner": json.dumps({"k": f"\n{secret}"})}]})
    recorder.debug("bytes", body=b"\xff\x00" + secret.encode() + b"\xff")
    held = secret.encode(), bytearray(secret.encode()), memoryview(secret.encode())
    recorder.debug("bytes within", body=[{"file": held}, Held(secret, held)], files=held, held=Held(secret, held))
    recorder.debug("long", text=f"{'x' * 5000} {secret}", **{f"{'n ' * 2500}{secret}": secret})
    recorder.debug("many", **{f"a{n}": secret for n in range(1000)})
    with recorder.child(conversation_id=secret, extension_id=secret).span(secret, {"a": secret}, secret) as span:
        span.set_attributes({"nested": [secret]}, more=secret)
        span.add_link(secret, secret, reason=secret)
        span.log(secret, secret)
        span.end(RuntimeError(f"it failed with {secret}"), {"at": {"end": secret}}, body=secret.encode())
    written(13)


@KINDS
def test_no_secret_that_is_logged_reaches_the_journal(secret, recorder, written):
    logger = logging.Logger("library")
    logger.addHandler(JournalHandler(recorder))
    logger.info("sent %s", secret, extra={"key": secret, "headers": {"x": [secret]}})
    try:
        raise RuntimeError(secret) from ValueError(secret)
    except RuntimeError:
        logger.exception("failed")
    written(2)


@KINDS
def test_no_secret_of_a_call_reaches_the_journal(secret, recorder, written):
    httpx = pytest.importorskip("httpx")
    body = json.dumps({"model": "m", "text": secret, "inner": json.dumps({"key": secret})}).encode()

    def answer(request):
        packed = request.url.params.get("packed")
        pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(packed, bytes)
        headers = {"content-encoding": packed} if packed else {}
        one_line = secret.replace("\n", " ")
        headers |= {"set-cookie": f"s={one_line}", "x-echo": one_line, "content-type": "application/json"}
        return httpx.Response(400 if packed else 200, content=pack(body), headers=headers)

    with httpx.Client(transport=CaptureTransport(recorder, httpx.MockTransport(answer))) as client:
        one_line = secret.replace("\n", " ")
        headers = {"authorization": f"Bearer {OPAQUE}", "x-api-key": OPAQUE, "cookie": OPAQUE, "x-other": one_line}
        for packed in ("", "gzip", "deflate"):
            client.post("https://api/v1", params={"packed": packed, "q": secret}, content=body, headers=headers)
            client.post("https://api/v1/messages", params={"key": OPAQUE}, content=iter([body[:50], body[50:]]))
        client.post("https://api/", content=gzip.compress(body), headers={"content-encoding": "gzip"})
        client.get(f"https://user:{OPAQUE}@api/v1")
    written(16)


def test_nothing_with_a_secret_name_reaches_the_journal(recorder, written):
    recorder.info("flat", password=OPAQUE, api_key=OPAQUE, pin=71234567, **{"http.request.header.cookie": OPAQUE})
    recorder.info("nested", headers={"Authorization": OPAQUE, "X-Api-Key": [OPAQUE]}, env=[{"OPENAI_API_KEY": OPAQUE}])
    recorder.info("body", body=json.dumps({"pin": OPAQUE, "text": json.dumps({"pin": f'"{OPAQUE}"'})}))
    recorder.info("objects", held=Held(OPAQUE), view=types.MappingProxyType({"password": OPAQUE}))
    with recorder.span("step") as span:
        span.set_attributes({"request": {"headers": {"authorization": OPAQUE}}})
        span.end(None, {"response": {"set-cookie": OPAQUE}})
    lines = written(6)
    assert json.loads(lines[2]["body"])["pin"] == "Zq7…redacted…que"


def test_what_an_attribute_says_of_its_body_is_the_digest_of_the_masked_text(recorder, written):
    secret = SECRETS["openai"]
    recorder.info("long", text=f"{'x' * 5000} {secret}")
    recorder.info("many", **{f"a{n}": secret for n in range(1000)})
    lines = written(4)
    for line, spilled in ((lines[0], lines[1]), (lines[2], lines[3])):
        digest = blake3(spilled["body"].encode()).hexdigest()
        assert f"body:{digest}" in line["attributes"].values()


def test_a_value_that_holds_itself_is_recorded_beside_the_others(recorder, written):
    ring = [SECRETS["openai"]]
    ring.append(ring)
    recorder.info("ring", ring=ring, other=1)
    assert written(1)[0]["attributes"]["other"] == 1
