"""Journal lines for the baselines: batches of our own budgets, decoded as fast as it gets."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from tracestore.ingest import BATCH_BYTES, BATCH_LINES


class Line(msgspec.Struct, rename="camel", gc=False):
    """The members of a line; nested ones stay the text they are. Keys that no kind knows are dropped."""

    kind: str
    timestamp: int | float
    extension_id: str
    conversation_id: str | None = None
    turn_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    level: str | None = None
    msg: str | None = None
    duration_ms: int | float | None = None
    status: str | None = None
    attributes: msgspec.Raw = msgspec.Raw()
    links: msgspec.Raw = msgspec.Raw()
    body: str | None = None


PLAIN = tuple(name for name in Line.__struct_fields__ if name not in ("attributes", "links", "body"))
COLUMNS = (*PLAIN, "attributes", "links", "body")

decode = msgspec.json.Decoder(Line).decode


def values(line: Line) -> tuple[str | int | float | None, ...]:
    """Return what `COLUMNS` hold; attributes and links as JSON text."""
    plain = (getattr(line, name) for name in PLAIN)
    return (*plain, text_of(line.attributes), text_of(line.links), line.body)


def text_of(raw: msgspec.Raw) -> str | None:
    """Return JSON text, or None where there is none."""
    return bytes(raw).decode() or None


def batches(journal: Path) -> Iterator[list[bytes]]:
    """Yield the lines of a journal, as many at a time as our own collector takes."""
    with journal.open("rb") as file:
        while lines := _next_lines(file):
            yield lines


def _next_lines(file: Iterable[bytes]) -> list[bytes]:
    lines, size_bytes = [], 0
    for line in islice(file, BATCH_LINES):
        lines.append(line)
        size_bytes += len(line)
        if size_bytes >= BATCH_BYTES:
            break
    return lines
