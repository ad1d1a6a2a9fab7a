"""What redaction masks, what it leaves alone, and that a masked text stays as it is."""

import json
import random
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.capture.planted import SECRETS, is_told
from tracestore.capture import KNOWN_SECRETS, Redaction, Secret
from tracestore.capture.redaction import MARK, mask
from tracestore.errors import InputInvalid

REDACTION = Redaction(fields=("ssn", "pin"))
KINDS = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
A_KEY = SECRETS["anthropic"]


@pytest.mark.parametrize(
    ("secret", "masked"),
    [
        ("abcdefghijklm", "abc…redacted…klm"),
        ("abcdefghijkl", "ab…redacted…kl"),
        ("abcdefghijk", "ab…redacted…jk"),
        ("abcdefghij", "a…redacted…j"),
        ("abcdefgh", "a…redacted…h"),
        ("abcdefg", "…redacted…"),
        ("a", "…redacted…"),
        ("", "…redacted…"),
    ],
)
def test_a_secret_keeps_as_much_as_its_length_allows(secret, masked):
    assert mask(secret) == masked
    assert mask(masked) == masked


def test_every_known_kind_has_a_planted_secret():
    for known in KNOWN_SECRETS:
        assert any(known.prefix in secret for secret in SECRETS.values()), known.prefix
    assert all(is_told(secret.encode()) for secret in SECRETS.values())


def in_listing(secret):
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(secret.split("\n"), start=1))


