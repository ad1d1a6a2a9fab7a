"""The bytes of a body over HTTP: exactly those, a range of them, or why there are none."""

import os
import shutil

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobs import Digest
from tracestore.cli import main
from tracestore.maintenance.retention import RetentionPolicy

BODY = bytes(range(256)) * 8
DIGEST = Digest.of(BODY).hex()
PATH = f"/v1/bodies/{DIGEST}"
HTML = "<script>alert(1)</script>"


@pytest.fixture
def filled(store, make, now_ms):
    """A store with one body that is no text, one that looks like a page, and a record without one."""
    store.insert_records([
        make.log(now_ms, "bytes", turnId="t", body=BODY), make.log(now_ms + 1, "page", turnId="t", body=HTML),
        make.log(now_ms + 2, "none", turnId="t"), make.log(now_ms + 3, "empty", turnId="t", body=""),
    ])  # fmt: skip
    return store


@pytest.fixture
def asked(filled, api):
    """`asked(path, **headers)` is an answer."""
    asking = api(filled)

    def ask(path=PATH, method="GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return asking.request(method, path, headers=named)

    return ask


def test_a_body_is_found_by_its_digest_and_by_its_record(filled, asked):
    record_id = filled.get_turn("t")[0].record_id
    for name in (DIGEST, DIGEST.upper(), record_id, record_id.upper()):
        answer = asked(f"/v1/bodies/{name}")
        assert (answer.status_code, answer.content) == (200, BODY)
        assert answer.headers["etag"] == f'"{DIGEST}"'
        assert answer.headers["content-length"] == str(len(BODY))
        assert answer.headers["accept-ranges"] == "bytes"
        assert "immutable" in answer.headers["cache-control"]


def test_an_empty_body_is_a_body(filled, asked):
    answer = asked(f"/v1/bodies/{filled.get_turn('t')[3].record_id}", range="bytes=-5")
    assert (answer.status_code, answer.content) == (200, b"")


def test_no_browser_takes_a_body_for_a_page(filled, asked):
    answer = asked(f"/v1/bodies/{filled.get_turn('t')[1].record_id}")
    assert answer.text == HTML
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_says_what_get_would_without_the_bytes(asked):
    for headers in ({}, {"range": "bytes=2-5"}):
        head, got = asked(method="HEAD", **headers), asked(**headers)
        assert head.content == b""
        assert (head.status_code, dict(head.headers)) == (got.status_code, dict(got.headers))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=2000-", 2000, 2048), ("bytes=-10", 2038, 2048),
     ("bytes=0-99999999", 0, 2048), ("bytes=-99999", 0, 2048), ("bytes=2047-2047", 2047, 2048), ("bytes= 1-2 ", 1, 3),
     ("bytes=0-" + "9" * 18, 0, 2048)],
)  # fmt: skip
def test_a_range_is_a_part_of_the_bytes(asked, text, start, end):
    answer = asked(range=text)
    assert answer.status_code == 206
    assert answer.content == BODY[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("text", ["bytes=2048-", "bytes=2048-3000", "bytes=-0", "bytes=" + "9" * 18 + "-"])
def test_a_range_outside_the_bytes_is_416(asked, text):
    answer = asked(range=text)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"
    assert answer.json()["error"] == "RangeNotSatisfiable"
    assert answer.json()["message"] == f"Range: wanted a part of {len(BODY)} bytes, found '{text}'"


@pytest.mark.parametrize(
    "text",
    ["bytes=0-1,5-6", "bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "0-1", "bytes=1-2-3", "bytes=+1-2",
     "bytes=" + "9" * 5000 + "-", "bytes=٣-٤".encode()],
)  # fmt: skip
def test_what_is_no_single_range_gives_the_whole(asked, text):
    answer = asked(range=text)
    assert (answer.status_code, answer.content) == (200, BODY)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.none(), st.integers(0, 3000)), st.one_of(st.none(), st.integers(0, 3000)))
def test_every_range_is_what_slicing_gives(asked, first, last):
    answer = asked(range=f"bytes={'' if first is None else first}-{'' if last is None else last}")
    if first is None and last is None:
        assert answer.status_code == 200
        return
    start, end = (max(0, len(BODY) - last), None) if first is None else (first, None if last is None else last + 1)
    wanted = BODY[start:end]
    if first is not None and last is not None and last < first:
        assert (answer.status_code, answer.content) == (200, BODY)
    elif wanted:
        assert (answer.status_code, answer.content) == (206, wanted)
    else:
        assert answer.status_code == 416


@pytest.mark.parametrize("known", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
def test_a_client_that_has_the_bytes_is_told_so(asked, known):
    answer = asked(if_none_match=known, range="bytes=0-1")
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{DIGEST}"'


@pytest.mark.parametrize("known", ['"other"', DIGEST, ""])
def test_a_client_that_has_other_bytes_gets_these(asked, known):
    assert asked(if_none_match=known).content == BODY


def test_a_range_of_what_the_client_began_with_else_the_whole(asked):
    assert asked(range="bytes=0-1", if_range=f'"{DIGEST}"').status_code == 206
    for other in ('"other"', f'W/"{DIGEST}"', "Mon, 23 Nov 2026 20:00:00 GMT"):
        assert asked(range="bytes=0-1", if_range=other).status_code == 200


@pytest.mark.parametrize("name", ["0" * 64, "x", "00000000-0000-0000-0000-000000000000", "0" * 63])
def test_a_body_that_never_was_is_404(asked, name):
    answer = asked(f"/v1/bodies/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"] == "NotFound"


def test_a_record_without_a_body_says_so(filled, asked):
    answer = asked(f"/v1/bodies/{filled.get_turn('t')[2].record_id}")
    assert answer.status_code == 404
    assert "has no body" in answer.json()["message"]


def as_the_command_line(store):
    store.close()
    done = CliRunner().invoke(main, ["body", DIGEST, "--store", str(store.path)])
    return done.stderr.partition(f"{store.path}: ")[2].strip()


def test_an_evicted_body_is_gone_in_the_words_of_the_command_line(filled, asked):
    filled.prune(RetentionPolicy(max_total_body_bytes=0), force=True)
    answers = [asked(), asked(range="bytes=0-1"), asked(if_none_match=f'"{DIGEST}"')]
    assert [answer.status_code for answer in answers] == [410, 410, 410]
    assert "evicted" in answers[0].json()["message"]
    assert answers[0].json()["message"] == as_the_command_line(filled)


def test_a_lost_body_is_gone_in_the_words_of_the_command_line(filled, asked):
    shutil.rmtree(filled.path / "blobs" / "objects" / DIGEST[:2])
    answer = asked()
    assert answer.status_code == 410
    assert "lost" in answer.json()["message"]
    assert answer.json()["message"] == as_the_command_line(filled)


def test_damaged_bytes_are_never_sent(filled, asked):
    path = filled.path / "blobs" / "objects" / DIGEST[:2] / f"{DIGEST}.gz"
    whole = path.read_bytes()
    os.chmod(path, 0o600)
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    for answer in (asked(), asked(range="bytes=0-0")):
        assert answer.status_code == 500
        assert answer.json()["error"] == "StoreBroken"
        assert BODY[:10] not in answer.content
