"""Lines of a journal as a broken, foreign or hostile producer writes them."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Members = dict[str, Any]

SHARED = {
    "kind", "timestamp", "extensionId", "conversationId", "turnId", "parentSpanId", "spanId",
    "attributes", "links", "body", "bodyEncoding", "id",
}  # fmt: skip
KEYS = {
    "log": SHARED | {"level", "msg"},
    "span-open": SHARED | {"name"},
    "span-close": SHARED | {"name", "durationMs", "status"},
}
"""The members that each kind of record knows, written down once more: the code under test has its own list."""

PROMOTED = ["model", "gen_ai.request.model", "input_tokens", "gen_ai.usage.input_tokens", "tool.name", "provider"]
"""Attributes that fill columns."""

NOW_MS = 1_772_413_967_075
BYTE_ORDER_MARK = "\ufeff".encode()
VERBATIM = 0.2
"""The share of lines that stay good: none of them may be rejected."""

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, "", "text", [], {}, [[]], {"a": {"b": 1}}, [None], 2**53 + 1, 2**64, -(2**63) - 1,
    10**40, 1e308, "\ud83d", "\0", "\ufeff", "a" * 70_000, [{"spanId": "s"}], [{"turnId": "t"}], {"a": 1}, {"": None},
]  # fmt: skip
ODD_LITERALS = [
    b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"0x10", b"1e99999",
    b"9" * 400, b"0." + b"1" * 400, b"-0", b"-0.0", b"1E+9999999999999999999", b"1772413967075.0000001", b"true",
    b"nul", b'"\\ud800"', b'"\\u12"', b'"\\x"', b'"\t"', b"'a'", b"[1,]", b"{,}", b"{} {}", b"1//1", b"/**/1",
]  # fmt: skip
ODD_BYTES = [b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\n", b"\r", BYTE_ORDER_MARK, b" "]
ODD_LINES = [
    b"{", b"}", b"[]", b"null", b"{}", b"0", b'""', b'"a"', b"\xff", b"\x80{}", BYTE_ORDER_MARK + b"{}", b" ", b"\t",
    b"\r", b"\0", b"\0\0\0{}", b'{"kind":"log"}', b'{"kind":5}', b'{"kind":"metric","timestamp":1}', b"\x1b[2J",
    b"{}" * 50, b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
]  # fmt: skip


def mutated_lines(rng: random.Random, count: int) -> Iterator[tuple[bytes, bool]]:
    """Yield lines without their newline, and whether each was left as a good producer writes it."""
    earlier = b"{}"
    for number in range(count):
        members = good_record(rng, number)
        has_surrogate = number % 2 == 1  # which only an escape can write
        line = json.dumps(members, ensure_ascii=has_surrogate or rng.random() < 0.5).encode()
        is_good = rng.random() < VERBATIM
        if not is_good:
            line = rng.choice(MUTATIONS)(rng, members, line, earlier)
            if rng.random() < 0.2:
                line = flip_bits(rng, members, line, earlier)
        yield line, is_good
        earlier = line if len(line) < 100_000 else earlier


def good_record(rng: random.Random, number: int) -> Members:
    """Return a record of any kind with a random choice of what it may hold."""
    kind = rng.choice(list(KEYS))
    record: Members = {"kind": kind, "timestamp": NOW_MS + rng.randrange(10**6), "extensionId": "app"}
    if rng.random() < 0.2:
        record["timestamp"] += rng.randrange(1, 1000) / 1000
    if kind == "log":
        record |= {"level": rng.choice(["debug", "info", "warn", "error"]), "msg": f"line {number}"}
    else:
        record |= {"spanId": f"s{number}", "name": "step"}
    if kind == "span-close":
        record |= {"durationMs": rng.choice([0, 5, 1.5, 1e15]), "status": rng.choice(["ok", "error"])}
    optional: Members = {
        "id": f"own {number}",
        "turnId": f"t{number // 9}",
        "conversationId": "Grüße 世界",
        "attributes": {"model": "m", "n": rng.random(), "big": 2**60, "none": None, "text": "\ud83d"[: number % 2]},
        "links": [{"spanId": "s", "reason": "because"}],
        "body": rng.choice(["", "shared body", f"body {number} 😀" * rng.randrange(40)]),
        "new": rng.choice([1, [2, {"a": []}], "x", None]),
    }
    record |= {key: value for key, value in optional.items() if rng.random() < 0.4}
    if rng.random() < 0.1:
        record |= {"body": base64.b64encode(rng.randbytes(rng.randrange(300))).decode(), "bodyEncoding": "base64"}
    return record


def flip_bits(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    changed = bytearray(line)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(line) + 1), rng.randrange(len(line) + 1)))
    return rng.choice([line[:start], line[start:], line[:start] + line[end:]])


def splice(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    at, from_ = rng.randrange(len(line) + 1), rng.randrange(len(earlier) + 1)
    return rng.choice([line[:at] + earlier[from_:], line + earlier, line[:at] + earlier + line[at:], earlier])


def insert_bytes(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    odd = rng.choice([*ODD_BYTES, rng.randbytes(9)])
    at = rng.choice([0, rng.randrange(len(line) + 1), len(line)])
    return line[:at] + odd * rng.choice([1, 1, 3, 200]) + line[at:]


def wrong_value(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    key = rng.choice([*members, *sorted(KEYS["log"]), "new"])
    return json.dumps(members | {key: rng.choice(ODD_VALUES)}).encode()


def odd_attribute(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    """Numbers and texts of any kind under the names that get a column of their own."""
    attributes = {rng.choice(PROMOTED): "@", "": rng.choice(ODD_VALUES[:8])}
    literal = rng.choice([*ODD_LITERALS, *(json.dumps(value).encode() for value in ODD_VALUES)])
    return json.dumps(members | {"attributes": attributes}).encode().replace(b'"@"', literal)


def wrong_literal(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    key = rng.choice([*members, "new", "durationMs", "timestamp"])
    holder = rng.choice(["@", ["@"], {"a": "@"}, "@"])
    return json.dumps(members | {key: holder}).encode().replace(b'"@"', rng.choice(ODD_LITERALS))


def lost_member(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    return json.dumps({key: value for key, value in members.items() if rng.random() < 0.85}).encode()


def member_twice(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    key = rng.choice(list(members))
    value = rng.choice([members[key], rng.choice(ODD_VALUES), "log", "span-open"])
    again = json.dumps({key: value}).encode()[1:-1]
    return rng.choice([b"{" + again + b", " + line[1:], line[:-1] + b", " + again + b"}"])


def unknown_kind(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    kind = rng.choice(["metric", "", "LOG", "span", "log ", "span-open", "span-close", "log", 1, None, ["log"]])
    return json.dumps(members | {"kind": kind}).encode()


def deep(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    levels = rng.choice([1, 50, 190, 199, 200, 201, 900, 1100, 5000])
    inner = rng.choice([b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels])
    key = rng.choice(["new", "attributes", "body", "links"])
    return json.dumps(members | {key: "@"}).encode().replace(b'"@"', inner)


def long_line(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    key = rng.choice(["body", "msg", "new", "turnId"])
    return json.dumps(members | {key: "x" * rng.choice([5_000, 20_000] * 20 + [1_100_000])}).encode()


def other_line(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    return rng.choice(ODD_LINES)


def same_id(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    """The line, and then another record under its name, or the same one in other words."""
    named = {"id": f"own {rng.random()}"} | members
    changed = named | rng.choice([{"msg": "other"}, {"new": 1.0}, {"body": "other"}, {}])
    return json.dumps(named).encode() + b"\n" + json.dumps(changed, separators=(",", ":"), sort_keys=True).encode()


def sent_again(rng: random.Random, members: Members, line: bytes, earlier: bytes) -> bytes:
    return line + rng.choice([b"\n", b"\r\n", b"\n\n\0\0"]) + line


MUTATIONS: list[Callable[[random.Random, Members, bytes, bytes], bytes]] = [
    flip_bits, cut, splice, insert_bytes, wrong_value, wrong_literal, odd_attribute, lost_member, member_twice,
    unknown_kind, deep, long_line, other_line, same_id, sent_again,
]  # fmt: skip