PLACES = {
    "alone": str,
    "in quotes": lambda secret: f"key='{secret}', next",
    "in JSON": lambda secret: json.dumps({"key": secret}),
    "in JSON in JSON": lambda secret: json.dumps({"text": json.dumps({"key": f"a\n{secret}\n"})}),
    "behind an escaped line end": lambda secret: json.dumps(f"one\n{secret}\ntwo"),
    "behind an escaped tab": lambda secret: json.dumps(f"one\t{secret}\ttwo"),
    "behind an escaped character": lambda secret: f"key\\u003d{json.dumps(secret)[1:-1]}\\u0026",
    "in a URL": lambda secret: f"https://host/path?a=1&k={urllib.parse.quote(secret, safe='')}&b=2",
    "in a form": lambda secret: urllib.parse.urlencode({"grant": "x", "k": secret}),
    "in a URL in a URL": lambda secret: "https://h/?u=" + urllib.parse.quote(f"https://g/?k={secret}", safe=""),
    "in colour": lambda secret: f"\x1b[31m{secret}\x1b[0m \x1b[38;5;12m{secret}\x1b[m{secret}\x1b[0K",
    "in escaped colour": lambda secret: json.dumps(f"\x1b[1;31m{secret}\x1b[0m"),
    "in a shell": lambda secret: f"export KEY={secret}; curl -H 'x: {secret}'",
    "in a listing": in_listing,
    "twice": lambda secret: f"{secret} {secret}",
    "glued to itself": lambda secret: f"{secret};{secret}" if "earer" in secret else secret + secret,
    "behind another": lambda secret: f"{A_KEY},{secret}",
    "glued behind another": lambda secret: f"{A_KEY}{secret}",
    "before another": lambda secret: f"{secret}{A_KEY}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@KINDS
def test_a_secret_is_masked_wherever_it_stands(secret, place):
    text = place(secret)
    masked = REDACTION.text(text)
    assert MARK in masked
    assert not is_told(masked.encode())
    assert REDACTION.text(masked) == masked
    assert REDACTION.data(text.encode()) == masked.encode()


@KINDS
def test_what_stands_around_a_secret_stays(secret):
    masked = REDACTION.text(f'{{"before": 1, "key": {json.dumps(secret)}, "after": "ü"}}')
    found = json.loads(masked)
    assert (found["before"], found["after"]) == (1, "ü")


def test_a_private_key_that_was_cut_off_is_masked_as_far_as_it_goes():
    secret = SECRETS["private key"]
    for end in range(80, len(secret)):
        assert not is_told(REDACTION.text(secret[:end]).encode())


def test_ten_thousand_secrets_in_one_body_are_all_masked():
    choose = random.Random(1)
    kinds = list(SECRETS.values())
    masked = REDACTION.text("\n".join(choose.choice(kinds) for _ in range(10_000)))
    assert not is_told(masked.encode())
    assert masked.count(MARK) >= 10_000


def test_bytes_that_are_no_text_are_masked_and_otherwise_kept():
    data = b"\xff\x00" + A_KEY.encode() + b"\xfe\x80"
    masked = REDACTION.data(data)
    assert (masked[:2], masked[-2:], is_told(masked)) == (b"\xff\x00", b"\xfe\x80", False)
    assert REDACTION.data(b"\xff\xfe\x00") == b"\xff\xfe\x00"


@pytest.mark.parametrize(
    "text",
    [
        "task-force-on-interoperability-of-systems",
        "sk-estimator-html-representation-of-pipelines",
        "npm_config_registry_of_all_packages_that_we_use",
        'text.startswith("-----BEGIN PRIVATE KEY-----") and text.endswith("-----END PRIVATE KEY-----")',
        "-----BEGIN CERTIFICATE-----\n" + "MIIEpQZq" * 8 + "\n-----END CERTIFICATE-----",
        "the Bearer of good news, and a bearer token in the header",
        "eyJsYXN0X2lkIjoiMTIzNDU2Nzg5MCJ9",
        "iVBORw0KGgoAAAAAIzaSyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAKIAUUEQCAIRAAAAAAAA",
        "sk-123 and ghp_short and AKIA",
        '{"max_tokens": 10, "password_hint": "none", "ssns": "12345678901234"}',
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(text):
    assert REDACTION.text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"ssn": "123-45-67890"}', '{"ssn": "12…redacted…90"}'),
        ('{"ssn":"","a":1}', '{"ssn":"…redacted…","a":1}'),
        ('{"ssn" :\n 1234567890123, "a": 1}', '{"ssn" :\n "123…redacted…123", "a": 1}'),
        ('{"ssn":-1.5e10}', '{"ssn":"…redacted…"}'),
        (r'{"ssn":"12\n456789012345"}', '{"ssn":"…redacted…"}'),
        (r'{"ssn":"1234567\""}', '{"ssn":"…redacted…"}'),
        (r'{"ssn":"\u00e9\u00e9\u00e9\u00e9"}', '{"ssn":"…redacted…"}'),
        ('{"ssn":null,"b":true}', '{"ssn":null,"b":true}'),
        ('{"ssn":{"pin":"12345678","x":"y"}}', '{"ssn":{"pin":"1…redacted…8","x":"y"}}'),
        ('{"ssn":"123-45-67890', '{"ssn":"12…redacted…90'),
        (r'"{\"ssn\":\"123-45-67890\",\"x\":\"y\"}"', r'"{\"ssn\":\"12…redacted…90\",\"x\":\"y\"}"'),
        (r'"{\n  \"ssn\": 12345678\n}"', r'"{\n  \"ssn\": \"1…redacted…8\"\n}"'),
        (r'{\"ssn\":\"123-45-67890', r'{\"ssn\":\"12…redacted…90'),
    ],
)
def test_members_of_json_that_are_named_in_fields_are_masked(text, masked):
    assert REDACTION.text(text) == masked
    assert REDACTION.text(masked) == masked


_JSON = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ssn", "a", "pin"]), inner),
    max_leaves=8,
)


