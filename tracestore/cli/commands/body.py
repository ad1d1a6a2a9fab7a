"""`tracestore body`: the exact bytes of a body."""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json
from tracestore.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from tracestore.store import TraceStore

DIGEST_DIGITS = 64


@click.command("body", short_help="Write the exact bytes of a body to stdout.")
@click.argument("id_", metavar="ID")
@common_options
def command(id_: str, store: Path, as_json: bool) -> None:
    """Write the exact bytes of a body to stdout, and nothing else.

    ID is the record's id (a UUID) or the body's digest (64 hex digits). With --json the bytes come
    as "body", text or base64 as "encoding" says.
    """
    with open_for_reading(store) as opened:
        digest = _digest(opened, id_)
        body = opened.get_body(digest)
        if body is None:
            raise NotFound(f"{store}: {_why_gone(opened, digest)}")
    if as_json:
        return print_json({"digest": digest, "size_bytes": len(body)} | _encoded(body))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def _digest(store: "TraceStore", id_: str) -> str:
    """Return the digest that an id stands for."""
    if len(id_) == DIGEST_DIGITS:
        try:
            return bytes.fromhex(id_).hex()
        except ValueError:
            pass  # no digest, and too long for a UUID: the message below says what is wanted
    try:
        record = store.reader.record(UUID(id_))
    except ValueError as error:
        wanted = f"a record id (a UUID) or a digest ({DIGEST_DIGITS} hex digits)"
        hint = "; tracestore show lists the record ids of a span" if store.reader.span(id_) else ""
        raise InputInvalid(f"ID: wanted {wanted}, found {id_!r:.80}{hint}") from error
    if record is None:
        raise NotFound(f"{store.path}: no record {id_}")
    if record.body_digest is None:
        raise NotFound(f"{store.path}: record {id_} has no body")
    return record.body_digest


def _why_gone(store: "TraceStore", digest: str) -> str:
    state = store.reader.body_state(bytes.fromhex(digest))
    if state == "evicted":
        return f"the body {digest} was evicted to keep under the byte cap; its records are still there"
    if state is None:
        return f"no body {digest}"
    return f"the body {digest} is lost: its file is gone; tracestore verify shows what else is"


def _encoded(body: bytes) -> dict[str, str]:
    try:
        return {"encoding": "utf-8", "body": body.decode()}
    except UnicodeDecodeError:
        return {"encoding": "base64", "body": base64.b64encode(body).decode()}
