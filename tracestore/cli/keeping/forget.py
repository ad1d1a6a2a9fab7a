"""`tracestore forget`: erase what must not be kept."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_writing
from tracestore.cli.output import print_json, print_line, print_text
from tracestore.errors import NotFound


@click.command("forget", short_help="Erase a turn, a conversation or a body everywhere.")
@click.option("--turn", "turn_id", metavar="TURN", help="Erase a turn: its records, and bodies no other names.")
@click.option("--conversation", "conversation_id", metavar="ID", help="Erase all turns of a conversation.")
@click.option("--digest", metavar="DIGEST", help="Erase a body; the records that name it stay and say evicted.")
@common_options
def command(
    store: Path, as_json: bool, turn_id: str | None, conversation_id: str | None, digest: str | None
) -> None:
    """Erase what must not be kept, such as a leaked secret, and say what it cannot reach.

    It leaves the database, the blobs and their quarantined copies, the snapshot and the segments that
    tracestore wrote. Journals of other programs, backups and set-aside files are named, not touched.
    There is no way back. Exits with 5 when there was nothing of it.
    """
    with open_for_writing(store, create=False) as opened:
        report = opened.forget(turn_id=turn_id, conversation_id=conversation_id, digest=digest)
    if as_json:
        print_json(asdict(report))
    else:
        copies = f", {report.copies:,} quarantined copies" if report.copies else ""
        print_text(
            f"erased {report.records:,} records, {report.bodies:,} bodies{copies};"
            f" removed {report.segments:,} segments of the journal, and earlier snapshots"
        )
        if report.shared_bodies:
            print_text(f"{report.shared_bodies:,} bodies stay: other records name them (--digest erases one)")
        for place in report.left:
            print_line(f"not reached: {place}")
    if not (report.records or report.bodies or report.copies):
        raise NotFound(f"{turn_id or conversation_id or digest}: no record and no body of it; check the id")