def leaves_of_fields(value):
    if isinstance(value, dict):
        for name, item in value.items():
            if name in ("ssn", "pin") and isinstance(item, str | int | float) and not isinstance(item, bool):
                yield item
            yield from leaves_of_fields(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves_of_fields(item)


@given(_JSON, st.integers(0, 3), st.booleans())
@settings(max_examples=300, deadline=None)
def test_fields_are_masked_at_any_depth_and_the_json_stays_json(value, depth, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii)
    for _ in range(depth):
        text = json.dumps({"text": text, "n": 1}, ensure_ascii=is_ascii)
    masked = REDACTION.text(text)
    assert REDACTION.text(masked) == masked
    found = json.loads(masked)
    for _ in range(depth):
        assert found["n"] == 1
        found = json.loads(found["text"])
    assert all(MARK in str(leaf) for leaf in leaves_of_fields(found))


_PIECES = st.sampled_from([
    *SECRETS.values(), *(known.prefix for known in KNOWN_SECRETS), MARK, "-----END PRIVATE KEY-----", "\\n", '"ssn":"',
    '\\"ssn\\":\\"', '"', '\\"', "A" * 40, "a1", "_", "-", " ", "\n", "…", ".", "1234567890", "%20", "\x1b[1m",
])  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=5), max_size=12).map("".join))
@example(SECRETS["github fine"] + SECRETS["cerebras"])  # what is kept of the first begins the second
@settings(max_examples=500, deadline=None)
def test_masking_twice_is_masking_once(text):
    once = REDACTION.text(text)
    assert REDACTION.text(once) == once
    assert REDACTION.data(text.encode("utf-8", "surrogatepass")) == once.encode("utf-8", "surrogatepass")


def test_attributes_with_a_secret_name_are_masked_whatever_their_value():
    attributes = {
        "http.request.header.Authorization": "Basic abcdefghij",
        "http.request.header.x-api-key": ("opaque-and-long-key",),
        "OPENAI_API_KEY": "opaque-and-long-key",
        "db.password": "short",
        "SSN": 123456789,
        "secret": None,
        "gen_ai.usage.input_tokens": 12,
    }
    masked = REDACTION.attributes(attributes)
    assert masked == {
        "http.request.header.Authorization": "Bas…redacted…hij",
        "http.request.header.x-api-key": "('o…redacted…',)",
        "OPENAI_API_KEY": "opa…redacted…key",
        "db.password": "…redacted…",
        "SSN": "1…redacted…9",
        "secret": None,
        "gen_ai.usage.input_tokens": 12,
    }
    assert REDACTION.attributes(masked) == masked


def test_values_of_any_depth_are_masked_in_names_texts_and_bytes():
    value = {"a": [{"b": A_KEY}, (A_KEY.encode(), bytearray(A_KEY.encode()))], A_KEY: 1, 5: {"password": "x"}, "n": 1.5}
    masked = REDACTION.value(value)
    assert not is_told(repr(masked).encode())
    assert masked["5"] == {"password": MARK}
    assert (masked["n"], REDACTION.value(masked)) == (1.5, masked)


def test_a_kind_of_ones_own_is_masked_and_what_is_known_can_be_left_out():
    redaction = Redaction(secrets=[Secret("acme_", "[0-9]{8,}")])
    assert redaction.text(f"acme_123456789 {A_KEY}") == f"acm…redacted…789 {A_KEY}"


def test_a_kind_is_found_that_begins_with_the_end_of_another():
    redaction = Redaction(secrets=[Secret("acme-x", "[0-9]{8}"), Secret("x9", "[a-z]{16}")])
    assert redaction.text("acme-x9" + "q" * 16) == "acme-x9q…redacted…qqq"


def test_without_rules_nothing_is_masked():
    assert Redaction(secrets=()).text(A_KEY) == A_KEY


@pytest.mark.parametrize("arguments", [{"fields": ('a"b',)}, {"fields": ("",)}, {"secrets": [Secret("x", "y")]}])
def test_what_the_search_cannot_find_in_json_is_refused(arguments):
    with pytest.raises(InputInvalid, match="printable ASCII characters"):
        Redaction(**arguments)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"fields": "email"}, "fields: wanted a list of names, found 'email'"),
        ({"secrets": ["acme_"]}, "secrets: wanted Secret"),
        ({"secrets": [Secret("acme_", "[a-z")]}, "secrets: wanted a regular expression behind 'acme_'"),
    ],
)
def test_what_would_mask_nothing_or_fail_with_every_record_is_refused(arguments, wanted):
    with pytest.raises(InputInvalid, match=wanted):
        Redaction(**arguments)
