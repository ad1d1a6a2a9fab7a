"""`tracestore show`: every field of a record, or of all records of a span."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracestore.cli.finding import find_records
from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_line, print_text
from tracestore.errors import NotFound
from tracestore.views.answers import record_members
from tracestore.views.values import cell_text

if TYPE_CHECKING:
    from tracestore.record import StoredRecord
    from tracestore.store import TraceStore


@click.command("show", short_help="Show a record or a span in full.")
@click.argument("id_", metavar="ID")
@click.option("--body", "with_body", is_flag=True, help="Also the body, as text.")
@common_options
def command(id_: str, with_body: bool, store: Path, as_json: bool) -> None:
    """Show every field of the record or of the span's records with this ID.

    ID is a record id (a UUID) or a span id. `tracestore body` writes a body's exact bytes.
    """
    with open_for_reading(store) as opened:
        records = find_records(opened, id_)
        if not records:
            raise _unknown(opened, id_)
        if with_body:
            opened.fetch_bodies(records)
        for record in records:
            if record.body_digest is not None and not with_body:
                record.body_state = opened.reader.body_state(bytes.fromhex(record.body_digest)) or "lost"
    if as_json:
        print_json([record_members(record, with_body=with_body) for record in records])
    else:
        _print(records)


def _unknown(store: "TraceStore", id_: str) -> NotFound:
    is_turn = bool(store.reader.turn(id_))
    hint = "it is a turn: tracestore view shows it" if is_turn else "tracestore list shows the turns there are"
    return NotFound(f"{store.path}: no record or span {id_!r:.80}; {hint}")


def _print(records: "Sequence[StoredRecord]") -> None:
    for number, record in enumerate(records):
        if number:
            print_text("")
        for name, value in record_members(record, with_body=False).items():
            if value is not None and value != {}:
                print_line(f"{name}: {cell_text(value)}")
        if isinstance(record.body, bytes):
            print_text(f"body: {len(record.body)} bytes that are not text; tracestore body {record.record_id}")
        elif record.body is not None:
            print_text("body:")
            for line in record.body.split("\n"):
                print_line(line)
