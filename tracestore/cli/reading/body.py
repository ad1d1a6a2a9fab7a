"""`tracestore body`: the exact bytes of a body."""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobs import Digest, DigestInvalid
from tracestore.cli.finding import find_record
from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json
from tracestore.errors import NotFound
from tracestore.views.answers import gone_text

if TYPE_CHECKING:
    from tracestore.store import TraceStore


@click.command("body", short_help="Write the exact bytes of a body to stdout.")
@click.argument("id_", metavar="ID")
@common_options
def command(id_: str, store: Path, as_json: bool) -> None:
    """Write the exact bytes of a body to stdout, and nothing else.

    ID is the record's id (a UUID) or the body's digest (64 hex digits). With --json the bytes come
    as "body", text or base64 as "body_encoding" says.
    """
    with open_for_reading(store) as opened:
        digest = _digest(opened, id_)
        body = opened.get_body(digest)
        if body is None:
            raise NotFound(f"{store}: {gone_text(digest, opened.reader.body_state(bytes.fromhex(digest)))}")
    if as_json:
        return print_json({"digest": digest, "size_bytes": len(body)} | _encoded(body))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def _digest(store: "TraceStore", id_: str) -> str:
    """Return the digest that an id stands for."""
    try:
        return Digest.parse(id_.lower()).hex()
    except DigestInvalid:
        record = find_record(store, id_)
    if record is None:
        wanted = f"{id_!r:.80} is neither a record (a UUID) nor a body (64 hex digits) of this store"
        hint = "; tracestore show lists the records of this span" if store.reader.span(id_) else ""
        raise NotFound(f"{store.path}: {wanted}{hint}")
    if record.body_digest is None:
        raise NotFound(f"{store.path}: record {id_} has no body")
    return record.body_digest


def _encoded(body: bytes) -> dict[str, str]:
    try:
        return {"body_encoding": "utf-8", "body": body.decode()}
    except UnicodeDecodeError:
        return {"body_encoding": "base64", "body": base64.b64encode(body).decode()}
