"""What a record may be at most; each error names the limit and what was found.

A line is a promise by whoever wrote it and nothing more: these bound what reading one can cost,
in memory and in the database, and lie far above what an application records. A line over a limit is
kept, verbatim, among the rejected ones. The limit of a line itself is `journal.LINE_LIMIT_BYTES`.
"""

from typing import Any

from tracestore.errors import RecordInvalid

BODY_LIMIT_BYTES = 32 * 1024 * 1024
"""Of the body itself; its line, which is longer, has the same limit."""
ATTRIBUTES_LIMIT = 1000
ATTRIBUTE_LIMIT_BYTES = 1024 * 1024
"""Of one name or value, as UTF-8: an attribute is for questions, what is longer belongs into a body."""
DEPTH_LIMIT = 200
"""Levels of nesting: Python's own JSON reader gives up near 1,000, less the frames of its caller."""
VALUES_LIMIT = 100_000
"""Values in one line: 32 MiB of small ones would take a gigabyte of memory."""


def check_values(line: bytes) -> None:
    """Refuse a line of too many values before it is decoded; what a body's text looks like does not count."""
    if len(line) < 2 * VALUES_LIMIT or line.count(b",") < VALUES_LIMIT:  # a value takes two bytes, with its comma
        return
    # A body of JSON may hold as many commas: only those outside of texts count. 4 ms for each MB of line.
    unescaped = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    values = unescaped.count(b'"') // 4  # two marks for a text, a name and a text for a value
    if values <= VALUES_LIMIT:
        values = 1 + sum(part.count(b",") for part in unescaped.split(b'"')[::2])
    if values > VALUES_LIMIT:
        raise RecordInvalid(f"line: wanted at most {VALUES_LIMIT} values, found {values} or more")


def check_body(body: bytes) -> None:
    """Refuse a body that no line can hold."""
    if len(body) > BODY_LIMIT_BYTES:
        raise RecordInvalid(f"body: wanted at most {BODY_LIMIT_BYTES} bytes, found {len(body)}")


def check_attributes(attributes: dict[str, Any] | None) -> None:
    """Refuse too many attributes, and one that is too long."""
    if not attributes:
        return
    if len(attributes) > ATTRIBUTES_LIMIT:
        raise RecordInvalid(f"attributes: wanted at most {ATTRIBUTES_LIMIT}, found {len(attributes)}")
    for name, value in attributes.items():
        _check_text(name, "an attribute's name")
        if isinstance(value, str):
            _check_text(value, f"attributes.{name:.60}")


def _check_text(text: str, what: str) -> None:
    if len(text) * 4 > ATTRIBUTE_LIMIT_BYTES:  # else it fits, whatever its characters
        size_bytes = len(text.encode("utf-8", "surrogatepass"))
        if size_bytes > ATTRIBUTE_LIMIT_BYTES:
            raise RecordInvalid(f"{what}: wanted at most {ATTRIBUTE_LIMIT_BYTES} bytes, found {size_bytes}")
